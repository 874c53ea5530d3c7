//! The ownership mark: tags that tell which caches are ours, and for what.
//!
//! What does not carry it is never touched, whatever its name.

use std::collections::BTreeMap;

use imagecache_core::{CacheKey, CacheSpec};

use crate::wire::{CacheEntry, Tag};

/// Start of every tag key of ours.
pub(crate) const PREFIX: &str = "imagecache.dev/";
const MANAGED_BY: &str = "imagecache.dev/managed-by";
const OWNER: &str = "imagecache.dev/owner";
const KEY: &str = "imagecache.dev/key";
const NAME: &str = "imagecache.dev/name";
const ATTEMPT: &str = "imagecache.dev/attempt";
const RETENTION_DAYS: &str = "imagecache.dev/retention-days";

/// Value of [`MANAGED_BY`].
const MANAGER: &str = "imagecache";
/// Who owns what is made without an installation, on the command line.
const NO_INSTALLATION: &str = "cli";
/// Tags that one cache may carry (API: 20).
const MAX_TAGS: usize = 20;
/// Tags that we set ourselves, at most.
const OWN_TAGS: usize = 6;
/// Tags of the user's own that still fit.
pub(crate) const MAX_USER_TAGS: usize = MAX_TAGS - OWN_TAGS;
/// Longest value of a tag.
pub(crate) const MAX_VALUE_CHARS: usize = 128;

/// Whose caches are seen, and how new ones are marked.
#[derive(Clone, Debug)]
pub(crate) struct Mark {
    owner: Option<String>,
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

    /// The tag that the service filters by; [`key`](Self::key) decides.
    pub(crate) fn filter(&self) -> Tag {
        match &self.owner {
            Some(owner) => tag(OWNER, owner),
            None => tag(MANAGED_BY, MANAGER),
        }
    }

    /// Tags of a new cache: the mark, then the user's own.
    pub(crate) fn tags(
        &self,
        key: &CacheKey,
        spec: &CacheSpec,
        attempt: u32,
        own: &BTreeMap<String, String>,
    ) -> Vec<Tag> {
        let mut tags = vec![
            tag(MANAGED_BY, MANAGER),
            tag(OWNER, self.new_owner()),
            tag(KEY, key.as_str()),
        ];
        if let Some(name) = spec.display_name.as_deref().map(clip).filter(|name| !name.is_empty()) {
            tags.push(tag(NAME, &name));
        }
        tags.push(tag(ATTEMPT, &attempt.to_string()));
        if let Some(days) = spec.retention.days() {
            tags.push(tag(RETENTION_DAYS, &days.to_string()));
        }
        tags.extend(own.iter().map(|(key, value)| tag(key, value)));
        tags
    }

    /// The key of a cache of ours; `None` for everybody else's.
    pub(crate) fn key(&self, entry: &CacheEntry) -> Option<CacheKey> {
        let managed = value(entry, MANAGED_BY) == Some(MANAGER);
        let owned = match &self.owner {
            Some(owner) => value(entry, OWNER) == Some(owner),
            None => true,
        };
        value(entry, KEY)
            .filter(|_| managed && owned)
            .and_then(|key| key.parse().ok())
    }

    /// Whether the cache has the very owner that a new one would get: two under one key are then one too many.
    pub(crate) fn is_own(&self, entry: &CacheEntry) -> bool {
        owner_of(entry) == Some(self.new_owner())
    }

    /// The owner that a new cache is marked with.
    pub(crate) fn new_owner(&self) -> &str {
        self.owner.as_deref().unwrap_or(NO_INSTALLATION)
    }
}

/// Who made a cache.
pub(crate) fn owner_of(entry: &CacheEntry) -> Option<&str> {
    value(entry, OWNER)
}

/// The name for people.
pub(crate) fn display_name(entry: &CacheEntry) -> Option<String> {
    value(entry, NAME).map(str::to_owned)
}

/// How often the cache was begun, this time included.
pub(crate) fn attempt(entry: &CacheEntry) -> u32 {
    value(entry, ATTEMPT).and_then(|text| text.parse().ok()).unwrap_or(1)
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
        let (key, spec) = (CacheKey::new("uid", &spec()), spec());
        let own = BTreeMap::from([("team".to_owned(), "a".to_owned())]);
        let mark = Mark::new(Some("cluster".to_owned()));
        let marked = entry(mark.tags(&key, &spec, 2, &own));
        assert_eq!(marked.tags.len(), OWN_TAGS + 1);
        assert_eq!(mark.key(&marked), Some(key.clone()));
        assert_eq!(attempt(&marked), 2);
        assert_eq!(display_name(&marked).as_deref(), Some("web"));
        assert!(mark.is_own(&marked));
        // The command line sees every installation's, and would not call it its own.
        let cli = Mark::new(None);
        assert_eq!(cli.key(&marked), Some(key.clone()));
        assert!(!cli.is_own(&marked));
        assert_eq!(cli.key(&entry(cli.tags(&key, &spec, 1, &own))), Some(key));
    }

    #[test]
    fn what_is_not_ours_has_no_key() {
        let mark = Mark::new(Some("cluster".to_owned()));
        let ours = || mark.tags(&CacheKey::new("uid", &spec()), &spec(), 1, &BTreeMap::new());
        let without = |name: &str| entry(ours().into_iter().filter(|tag| tag.key != name).collect());
        let with = |name: &str, value: &str| {
            let mut changed = without(name);
            changed.tags.push(tag(name, value));
            changed
        };
        for (name, entry) in [
            ("no tags", entry(Vec::new())),
            ("not managed by us", without(MANAGED_BY)),
            ("managed by another program", with(MANAGED_BY, "other")),
            ("without owner", without(OWNER)),
            ("another installation's", with(OWNER, "other")),
            ("an owner that begins like ours", with(OWNER, "cluster-2")),
            ("without key", without(KEY)),
            ("with a key that is none", with(KEY, "Not A Key")),
        ] {
            assert_eq!(mark.key(&entry), None, "{name}");
        }
    }

    #[test]
    fn long_names_are_clipped() {
        let spec = CacheSpec {
            display_name: Some("ü".repeat(300)),
            ..spec()
        };
        let tags = Mark::new(None).tags(&CacheKey::new("uid", &spec), &spec, 1, &BTreeMap::new());
        let name = tags.iter().find(|tag| tag.key == NAME).unwrap();
        assert_eq!(name.value.chars().count(), MAX_VALUE_CHARS);
    }
}
