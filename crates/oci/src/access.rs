//! Who may have an image: the registry itself is asked for its manifest, and nothing is fetched.

use std::time::Duration;

use imagecache_core::{Digest, ErrorKind, ImageRef, Result, chain};
use reqwest::Method;

use crate::auth::Authenticator;
use crate::endpoint::{self, Endpoint};
use crate::error::fail;
use crate::image::ResolvedImage;
use crate::media_type::ACCEPT_MANIFESTS;
use crate::retry::RetryPolicy;
use crate::session::{Origin, Session};
use crate::transport::{Ask, Bounded, Trust};

/// Somebody waits for the answer, and "no" is always a safe one: a busy registry gets a second chance and no third.
const ATTEMPTS: u32 = 2;
/// And a silent one keeps no build waiting.
const PATIENCE: Duration = Duration::from_secs(10);

impl Session {
    /// Asks the registry itself, never a mirror, for the manifest or index `digest` of the image's repository: with this
    /// session's logins and without configured headers, which would answer for whoever wrote them.
    ///
    /// Errors: `NotFound`, `Unauthenticated` and `PermissionDenied` are the registry's no, others say that it did not answer.
    pub async fn may_read(&self, image: &ImageRef, digest: &Digest) -> Result<()> {
        self.ask(&self.0.auth, image, digest).await
    }

    /// Whether the registry gives this image to anyone. Whatever goes wrong, the answer is no.
    ///
    /// An image that was resolved without login, mirror and configured headers is: nobody needs to be asked. Any other is
    /// asked for without all of these. An image that came from a file is not: no registry said who may have it.
    pub async fn is_public(&self, image: &ResolvedImage) -> bool {
        let Origin::Registry(endpoints) = image.origin.as_ref() else {
            return false;
        };
        let plain = |endpoint: &Endpoint| {
            !endpoint.is_mirror() && endpoint.headers.is_empty() && !self.0.auth.may_log_in(endpoint)
        };
        if endpoints.iter().all(plain) {
            return true;
        }
        let nobody = Authenticator::default();
        let asking = self.ask(&nobody, &image.reference, image.digest());
        let refused = match tokio::time::timeout(PATIENCE, asking).await {
            Ok(Ok(())) => return true,
            Ok(Err(error)) => chain(&error),
            Err(_) => "its registry does not answer".to_owned(),
        };
        tracing::debug!(image = %image.reference, reason = refused, "an image does not count as public");
        false
    }

    async fn ask(&self, auth: &Authenticator, image: &ImageRef, digest: &Digest) -> Result<()> {
        let all = endpoint::endpoints(image, &self.0.hosts, &self.0.overrides, &self.0.limits)?;
        let own = all.into_iter().find(|endpoint| !endpoint.is_mirror());
        let mut endpoint = own.ok_or_else(|| fail(ErrorKind::Internal, "access", "the registry has no address"))?;
        endpoint.headers.clear();
        let client = self.0.clients.get(&endpoint.tls)?;
        let retry = RetryPolicy {
            attempts: self.0.retry.attempts.min(ATTEMPTS),
            ..self.0.retry.clone()
        };
        let what = format!("image `{image}`");
        let ask = Ask {
            client: &client,
            auth,
            endpoint: &endpoint,
            method: Method::HEAD,
            url: endpoint.url("manifests", &digest.to_string()),
            accept: Some(ACCEPT_MANIFESTS),
            from: 0,
            trust: Trust::Server,
            bounded: Bounded {
                what: &what,
                operation: "access",
                retry: &retry,
            },
        };
        ask.send().await.map(drop)
    }
}
