//! The vendor's API without a signature: the exchange of an OIDC token for a credential.

use bytes::Bytes;
use http::Request;
use http::header::{ACCEPT, CONTENT_TYPE};
use imagecache_cloud_http::{Answer, Effect, Protocol, Refusal, Signing};
use imagecache_core::BoxError;
use url::Url;

use crate::params::Parameters;
use crate::refusal;

/// One call; its parameters travel in the body.
#[derive(Clone, Debug)]
pub(super) struct UnsignedCall {
    /// The action, which is in the URL's query too.
    pub(super) action: &'static str,
    pub(super) url: Url,
    pub(super) form: Parameters,
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

    fn request(&self, call: &UnsignedCall, _signing: &Signing<'_>) -> Result<Request<Bytes>, BoxError> {
        let request = Request::post(call.url.as_str())
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        Ok(request.body(Bytes::from(call.form.wire_query()))?)
    }

    fn check(&self, call: &UnsignedCall, answer: &Answer) -> Result<(), Refusal> {
        refusal::check(answer, &call.form)
    }
}
