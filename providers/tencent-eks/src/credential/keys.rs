//! Credentials as they arrive: JSON with the vendor's field names.

use imagecache_cloud_http::Credential;
use imagecache_core::Secret;
use jiff::Timestamp;
use serde::Deserialize;

/// A temporary credential, as STS and the metadata service write it. Not `Debug`: it holds secrets.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Keys {
    tmp_secret_id: Option<String>,
    tmp_secret_key: Option<String>,
    token: Option<String>,
}

impl Keys {
    /// The credential that ends at `expired_time` (Unix seconds); the text says what is missing.
    pub(super) fn credential(self, expired_time: Option<i64>) -> Result<Credential, &'static str> {
        let filled = |text: Option<String>| text.filter(|text| !text.is_empty());
        let ends = expired_time.ok_or("the answer has no ExpiredTime")?;
        Ok(Credential {
            id: filled(self.tmp_secret_id).ok_or("the answer has no TmpSecretId")?,
            secret: Secret::new(filled(self.tmp_secret_key).ok_or("the answer has no TmpSecretKey")?),
            token: Some(Secret::new(filled(self.token).ok_or("the answer has no Token")?)),
            expires_at: Some(
                Timestamp::from_second(ends).map_err(|_| "the answer has an ExpiredTime that is no time")?,
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn only_whole_credentials_are_taken() {
        let full = json!({"TmpSecretId": "AKIDx", "TmpSecretKey": "s", "Token": "t", "More": 1});
        let without = |key: &str| {
            let mut keys = full.clone();
            keys[key] = Value::Null;
            keys
        };
        for (name, keys, ends, wrong) in [
            ("whole", full.clone(), Some(1_800_000_000), None),
            ("no end", full.clone(), None, Some("no ExpiredTime")),
            ("an odd end", full.clone(), Some(i64::MAX), Some("no time")),
            ("no id", without("TmpSecretId"), Some(1), Some("no TmpSecretId")),
            ("no key", without("TmpSecretKey"), Some(1), Some("no TmpSecretKey")),
            ("no token", without("Token"), Some(1), Some("no Token")),
            ("empty", json!({"TmpSecretId": ""}), Some(1), Some("no TmpSecretId")),
        ] {
            let keys: Keys = serde_json::from_value(keys).unwrap();
            match (keys.credential(ends), wrong) {
                (Ok(found), None) => assert_eq!(found.expires_at.map(Timestamp::as_second), ends, "{name}"),
                (Err(text), Some(part)) => assert!(text.contains(part), "{name}: {text}"),
                (found, _) => panic!("{name}: {found:?}"),
            }
        }
    }
}
