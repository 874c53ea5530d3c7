//! The links of the chain: where a credential may come from.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use imagecache_cloud_http::source::{Environment, Expectation, IniFile};
use imagecache_cloud_http::{Credential, CredentialError, CredentialSource, Credentials};

use super::metadata::Metadata;
use super::sts::{OidcRole, Role, Sts};
use super::{shared_profile, variables};

/// The section that is read where none is named.
const DEFAULT_PROFILE: &str = "default";

/// Where the file is that the SDKs share.
#[derive(Clone, Debug)]
pub(super) enum ProfileFile {
    /// The user says where, so it must be there.
    Named(PathBuf),
    /// The first of these that is there.
    First(Vec<PathBuf>),
}

impl ProfileFile {
    fn paths(&self) -> &[PathBuf] {
        match self {
            Self::Named(path) => std::slice::from_ref(path),
            Self::First(paths) => paths,
        }
    }

    /// The file, if it is there.
    async fn read(&self) -> Result<Option<IniFile>, String> {
        for path in self.paths() {
            let found = IniFile::read(path).await.map_err(|error| error.to_string())?;
            if found.is_some() {
                return Ok(found);
            }
        }
        match self {
            Self::Named(_) => Err("the file does not exist".to_owned()),
            Self::First(_) => Ok(None),
        }
    }
}

/// A profile of the file that the SDKs share.
#[derive(Debug)]
pub(super) struct SharedProfile {
    pub(super) file: ProfileFile,
    pub(super) profile: Option<String>,
    pub(super) sts: Arc<Sts>,
}

#[async_trait]
impl CredentialSource for SharedProfile {
    fn name(&self) -> String {
        let paths = self.file.paths().iter().map(|path| format!("`{}`", path.display()));
        format!("shared profile file {}", paths.collect::<Vec<_>>().join(" or "))
    }

    async fn load(&self) -> Result<Option<Credential>, CredentialError> {
        let name = self.name();
        let read = self.file.read().await;
        let found = read.map_err(|wrong| CredentialError::invalid(&name, wrong))?;
        let section = self.profile.as_deref().unwrap_or(DEFAULT_PROFILE);
        let profile = match found {
            Some(file) => shared_profile::profile(&file, section),
            None => Ok(None),
        };
        match (
            profile.map_err(|wrong| CredentialError::invalid(&name, wrong))?,
            &self.profile,
        ) {
            (Some(profile), _) => match profile.role_arn {
                None => Ok(Some(profile.credential)),
                Some(arn) => {
                    let role = Role { arn, external_id: None };
                    let base = Credentials::fixed(&name, profile.credential, Arc::clone(&self.sts.clock));
                    self.sts.assume(&name, &role, Arc::new(base)).await.map(Some)
                }
            },
            // Another identity in silence would be worse.
            (None, Some(profile)) => Err(CredentialError::invalid(
                &name,
                format!("there is no profile `{profile}`"),
            )),
            (None, None) => Ok(None),
        }
    }
}

/// The role of this CVM instance.
#[derive(Debug)]
pub(super) struct InstanceRole {
    pub(super) role: Option<String>,
    pub(super) expectation: Expectation,
    pub(super) metadata: Metadata,
}

#[async_trait]
impl CredentialSource for InstanceRole {
    fn name(&self) -> String {
        "CAM role of the CVM instance".to_owned()
    }

    async fn load(&self) -> Result<Option<Credential>, CredentialError> {
        let role = self.role.as_deref();
        self.metadata.credential(&self.name(), role, self.expectation).await
    }
}

/// The workload identity that the cluster gives to a pod.
#[derive(Debug)]
pub(super) struct WorkloadIdentity {
    pub(super) environment: Environment,
    pub(super) sts: Arc<Sts>,
}

#[async_trait]
impl CredentialSource for WorkloadIdentity {
    fn name(&self) -> String {
        "OIDC workload identity (TKE)".to_owned()
    }

    async fn load(&self) -> Result<Option<Credential>, CredentialError> {
        let name = self.name();
        let Some(identity) = variables::OIDC.read(&name, &self.environment)? else {
            return Ok(None);
        };
        let region = self.environment.text(variables::OIDC_REGION);
        let oidc = OidcRole {
            identity,
            region: region.map(str::to_owned),
        };
        self.sts.exchange(&name, &oidc).await.map(Some)
    }
}

/// A role that is assumed with the credential of a whole chain.
#[derive(Debug)]
pub(super) struct AssumedRole {
    pub(super) base: Arc<Credentials>,
    pub(super) role: Role,
    pub(super) sts: Arc<Sts>,
}

#[async_trait]
impl CredentialSource for AssumedRole {
    fn name(&self) -> String {
        format!("assumed role `{}`", self.role.arn)
    }

    async fn load(&self) -> Result<Option<Credential>, CredentialError> {
        let base = Arc::clone(&self.base);
        self.sts.assume(&self.name(), &self.role, base).await.map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_file_that_is_there_is_the_one() {
        let dir = tempfile::tempdir().unwrap();
        let [home, machine] = ["home", "machine"].map(|name| dir.path().join(name));
        let places = ProfileFile::First(vec![home.clone(), machine.clone()]);
        assert!(places.read().await.unwrap().is_none());
        assert!(ProfileFile::Named(home.clone()).read().await.is_err());
        for path in [machine, home] {
            let section = path.file_name().unwrap().to_str().unwrap();
            std::fs::write(&path, format!("[{section}]\nsecret_id = x\n")).unwrap();
            let file = places.read().await.unwrap().unwrap();
            assert!(file.section(section).is_some(), "{section}");
        }
    }
}
