//! The ownership mark: tags that tell which caches are ours, and for what.
//!
//! What does not carry it is never touched, whatever its name.

use std::collections::BTreeMap;

pub(crate) use imagecache_cloud_http::mark::{Mark, Tag, attempt, owner_of};
use imagecache_core::{CacheKey, CacheSpec};

use crate::wire::CacheEntry;

const KEY: &str = "imagecache.dev/key";
const NAME: &str = "imagecache.dev/name";

/// Tags that one cache may carry (API: 20).
const MAX_TAGS: usize = 20;
/// Tags that we set ourselves, at most.
const OWN_TAGS: usize = 6;
/// Tags of the user's own that still fit.
pub(crate) const MAX_USER_TAGS: usize = MAX_TAGS - OWN_TAGS;
/// Longest value of a tag.
pub(crate) const MAX_VALUE_CHARS: usize = 128;

/// Tags of a new cache: the mark, then the user's own.
pub(crate) fn tags(
    mark: &Mark,
    key: &CacheKey,
    spec: &CacheSpec,
    attempt: u32,
    own: &BTreeMap<String, String>,
) -> Vec<Tag> {
    let mut tags = mark.tags(attempt, spec.retention);
    tags.push(Tag::new(KEY, key.as_str()));
    if let Some(name) = spec.display_name.as_deref().map(clip).filter(|name| !name.is_empty()) {
        tags.push(Tag::new(NAME, name));
    }
    tags.extend(own.iter().map(|(key, value)| Tag::new(key, value)));
    tags
}

/// The key of a cache of ours; `None` for everybody else's.
pub(crate) fn key(mark: &Mark, entry: &CacheEntry) -> Option<CacheKey> {
    let key = Tag::find(&entry.tags, KEY).filter(|_| mark.is_ours(&entry.tags))?;
    key.parse().ok()
}

/// The name for people.
pub(crate) fn display_name(entry: &CacheEntry) -> Option<String> {
    Tag::find(&entry.tags, NAME).map(str::to_owned)
}

fn clip(text: &str) -> String {
    text.chars().take(MAX_VALUE_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use imagecache_core::Retention;

    use super::*;

    fn spec() -> CacheSpec {
        CacheSpec {
            display_name: Some("web".to_owned()),
            retention: Retention::Days(7),
            ..CacheSpec::new(vec!["nginx".parse().unwrap()])
        }
    }

    fn entry(tags: Vec<Tag>) -> CacheEntry {
        CacheEntry {
            tags,
            ..CacheEntry::default()
        }
    }

    #[test]
    fn what_is_marked_is_found_again() {
        let (wanted, spec) = (CacheKey::new("uid", &spec()), spec());
        let own = BTreeMap::from([("team".to_owned(), "a".to_owned())]);
        let mark = Mark::new(Some("cluster".to_owned()));
        let marked = entry(tags(&mark, &wanted, &spec, 2, &own));
        assert_eq!(marked.tags.len(), OWN_TAGS + 1);
        assert_eq!(key(&mark, &marked), Some(wanted));
        assert_eq!(display_name(&marked).as_deref(), Some("web"));
    }

    #[test]
    fn what_is_not_ours_has_no_key() {
        let mark = Mark::new(Some("cluster".to_owned()));
        let with = |name: &str, value: &str| {
            let mut tags = tags(&mark, &CacheKey::new("uid", &spec()), &spec(), 1, &BTreeMap::new());
            tags.retain(|tag| tag.key != name);
            tags.push(Tag::new(name, value));
            entry(tags)
        };
        for (name, entry) in [
            ("no tags", entry(Vec::new())),
            ("another installation's", with("imagecache.dev/owner", "other")),
            ("without key", with(KEY, "")),
            ("with a key that is none", with(KEY, "Not A Key")),
        ] {
            assert_eq!(key(&mark, &entry), None, "{name}");
        }
    }

    #[test]
    fn long_names_are_clipped() {
        let spec = CacheSpec {
            display_name: Some("ü".repeat(300)),
            ..spec()
        };
        let mark = Mark::new(None);
        let tags = tags(&mark, &CacheKey::new("uid", &spec), &spec, 1, &BTreeMap::new());
        let name = Tag::find(&tags, NAME).unwrap();
        assert_eq!(name.chars().count(), MAX_VALUE_CHARS);
    }
}
