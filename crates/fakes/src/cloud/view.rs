//! Image caches as a test looks at them, and those that it puts there.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;

/// One image cache, as a test looks at it.
#[derive(Clone, PartialEq, Eq)]
pub struct CacheView {
    /// `imc-…`
    pub id: String,
    /// Its name.
    pub name: String,
    /// `Preparing`, `Ready`, … in the vendor's words.
    pub status: String,
    /// In the order they were given.
    pub tags: Vec<(String, String)>,
    /// In the order they were given.
    pub images: Vec<String>,
    /// GiB.
    pub size: u64,
    /// When it was made.
    pub created: Timestamp,
    /// When it goes by itself.
    pub expires_at: Option<Timestamp>,
    /// Messages of its events, oldest first.
    pub events: Vec<String>,
    /// Its snapshot, once there is one.
    pub snapshot: Option<String>,
    /// The public address of its build, where addresses are things of their own.
    pub eip: Option<String>,
    /// All parameters of the call that made it, registry passwords too; what is not a text is JSON.
    pub parameters: BTreeMap<String, String>,
}

impl fmt::Debug for CacheView {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, name, status, .. } = self;
        write!(
            formatter,
            "CacheView({id} {name} {status}, {:?}, {:?})",
            self.images, self.tags
        )
    }
}

/// A Ready cache that somebody else made.
#[derive(Clone, Copy, Debug, Default)]
pub struct Foreign<'a> {
    /// Its name; automatic caches of some services have none.
    pub name: &'a str,
    /// Its tags.
    pub tags: &'a [(&'a str, &'a str)],
    /// Whether the service made it by itself.
    pub automatic: bool,
}

impl<'a> Foreign<'a> {
    /// One that somebody made by hand and tagged for themselves.
    pub fn named(name: &'a str) -> Self {
        Self {
            name,
            tags: &[("team", "somebody-else")],
            automatic: false,
        }
    }

    pub(crate) fn owned_tags(&self) -> Vec<(String, String)> {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        self.tags.iter().map(owned).collect()
    }
}
