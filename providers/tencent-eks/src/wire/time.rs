//! The vendor's times: five forms, sometimes several in one answer.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer};

/// From this many digits on, a number is in milliseconds; as seconds it would be in the year 5138.
const MILLISECOND_DIGITS: usize = 12;

/// A time as the service told it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    /// Without a zone it is read as UTC. What the service means then is not documented; its other guess, China's time, is
    /// eight hours earlier, so no cache looks older than it is.
    pub(crate) at: Timestamp,
    /// Whether the text names its zone.
    pub(crate) exact: bool,
}

impl Moment {
    /// Reads any of the forms; `None` for an empty text, one that is no time, and Go's zero.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let exact = |at| Self { at, exact: true };
        // Go appends its monotonic clock: ` m=+893.26`.
        let text = text.split(" m=").next().unwrap_or_default().trim();
        let moment = if text.bytes().all(|byte| byte.is_ascii_digit()) {
            let number: i64 = text.parse().ok()?;
            let at = match text.len() >= MILLISECOND_DIGITS {
                true => Timestamp::from_millisecond(number),
                false => Timestamp::from_second(number),
            };
            exact(at.ok()?)
        } else if let Ok(at) = text.parse() {
            exact(at)
        } else {
            let mut parts = text.split_whitespace();
            let (date, time, offset) = (parts.next()?, parts.next()?, parts.next());
            let full = format!("{date}T{time}{}", offset.unwrap_or("Z"));
            Self {
                at: full.parse().ok()?,
                exact: offset.is_some(),
            }
        };
        Some(moment).filter(|moment| moment.at > Timestamp::UNIX_EPOCH)
    }
}

/// A time; a text that is none is left out, since no cache may be hidden by a time.
pub(super) fn lenient<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Moment>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Told {
        Text(String),
        Number(i64),
        Other(serde::de::IgnoredAny),
    }
    let text = match Told::deserialize(deserializer)? {
        Told::Text(text) => text,
        Told::Number(number) => number.to_string(),
        Told::Other(_) => String::new(),
    };
    Ok(Moment::parse(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_that_was_seen() {
        for (text, expected) in [
            ("2021-12-06 22:52:24", Some(("2021-12-06T22:52:24Z", false))),
            ("2026-03-30 07:03:35 +0000 UTC", Some(("2026-03-30T07:03:35Z", true))),
            (
                "2026-03-30 17:07:11.389402882 +0800 CST m=+893.262707991",
                Some(("2026-03-30T09:07:11.389402882Z", true)),
            ),
            ("2126-03-30 07:03:35 +0000 UTC", Some(("2126-03-30T07:03:35Z", true))),
            ("2024-01-01T00:00:00Z", Some(("2024-01-01T00:00:00Z", true))),
            ("2024-01-01T08:00:00+08:00", Some(("2024-01-01T00:00:00Z", true))),
            ("1574104000000", Some(("2019-11-18T19:06:40Z", true))),
            ("1574104000", Some(("2019-11-18T19:06:40Z", true))),
            ("", None),
            ("0001-01-01 00:00:00 +0000 UTC", None),
            ("0", None),
            ("soon", None),
            ("2021-12-06", None),
            ("2021-13-06 22:52:24", None),
            ("99999999999999999999", None),
        ] {
            let read = Moment::parse(text).map(|moment| (moment.at.to_string(), moment.exact));
            let expected = expected.map(|(at, exact)| (at.to_owned(), exact));
            assert_eq!(read, expected, "{text}");
        }
    }

    #[test]
    fn whatever_stands_there_hides_nothing() {
        #[derive(Deserialize)]
        struct Row {
            #[serde(default, deserialize_with = "lenient")]
            at: Option<Moment>,
        }
        for (json, known) in [
            (r#"{"at":"2024-01-01T00:00:00Z"}"#, true),
            (r#"{"at":1574104000000}"#, true),
            (r#"{"at":null}"#, false),
            (r#"{"at":{"seconds":1}}"#, false),
            (r#"{"at":[]}"#, false),
            (r#"{}"#, false),
        ] {
            let row: Row = serde_json::from_str(json).unwrap();
            assert_eq!(row.at.is_some(), known, "{json}");
        }
    }
}
