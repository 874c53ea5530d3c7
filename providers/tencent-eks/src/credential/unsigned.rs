//! The vendor's API without a signature: the exchange of an OIDC token for a credential.

use bytes::Bytes;
use http::Request;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use imagecache_cloud_http::{Answer, Effect, Protocol, Refusal, Signing};
use imagecache_core::BoxError;
use url::Url;

use crate::params::Parameters;
use crate::protocol::Product;
use crate::refusal;

/// What stands in the place of a signature (the vendor's SDKs, `SkipSign`).
const NO_SIGNATURE: &str = "SKIP";
const JSON: &str = "application/json";

/// One call of STS; its parameters travel in the body.
#[derive(Clone, Debug)]
pub(super) struct UnsignedCall {
    pub(super) action: &'static str,
    pub(super) url: Url,
    pub(super) region: String,
    pub(super) parameters: Parameters,
}

/// The protocol of such calls. None of them changes anything, so each can be repeated.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unsigned;

impl Protocol for Unsigned {
    type Call = UnsignedCall;

    fn action(call: &UnsignedCall) -> &'static str {
        call.action
    }

    fn effect(_call: &UnsignedCall) -> Effect {
        Effect::Repeatable
    }

    fn request(&self, call: &UnsignedCall, signing: &Signing<'_>) -> Result<Request<Bytes>, BoxError> {
        let request = Request::post(call.url.as_str())
            .header(ACCEPT, JSON)
            .header(CONTENT_TYPE, JSON)
            .header(AUTHORIZATION, NO_SIGNATURE)
            .header("x-tc-action", call.action)
            .header("x-tc-version", Product::Sts.version())
            .header("x-tc-region", &call.region)
            .header("x-tc-timestamp", signing.at.as_second())
            .header("x-tc-language", "en-US");
        Ok(request.body(Bytes::from(call.parameters.body()))?)
    }

    fn check(&self, call: &UnsignedCall, answer: &Answer) -> Result<(), Refusal> {
        refusal::check(answer, &call.parameters)
    }
}
