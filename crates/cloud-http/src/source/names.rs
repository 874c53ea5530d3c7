//! Texts of a configuration that say where a secret is: a secret that was written there by mistake is refused, not repeated.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

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

/// Reads an optional text that an environment variable may have turned into a number; for `deserialize_with`.
///
/// # Errors
///
/// When it is neither.
pub fn lenient_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
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

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Table {
        #[serde(default)]
        variable: Option<VariableName>,
        #[serde(default)]
        file: Option<SecretFile>,
        #[serde(default, deserialize_with = "lenient_text")]
        text: Option<String>,
    }

    #[test]
    fn a_secret_in_the_table_is_refused_and_not_repeated() {
        let secret = "bRk7Q2mXv9LtPz4NwYd8HsCf1GaJe6";
        for key in ["variable", "file", "another"] {
            let json = format!("{{\"{key}\": \"{secret}\"}}");
            let error = serde_json::from_str::<Table>(&json).unwrap_err().to_string();
            assert!(!error.contains(secret), "{key}: {error}");
        }
        for number in ["1234567890", "12.5", "true", "-7", "99999999999999999999"] {
            let json = format!("{{\"variable\": {number}}}");
            let error = serde_json::from_str::<Table>(&json).unwrap_err().to_string();
            assert!(!error.contains(number), "{error}");
        }
    }

    #[test]
    fn names_and_paths_are_taken_as_they_are() {
        let json = r#"{"variable": "MY_ID_2", "file": "/run/secret", "text": 42}"#;
        let table: Table = serde_json::from_str(json).unwrap();
        assert_eq!(table.variable.as_ref().map(VariableName::as_str), Some("MY_ID_2"));
        assert_eq!(
            table.file.as_ref().map(SecretFile::as_path),
            Some(Path::new("/run/secret"))
        );
        assert_eq!(table.text.as_deref(), Some("42"));
        assert_eq!(serde_json::to_value(&table.file).unwrap(), "/run/secret");
    }
}
