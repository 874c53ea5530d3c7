//! A store on disk, a fake EBS, and volumes of layers that are noise.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use imagecache_blocks::{
    BlockDigest, CacheRecord, Collected, DirectoryStore, Durability, Extent, FinishedVolume, LayerRecord, Part,
    PartFeed, PartRecord, Published, RecordChange, Result, SnapshotManifest, SnapshotStore as _, Source, SpecRecord,
    Store as _, UnfinishedVolume, UploadProgress, UploadWatch, VolumeContent, VolumePart, export, write_snapshot,
};
use imagecache_core::{CacheId, CacheKey, CacheSpec, CacheState, Digest, ErrorKind, Failure, ImageRef, Phase};
use imagecache_ebs::{EbsConfig, EbsStore};
use imagecache_fakes::ebs::FakeEbs;
use jiff::Timestamp;

/// Bytes of a block.
pub const BLOCK: usize = 524_288;

/// Everything that a test needs.
pub struct Test {
    pub fake: FakeEbs,
    pub store: DirectoryStore,
    pub ebs: Arc<EbsStore>,
    directory: tempfile::TempDir,
}

fn open(fake: &FakeEbs, config: EbsConfig) -> Arc<EbsStore> {
    Arc::new(EbsStore::at_endpoint(
        config,
        &fake.endpoint(),
        fake.region(),
        fake.access_key(),
    ))
}

impl Test {
    pub async fn start() -> Self {
        let fake = FakeEbs::start().await.unwrap();
        let directory = tempfile::tempdir().unwrap();
        let store = DirectoryStore::open(directory.path()).unwrap();
        let ebs = open(&fake, EbsConfig::default());
        Self {
            fake,
            store,
            ebs,
            directory,
        }
    }

    /// What a new process has.
    pub fn restart(&mut self, edit: impl FnOnce(&mut EbsConfig)) {
        let mut config = EbsConfig::default();
        edit(&mut config);
        self.ebs = open(&self.fake, config);
        self.store = DirectoryStore::open(self.directory.path()).unwrap();
    }

    /// A volume of layers, each given by its seed and its number of blocks; the seed 0 is a layer of zeros.
    pub fn volume(&self, layers: &[(u64, usize)], previous: Option<&SnapshotManifest>) -> SnapshotManifest {
        let parts = layers.iter().map(|(seed, blocks)| self.layer(*seed, *blocks));
        let content = VolumeContent {
            parts: parts.collect(),
            ..VolumeContent::default()
        };
        write_snapshot(&self.store, &content, previous).unwrap()
    }

    /// A volume with a layer of one block at index `at`, and nothing before it but the first block.
    pub fn far_volume(&self, seed: u64, at: usize) -> SnapshotManifest {
        let layer = self.layer(seed, 1);
        let head = vec![7; BLOCK];
        let mut blocks = vec![BlockDigest::of(&[]); at + 1];
        blocks[0] = BlockDigest::of(&head);
        blocks[at] = layer.record.blocks().digests[0];
        let extent = |first_block: usize, source| Extent {
            first_block: first_block as u64,
            blocks: 1,
            source,
        };
        let extents = vec![extent(0, Source::Own), extent(at, Source::from(&layer.part))];
        let manifest = SnapshotManifest::new(blocks, extents, Digest::sha256_of(b"index"));
        self.store.put_snapshot(&manifest, &[(0, head)]).unwrap();
        manifest
    }

    fn layer(&self, seed: u64, blocks: usize) -> VolumePart {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut bytes = vec![0; blocks * BLOCK];
        if seed != 0 {
            random.fill(&mut bytes);
        }
        let diff_id = Digest::sha256_of(&bytes);
        let mut writer = self.store.part_writer(&Part::Layer(diff_id.clone())).unwrap();
        writer.write_all(&bytes).unwrap();
        writer
            .publish(|blocks| PartRecord::Layer(LayerRecord::new(diff_id, blocks)))
            .unwrap()
            .into()
    }

    /// Writes the record of a cache that is being built.
    pub fn record(&self, name: &str) -> CacheState {
        let spec = CacheSpec::new(vec![ImageRef::parse(name).unwrap()]);
        let key = CacheKey::new(name, &spec);
        let state = CacheState::requested(&key, &spec, Timestamp::UNIX_EPOCH);
        let record = CacheRecord::new(state.clone(), SpecRecord::from(&spec), "build".to_owned());
        self.store
            .update_record(&state.id, |current| match current {
                Some(_) => (RecordChange::Keep, ()),
                None => (RecordChange::Write(Box::new(record), Durability::Durable), ()),
            })
            .unwrap();
        state
    }

    /// Makes the cache Ready, as the provider does after publishing.
    pub fn ready(&self, name: &str, manifest: &SnapshotManifest, published: &Published) {
        let id = self.record(name).id;
        self.store
            .update_record(&id, |record| {
                let mut record = record.unwrap();
                record.state.phase = Phase::Ready;
                record.snapshot = Some(manifest.id.clone());
                record.published = Some(published.clone());
                (RecordChange::Write(Box::new(record), Durability::Durable), ())
            })
            .unwrap();
    }

    /// Makes the cache one that is never built under this key.
    pub fn fail(&self, name: &str) {
        let id = self.record(name).id;
        let failure = Failure {
            kind: ErrorKind::InvalidSpec,
            message: "the images need more room".to_owned(),
        };
        self.store
            .update_record(&id, |record| {
                let mut record = record.unwrap();
                record.state.phase = Phase::Failed(failure);
                (RecordChange::Write(Box::new(record), Durability::Durable), ())
            })
            .unwrap();
    }

    pub fn remove_record(&self, name: &str) {
        self.store
            .update_record(&self.record(name).id, |_| (RecordChange::Remove, ()))
            .unwrap();
    }

    /// Publishes, and stops as a kill would once `watch` says so.
    pub async fn publish_watched(
        &self,
        name: &str,
        manifest: &SnapshotManifest,
        previous: Option<(&SnapshotManifest, &Published)>,
        watch: Arc<dyn UploadWatch>,
    ) -> Result<Published> {
        let CacheState { id, key, .. } = self.record(name);
        let _lock = self.store.try_lock_cache(&id).unwrap().expect("one builds a cache");
        let (store, ebs, manifest) = (self.store.clone(), Arc::clone(&self.ebs), manifest.clone());
        let previous = previous.map(|(manifest, published)| (manifest.clone(), published.clone()));
        let work = move || {
            let volume = FinishedVolume {
                store: &store,
                manifest: &manifest,
                cache: &id,
                key: &key,
                previous: previous.as_ref().map(|(manifest, published)| (manifest, published)),
            };
            ebs.publish(&volume, watch.as_ref()).map(Option::unwrap)
        };
        tokio::task::spawn_blocking(work).await.unwrap()
    }

    pub async fn publish(&self, name: &str, manifest: &SnapshotManifest) -> Result<Published> {
        self.publish_watched(name, manifest, None, StopAfter::never()).await
    }

    /// Publishes on top of another volume, which a Ready cache has.
    pub async fn publish_on(
        &self,
        name: &str,
        manifest: &SnapshotManifest,
        previous: (&SnapshotManifest, &Published),
    ) -> Published {
        let ids = self.store.cache_ids().unwrap().into_iter();
        let mut records = ids.filter_map(|id| self.store.record(&id).unwrap());
        if !records.any(|record| record.published.as_ref() == Some(previous.1)) {
            self.ready(&format!("below:{}", previous.1.generation), previous.0, previous.1);
        }
        self.publish_watched(name, manifest, Some(previous), StopAfter::never())
            .await
            .unwrap()
    }

    /// Sends parts ahead, as the provider does while it builds others.
    pub async fn send_ahead(
        &self,
        name: &str,
        manifest: &SnapshotManifest,
        previous: Option<(&SnapshotManifest, &Published)>,
        feed: impl PartFeed + 'static,
    ) -> Result<()> {
        let CacheState { id, key, .. } = self.record(name);
        let _lock = self.store.try_lock_cache(&id).unwrap().expect("one builds a cache");
        let (store, ebs, index) = (self.store.clone(), Arc::clone(&self.ebs), manifest.index.clone());
        let previous = previous.map(|(manifest, published)| (manifest.clone(), published.clone()));
        let work = move || {
            let volume = UnfinishedVolume {
                store: &store,
                index: &index,
                cache: &id,
                key: &key,
                previous: previous.as_ref().map(|(manifest, published)| (manifest, published)),
            };
            ebs.send_ahead(&volume, &feed, StopAfter::never().as_ref())
        };
        tokio::task::spawn_blocking(work).await.unwrap()
    }

    /// Collects; how many snapshots were removed.
    pub async fn collect(&self) -> Result<usize> {
        self.collected().await.map(|collected| collected.removed)
    }

    pub async fn collected(&self) -> Result<Collected> {
        let (store, ebs) = (self.store.clone(), Arc::clone(&self.ebs));
        tokio::task::spawn_blocking(move || ebs.collect(&store)).await.unwrap()
    }

    /// Where the journal of a cache is.
    pub fn journal(&self, name: &str) -> std::path::PathBuf {
        self.directory
            .path()
            .join("uploads")
            .join(self.record(name).id.as_str())
            .with_extension("journal")
    }

    /// The blocks that the journal of a cache has as acknowledged.
    pub fn acknowledged(&self, name: &str) -> BTreeSet<u32> {
        let text = std::fs::read_to_string(self.journal(name)).unwrap();
        let index = |line: &str| line.split_once(' ')?.0.parse().ok();
        text.lines().filter_map(index).collect()
    }

    /// Every byte of the volume that a node would see is that of the directory.
    pub fn assert_equal(&self, published: &Published, manifest: &SnapshotManifest, name: &str) {
        assert_eq!(self.fake.snapshot(&published.id).unwrap().status, "completed", "{name}");
        let file = tempfile::NamedTempFile::new().unwrap();
        export(&self.store, &self.store, manifest, None, file.as_file(), file.path()).unwrap();
        let expected = file.as_file();
        for extent in &manifest.extents {
            for index in extent.first_block..extent.first_block + extent.blocks {
                let mut block = vec![0; BLOCK];
                expected.read_exact_at(&mut block, index * BLOCK as u64).unwrap();
                let found = self.fake.volume_block(&published.id, index as u32).unwrap();
                assert!(found == block, "{name}: block {index}");
            }
        }
    }
}

/// Cancels an upload once so many blocks are there.
pub struct StopAfter {
    limit: u64,
    done: AtomicU64,
}

impl StopAfter {
    pub fn blocks(limit: u64) -> Arc<Self> {
        Arc::new(Self {
            limit,
            done: AtomicU64::new(0),
        })
    }

    pub fn never() -> Arc<Self> {
        Self::blocks(u64::MAX)
    }
}

impl UploadWatch for StopAfter {
    fn is_cancelled(&self) -> bool {
        self.done.load(Ordering::Relaxed) >= self.limit
    }

    fn progress(&self, progress: UploadProgress) {
        self.done.store(progress.done, Ordering::Relaxed);
    }
}

/// The id under which a cache is known.
pub fn cache_id(test: &Test, name: &str) -> CacheId {
    test.record(name).id
}
