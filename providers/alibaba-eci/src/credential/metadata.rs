//! The credential of an ECS instance's RAM role, from the metadata service (document "Instance metadata", security-hardened
//! mode first).

use std::fmt;
use std::time::Duration;

use http::Method;
use imagecache_cloud_http::{Credential, CredentialError};
use imagecache_core::{BoxError, Secret};
use url::Url;

use super::keys::{Keys, invalid, parse_json};
use super::plain::{Plain, PlainError, route};

/// Where the service is, the same in every region and network; plain HTTP that never leaves the machine.
pub(super) const DEFAULT_HOST: &str = "100.100.100.200";
/// The service is on the same machine: it answers within milliseconds or it is not there. The vendor's SDK waits as long.
const TIMEOUT: Duration = Duration::from_secs(1);
/// Lifetime of a session token: we fetch a new one for every credential, so a short one does.
const SESSION_SECONDS: &str = "60";
const SESSION_TTL_HEADER: &str = "x-aliyun-ecs-metadata-token-ttl-seconds";
const SESSION_HEADER: &str = "x-aliyun-ecs-metadata-token";
const SESSION_PATH: &str = "latest/api/token";
const ROLES_PATH: &str = "latest/meta-data/ram/security-credentials/";

/// The metadata service as seen from here.
pub(super) struct Metadata {
    client: Plain,
    endpoint: Url,
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

/// What the user said about being on an ECS instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expectation {
    /// Nothing: no service is no error.
    Unknown,
    /// A role was named, or the source chosen: no service is an error.
    Certain,
}

impl Metadata {
    pub(super) fn new(endpoint: Url, sessions: Sessions) -> Result<Self, BoxError> {
        Ok(Self {
            client: Plain::new(route(&endpoint), TIMEOUT)?,
            endpoint,
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
            Err(error @ PlainError::Absent(_)) => {
                let message = "the metadata service does not answer; is this an ECS instance?";
                return Err(error.into_credential_error(name, message));
            }
            Err(error) if self.sessions == Sessions::Required => {
                return Err(error.into_credential_error(name, "the metadata service gives no session token"));
            }
            Err(_) => None,
        };
        let role = match role {
            Some(role) => role.to_owned(),
            None => match self.role(name, session.as_ref()).await? {
                Some(role) => role,
                None if expectation == Expectation::Unknown => return Ok(None),
                None => return Err(invalid(name, "this ECS instance has no RAM role; attach one to it")),
            },
        };
        if role.is_empty()
            || !role
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        {
            return Err(invalid(
                name,
                "the name of the RAM role is not one that a role can have",
            ));
        }
        let body = match self.get(&format!("{ROLES_PATH}{role}"), session.as_ref()).await {
            Ok(body) => body,
            Err(error) if not_found(&error) => {
                return Err(invalid(
                    name,
                    format!("this ECS instance does not have the RAM role `{role}`; attach it or name another"),
                ));
            }
            Err(error) => {
                return Err(error.into_credential_error(name, format!("no credential for the RAM role `{role}`")));
            }
        };
        let keys: Keys = parse_json(&body)
            .map_err(|wrong| invalid(name, format!("the answer for the RAM role `{role}` is {wrong}")))?;
        match keys.credential() {
            Ok(credential) => Ok(Some(credential)),
            Err(wrong) => Err(CredentialError::Unavailable {
                name: name.to_owned(),
                message: format!("no credential for the RAM role `{role}`: {wrong}"),
                source: None,
            }),
        }
    }

    async fn session(&self) -> Result<Secret<String>, PlainError> {
        let lifetime = Secret::new(SESSION_SECONDS.to_owned());
        let header = Some((SESSION_TTL_HEADER, &lifetime));
        let body = self.client.send(Method::PUT, &self.url(SESSION_PATH), header).await?;
        Ok(Secret::new(String::from_utf8_lossy(&body).trim().to_owned()))
    }

    async fn role(&self, name: &str, session: Option<&Secret<String>>) -> Result<Option<String>, CredentialError> {
        match self.get(ROLES_PATH, session).await {
            Ok(body) => {
                let text = String::from_utf8_lossy(&body);
                Ok(text
                    .lines()
                    .map(str::trim)
                    .find(|line| !line.is_empty())
                    .map(str::to_owned))
            }
            Err(error) if not_found(&error) => Ok(None),
            Err(error) => {
                Err(error.into_credential_error(name, "the metadata service does not tell the instance's RAM role"))
            }
        }
    }

    async fn get(&self, path: &str, session: Option<&Secret<String>>) -> Result<bytes::Bytes, PlainError> {
        let header = session.map(|session| (SESSION_HEADER, session));
        self.client.send(Method::GET, &self.url(path), header).await
    }

    fn url(&self, path: &str) -> Url {
        let mut url = self.endpoint.clone();
        url.set_path(path);
        url
    }
}

impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metadata")
            .field("sessions", &self.sessions)
            .finish_non_exhaustive()
    }
}

fn not_found(error: &PlainError) -> bool {
    matches!(error, PlainError::Status(http::StatusCode::NOT_FOUND))
}
