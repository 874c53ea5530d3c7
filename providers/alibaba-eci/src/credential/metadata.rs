//! The credential of an ECS instance's RAM role, from the metadata service (document "Instance metadata", security-hardened
//! mode first).

use std::fmt;
use std::time::Duration;

use http::Method;
use imagecache_cloud_http::source::{Expectation, PlainError, RolePlace, RoleService};
use imagecache_cloud_http::{Credential, CredentialError, HttpClientError};
use imagecache_core::Secret;
use url::Url;

use super::keys::Keys;

/// The vendor's SDK waits as long.
const TIMEOUT: Duration = Duration::from_secs(1);
/// Where the service is, and its words.
pub(super) const PLACE: RolePlace = RolePlace {
    host: "100.100.100.200",
    path: "latest/meta-data/ram/security-credentials/",
    timeout: TIMEOUT,
    machine: "an ECS instance",
    role: "RAM role",
};
/// Lifetime of a session token: we fetch a new one for every credential, so a short one does.
const SESSION_SECONDS: &str = "60";
const SESSION_TTL_HEADER: &str = "x-aliyun-ecs-metadata-token-ttl-seconds";
const SESSION_HEADER: &str = "x-aliyun-ecs-metadata-token";
const SESSION_PATH: &str = "latest/api/token";

/// The metadata service as seen from here.
pub(super) struct Metadata {
    service: RoleService,
    sessions: Sessions,
}

/// Whether requests without a session token are made where the service gives none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sessions {
    /// A session is tried first, and done without if the service does not know it.
    Preferred,
    /// Only with a session (`ALIBABA_CLOUD_IMDSV1_DISABLED`).
    Required,
}

impl Metadata {
    pub(super) fn new(endpoint: Url, sessions: Sessions) -> Result<Self, HttpClientError> {
        Ok(Self {
            service: RoleService::new(endpoint, PLACE)?,
            sessions,
        })
    }

    /// The credential of `role`, or of whichever role the instance has; `None` when this is no ECS instance, or it has none.
    pub(super) async fn credential(
        &self,
        name: &str,
        role: Option<&str>,
        expectation: Expectation,
    ) -> Result<Option<Credential>, CredentialError> {
        let session = match self.session().await {
            Ok(session) => Some(session),
            Err(PlainError::Absent(_)) if expectation == Expectation::Unknown => return Ok(None),
            Err(error @ PlainError::Absent(_)) => return Err(self.service.absent(name, error)),
            Err(error) if self.sessions == Sessions::Required => {
                return Err(error.into_credential_error(name, "the metadata service gives no session token"));
            }
            Err(_) => None,
        };
        let header = session.as_ref().map(|session| (SESSION_HEADER, session));
        let expectation = match expectation {
            // It has just answered.
            Expectation::Unknown => Expectation::Answers,
            known => known,
        };
        let read = Keys::credential;
        self.service.credential(name, role, expectation, header, read).await
    }

    async fn session(&self) -> Result<Secret<String>, PlainError> {
        let lifetime = Secret::new(SESSION_SECONDS.to_owned());
        let header = Some((SESSION_TTL_HEADER, &lifetime));
        let body = self.service.send(Method::PUT, SESSION_PATH, header).await?;
        Ok(Secret::new(String::from_utf8_lossy(&body).trim().to_owned()))
    }
}

impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metadata")
            .field("sessions", &self.sessions)
            .finish_non_exhaustive()
    }
}
