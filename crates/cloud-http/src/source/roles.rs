//! The role that a cloud gives to a machine: a metadata service tells its name, and a credential for it.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use imagecache_core::Secret;
use serde::de::DeserializeOwned;
use url::Url;

use super::{PlainClient, PlainError, parse_json};
use crate::{Credential, CredentialError, EndpointError, HttpClientError, Route, is_loopback, parse_endpoint};

/// What is known about being on a machine of the cloud.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expectation {
    /// Nothing: no service is no error, and no role either.
    Unknown,
    /// The service is there: no role is no error.
    Answers,
    /// The user named a role or chose the source: no role is an error.
    Certain,
}

/// Where a cloud's metadata service is, and what that cloud calls its machines and their roles.
#[derive(Clone, Copy, Debug)]
pub struct RolePlace {
    /// Its host, the same in every region and network.
    pub host: &'static str,
    /// Path that lists the roles, with a slash at its end.
    pub path: &'static str,
    /// How long an answer may take: who is on the same machine answers within milliseconds or is not there.
    pub timeout: Duration,
    /// "an ECS instance".
    pub machine: &'static str,
    /// "RAM role".
    pub role: &'static str,
}

/// A header that the service wants, if any.
pub type RoleHeader<'a> = Option<(&'static str, &'a Secret<String>)>;

/// A metadata service that lists the machine's role at one address, and gives the role's credential below that.
#[derive(Debug)]
pub struct RoleService {
    client: PlainClient,
    endpoint: Url,
    place: RolePlace,
}

/// The endpoint of a metadata service: the fixed `host` may be plain HTTP, for the request never leaves the vendor's machine.
///
/// # Errors
///
/// When another one is configured that is none, or would send secrets in the clear.
pub fn metadata_endpoint(configured: Option<&str>, host: &str) -> Result<Url, EndpointError> {
    let fixed = format!("http://{host}");
    let text = configured.unwrap_or(&fixed);
    if text.trim_end_matches('/') == fixed {
        return Url::parse(&fixed).map_err(|_| EndpointError::NotAHost(fixed));
    }
    parse_endpoint(text)
}

impl RoleService {
    /// The service of `place` at `endpoint`.
    ///
    /// # Errors
    ///
    /// When no HTTP client can be made.
    pub fn new(endpoint: Url, place: RolePlace) -> Result<Self, HttpClientError> {
        // The service and this machine are never behind a proxy.
        let route = match endpoint.host_str() {
            Some(host) if is_loopback(host) || host == place.host => Route::Direct,
            _ => Route::Environment,
        };
        Ok(Self {
            client: PlainClient::new(route, place.timeout)?,
            endpoint,
            place,
        })
    }

    /// Asks for `path`.
    ///
    /// # Errors
    ///
    /// When there is no answer or no success.
    pub async fn send(&self, method: Method, path: &str, header: RoleHeader<'_>) -> Result<Bytes, PlainError> {
        let mut url = self.endpoint.clone();
        url.set_path(path);
        self.client.send(method, url.as_str(), header).await
    }

    /// The credential of the machine's role, which `read` finds in the document `K`; `None` when there is none, and nobody said
    /// that there is. A `wanted` role is asked for without looking.
    ///
    /// # Errors
    ///
    /// When there is no answer or no role where one is expected, another role than is wanted, or no credential in the document.
    pub async fn credential<K: DeserializeOwned>(
        &self,
        name: &str,
        wanted: Option<&str>,
        expectation: Expectation,
        header: RoleHeader<'_>,
        read: impl FnOnce(K) -> Result<Credential, &'static str> + Send,
    ) -> Result<Option<Credential>, CredentialError> {
        let word = self.place.role;
        let Some((role, body)) = self.document(name, wanted, expectation, header).await? else {
            return Ok(None);
        };
        let document: K = parse_json(&body).map_err(|wrong| {
            CredentialError::invalid(name, format!("the answer for the {word} `{role}` is {wrong}"))
        })?;
        read(document).map(Some).map_err(|wrong| CredentialError::Unavailable {
            name: name.to_owned(),
            message: format!("no credential for the {word} `{role}`: {wrong}"),
            source: None,
        })
    }

    /// The name of the role, and its document.
    async fn document(
        &self,
        name: &str,
        wanted: Option<&str>,
        expectation: Expectation,
        header: RoleHeader<'_>,
    ) -> Result<Option<(String, Bytes)>, CredentialError> {
        let word = self.place.role;
        let found = match wanted {
            Some(role) => Some(role.to_owned()),
            None => self.role(name, expectation, header).await?,
        };
        let Some(role) = found else {
            return Ok(None);
        };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if role.is_empty() || !role.bytes().all(plain) {
            let message = format!("the name of the {word} is not one that a role can have");
            return Err(CredentialError::invalid(name, message));
        }
        match self.get(&role, header).await {
            Ok(body) => Ok(Some((role, body))),
            Err(error) if error.is_not_found() => {
                let message = format!("this instance does not have the {word} `{role}`; attach it or name another");
                Err(CredentialError::invalid(name, message))
            }
            Err(error @ PlainError::Absent(_)) => Err(self.absent(name, error)),
            Err(error) => Err(error.into_credential_error(name, format!("no credential for the {word} `{role}`"))),
        }
    }

    /// What it means that nobody answers where somebody should.
    pub fn absent(&self, name: &str, error: PlainError) -> CredentialError {
        let machine = self.place.machine;
        error.into_credential_error(
            name,
            format!("the metadata service does not answer; is this {machine}?"),
        )
    }

    async fn role(
        &self,
        name: &str,
        expectation: Expectation,
        header: RoleHeader<'_>,
    ) -> Result<Option<String>, CredentialError> {
        let word = self.place.role;
        let listed = match self.get("", header).await {
            Ok(body) => {
                let text = String::from_utf8_lossy(&body);
                let first = text.lines().map(str::trim).find(|line| !line.is_empty());
                first.map(str::to_owned)
            }
            Err(error) if error.is_not_found() => None,
            Err(PlainError::Absent(_)) if expectation == Expectation::Unknown => None,
            Err(error @ PlainError::Absent(_)) => return Err(self.absent(name, error)),
            Err(error) => {
                let message = format!("the metadata service does not tell the instance's {word}");
                return Err(error.into_credential_error(name, message));
            }
        };
        match (listed, expectation) {
            (None, Expectation::Certain) => Err(CredentialError::invalid(
                name,
                format!("this instance has no {word}; attach one to it"),
            )),
            (listed, _) => Ok(listed),
        }
    }

    async fn get(&self, role: &str, header: RoleHeader<'_>) -> Result<Bytes, PlainError> {
        let path = format!("{}{role}", self.place.path);
        self.send(Method::GET, &path, header).await
    }
}
