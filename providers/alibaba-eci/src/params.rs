//! Parameters of an RPC call, flattened as the vendor wants them, and their two ways of being a query.

use std::collections::BTreeMap;
use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What RFC 3986 leaves as it is: letters, digits and these four.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Parameters by name, in the order in which they are signed: by the bytes of their names.
///
/// Values may be registry passwords: `Debug` shows the names only.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Parameters(BTreeMap<String, String>);

impl Parameters {
    /// No parameters.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Sets one parameter.
    pub(crate) fn set(&mut self, name: impl Into<String>, value: impl fmt::Display) {
        self.0.insert(name.into(), value.to_string());
    }

    /// Sets a parameter that may be absent; an absent one is left out altogether.
    pub(crate) fn set_some(&mut self, name: impl Into<String>, value: Option<impl fmt::Display>) {
        if let Some(value) = value {
            self.set(name, value);
        }
    }

    /// Sets an array: `name.1`, `name.2`, …; an empty one is no parameter.
    pub(crate) fn set_list<T: fmt::Display>(&mut self, name: &str, values: impl IntoIterator<Item = T>) {
        for (index, value) in (1..).zip(values) {
            let index: usize = index;
            self.set(format!("{name}.{index}"), value);
        }
    }

    /// Sets a list that the vendor takes as one text with commas; an empty one is no parameter.
    pub(crate) fn set_joined<T: AsRef<str>>(&mut self, name: &str, values: &[T]) {
        if !values.is_empty() {
            let texts: Vec<&str> = values.iter().map(AsRef::as_ref).collect();
            self.set(name, texts.join(","));
        }
    }

    /// Values of the parameters whose names end in one of `ends`.
    pub(crate) fn values_of(&self, ends: &[&str]) -> impl Iterator<Item = &str> {
        let matching = |name: &str| ends.iter().any(|end| name.ends_with(end));
        self.0
            .iter()
            .filter(move |(name, _)| matching(name))
            .map(|(_, value)| value.as_str())
    }

    /// The value of a parameter.
    #[cfg(test)]
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Names and values, by the bytes of the names.
    #[cfg(test)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The query as it is signed.
    pub(crate) fn canonical_query(&self) -> String {
        let pairs: Vec<String> = self.0.iter().map(|(name, value)| pair(name, value)).collect();
        pairs.join("&")
    }

    /// The query as it is sent: form encoding, arrays in the order of their indices. Signed and sent differ in order and in
    /// how they write a space only; the vendor's SDK does the same.
    pub(crate) fn wire_query(&self) -> String {
        let mut sorted: Vec<(&String, &String)> = self.0.iter().collect();
        sorted.sort_by_cached_key(|(name, _)| name.split('.').map(segment).collect::<Vec<_>>());
        let pairs: Vec<String> = sorted.into_iter().map(|(name, value)| pair(name, value)).collect();
        pairs.join("&").replace("%20", "+")
    }
}

impl fmt::Debug for Parameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// A text as names and values are written in what is signed.
pub(crate) fn encode(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

fn pair(name: &str, value: &str) -> String {
    format!("{}={}", encode(name), encode(value))
}

/// A part of a name: indices by number, everything else by its bytes.
fn segment(text: &str) -> (Option<u32>, &str) {
    (text.parse().ok(), text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode(query: &str) -> BTreeMap<String, String> {
        url::form_urlencoded::parse(query.as_bytes()).into_owned().collect()
    }

    #[test]
    fn arrays_are_numbered_and_absent_values_left_out() {
        let mut parameters = Parameters::new();
        parameters.set_list("Image", ["a", "b"]);
        parameters.set_list("Tag", [""; 0]);
        parameters.set_some("RetentionDays", None::<u32>);
        parameters.set_some("Flash", Some(false));
        parameters.set_joined("VSwitchId", &["x", "y"]);
        parameters.set_joined::<&str>("InsecureRegistry", &[]);
        let all: Vec<_> = parameters.iter().collect();
        let expected = [
            ("Flash", "false"),
            ("Image.1", "a"),
            ("Image.2", "b"),
            ("VSwitchId", "x,y"),
        ];
        assert_eq!(all, expected);
    }

    #[test]
    fn signed_order_is_by_bytes_and_sent_order_by_index() {
        let mut parameters = Parameters::new();
        parameters.set_list("Image", 1..=11);
        parameters.set("ImageCacheName", "x");
        assert!(
            parameters
                .canonical_query()
                .starts_with("Image.1=1&Image.10=10&Image.11=11&Image.2=2")
        );
        assert!(parameters.wire_query().starts_with("Image.1=1&Image.2=2&Image.3=3"));
        assert!(parameters.wire_query().ends_with("Image.11=11&ImageCacheName=x"));
    }

    #[test]
    fn debug_shows_no_value() {
        let mut parameters = Parameters::new();
        parameters.set("Password", "hunter2");
        assert_eq!(format!("{parameters:?}"), "{\"Password\"}");
    }

    proptest! {
        #[test]
        fn both_queries_decode_to_what_was_set(all in prop::collection::btree_map(".{1,12}", ".{0,20}", 0..8)) {
            let mut parameters = Parameters::new();
            for (name, value) in &all {
                parameters.set(name.clone(), value);
            }
            prop_assert_eq!(&decode(&parameters.canonical_query()), &all);
            prop_assert_eq!(&decode(&parameters.wire_query()), &all);
        }

        #[test]
        fn encoded_text_holds_only_unreserved_characters(text in ".{0,40}") {
            let encoded = encode(&text);
            prop_assert!(encoded.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.~%".contains(&b)));
            prop_assert_eq!(encoded.matches('%').count(), text.bytes().filter(|b| !(b.is_ascii_alphanumeric() || b"-_.~".contains(b))).count());
            let decoded = percent_encoding::percent_decode_str(&encoded).decode_utf8().unwrap();
            prop_assert_eq!(decoded, text);
        }
    }
}
