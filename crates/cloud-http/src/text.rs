//! Texts of configurations, answers and refusals.

use serde::{Deserialize, Deserializer};

/// Longest message of a refusal that is kept.
const MAX_MESSAGE_CHARS: usize = 500;
/// What stands where a secret was.
const REDACTED: &str = "…";

/// An optional text; empty is none.
pub fn given(text: &str) -> Option<String> {
    Some(text.to_owned()).filter(|text| !text.is_empty())
}

/// A text that an environment variable may have turned into a number: for `#[serde(deserialize_with = "…")]`.
///
/// # Errors
///
/// When it is neither text nor number.
pub fn lenient<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Text {
        Text(String),
        Number(i64),
    }
    Ok(match Text::deserialize(deserializer)? {
        Text::Text(text) => text,
        Text::Number(number) => number.to_string(),
    })
}

/// `null` like an absent field: for `#[serde(default, deserialize_with = "…")]`.
///
/// # Errors
///
/// When it is something else than `T`.
pub fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// `message` without any of `secrets`.
pub fn without<'a>(message: String, secrets: impl IntoIterator<Item = &'a str>) -> String {
    let secrets = secrets.into_iter().filter(|secret| !secret.is_empty());
    secrets.fold(message, |text, secret| text.replace(secret, REDACTED))
}

/// The beginning of a message that may be a whole page.
pub fn clipped(message: String) -> String {
    match message.char_indices().nth(MAX_MESSAGE_CHARS) {
        Some((end, _)) => message.get(..end).unwrap_or_default().to_owned() + "…",
        None => message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_cut_and_hold_no_secret() {
        let long = clipped("ü".repeat(2000));
        assert_eq!(long.chars().count(), MAX_MESSAGE_CHARS + 1);
        assert_eq!(clipped("short".to_owned()), "short");
        assert_eq!(without("a b c".to_owned(), ["b", ""]), "a … c");
    }

    #[test]
    fn numbers_and_nulls() {
        #[derive(Debug, PartialEq, Deserialize)]
        struct Row {
            #[serde(deserialize_with = "lenient")]
            owner: String,
            #[serde(default, deserialize_with = "or_default")]
            size: u32,
        }
        for (json, owner, size) in [
            (r#"{"owner":"me","size":3}"#, "me", 3),
            (r#"{"owner":42,"size":null}"#, "42", 0),
            (r#"{"owner":""}"#, "", 0),
        ] {
            let row: Row = serde_json::from_str(json).unwrap();
            assert_eq!((row.owner.as_str(), row.size), (owner, size), "{json}");
        }
        assert_eq!((given(""), given("x")), (None, Some("x".to_owned())));
    }
}
