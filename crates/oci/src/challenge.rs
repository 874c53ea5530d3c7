//! `WWW-Authenticate` headers (RFC 7235), parsed without I/O.

use std::collections::BTreeMap;

/// Longest header that we look at.
const MAX_BYTES: usize = 16 * 1024;

/// One way in which a registry offers to be logged in to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// Lower-case scheme: `bearer`, `basic`.
    pub scheme: String,
    /// Parameters, with lower-case names.
    pub parameters: BTreeMap<String, String>,
}

impl Challenge {
    /// The parameter `name`.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).map(String::as_str)
    }
}

/// Parses one header value, which may hold several challenges. What makes no sense is left out: a strange extra
/// challenge must not hide a good one.
pub fn parse_challenges(header: &[u8]) -> Vec<Challenge> {
    let text = String::from_utf8_lossy(header.get(..MAX_BYTES).unwrap_or(header));
    let mut rest = text.as_ref();
    let mut found: Vec<Challenge> = Vec::new();
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let word_end = rest.find(|c: char| !is_token(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(word_end);
        if word.is_empty() {
            let mut characters = rest.chars();
            match characters.next() {
                None => return found,
                Some(_) => rest = characters.as_str(),
            }
            continue;
        }
        match after.trim_start_matches([' ', '\t']).strip_prefix('=') {
            Some(value) => {
                let (value, after) = parameter_value(value.trim_start_matches([' ', '\t']));
                if let Some(challenge) = found.last_mut() {
                    challenge.parameters.entry(word.to_ascii_lowercase()).or_insert(value);
                }
                rest = after;
            }
            None => {
                found.push(Challenge {
                    scheme: word.to_ascii_lowercase(),
                    parameters: BTreeMap::new(),
                });
                rest = after;
            }
        }
    }
}

/// A token or quoted string at the start of `text`, and what follows.
fn parameter_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        let (value, after) = text.split_at(end);
        return (value.to_owned(), after);
    };
    let mut value = String::new();
    let mut characters = quoted.chars();
    while let Some(c) = characters.next() {
        match c {
            '"' => break,
            '\\' => value.extend(characters.next()),
            c => value.push(c),
        }
    }
    (value, characters.as_str())
}

fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_registries_send() {
        for (name, header, expected) in [
            (
                "docker hub",
                r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull""#,
                vec![(
                    "bearer",
                    vec![
                        ("realm", "https://auth.docker.io/token"),
                        ("service", "registry.docker.io"),
                        ("scope", "repository:a/b:pull"),
                    ],
                )],
            ),
            (
                "basic",
                r#"Basic realm="Registry Realm""#,
                vec![("basic", vec![("realm", "Registry Realm")])],
            ),
            (
                "two",
                r#"Negotiate, BEARER Realm=x , service="a,\"b\"", Basic realm="r""#,
                vec![
                    ("negotiate", vec![]),
                    ("bearer", vec![("realm", "x"), ("service", "a,\"b\"")]),
                    ("basic", vec![("realm", "r")]),
                ],
            ),
            ("unclosed", r#"Bearer realm="x"#, vec![("bearer", vec![("realm", "x")])]),
            ("empty", "", vec![]),
        ] {
            let found = parse_challenges(header.as_bytes());
            let found: Vec<_> = found
                .iter()
                .map(|c| {
                    (
                        c.scheme.as_str(),
                        c.parameters
                            .iter()
                            .map(|(k, v)| (k.as_str(), v.as_str()))
                            .collect::<Vec<_>>(),
                    )
                })
                .collect();
            let mut expected = expected;
            expected
                .iter_mut()
                .for_each(|(_, parameters)| parameters.sort_unstable());
            assert_eq!(found, expected, "{name}");
        }
    }

    proptest! {
        #[test]
        fn ends_on_any_input(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            parse_challenges(&bytes);
        }
    }
}
