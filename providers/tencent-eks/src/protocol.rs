//! The vendor's API 3.0 over HTTP: how a call becomes a signed request, and what an answer means.

#[cfg(test)]
mod tests;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::{HeaderValue, Method, Request};
use imagecache_cloud_http::{
    Answer, Effect, Protocol, Refusal, Signing, Unsigned, host_header, sensitive_header, sha256_hex,
};
use imagecache_core::BoxError;

use crate::endpoint::Endpoints;
use crate::params::Parameters;
use crate::refusal;
use crate::sign::{self, Scope};

/// What we call ourselves.
const OUR_NAME: &str = concat!("imagecache/", env!("CARGO_PKG_VERSION"));
/// Sent and signed exactly so: with a charset behind it, the signature would be another one.
const JSON: &str = "application/json";
/// The language of messages, since they go into events.
const LANGUAGE: &str = "en-US";

/// A service of the vendor that is called in this style.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Product {
    /// Tencent Kubernetes Engine: the image caches.
    Tke,
    /// Security Token Service: assumed roles.
    Sts,
}

impl Product {
    /// First part of its host, and the service in a signature.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tke => "tke",
            Self::Sts => "sts",
        }
    }

    /// Version of its API.
    pub(crate) fn version(self) -> &'static str {
        match self {
            Self::Tke => "2018-05-25",
            Self::Sts => "2018-08-13",
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
    /// Its parameters; they travel in the body.
    pub(crate) parameters: Parameters,
}

/// The protocol: `POST` of one JSON object, signed with TC3-HMAC-SHA256.
#[derive(Clone, Debug)]
pub(crate) struct Tc3 {
    endpoints: Endpoints,
    region: String,
}

impl Tc3 {
    /// The protocol as spoken to `endpoints`, for things in `region`.
    pub(crate) fn new(endpoints: Endpoints, region: impl Into<String>) -> Self {
        Self {
            endpoints,
            region: region.into(),
        }
    }

    /// The request with exactly this body.
    fn request_with(&self, call: &RpcCall, body: String, signing: &Signing<'_>) -> Result<Request<Bytes>, BoxError> {
        let url = self.endpoints.url(call.product);
        let headers = [
            ("content-type", JSON.to_owned()),
            ("host", host_header(url)),
            // Signed in small letters, sent as it is.
            ("x-tc-action", call.action.to_lowercase()),
        ];
        let unsigned = Unsigned {
            method: Method::POST.as_str(),
            path: "/",
            query: "",
            headers: &headers,
            payload_hash: &sha256_hex(body.as_bytes()),
        };
        let scope = Scope {
            at: signing.at,
            service: call.product.name(),
        };
        let credential = signing.credential;
        let authorization = sign::authorization(&unsigned, &scope, &credential.id, &credential.secret);
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(url.as_str())
            .header(ACCEPT, JSON)
            .header(CONTENT_TYPE, HeaderValue::from_static(JSON))
            .header(USER_AGENT, OUR_NAME)
            .header(AUTHORIZATION, sensitive_header(&authorization)?)
            .header("x-tc-action", call.action)
            .header("x-tc-version", call.product.version())
            .header("x-tc-timestamp", signing.at.as_second())
            .header("x-tc-region", &self.region)
            .header("x-tc-language", LANGUAGE);
        // The token is sent and not signed.
        if let Some(token) = &credential.token {
            request = request.header("x-tc-token", sensitive_header(token.expose())?);
        }
        Ok(request.body(Bytes::from(body))?)
    }
}

impl Protocol for Tc3 {
    type Call = RpcCall;

    fn action(call: &RpcCall) -> &'static str {
        call.action
    }

    fn effect(call: &RpcCall) -> Effect {
        call.effect
    }

    fn request(&self, call: &RpcCall, signing: &Signing<'_>) -> Result<Request<Bytes>, BoxError> {
        self.request_with(call, call.parameters.body(), signing)
    }

    fn check(&self, call: &RpcCall, answer: &Answer) -> Result<(), Refusal> {
        refusal::check(answer, &call.parameters)
    }
}
