//! Configuration of the credential: where it is, never what it is.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

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
    #[serde(deserialize_with = "lenient")]
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
    #[serde(deserialize_with = "lenient")]
    pub role_session_name: Option<String>,
    /// External id that the assumed role's trust policy asks for. Default: none.
    #[serde(deserialize_with = "lenient")]
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
    /// Whether any variable or file for the key is named.
    pub(super) fn has_references(&self) -> bool {
        let names = [
            &self.access_key_id_env,
            &self.access_key_secret_env,
            &self.security_token_env,
        ];
        let files = [
            &self.access_key_id_file,
            &self.access_key_secret_file,
            &self.security_token_file,
        ];
        names.iter().any(|name| name.is_some()) || files.iter().any(|file| file.is_some())
    }
}

/// Name of an environment variable: capitals, digits and underscores.
///
/// Nothing else is taken and the text is not repeated, because a secret that was written here by mistake must not end up in
/// a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct VariableName(String);

impl VariableName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for VariableName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wrong = "not the name of an environment variable (capitals, digits, underscores); a secret itself does not belong here";
        let text = deserializer.deserialize_any(Unseen(wrong))?;
        let plain = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
        if text.is_empty() || text.starts_with(|c: char| c.is_ascii_digit()) || !text.bytes().all(plain) {
            return Err(de::Error::custom(wrong));
        }
        Ok(Self(text))
    }
}

/// Absolute path of a file that holds a secret. As with [`VariableName`], nothing else is taken or repeated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct SecretFile(PathBuf);

impl SecretFile {
    /// The path.
    pub fn as_path(&self) -> &Path {
        &self.0
    }
}

impl<'de> Deserialize<'de> for SecretFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wrong = "not an absolute path of a file; a secret itself does not belong here";
        let text = deserializer.deserialize_any(Unseen(wrong))?;
        if !text.starts_with('/') {
            return Err(de::Error::custom(wrong));
        }
        Ok(Self(text.into()))
    }
}

/// Takes a text and refuses everything else without showing it.
struct Unseen(&'static str);

impl Visitor<'_> for Unseen {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<String, E> {
        Err(E::custom(self.0))
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<String, E> {
        Err(E::custom(self.0))
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<String, E> {
        Err(E::custom(self.0))
    }

    fn visit_i128<E: de::Error>(self, _: i128) -> Result<String, E> {
        Err(E::custom(self.0))
    }

    fn visit_u128<E: de::Error>(self, _: u128) -> Result<String, E> {
        Err(E::custom(self.0))
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<String, E> {
        Err(E::custom(self.0))
    }

    fn visit_char<E: de::Error>(self, _: char) -> Result<String, E> {
        Err(E::custom(self.0))
    }
}

/// A text that an environment variable may have turned into a number.
fn lenient<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Text {
        Text(String),
        Number(i64),
    }
    Ok(Option::<Text>::deserialize(deserializer)?.map(|text| match text {
        Text::Text(text) => text,
        Text::Number(number) => number.to_string(),
    }))
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
        for number in ["1234567890", "12.5", "true", "-7", "99999999999999999999"] {
            let json = format!("{{\"access_key_secret_env\": {number}}}");
            let error = serde_json::from_str::<CredentialConfig>(&json).unwrap_err().to_string();
            assert!(!error.contains(number), "{error}");
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
            Some(Path::new("/run/secret"))
        );
        assert_eq!(config.external_id.as_deref(), Some("42"));
        assert!(config.has_references());
        assert!(!CredentialConfig::default().has_references());
        let again: CredentialConfig = serde_json::from_value(serde_json::to_value(&config).unwrap()).unwrap();
        assert_eq!(again.source, CredentialChoice::Reference);
    }
}
