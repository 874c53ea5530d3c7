//! What an answer's headers say of time: its own, and how long to wait.

use std::time::{Duration, SystemTime};

use http::header::{DATE, HeaderMap, HeaderName, RETRY_AFTER};
use jiff::{SignedDuration, Timestamp};

/// The service's time when it answered.
pub(crate) fn date(headers: &HeaderMap) -> Option<Timestamp> {
    parse_date(text(headers, &DATE)?)
}

/// How long the service asks to wait: seconds, or a date that is compared with the answer's own, or with `now`.
pub(crate) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let value = text(headers, &RETRY_AFTER)?.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let wait = parse_date(value)?.duration_since(date(headers).unwrap_or(now));
    Some(Duration::try_from(wait.max(SignedDuration::ZERO)).unwrap_or_default())
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn parse_date(value: &str) -> Option<Timestamp> {
    let time: SystemTime = httpdate::parse_http_date(value.trim()).ok()?;
    Timestamp::try_from(time).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_forms() {
        let now: Timestamp = "1999-12-31T23:59:50Z".parse().unwrap();
        for (value, server_time, expected) in [
            ("120", None, Some(120)),
            (" 0 ", None, Some(0)),
            ("Fri, 31 Dec 1999 23:59:59 GMT", None, Some(9)),
            (
                "Fri, 31 Dec 1999 23:59:59 GMT",
                Some("Fri, 31 Dec 1999 23:59:29 GMT"),
                Some(30),
            ),
            ("Fri, 31 Dec 1999 23:00:00 GMT", None, Some(0)),
            ("soon", None, None),
            ("-1", None, None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, value.parse().unwrap());
            if let Some(server_time) = server_time {
                headers.insert(DATE, server_time.parse().unwrap());
            }
            assert_eq!(retry_after(&headers, now), expected.map(Duration::from_secs), "{value}");
        }
    }
}
