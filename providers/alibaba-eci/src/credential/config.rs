//! Configuration of the credential: where it is, never what it is.

use std::path::PathBuf;

use imagecache_cloud_http::source::{KeyPlaces, SecretFile, SecretPlace, VariableName, lenient_text};
use serde::{Deserialize, Serialize};

/// Where the access key comes from. Holds places and names only: a secret in this table is refused, and never repeated.
///
/// Every key is optional; without any, the credential is looked up where the vendor's own tools look.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct CredentialConfig {
    /// The one source to use. Default: `auto`, which takes the first that is configured, in the order of
    /// [`CredentialChoice`].
    pub source: CredentialChoice,
    /// Environment variable that holds the access key's id.
    pub access_key_id_env: Option<VariableName>,
    /// File that holds the access key's id; read again whenever the credential is.
    pub access_key_id_file: Option<SecretFile>,
    /// Environment variable that holds the access key's secret.
    pub access_key_secret_env: Option<VariableName>,
    /// File that holds the access key's secret; read again whenever the credential is.
    pub access_key_secret_file: Option<SecretFile>,
    /// Environment variable that holds the token of a temporary key.
    pub security_token_env: Option<VariableName>,
    /// File that holds the token of a temporary key; read again whenever the credential is.
    pub security_token_file: Option<SecretFile>,
    /// Profile in the CLI's or the shared file. Default: `ALIBABA_CLOUD_PROFILE`, then the CLI's current one or `default`.
    #[serde(deserialize_with = "lenient_text")]
    pub profile: Option<String>,
    /// The CLI's file. Default: `~/.aliyun/config.json`.
    pub cli_config_file: Option<PathBuf>,
    /// The file that the vendor's SDKs share. Default: `ALIBABA_CLOUD_CREDENTIALS_FILE`, then
    /// `~/.alibabacloud/credentials`.
    pub credentials_file: Option<PathBuf>,
    /// RAM role of this ECS instance. Default: `ALIBABA_CLOUD_ECS_METADATA`, then whichever the instance has. A named role
    /// must be there; without a name, an unreachable metadata service only means that this is no ECS instance.
    pub instance_role: Option<String>,
    /// Address that answers with a credential as JSON. Default: `ALIBABA_CLOUD_CREDENTIALS_URI`.
    pub credentials_uri: Option<String>,
    /// RAM role (`acs:ram::…:role/…`) to assume with the credential that was found. Default: none.
    pub role_arn: Option<String>,
    /// Name of the assumed role's session, as it appears in ActionTrail. Default: `ALIBABA_CLOUD_ROLE_SESSION_NAME`, then
    /// `imagecache`.
    #[serde(deserialize_with = "lenient_text")]
    pub role_session_name: Option<String>,
    /// External id that the assumed role's trust policy asks for. Default: none.
    #[serde(deserialize_with = "lenient_text")]
    pub external_id: Option<String>,
    /// Endpoint of the metadata service. Default: `http://100.100.100.200`.
    pub metadata_endpoint: Option<String>,
    /// Endpoint of STS, which stands beside those of the other services in the configuration. Default: the region's.
    #[serde(skip)]
    pub(crate) sts_endpoint: Option<String>,
}

/// A source of credentials, or all of them in the order of the vendor's SDKs (credentials-go 1.4, "default").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CredentialChoice {
    /// The first of the following that is configured. One that is configured and does not work ends the search.
    #[default]
    Auto,
    /// The variables and files that this table names (`access_key_id_env` and so on).
    Reference,
    /// `ALIBABA_CLOUD_ACCESS_KEY_ID`, `ALIBABA_CLOUD_ACCESS_KEY_SECRET` and `ALIBABA_CLOUD_SECURITY_TOKEN`.
    Environment,
    /// Workload identity (RRSA): `ALIBABA_CLOUD_ROLE_ARN`, `ALIBABA_CLOUD_OIDC_PROVIDER_ARN`,
    /// `ALIBABA_CLOUD_OIDC_TOKEN_FILE`.
    Oidc,
    /// A profile of the vendor's CLI.
    Cli,
    /// A profile of the file that the vendor's SDKs share.
    Profile,
    /// The RAM role of the ECS instance.
    Instance,
    /// An address that answers with a credential.
    Uri,
}

impl CredentialConfig {
    /// Where the parts of the key are.
    pub(super) fn key(&self) -> KeyPlaces {
        KeyPlaces {
            id: SecretPlace {
                key: "access_key_id",
                variable: self.access_key_id_env.clone(),
                file: self.access_key_id_file.clone(),
            },
            secret: SecretPlace {
                key: "access_key_secret",
                variable: self.access_key_secret_env.clone(),
                file: self.access_key_secret_file.clone(),
            },
            token: SecretPlace {
                key: "security_token",
                variable: self.security_token_env.clone(),
                file: self.security_token_file.clone(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_in_the_table_is_refused_and_not_repeated() {
        let secret = "bRk7Q2mXv9LtPz4NwYd8HsCf1GaJe6";
        for key in [
            "access_key_id_env",
            "access_key_id_file",
            "access_key_secret_env",
            "access_key_secret_file",
            "security_token_env",
            "security_token_file",
            "access_key_secret",
        ] {
            let json = format!("{{\"{key}\": \"{secret}\"}}");
            let error = serde_json::from_str::<CredentialConfig>(&json).unwrap_err().to_string();
            assert!(!error.contains(secret), "{key}: {error}");
        }
    }

    #[test]
    fn names_and_paths_are_taken_as_they_are() {
        let json = r#"{"source": "reference", "access_key_id_env": "MY_ID_2", "access_key_secret_file": "/run/secret", "external_id": 42}"#;
        let config: CredentialConfig = serde_json::from_str(json).unwrap();
        assert_eq!(
            config.access_key_id_env.as_ref().map(VariableName::as_str),
            Some("MY_ID_2")
        );
        assert_eq!(
            config.access_key_secret_file.as_ref().map(SecretFile::as_path),
            Some(std::path::Path::new("/run/secret"))
        );
        assert_eq!(config.external_id.as_deref(), Some("42"));
        assert!(config.key().any());
        assert!(!CredentialConfig::default().key().any());
        let again: CredentialConfig = serde_json::from_value(serde_json::to_value(&config).unwrap()).unwrap();
        assert_eq!(again.source, CredentialChoice::Reference);
    }
}
