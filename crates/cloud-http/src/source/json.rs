//! JSON that holds secrets: an error tells the place and nothing of what stands there.

use serde::de::DeserializeOwned;

/// Reads JSON. The error has the place only: serde_json repeats values, and here values are secrets.
///
/// # Errors
///
/// A text that completes "the answer is …".
pub fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    serde_json::from_slice(bytes).map_err(|error| {
        let what = if error.is_data() {
            "not what was expected"
        } else {
            "not JSON"
        };
        format!("{what} (line {}, column {})", error.line(), error.column())
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn errors_repeat_nothing() {
        for (body, what) in [
            (r#""hunter2""#, "not what was expected (line 1"),
            (r#"{"Key": ["hunter2"]}"#, "not what was expected (line 1"),
            (r#"{"Key": "hunter2"#, "not JSON (line 1"),
            ("{\n\"hunter2\" 1}", "not JSON (line 2"),
            ("hunter2", "not JSON (line 1"),
        ] {
            let error = parse_json::<BTreeMap<String, String>>(body.as_bytes()).unwrap_err();
            assert!(error.starts_with(what) && !error.contains("hunter"), "{body}: {error}");
        }
    }
}
