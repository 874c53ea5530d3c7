//! Deleting the snapshots of this store that nothing needs any more. The only place that deletes.
//!
//! A snapshot is needed when a cache record names it, when the journal of an unfinished cache claims it, or when a needed
//! snapshot lies on top of it. AWS says that data of a deleted snapshot stays as long as another one needs it; how the EBS
//! direct APIs treat a deleted parent of a *pending* snapshot is not documented, so parents stay.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use imagecache_blocks::{CacheRecord, Collected, DirectoryStore, Result};
use imagecache_core::Phase;

use crate::calls::Calls;
use crate::ec2::Described;
use crate::journal::{self, Header, Progress};
use crate::tags;

/// Removes what is not needed.
pub(crate) async fn collect(calls: &Calls, owner: &str, store: &DirectoryStore) -> Result<Collected> {
    // The order matters. A snapshot in this list had its journal before it was started; a journal goes away after the record
    // names the snapshot. So what is alive is seen in the journals, or then in the records. An upload may claim the snapshot of
    // another cache, and then looks whether that cache is still there; so a claim that is not in the journals that are read
    // after the records is of an upload that finds its cache gone.
    let listed = calls.tagged(tags::OWNER, owner).await?;
    let claims = Claims::read(store)?;
    let mut done = Collected::default();
    for id in unneeded(&listed, &claims) {
        match calls.delete(&id).await {
            Ok(()) => done.removed += 1,
            // One that is in use, for example by a machine image, must not keep the others.
            Err(error) => {
                done.left += 1;
                let error = &error as &dyn std::error::Error;
                tracing::warn!(snapshot = id, error, "an EBS snapshot cannot be deleted");
            }
        }
    }
    Ok(done)
}

/// Every journal: the cache's id, and what it claims.
type Journals = Vec<(String, Option<Header>, Progress)>;

/// What is needed.
#[derive(Debug, Default)]
struct Claims {
    snapshots: BTreeSet<String>,
    tokens: BTreeSet<String>,
}

impl Claims {
    /// Reads journals, records, and journals again, and removes journals that are done with. A record that cannot be read
    /// stops it all: what it needs is unknown.
    fn read(store: &DirectoryStore) -> Result<Self> {
        let uploads = store.uploads()?;
        Self::gather(store, &uploads, &mut || journal::all(&uploads))
    }

    /// The same with another way to read the journals in `uploads`.
    fn gather(store: &DirectoryStore, uploads: &Path, journals: &mut dyn FnMut() -> Result<Journals>) -> Result<Self> {
        let before = journals()?;
        let mut claims = Self::default();
        let mut unfinished = BTreeSet::new();
        for id in store.cache_ids()? {
            let Some(record) = store.record(&id)? else { continue };
            if goes_on(&record) {
                unfinished.insert(id.to_string());
            }
            if let Some(published) = record.published {
                claims.snapshots.insert(published.id);
                claims.snapshots.extend(published.parent);
            }
        }
        let after = journals()?;
        for (cache, header, progress) in before.into_iter().chain(after) {
            if !unfinished.contains(&cache) && remove_unused(store, uploads, &cache)? {
                continue;
            }
            claims.snapshots.extend(progress.snapshot.map(|started| started.id));
            claims.snapshots.extend(progress.shared);
            if let Some(header) = header {
                claims.tokens.insert(header.token);
                claims.snapshots.extend(header.parent.map(|parent| parent.published.id));
            }
        }
        Ok(claims)
    }
}

/// Whether the build of a cache may go on from its journal. A failed one never does.
fn goes_on(record: &CacheRecord) -> bool {
    !matches!(record.state.phase, Phase::Ready | Phase::Failed(_))
}

/// Removes the journal of a cache that is Ready, failed or gone, unless somebody builds the cache now: its record may be written
/// after the records were read.
fn remove_unused(store: &DirectoryStore, uploads: &Path, cache: &str) -> Result<bool> {
    // What is not named as a cache belongs to none.
    let Ok(id) = cache.parse() else {
        return journal::remove(uploads, cache).map(|()| true);
    };
    let Some(_lock) = store.try_lock_cache(&id)? else {
        return Ok(false);
    };
    if store.record(&id)?.is_some_and(|record| goes_on(&record)) {
        return Ok(false);
    }
    journal::remove(uploads, cache).map(|()| true)
}

/// Those of `listed` that nothing needs, children before their parents.
fn unneeded(listed: &[Described], claims: &Claims) -> Vec<String> {
    let parents: BTreeMap<&str, &str> = listed
        .iter()
        .filter_map(|snapshot| Some((snapshot.id.as_str(), snapshot.tags.get(tags::PARENT)?.as_str())))
        .collect();
    let claimed = listed.iter().filter(|snapshot| {
        let token = snapshot.tags.get(tags::UPLOAD);
        token.is_some_and(|token| claims.tokens.contains(token))
    });
    let mut needed: BTreeSet<&str> = claimed.map(|snapshot| snapshot.id.as_str()).collect();
    needed.extend(claims.snapshots.iter().map(String::as_str));
    let mut below: Vec<&str> = needed.iter().copied().collect();
    while let Some(id) = below.pop() {
        if let Some(parent) = parents.get(id)
            && needed.insert(parent)
        {
            below.push(parent);
        }
    }
    let mut unneeded: Vec<&str> = listed
        .iter()
        .map(|snapshot| snapshot.id.as_str())
        .filter(|id| !needed.contains(id))
        .collect();
    let depth = |id: &str| {
        std::iter::successors(Some(id), |id| parents.get(id).copied())
            .take(listed.len())
            .count()
    };
    unneeded.sort_by_key(|id| std::cmp::Reverse(depth(id)));
    unneeded.into_iter().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use imagecache_blocks::{Durability, RecordChange, SnapshotId, SpecRecord};
    use imagecache_core::{CacheId, CacheKey, CacheSpec, CacheState, Digest, ImageRef};
    use jiff::Timestamp;

    use super::*;
    use crate::journal::Journal;

    /// `id`, its parent, its token.
    fn snapshot((id, parent, token): &(&str, &str, &str)) -> Described {
        let tags = [(tags::PARENT, *parent), (tags::UPLOAD, *token)];
        let tags = tags.into_iter().filter(|(_, value)| !value.is_empty());
        Described {
            id: (*id).to_owned(),
            tags: tags.map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
            ..Described::default()
        }
    }

    #[test]
    fn what_nothing_needs_goes() {
        let lineage = [("a", "", ""), ("b", "a", ""), ("c", "b", "")];
        let pending = [("a", "", ""), ("p", "a", "t1"), ("q", "", "t2")];
        for (name, listed, ids, tokens, expected) in [
            (
                "nothing is needed",
                &lineage[..],
                &[][..],
                &[][..],
                &["c", "b", "a"][..],
            ),
            ("the youngest keeps all", &lineage, &["c"], &[], &[]),
            ("one in the middle keeps what lies below", &lineage, &["b"], &[], &["c"]),
            ("the oldest alone", &lineage, &["a"], &[], &["c", "b"]),
            ("a token claims, with the parent", &pending, &[], &["t1"], &["q"]),
            (
                "a strange token claims nothing",
                &pending,
                &[],
                &["t3"],
                &["p", "a", "q"],
            ),
            (
                "a circle of tags ends",
                &[("a", "b", ""), ("b", "a", "")],
                &["a"],
                &[],
                &[],
            ),
        ] {
            let listed: Vec<Described> = listed.iter().map(snapshot).collect();
            let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
            let claims = Claims {
                snapshots: texts(ids),
                tokens: texts(tokens),
            };
            assert_eq!(unneeded(&listed, &claims), expected, "{name}");
        }
    }

    /// A cache that is being built.
    fn building(store: &DirectoryStore, name: &str) -> CacheId {
        let spec = CacheSpec::new(vec![ImageRef::parse(name).unwrap()]);
        let state = CacheState::requested(&CacheKey::new(name, &spec), &spec, Timestamp::UNIX_EPOCH);
        let (id, record) = (state.id.clone(), SpecRecord::from(&spec));
        let record = CacheRecord::new(state, record, "build".to_owned());
        let change = |_| (RecordChange::Write(Box::new(record), Durability::Durable), ());
        store.update_record(&id, change).unwrap();
        id
    }

    /// An upload claims a snapshot after the journals were read, and the cache that had it goes before the records are.
    #[test]
    fn what_is_claimed_while_the_records_are_read_is_needed() {
        let dir = tempfile::tempdir().unwrap();
        let store = DirectoryStore::open(dir.path()).unwrap();
        let cache = building(&store, "other:1");
        let uploads = store.uploads().unwrap();
        let manifest = SnapshotId::of(0, &[]);
        let (index, at) = (Digest::sha256_of(b"index"), Timestamp::UNIX_EPOCH);
        let header = Header::new("token".to_owned(), index, Some(manifest), 1 << 30, None, at);
        let journal = Journal::create(&store, cache.as_str(), header).unwrap();
        let mut readings = 0;
        let mut journals = || {
            readings += 1;
            let found = journal::all(&uploads);
            journal.share(Some("snap-1"))?;
            found
        };
        let claims = Claims::gather(&store, &uploads, &mut journals).unwrap();
        assert_eq!(readings, 2);
        assert!(claims.snapshots.contains("snap-1"), "{claims:?}");
    }
}
