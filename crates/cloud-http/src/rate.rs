//! How many calls a time may be made: a number and its unit, as text `20/s`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The units a rate is written in, and their lengths.
const UNITS: [(&str, Duration); 3] = [
    ("s", Duration::from_secs(1)),
    ("min", Duration::from_secs(60)),
    ("h", Duration::from_secs(3600)),
];

/// Calls in a second, a minute or an hour; at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    calls: u32,
    unit: usize,
}

impl Rate {
    /// This many calls in a second; none counts as one.
    pub const fn per_second(calls: u32) -> Self {
        Self::new(calls, 0)
    }

    /// This many calls in a minute; none counts as one.
    pub const fn per_minute(calls: u32) -> Self {
        Self::new(calls, 1)
    }

    const fn new(calls: u32, unit: usize) -> Self {
        let calls = if calls == 0 { 1 } else { calls };
        Self { calls, unit }
    }

    /// How many calls fit into [`window`](Self::window).
    pub const fn calls(self) -> u32 {
        self.calls
    }

    /// The time in which so many may be made.
    pub const fn window(self) -> Duration {
        UNITS[self.unit].1
    }

    /// The time from one call to the next when they are evenly spaced.
    pub fn spacing(self) -> Duration {
        self.window() / self.calls
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.calls, UNITS[self.unit].0)
    }
}

/// A text that is no rate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a rate, such as 20/s, 200/min or 1000/h")]
pub struct RateError(String);

impl FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        let parts = text.split_once('/').and_then(|(calls, unit)| {
            let calls = calls.trim().parse::<u32>().ok().filter(|calls| *calls > 0)?;
            let unit = UNITS.iter().position(|(name, _)| *name == unit.trim())?;
            Some(Self::new(calls, unit))
        });
        parts.ok_or_else(|| RateError(text.to_owned()))
    }
}

impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        for (text, expected) in [
            ("20/s", Some((Rate::per_second(20), 50))),
            ("200/min", Some((Rate::per_minute(200), 300))),
            ("1/s", Some((Rate::per_second(0), 1000))),
            ("1000/h", Some((Rate::new(1000, 2), 3600))),
            (" 5 / s ", Some((Rate::per_second(5), 200))),
            ("0/s", None),
            ("20", None),
            ("20/d", None),
            ("-1/s", None),
            ("", None),
        ] {
            let read = text.parse::<Rate>();
            assert_eq!(read.as_ref().ok().copied(), expected.map(|(rate, _)| rate), "{text}");
            if let (Ok(rate), Some((_, spacing))) = (read, expected) {
                assert_eq!(rate.spacing(), Duration::from_millis(spacing), "{text}");
                assert_eq!(rate.to_string().parse(), Ok(rate), "{text}");
            }
        }
    }

    #[test]
    fn mistakes_show_the_text_and_an_example() {
        let error = serde_json::from_str::<Rate>("\"twenty\"").unwrap_err().to_string();
        assert!(error.starts_with("`twenty` is not a rate, such as 20/s"), "{error}");
    }
}
