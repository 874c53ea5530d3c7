//! The ownership mark as tags: whose a cache is, and how often it was begun. What else a cloud's tags say is its own matter.

use imagecache_core::Retention;
use serde::Deserialize;

use crate::text::or_default;

/// Start of every tag key of ours.
pub const TAG_PREFIX: &str = "imagecache.dev/";
const MANAGED_BY: &str = "imagecache.dev/managed-by";
const OWNER: &str = "imagecache.dev/owner";
const ATTEMPT: &str = "imagecache.dev/attempt";
const RETENTION_DAYS: &str = "imagecache.dev/retention-days";

/// Value of [`MANAGED_BY`].
const MANAGER: &str = "imagecache";
/// Who owns what is made without an installation, on the command line.
const NO_INSTALLATION: &str = "cli";

/// A key and its value, on a cache or as a filter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Tag {
    /// The key.
    #[serde(deserialize_with = "or_default")]
    pub key: String,
    /// The value.
    #[serde(deserialize_with = "or_default")]
    pub value: String,
}

impl Tag {
    /// A tag.
    pub fn new(key: &str, value: impl ToString) -> Self {
        Self {
            key: key.to_owned(),
            value: value.to_string(),
        }
    }

    /// The value of `key` among `tags`.
    pub fn find<'a>(tags: &'a [Self], key: &str) -> Option<&'a str> {
        let found = tags.iter().find(|tag| tag.key == key)?;
        Some(&found.value)
    }
}

/// Whose caches are seen, and how new ones are marked.
#[derive(Clone, Debug)]
pub struct Mark {
    owner: Option<String>,
}

impl Mark {
    /// With an owner only that owner's caches are ours; without one, all that this program made.
    pub fn new(owner: Option<String>) -> Self {
        Self { owner }
    }

    /// Whether what we see is only ours.
    pub fn is_exclusive(&self) -> bool {
        self.owner.is_some()
    }

    /// The tag that tells most of ours from the rest; [`is_ours`](Self::is_ours) decides.
    pub fn filter(&self) -> Tag {
        match &self.owner {
            Some(owner) => Tag::new(OWNER, owner),
            None => Tag::new(MANAGED_BY, MANAGER),
        }
    }

    /// The mark of a new cache.
    pub fn tags(&self, attempt: u32, retention: Retention) -> Vec<Tag> {
        let mut tags = vec![
            Tag::new(MANAGED_BY, MANAGER),
            Tag::new(OWNER, self.new_owner()),
            Tag::new(ATTEMPT, attempt),
        ];
        tags.extend(retention.days().map(|days| Tag::new(RETENTION_DAYS, days)));
        tags
    }

    /// Whether what carries `tags` is ours.
    pub fn is_ours(&self, tags: &[Tag]) -> bool {
        let owned = match &self.owner {
            Some(owner) => owner_of(tags) == Some(owner),
            None => true,
        };
        owned && Tag::find(tags, MANAGED_BY) == Some(MANAGER)
    }

    /// Whether it has the very owner that a new one would get: two under one key are then one too many.
    pub fn is_own(&self, tags: &[Tag]) -> bool {
        owner_of(tags) == Some(self.new_owner())
    }

    /// The owner that a new cache is marked with.
    pub fn new_owner(&self) -> &str {
        self.owner.as_deref().unwrap_or(NO_INSTALLATION)
    }
}

/// Who made what carries `tags`.
pub fn owner_of(tags: &[Tag]) -> Option<&str> {
    Tag::find(tags, OWNER)
}

/// How often it was begun, this time included.
pub fn attempt(tags: &[Tag]) -> u32 {
    Tag::find(tags, ATTEMPT).and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// Days that it was asked to be kept; `None` is for ever.
pub fn retention_days(tags: &[Tag]) -> Option<u32> {
    Tag::find(tags, RETENTION_DAYS)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_marked_is_ours() {
        let mark = Mark::new(Some("cluster".to_owned()));
        let tags = mark.tags(2, Retention::Days(7));
        assert!(mark.is_ours(&tags) && mark.is_own(&tags) && mark.is_exclusive());
        assert_eq!((attempt(&tags), retention_days(&tags)), (2, Some(7)));
        assert_eq!(owner_of(&tags), Some("cluster"));
        // The command line sees every installation's, and would not call it its own.
        let cli = Mark::new(None);
        assert!(cli.is_ours(&tags) && !cli.is_own(&tags) && !cli.is_exclusive());
        let tags = cli.tags(1, Retention::Forever);
        assert!(cli.is_ours(&tags) && cli.is_own(&tags) && !mark.is_ours(&tags));
        assert_eq!((attempt(&[]), retention_days(&tags)), (1, None));
    }

    #[test]
    fn what_is_not_marked_is_not() {
        let mark = Mark::new(Some("cluster".to_owned()));
        let with = |key: &str, value: Option<&str>| {
            let mut tags = mark.tags(1, Retention::Forever);
            tags.retain(|tag| tag.key != key);
            tags.extend(value.map(|value| Tag::new(key, value)));
            tags
        };
        for (name, tags) in [
            ("no tags", Vec::new()),
            ("not managed by us", with(MANAGED_BY, None)),
            ("managed by another program", with(MANAGED_BY, Some("other"))),
            ("without owner", with(OWNER, None)),
            ("another installation's", with(OWNER, Some("other"))),
            ("an owner that begins like ours", with(OWNER, Some("cluster-2"))),
        ] {
            assert!(!mark.is_ours(&tags), "{name}");
        }
    }
}
