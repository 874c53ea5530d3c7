//! The ownership mark: which caches are ours, and for what.
//!
//! **Where it lives.** The name is the key: only names can be searched for, and a cache is looked for before every call that
//! would make one. Whose it is stands in tags. Those hold only values that many caches share, since an account has a limited
//! number of values for all its tags together (document "Use Limits" of tags: once 1,000 values of a key), and a value for
//! each cache would use them up. So there is no tag with the key or the display name.
//!
//! What does not carry the mark is never touched, whatever its name. A cache that has the very name of a key and no tag at all
//! is [unclear](Whose::Unclear): tags may be late or may be cut off, so no second cache is made beside it either.

use std::collections::BTreeMap;

use imagecache_cloud_http::mark as shared;
pub(crate) use imagecache_cloud_http::mark::{Mark, Tag, attempt, owner_of};
use imagecache_core::{CacheKey, CacheSpec};

use crate::wire::CacheEntry;

/// Tags that one resource may carry ("Use Limits" of tags).
const MAX_TAGS: usize = 50;
/// Tags that we set ourselves, at most.
const OWN_TAGS: usize = 4;
/// Tags of the user's own that still fit.
pub(crate) const MAX_USER_TAGS: usize = MAX_TAGS - OWN_TAGS;
/// Longest value of a tag.
pub(crate) const MAX_VALUE_CHARS: usize = 255;
/// Type of what the service made by itself.
const AUTOMATIC: &str = "auto";

/// Whose a cache is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    /// Ours, under this key.
    Ours(CacheKey),
    /// Without a single tag: ours perhaps.
    Unclear,
    /// Somebody else's.
    Foreign,
}

/// Tags of a new cache: the mark, then the user's own.
pub(crate) fn tags(mark: &Mark, spec: &CacheSpec, attempt: u32, own: &BTreeMap<String, String>) -> Vec<Tag> {
    let mut tags = mark.tags(attempt, spec.retention);
    tags.extend(own.iter().map(|(key, value)| Tag::new(key, value)));
    tags
}

/// Whose `entry` is.
pub(crate) fn whose(mark: &Mark, entry: &CacheEntry) -> Whose {
    if entry.image_cache_type.eq_ignore_ascii_case(AUTOMATIC) {
        return Whose::Foreign;
    }
    if entry.tags.is_empty() {
        return Whose::Unclear;
    }
    match entry.image_cache_name.parse() {
        Ok(key) if mark.is_ours(&entry.tags) => Whose::Ours(key),
        _ => Whose::Foreign,
    }
}

/// Days that the cache was made to be kept; `None` is for ever. Older answers lack the field that says so.
pub(crate) fn retention_days(entry: &CacheEntry) -> Option<u32> {
    let days = entry.retention_days.or_else(|| shared::retention_days(&entry.tags));
    days.filter(|days| *days > 0)
}

#[cfg(test)]
mod tests {
    use imagecache_core::Retention;

    use super::*;

    fn spec() -> CacheSpec {
        CacheSpec {
            retention: Retention::Days(7),
            ..CacheSpec::new(vec!["nginx".parse().unwrap()])
        }
    }

    fn entry(name: &str, tags: Vec<Tag>) -> CacheEntry {
        CacheEntry {
            image_cache_name: name.to_owned(),
            tags,
            ..CacheEntry::default()
        }
    }

    /// Sections are those of the fact sheet `tencent-eks`.
    #[test]
    fn tags_name_it_and_the_name_is_the_key() {
        let mark = Mark::new(Some("cluster".to_owned()));
        let own = BTreeMap::from([("team".to_owned(), "a".to_owned())]);
        let ours = tags(&mark, &spec(), 2, &own);
        assert_eq!(ours.len(), OWN_TAGS + 1);
        let key: CacheKey = "a-key".parse().unwrap();
        let automatic = CacheEntry {
            image_cache_type: "auto".to_owned(),
            ..entry("a-key", ours.clone())
        };
        let others = tags(&Mark::new(Some("other".to_owned())), &spec(), 1, &own);
        for (name, entry, expected) in [
            ("ours", entry("a-key", ours.clone()), Whose::Ours(key)),
            ("no tags", entry("a-key", Vec::new()), Whose::Unclear),
            ("7.3 another installation's", entry("a-key", others), Whose::Foreign),
            (
                "7.3 only the user's tags",
                entry("a-key", vec![Tag::new("team", "a")]),
                Whose::Foreign,
            ),
            ("7.3 empty names are tolerated", entry("", ours.clone()), Whose::Foreign),
            ("a name that is no key", entry("Not A Key", ours), Whose::Foreign),
            (
                "7.3 what the back end made is never ours, whatever its tags",
                automatic,
                Whose::Foreign,
            ),
        ] {
            assert_eq!(whose(&mark, &entry), expected, "{name}");
        }
    }

    #[test]
    fn days_are_told_in_two_places() {
        let tags = tags(&Mark::new(None), &spec(), 1, &BTreeMap::new());
        for (field, tags, expected) in [
            (Some(3), tags.clone(), Some(3)),
            (Some(0), Vec::new(), None),
            (None, tags, Some(7)),
            (None, Vec::new(), None),
        ] {
            let entry = CacheEntry {
                retention_days: field,
                ..entry("a-key", tags)
            };
            assert_eq!(retention_days(&entry), expected, "{field:?}");
        }
    }
}
