//! The caches of a provider by what they hold.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use jiff::Timestamp;

use super::holders::{Holders, Slot, as_index};
use super::score::Brief;
use super::{Held, RegistryAliases};
use crate::{CacheId, CacheKey, CacheState, Digest, ImageRef, Phase};

/// All caches, by image. Takes memory for what matching needs only: no events, no layers, no names of images.
#[derive(Debug, Default)]
pub struct MatchIndex {
    aliases: RegistryAliases,
    /// Makes terms; its secret key keeps anybody from choosing names that meet.
    hasher: RandomState,
    slots: Vec<Option<Indexed>>,
    /// What is asked of every candidate, close together.
    briefs: Vec<Brief>,
    /// In GiB, by slot; closer still.
    sizes: Vec<u32>,
    free: Vec<Slot>,
    by_key: HashMap<CacheKey, Slot>,
    by_id: HashMap<CacheId, Slot>,
    holders: HashMap<Term, Holders>,
}

/// A hash of a repository, or of a repository in one version. Of a million terms, two meet once in 30 million indexes; a
/// pod would then be given a cache that lacks one of its images, and pull it.
pub(super) type Term = u64;

/// What the index knows of a cache.
#[derive(Clone, Debug, PartialEq)]
pub struct Indexed {
    /// The id that users see.
    pub id: CacheId,
    /// The key it was made under.
    pub key: CacheKey,
    /// Where it is in its life.
    pub phase: Phase,
    /// Its size in GiB.
    pub size_gib: u32,
    /// When it was first asked for.
    pub created_at: Timestamp,
    /// When it will be removed by itself; `None` is never.
    pub expires_at: Option<Timestamp>,
    /// Sorted, each once.
    terms: Box<[Term]>,
}

impl MatchIndex {
    /// An empty index in which these registries mean the same.
    pub fn new(aliases: RegistryAliases) -> Self {
        Self {
            aliases,
            ..Self::default()
        }
    }

    /// How many caches there are.
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Whether there is no cache.
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// Takes a cache, or what is new of it. Cheap when it still has the same images.
    pub fn put(&mut self, state: &CacheState) {
        let fresh = self.indexed(state);
        if let Some(slot) = self.by_key.get(&state.key).copied() {
            let same = |known: &Indexed| known.id == fresh.id && known.terms == fresh.terms;
            if self.slot(slot).is_some_and(same) {
                self.fill(slot, fresh);
                return;
            }
            self.remove(&state.key);
        }
        self.insert(fresh);
    }

    /// Forgets a cache; one that is not there is no matter.
    pub fn remove(&mut self, key: &CacheKey) {
        let Some(slot) = self.by_key.remove(key) else { return };
        let Some(gone) = self.slots.get_mut(as_index(slot)).and_then(Option::take) else {
            return;
        };
        // Another cache may have the id by now, when it was put before this one was removed.
        if self.by_id.get(&gone.id) == Some(&slot) {
            self.by_id.remove(&gone.id);
        }
        for term in &gone.terms {
            if let Some(holders) = self.holders.get_mut(term) {
                holders.remove(slot, self.slots.len());
                if holders.is_empty() {
                    self.holders.remove(term);
                }
            }
        }
        self.free.push(slot);
    }

    /// The cache with this id, as users write it.
    pub fn get(&self, id: &str) -> Option<&Indexed> {
        let id = CacheId::from_vendor(id).ok()?;
        self.slot(*self.by_id.get(&id)?)
    }

    fn insert(&mut self, cache: Indexed) {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                // Four billion caches do not fit into memory; one that has no place is never chosen.
                let Ok(slot) = Slot::try_from(self.slots.len()) else {
                    return;
                };
                self.slots.push(None);
                self.briefs.push(Brief::default());
                self.sizes.push(0);
                slot
            }
        };
        for term in &cache.terms {
            self.holders.entry(*term).or_default().insert(slot, self.slots.len());
        }
        self.by_key.insert(cache.key.clone(), slot);
        self.by_id.insert(cache.id.clone(), slot);
        self.fill(slot, cache);
    }

    fn fill(&mut self, slot: Slot, cache: Indexed) {
        let at = as_index(slot);
        let places = (self.slots.get_mut(at), self.briefs.get_mut(at), self.sizes.get_mut(at));
        if let (Some(place), Some(brief), Some(size)) = places {
            *brief = Brief::of(&cache);
            *size = cache.size_gib;
            *place = Some(cache);
        }
    }

    pub(super) fn slot(&self, slot: Slot) -> Option<&Indexed> {
        self.slots.get(as_index(slot))?.as_ref()
    }

    /// By slot; of a slot that is free, what was there before.
    pub(super) fn briefs(&self) -> &[Brief] {
        &self.briefs
    }

    /// Sizes in GiB, by slot.
    pub(super) fn sizes(&self) -> &[u32] {
        &self.sizes
    }

    /// The caches with this term, if any.
    pub(super) fn holders(&self, term: Term) -> Option<&Holders> {
        self.holders.get(&term)
    }

    /// The term of an image in any version.
    pub(super) fn repository(&self, image: &ImageRef) -> Term {
        self.term(image, "", "")
    }

    /// The term of an image in the version that it names: the digest when it has one, since that names the content.
    pub(super) fn version(&self, image: &ImageRef) -> Option<Term> {
        match (image.digest(), image.tag()) {
            (Some(digest), _) => Some(self.with_digest(image, digest)),
            (None, Some(tag)) => Some(self.with_tag(image, tag)),
            (None, None) => None,
        }
    }

    /// What `cache` holds of `image`.
    pub(super) fn held(&self, cache: &Indexed, image: &ImageRef) -> Held {
        if self.version(image).is_some_and(|version| cache.has(version)) {
            Held::Exactly
        } else if cache.has(self.repository(image)) {
            Held::OtherVersion
        } else {
            Held::No
        }
    }

    fn with_digest(&self, image: &ImageRef, digest: &Digest) -> Term {
        self.term(image, digest.algorithm().as_str(), digest.hex())
    }

    fn with_tag(&self, image: &ImageRef, tag: &str) -> Term {
        self.term(image, "", tag)
    }

    fn term(&self, image: &ImageRef, kind: &str, version: &str) -> Term {
        let registry = self.aliases.canonical(image.registry());
        self.hasher.hash_one((registry, image.repository(), kind, version))
    }

    fn indexed(&self, state: &CacheState) -> Indexed {
        let mut terms = Vec::with_capacity(4 * state.images.len());
        for image in &state.images {
            terms.push(self.repository(image));
            terms.extend(image.tag().map(|tag| self.with_tag(image, tag)));
            terms.extend(image.digest().map(|digest| self.with_digest(image, digest)));
        }
        for found in &state.resolved {
            let digests = [Some(&found.manifest), found.index.as_ref()];
            terms.extend(
                digests
                    .into_iter()
                    .flatten()
                    .map(|digest| self.with_digest(&found.reference, digest)),
            );
        }
        terms.sort_unstable();
        terms.dedup();
        Indexed {
            id: state.id.clone(),
            key: state.key.clone(),
            phase: state.phase.clone(),
            size_gib: state.size_gib,
            created_at: state.created_at,
            expires_at: state.expires_at,
            terms: terms.into(),
        }
    }
}

impl Indexed {
    fn has(&self, term: Term) -> bool {
        self.terms.binary_search(&term).is_ok()
    }
}
