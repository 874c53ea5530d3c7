//! The credential of a CVM instance's CAM role, from the metadata service (document "Instance metadata").

use std::time::Duration;

use imagecache_cloud_http::source::{Expectation, RolePlace, RoleService};
use imagecache_cloud_http::{Credential, CredentialError, HttpClientError};
use serde::Deserialize;
use url::Url;

use super::keys::Keys;

/// As the other cloud's, and as much again for looking up the service's name.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Where the service is, and its words.
pub(super) const PLACE: RolePlace = RolePlace {
    host: "metadata.tencentyun.com",
    path: "latest/meta-data/cam/security-credentials/",
    timeout: TIMEOUT,
    machine: "a CVM instance",
    role: "CAM role",
};

/// The metadata service as seen from here.
#[derive(Debug)]
pub(super) struct Metadata(RoleService);

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Document {
    code: Option<String>,
    expired_time: Option<i64>,
    #[serde(flatten)]
    keys: Keys,
}

impl Document {
    fn credential(self) -> Result<Credential, &'static str> {
        match self.code.as_deref() {
            Some("Success") => self.keys.credential(self.expired_time),
            _ => Err("it has no credential now"),
        }
    }
}

impl Metadata {
    pub(super) fn new(endpoint: Url) -> Result<Self, HttpClientError> {
        RoleService::new(endpoint, PLACE).map(Self)
    }

    /// The credential of `role`, or of whichever role the instance has; `None` when this is no CVM instance, or it has none.
    pub(super) async fn credential(
        &self,
        name: &str,
        role: Option<&str>,
        expectation: Expectation,
    ) -> Result<Option<Credential>, CredentialError> {
        let read = Document::credential;
        self.0.credential(name, role, expectation, None, read).await
    }
}
