//! What is checked alike in the configuration of every signed cloud. Each check gives what is wrong, if anything is; whoever
//! calls it knows the key.

use std::collections::BTreeMap;

use imagecache_core::{Error, ErrorKind};

use crate::ClientConfig;
use crate::mark::TAG_PREFIX;

/// The error for a configuration of `provider` in which `key` has a problem.
pub fn refused(provider: &'static str, key: &str, problem: &str) -> Error {
    let message = format!("{provider}.{key}: {problem}");
    Error::new(ErrorKind::InvalidSpec, provider, "configuration", message)
}

/// The id of a region; `example` is one, and `variable` is where it is looked for too.
pub fn region(region: &str, example: &str, variable: &str) -> Option<String> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if region.is_empty() {
        let remedy = format!("not set; name the region, for example \"{example}\", or set {variable}");
        return Some(remedy);
    }
    (!region.bytes().all(allowed)).then(|| format!("`{region}` is no region id, which is like `{example}`"))
}

/// The size of a page, at most `most`.
pub fn page_size(size: u32, most: u32) -> Option<String> {
    (!(1..=most).contains(&size)).then(|| format!("{size} is not 1 to {most}"))
}

/// How many builds of one cache may hang.
pub fn build_attempts(attempts: u32) -> Option<String> {
    (attempts == 0).then(|| "0 would never build anything, give at least 1".to_owned())
}

/// The names of rates: each is one of `actions`.
pub fn rates(http: &ClientConfig, actions: &[&str]) -> Option<String> {
    let name = http.unknown_action(actions)?;
    let known = actions.join(", ");
    Some(format!("`{name}` is no action that is called, choose from: {known}"))
}

/// Ids of one kind, which all begin alike.
pub fn ids(ids: &[String], prefix: &str) -> Option<String> {
    let bad = ids.iter().find(|id| !id.starts_with(prefix))?;
    Some(format!("`{bad}` does not begin with `{prefix}`"))
}

/// What a cloud allows of tags.
#[derive(Clone, Copy, Debug)]
pub struct TagRules {
    /// Tags of the user's own that fit besides ours.
    pub most: usize,
    /// Longest key.
    pub key_chars: usize,
    /// Shortest and longest value.
    pub value_chars: (usize, usize),
    /// Beginnings of keys that the vendor reserves; our mark's is reserved with every vendor.
    pub reserved: &'static [&'static str],
    /// Whether a key or a value may be written so.
    pub allowed: fn(&str) -> bool,
}

/// Tags of the user's own.
pub fn tags(tags: &BTreeMap<String, String>, rules: &TagRules) -> Option<String> {
    let most = rules.most;
    if tags.len() > most {
        return Some(format!("{} tags, at most {most} fit besides our own", tags.len()));
    }
    tags.iter().find_map(|(key, value)| {
        let mut reserved = rules.reserved.iter().chain([&TAG_PREFIX]);
        if let Some(prefix) = reserved.find(|prefix| key.starts_with(**prefix)) {
            return Some(format!("the key `{key}` begins with `{prefix}`, which is reserved"));
        }
        let (least, most) = rules.value_chars;
        [("key", key, 1, rules.key_chars), ("value", value, least, most)]
            .into_iter()
            .find_map(|(what, text, least, most)| {
                if !(least..=most).contains(&text.chars().count()) {
                    return Some(format!(
                        "the {what} `{text}` of `{key}` is not {least} to {most} characters"
                    ));
                }
                let problem = || format!("the {what} `{text}` of `{key}` holds characters that no tag can have");
                (!(rules.allowed)(text)).then(problem)
            })
    })
}

/// The first of these checks that found something, by its key.
pub fn first(found: impl IntoIterator<Item = (&'static str, Option<String>)>) -> Option<(&'static str, String)> {
    found.into_iter().find_map(|(key, problem)| Some((key, problem?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rate;

    #[test]
    fn each_check_says_what_is_wrong_or_nothing() {
        let rates_of = |name: &str| ClientConfig::default().with_default_rates(&[(name, Rate::per_second(1))]);
        let tag = |key: &str| BTreeMap::from([(key.to_owned(), "x".to_owned())]);
        let rules = |most| TagRules {
            most,
            key_chars: 16,
            value_chars: (1, 3),
            reserved: &["acs:"],
            allowed: |text| !text.contains('*'),
        };
        let texts = |all: &[&str]| all.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        for (name, problem, expected) in [
            ("region", region("ap-1", "ap-9", "REGION"), None),
            ("no region", region("", "ap-9", "REGION"), Some("or set REGION")),
            ("odd region", region("Ap 1", "ap-9", "REGION"), Some("like `ap-9`")),
            ("page", page_size(50, 50), None),
            ("large page", page_size(51, 50), Some("51 is not 1 to 50")),
            ("no page", page_size(0, 50), Some("0 is not 1 to 50")),
            ("attempts", build_attempts(1), None),
            ("no attempts", build_attempts(0), Some("at least 1")),
            ("rates", rates(&rates_of("create"), &["Create"]), None),
            (
                "odd rate",
                rates(&rates_of("Crate"), &["Create", "List"]),
                Some("choose from: Create, List"),
            ),
            ("ids", ids(&texts(&["sg-1", "sg-2"]), "sg-"), None),
            (
                "odd id",
                ids(&texts(&["sg-1", ""]), "sg-"),
                Some("`` does not begin with `sg-`"),
            ),
            ("tags", tags(&tag("team"), &rules(1)), None),
            ("many tags", tags(&tag("team"), &rules(0)), Some("1 tags, at most 0")),
            ("the vendor's tag", tags(&tag("acs:x"), &rules(1)), Some("`acs:`")),
            (
                "our tag",
                tags(&tag("imagecache.dev/x"), &rules(1)),
                Some("`imagecache.dev/`"),
            ),
            (
                "no key",
                tags(&tag(""), &rules(1)),
                Some("the key `` of `` is not 1 to 16"),
            ),
            (
                "a long value",
                tags(&BTreeMap::from([("a".to_owned(), "long".to_owned())]), &rules(1)),
                Some("the value `long` of `a` is not 1 to 3"),
            ),
            ("odd text", tags(&tag("a*"), &rules(1)), Some("characters that no tag")),
        ] {
            let fits = match (&problem, expected) {
                (Some(problem), Some(part)) => problem.contains(part),
                (problem, expected) => problem.is_none() && expected.is_none(),
            };
            assert!(fits, "{name}: {problem:?}");
        }
        assert_eq!(
            first([("a", None), ("b", Some("x".to_owned()))]),
            Some(("b", "x".to_owned()))
        );
        let error = refused("cloud", "page_size", "too large");
        assert_eq!(error.kind(), ErrorKind::InvalidSpec);
        assert_eq!(error.message(), "cloud.page_size: too large");
    }
}
