//! The vendor's RPC style over HTTP: how a call becomes a signed request, and what an answer means.

#[cfg(test)]
mod tests;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, HOST, USER_AGENT};
use http::{Method, Request};
use imagecache_cloud_http::{
    Answer, Effect, Protocol, Refusal, Signing, Unsigned, host_header, sensitive_header, sha256_hex,
};
use imagecache_core::{BoxError, Secret};

use crate::endpoint::Endpoints;
use crate::params::Parameters;
use crate::{refusal, sign};

/// What we call ourselves.
const OUR_NAME: &str = concat!("imagecache/", env!("CARGO_PKG_VERSION"));

/// A service of the vendor that is called in this style.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Product {
    /// Elastic Container Instance: the image caches.
    Eci,
    /// Virtual Private Cloud: public addresses for builds.
    Vpc,
    /// Security Token Service: assumed roles.
    Sts,
}

impl Product {
    /// First part of its host.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Eci => "eci",
            Self::Vpc => "vpc",
            Self::Sts => "sts",
        }
    }

    /// Version of its API.
    pub(crate) fn version(self) -> &'static str {
        match self {
            Self::Eci => "2018-08-08",
            Self::Vpc => "2016-04-28",
            Self::Sts => "2015-04-01",
        }
    }
}

/// One call of one action.
#[derive(Clone, Debug)]
pub(crate) struct RpcCall {
    /// Whose action it is.
    pub(crate) product: Product,
    /// The action, such as `CreateImageCache`.
    pub(crate) action: &'static str,
    /// What sending it twice does.
    pub(crate) effect: Effect,
    /// Its parameters; they travel in the query.
    pub(crate) parameters: Parameters,
}

/// The protocol: `POST` with an empty body and every parameter in the query, signed with ACS3-HMAC-SHA256.
#[derive(Clone, Debug)]
pub(crate) struct Acs3 {
    endpoints: Endpoints,
}

impl Acs3 {
    /// The protocol as spoken to `endpoints`.
    pub(crate) fn new(endpoints: Endpoints) -> Self {
        Self { endpoints }
    }
}

impl Protocol for Acs3 {
    type Call = RpcCall;

    fn action(call: &RpcCall) -> &'static str {
        call.action
    }

    fn effect(call: &RpcCall) -> Effect {
        call.effect
    }

    fn request(&self, call: &RpcCall, signing: &Signing<'_>) -> Result<Request<Bytes>, BoxError> {
        let mut url = self.endpoints.url(call.product).clone();
        let headers = signed_headers(call, signing, host_header(&url));
        let payload_hash = sha256_hex(b"");
        let unsigned = Unsigned {
            method: Method::POST.as_str(),
            path: "/",
            query: &call.parameters.canonical_query(),
            headers: &headers,
            payload_hash: &payload_hash,
        };
        let credential = signing.credential;
        let authorization = sign::authorization(&unsigned, &credential.id, &credential.secret);

        url.set_query(
            Some(&call.parameters.wire_query())
                .filter(|query| !query.is_empty())
                .map(String::as_str),
        );
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(url.as_str())
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, OUR_NAME)
            .header(CONTENT_LENGTH, 0)
            .header(AUTHORIZATION, sensitive_header(&authorization)?);
        for (name, value) in &headers {
            // The HTTP client writes the host from the URL.
            if *name != HOST.as_str() {
                request = request.header(*name, sensitive_header(value)?);
            }
        }
        Ok(request.body(Bytes::new())?)
    }

    fn check(&self, call: &RpcCall, answer: &Answer) -> Result<(), Refusal> {
        refusal::check(answer, &call.parameters)
    }
}

/// The headers that are signed: those that the signature's document asks for, and no more.
fn signed_headers(call: &RpcCall, signing: &Signing<'_>, host: String) -> Vec<(&'static str, String)> {
    let mut headers = vec![
        ("host", host),
        ("x-acs-action", call.action.to_owned()),
        ("x-acs-version", call.product.version().to_owned()),
        // Whole seconds: jiff would write the fraction too.
        ("x-acs-date", signing.at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()),
        ("x-acs-signature-nonce", signing.nonce.to_owned()),
        ("x-acs-content-sha256", sha256_hex(b"")),
    ];
    if let Some(token) = &signing.credential.token {
        headers.push(("x-acs-accesskey-id", signing.credential.id.clone()));
        headers.push(("x-acs-security-token", Secret::expose(token).clone()));
    }
    headers
}
