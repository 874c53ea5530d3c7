//! Credentials as they arrive: JSON with the vendor's field names.

use imagecache_cloud_http::Credential;
use imagecache_core::Secret;
use jiff::Timestamp;
use serde::Deserialize;

/// A temporary credential, as STS, the metadata service and a credentials URI write it. Not `Debug`: it holds secrets.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Keys {
    /// Only the metadata service and some URIs have it; anything but `Success` is a failure.
    code: Option<String>,
    access_key_id: Option<String>,
    access_key_secret: Option<String>,
    security_token: Option<String>,
    expiration: Option<String>,
}

impl Keys {
    /// The credential; the text says what is missing.
    pub(super) fn credential(self) -> Result<Credential, &'static str> {
        if self.code.is_some_and(|code| code != "Success") {
            return Err("it has no credential now");
        }
        let filled = |text: Option<String>| text.filter(|text| !text.is_empty());
        let expires_at = match filled(self.expiration) {
            None => None,
            Some(text) => Some(
                text.parse::<Timestamp>()
                    .map_err(|_| "the answer has an expiration that is no time")?,
            ),
        };
        let token = filled(self.security_token);
        if token.is_some() && expires_at.is_none() {
            return Err("the answer has a temporary credential without an expiration");
        }
        Ok(Credential {
            id: filled(self.access_key_id).ok_or("the answer has no AccessKeyId")?,
            secret: Secret::new(filled(self.access_key_secret).ok_or("the answer has no AccessKeySecret")?),
            token: token.map(Secret::new),
            expires_at,
        })
    }
}

#[cfg(test)]
mod tests {
    use imagecache_cloud_http::source::parse_json;

    use super::*;

    #[test]
    fn only_whole_credentials_are_taken() {
        let full = r#""AccessKeyId": "STS.id", "AccessKeySecret": "s", "SecurityToken": "t""#;
        for (body, works) in [
            (format!(r#"{{{full}, "Expiration": "2026-01-02T03:04:05Z"}}"#), true),
            (
                format!(r#"{{{full}, "Expiration": "2026-01-02T03:04:05Z", "Code": "Success", "More": 1}}"#),
                true,
            ),
            (r#"{"AccessKeyId": "id", "AccessKeySecret": "s"}"#.to_owned(), true),
            (format!(r#"{{{full}}}"#), false),
            (format!(r#"{{{full}, "Expiration": "soon"}}"#), false),
            (
                format!(r#"{{{full}, "Expiration": "2026-01-02T03:04:05Z", "Code": "Failed"}}"#),
                false,
            ),
            (r#"{"AccessKeyId": "id"}"#.to_owned(), false),
            (r#"{"AccessKeyId": "", "AccessKeySecret": "s"}"#.to_owned(), false),
            ("{}".to_owned(), false),
        ] {
            let keys: Keys = parse_json(body.as_bytes()).unwrap();
            assert_eq!(keys.credential().is_ok(), works, "{body}");
        }
    }
}
