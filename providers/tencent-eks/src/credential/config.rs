//! Configuration of the credential: where it is, never what it is.

use std::path::PathBuf;

use imagecache_cloud_http::source::{KeyPlaces, SecretFile, SecretPlace, VariableName, lenient_text};
use serde::{Deserialize, Serialize};

/// Where the key comes from. Holds places and names only: a secret in this table is refused, and never repeated.
///
/// Every key is optional; without any, the credential is looked up where the vendor's own tools look.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct CredentialConfig {
    /// The one source to use. Default: `auto`, which takes the first that is configured, in the order of
    /// [`CredentialChoice`].
    pub source: CredentialChoice,
    /// Environment variable that holds the SecretId.
    pub secret_id_env: Option<VariableName>,
    /// File that holds the SecretId; read again whenever the credential is.
    pub secret_id_file: Option<SecretFile>,
    /// Environment variable that holds the SecretKey.
    pub secret_key_env: Option<VariableName>,
    /// File that holds the SecretKey; read again whenever the credential is.
    pub secret_key_file: Option<SecretFile>,
    /// Environment variable that holds the token of a temporary key.
    pub token_env: Option<VariableName>,
    /// File that holds the token of a temporary key; read again whenever the credential is.
    pub token_file: Option<SecretFile>,
    /// Section of the shared file. Default: `default`.
    #[serde(deserialize_with = "lenient_text")]
    pub profile: Option<String>,
    /// The file that the vendor's SDKs share. Default: `TENCENTCLOUD_CREDENTIALS_FILE`, then `~/.tencentcloud/credentials`,
    /// then `/etc/tencentcloud/credentials`. A file that is named must be there.
    pub credentials_file: Option<PathBuf>,
    /// CAM role of this CVM instance. Default: whichever the instance has. A named role must be there; without a name, an
    /// unreachable metadata service only means that this is no CVM instance.
    pub instance_role: Option<String>,
    /// CAM role (`qcs::cam::…:roleName/…`) to assume with the credential that was found. Default: none.
    pub role_arn: Option<String>,
    /// Name of the assumed role's session, as it appears in CloudAudit. Default: `imagecache`.
    #[serde(deserialize_with = "lenient_text")]
    pub role_session_name: Option<String>,
    /// External id that the assumed role's trust policy asks for. Default: none.
    #[serde(deserialize_with = "lenient_text")]
    pub external_id: Option<String>,
    /// Endpoint of the metadata service. Default: `http://metadata.tencentyun.com`.
    pub metadata_endpoint: Option<String>,
    /// Endpoint of STS, which stands beside those of the other services in the configuration. Default: the network's.
    #[serde(skip)]
    pub(crate) sts_endpoint: Option<String>,
}

/// A source of credentials, or all of them in the order of the vendor's SDKs (default credential provider chain).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CredentialChoice {
    /// The first of the following that is configured. One that is configured and does not work ends the search.
    #[default]
    Auto,
    /// The variables and files that this table names (`secret_id_env` and so on).
    Reference,
    /// `TENCENTCLOUD_SECRET_ID`, `TENCENTCLOUD_SECRET_KEY` and `TENCENTCLOUD_TOKEN`.
    Environment,
    /// A profile of the file that the vendor's SDKs share.
    Profile,
    /// The CAM role of the CVM instance. It comes before the pod's own: choose `oidc` where a node has a role too.
    Instance,
    /// Workload identity (TKE OIDC): `TKE_PROVIDER_ID`, `TKE_WEB_IDENTITY_TOKEN_FILE`, `TKE_ROLE_ARN`, `TKE_REGION`.
    Oidc,
}

impl CredentialConfig {
    /// Where the parts of the key are.
    pub(super) fn key(&self) -> KeyPlaces {
        KeyPlaces {
            id: SecretPlace {
                key: "secret_id",
                variable: self.secret_id_env.clone(),
                file: self.secret_id_file.clone(),
            },
            secret: SecretPlace {
                key: "secret_key",
                variable: self.secret_key_env.clone(),
                file: self.secret_key_file.clone(),
            },
            token: SecretPlace {
                key: "token",
                variable: self.token_env.clone(),
                file: self.token_file.clone(),
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
            "secret_id_env",
            "secret_id_file",
            "secret_key_env",
            "secret_key_file",
            "token_env",
            "token_file",
            "secret_key",
        ] {
            let json = format!("{{\"{key}\": \"{secret}\"}}");
            let error = serde_json::from_str::<CredentialConfig>(&json).unwrap_err().to_string();
            assert!(!error.contains(secret), "{key}: {error}");
        }
    }

    #[test]
    fn what_is_printed_is_read_again() {
        let json = r#"{"source": "oidc", "secret_id_env": "MY_ID_2", "secret_key_file": "/run/secret", "external_id": 42, "profile": 7}"#;
        let config: CredentialConfig = serde_json::from_str(json).unwrap();
        assert_eq!(config.external_id.as_deref(), Some("42"));
        assert_eq!(config.profile.as_deref(), Some("7"));
        assert!(config.key().any());
        assert!(!CredentialConfig::default().key().any());
        let printed = serde_json::to_value(&config).unwrap();
        let again: CredentialConfig = serde_json::from_value(printed.clone()).unwrap();
        assert_eq!(again.source, CredentialChoice::Oidc);
        assert_eq!(serde_json::to_value(&again).unwrap(), printed);
    }
}
