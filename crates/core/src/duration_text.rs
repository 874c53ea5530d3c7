//! Durations as text with their unit, `15s` or `1m 30s`: for `#[serde(with = "imagecache_core::duration_text")]`.

use std::time::Duration;

use jiff::SignedDuration;
use serde::de::Error as _;
use serde::{Deserialize as _, Deserializer, Serializer};

/// Writes `duration` with its unit.
///
/// # Errors
///
/// Those of the serializer.
pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    let signed = SignedDuration::try_from(*duration).unwrap_or(SignedDuration::MAX);
    serializer.collect_str(&format_args!("{signed:#}"))
}

/// Reads a duration above zero.
///
/// # Errors
///
/// When the text is none; the error shows it and an example.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse(&text).map_err(D::Error::custom)
}

fn parse(text: &str) -> Result<Duration, String> {
    let parsed = text
        .parse::<SignedDuration>()
        .ok()
        .and_then(|duration| Duration::try_from(duration).ok());
    match parsed {
        Some(duration) if !duration.is_zero() => Ok(duration),
        _ => Err(format!(
            "`{text}` is not a duration above zero with a unit, such as 500ms or 30s"
        )),
    }
}

/// The same for a duration that may be left out: `#[serde(default, with = "….duration_text::optional")]`.
pub mod optional {
    use std::time::Duration;

    use serde::{Deserializer, Serializer};

    /// Writes the duration with its unit, if there is one.
    ///
    /// # Errors
    ///
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => super::serialize(duration, serializer),
            None => serializer.serialize_none(),
        }
    }

    /// Reads a duration above zero.
    ///
    /// # Errors
    ///
    /// When the text is none; the error shows it and an example.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        super::deserialize(deserializer).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Row {
        #[serde(with = "super")]
        always: Duration,
        #[serde(default, with = "super::optional", skip_serializing_if = "Option::is_none")]
        perhaps: Option<Duration>,
    }

    #[test]
    fn reads_and_writes_units() {
        for (text, expected) in [
            ("500ms", Some(Duration::from_millis(500))),
            ("30s", Some(Duration::from_secs(30))),
            ("1m 30s", Some(Duration::from_secs(90))),
            ("1h", Some(Duration::from_secs(3600))),
            ("30", None),
            ("0s", None),
            ("-3s", None),
            ("soon", None),
        ] {
            let read = parse(text);
            assert_eq!(read.as_ref().ok().copied(), expected, "{text}");
            match read {
                Ok(always) => {
                    let row = Row {
                        always,
                        perhaps: Some(always),
                    };
                    let json = serde_json::to_string(&row).unwrap();
                    assert_eq!(serde_json::from_str::<Row>(&json).unwrap(), row, "{json}");
                }
                Err(error) => assert!(error.contains(&format!("`{text}`")) && error.contains("30s"), "{error}"),
            }
        }
        let row: Row = serde_json::from_str(r#"{"always":"2s"}"#).unwrap();
        assert_eq!(row.perhaps, None);
        assert_eq!(serde_json::to_string(&row).unwrap(), r#"{"always":"2s"}"#);
    }
}
