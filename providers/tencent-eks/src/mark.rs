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

use imagecache_core::{CacheKey, CacheSpec};

use crate::wire::{CacheEntry, Tag};

/// Start of every tag key of ours.
pub(crate) const PREFIX: &str = "imagecache.dev/";
const MANAGED_BY: &str = "imagecache.dev/managed-by";
const OWNER: &str = "imagecache.dev/owner";
const ATTEMPT: &str = "imagecache.dev/attempt";
const RETENTION_DAYS: &str = "imagecache.dev/retention-days";

/// Value of [`MANAGED_BY`].
const MANAGER: &str = "imagecache";
/// Who owns what is made without an installation, on the command line.
const NO_INSTALLATION: &str = "cli";
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

/// Whose caches are seen, and how new ones are marked.
#[derive(Clone, Debug)]
pub(crate) struct Mark {
    owner: Option<String>,
}

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

impl Mark {
    /// With an owner only that owner's caches are ours; without one, all that this program made.
    pub(crate) fn new(owner: Option<String>) -> Self {
        Self { owner }
    }

    /// Whether what we see is only ours.
    pub(crate) fn is_exclusive(&self) -> bool {
        self.owner.is_some()
    }

    /// Tags of a new cache: the mark, then the user's own.
    pub(crate) fn tags(&self, spec: &CacheSpec, attempt: u32, own: &BTreeMap<String, String>) -> Vec<Tag> {
        let mut tags = vec![
            tag(MANAGED_BY, MANAGER),
            tag(OWNER, self.new_owner()),
            tag(ATTEMPT, &attempt.to_string()),
        ];
        if let Some(days) = spec.retention.days() {
            tags.push(tag(RETENTION_DAYS, &days.to_string()));
        }
        tags.extend(own.iter().map(|(key, value)| tag(key, value)));
        tags
    }

    /// Whose `entry` is.
    pub(crate) fn whose(&self, entry: &CacheEntry) -> Whose {
        if entry.image_cache_type.eq_ignore_ascii_case(AUTOMATIC) {
            return Whose::Foreign;
        }
        if entry.tags.is_empty() {
            return Whose::Unclear;
        }
        let managed = value(entry, MANAGED_BY) == Some(MANAGER);
        let owned = match &self.owner {
            Some(owner) => value(entry, OWNER) == Some(owner),
            None => true,
        };
        match entry.image_cache_name.parse() {
            Ok(key) if managed && owned => Whose::Ours(key),
            _ => Whose::Foreign,
        }
    }

    /// Whether the cache has the very owner that a new one would get: two under one key are then one too many.
    pub(crate) fn is_own(&self, entry: &CacheEntry) -> bool {
        owner_of(entry) == Some(self.new_owner())
    }

    fn new_owner(&self) -> &str {
        self.owner.as_deref().unwrap_or(NO_INSTALLATION)
    }
}

/// Who made a cache.
pub(crate) fn owner_of(entry: &CacheEntry) -> Option<&str> {
    value(entry, OWNER)
}

/// How often the cache was begun, this time included.
pub(crate) fn attempt(entry: &CacheEntry) -> u32 {
    value(entry, ATTEMPT).and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// Days that the cache was made to be kept; `None` is for ever. Older answers lack the field that says so.
pub(crate) fn retention_days(entry: &CacheEntry) -> Option<u32> {
    let tagged = || value(entry, RETENTION_DAYS)?.parse().ok();
    entry.retention_days.or_else(tagged).filter(|days| *days > 0)
}

fn value<'a>(entry: &'a CacheEntry, key: &str) -> Option<&'a str> {
    let found = entry.tags.iter().find(|tag| tag.key == key)?;
    Some(&found.value)
}

fn tag(key: &str, value: &str) -> Tag {
    Tag {
        key: key.to_owned(),
        value: value.to_owned(),
    }
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

    #[test]
    fn what_is_marked_is_found_again() {
        let (key, spec) = (CacheKey::new("uid", &spec()), spec());
        let own = BTreeMap::from([("team".to_owned(), "a".to_owned())]);
        let mark = Mark::new(Some("cluster".to_owned()));
        let marked = entry(key.as_str(), mark.tags(&spec, 2, &own));
        assert_eq!(marked.tags.len(), OWN_TAGS + 1);
        assert_eq!(mark.whose(&marked), Whose::Ours(key.clone()));
        assert_eq!((attempt(&marked), retention_days(&marked)), (2, Some(7)));
        assert!(mark.is_own(&marked));
        // The command line sees every installation's, and would not call it its own.
        let cli = Mark::new(None);
        assert_eq!(cli.whose(&marked), Whose::Ours(key.clone()));
        assert!(!cli.is_own(&marked));
        let by_hand = entry(key.as_str(), cli.tags(&spec, 1, &own));
        assert_eq!(cli.whose(&by_hand), Whose::Ours(key));
    }

    #[test]
    fn what_is_not_ours_has_no_key() {
        let mark = Mark::new(Some("cluster".to_owned()));
        let ours = || mark.tags(&spec(), 1, &BTreeMap::new());
        let without = |name: &str| ours().into_iter().filter(|tag| tag.key != name).collect::<Vec<_>>();
        let with = |name: &str, value: &str| {
            let mut changed = without(name);
            changed.push(tag(name, value));
            entry("a-key", changed)
        };
        let automatic = CacheEntry {
            image_cache_type: "auto".to_owned(),
            ..entry("a-key", ours())
        };
        for (name, entry, expected) in [
            ("no tags", entry("a-key", Vec::new()), Whose::Unclear),
            ("not managed by us", entry("a-key", without(MANAGED_BY)), Whose::Foreign),
            ("managed by another program", with(MANAGED_BY, "other"), Whose::Foreign),
            ("without owner", entry("a-key", without(OWNER)), Whose::Foreign),
            ("another installation's", with(OWNER, "other"), Whose::Foreign),
            (
                "an owner that begins like ours",
                with(OWNER, "cluster-2"),
                Whose::Foreign,
            ),
            ("without name", entry("", ours()), Whose::Foreign),
            ("a name that is no key", entry("Not A Key", ours()), Whose::Foreign),
            ("made by the service", automatic, Whose::Foreign),
        ] {
            assert_eq!(mark.whose(&entry), expected, "{name}");
        }
    }

    #[test]
    fn days_are_told_in_two_places() {
        let mark = Mark::new(None);
        let tags = mark.tags(&spec(), 1, &BTreeMap::new());
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
