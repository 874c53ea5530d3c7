//! Small images and caches to put into stores.

use std::collections::BTreeMap;

use imagecache_blocks::{
    CacheRecord, DirectoryStore, Durability, ImageRecord, LayerRecord, LayerReference, Part, PartRecord, RecordChange,
    References, SnapshotManifest, SpecRecord, Store as _, VolumeContent, VolumePart, chain_ids, write_snapshot,
};
use imagecache_core::{CacheId, CacheKey, CacheSpec, CacheState, Digest, ImageRef, Phase, Platform, Progress};
use imagecache_erofs::{LayerOptions, write_layer};

/// A file of a layer: path and content. A path that ends in `/` is a directory.
pub type File<'a> = (&'a str, Vec<u8>);

/// A tar of files.
pub fn tar_of(files: &[File<'_>]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(if path.ends_with('/') { 0o755 } else { 0o644 });
        header.set_entry_type(if path.ends_with('/') {
            tar::EntryType::Directory
        } else {
            tar::EntryType::Regular
        });
        builder.append_data(&mut header, path, content.as_slice()).unwrap();
    }
    builder.into_inner().unwrap()
}

/// Writes a layer as a provider does and returns its record.
pub fn put_layer(store: &DirectoryStore, files: &[File<'_>]) -> LayerRecord {
    let tar = tar_of(files);
    let diff_id = Digest::sha256_of(&tar);
    let mut writer = store.part_writer(&Part::Layer(diff_id.clone())).unwrap();
    let summary = write_layer(tar.as_slice(), &mut writer, &LayerOptions::default()).unwrap();
    let record = writer.publish(|blocks| {
        assert_eq!(blocks.bytes, summary.image_bytes);
        PartRecord::Layer(LayerRecord {
            tar_bytes: summary.tar_bytes,
            ..LayerRecord::new(diff_id, blocks)
        })
    });
    match record.unwrap() {
        PartRecord::Layer(record) => record,
        PartRecord::Patch(_) => unreachable!(),
    }
}

/// An image of these layers, with its manifest and config put into the store.
pub fn put_image(
    store: &DirectoryStore,
    name: &str,
    layers: &[&LayerRecord],
) -> (ImageRecord, BTreeMap<Digest, Vec<u8>>) {
    let diff_ids: Vec<Digest> = layers.iter().map(|layer| layer.diff_id.clone()).collect();
    let listed: Vec<String> = diff_ids.iter().map(|id| format!("\"{id}\"")).collect();
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
        listed.join(",")
    );
    let config_digest = Digest::sha256_of(config.as_bytes());
    let manifest = format!(r#"{{"schemaVersion":2,"config":{{"digest":"{config_digest}"}},"name":"{name}"}}"#);
    let manifest_digest = Digest::sha256_of(manifest.as_bytes());
    let blobs = BTreeMap::from([
        (config_digest.clone(), config.into_bytes()),
        (manifest_digest.clone(), manifest.clone().into_bytes()),
    ]);
    for (digest, bytes) in &blobs {
        store.put_blob(digest, bytes).unwrap();
    }
    let layers = diff_ids
        .iter()
        .zip(chain_ids(&diff_ids))
        .map(|(diff_id, chain_id)| LayerReference {
            diff_id: diff_id.clone(),
            chain_id,
            blob: diff_id.clone(),
            blob_bytes: 1,
        });
    let record = ImageRecord {
        reference: ImageRef::parse(name).unwrap(),
        media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
        manifest: manifest_digest,
        manifest_bytes: manifest.len() as u64,
        index: None,
        public: false,
        config: config_digest,
        platform: Platform::linux("amd64"),
        layers: layers.collect(),
    };
    (record, blobs)
}

/// What a volume of this one image holds.
pub fn content(store: &DirectoryStore, name: &str, layers: &[&LayerRecord]) -> VolumeContent {
    let (image, blobs) = put_image(store, name, layers);
    let parts = layers
        .iter()
        .map(|layer| VolumePart::from(PartRecord::Layer((*layer).clone())));
    VolumeContent {
        images: vec![image],
        blobs,
        parts: parts.collect(),
        head: None,
    }
}

/// A Ready cache of one image.
pub fn put_cache(store: &DirectoryStore, name: &str, layers: &[&LayerRecord]) -> (CacheId, SnapshotManifest) {
    let content = content(store, name, layers);
    let manifest = write_snapshot(store, &content, None).unwrap();
    let id = put_record(store, name, |record| {
        record.images = content.images;
        record.references = References::of(&record.images);
        record.snapshot = Some(manifest.id.clone());
        record.state.phase = Phase::Ready;
    });
    (id, manifest)
}

/// The record of a cache for `name`.
pub fn put_record(store: &DirectoryStore, name: &str, edit: impl FnOnce(&mut CacheRecord)) -> CacheId {
    let spec = CacheSpec::new(vec![ImageRef::parse(name).unwrap()]);
    let key = CacheKey::new(name, &spec);
    let id = CacheId::for_key(&key);
    let state = CacheState {
        key,
        id: id.clone(),
        display_name: None,
        phase: Phase::Pending,
        progress: Progress::ZERO,
        activity: None,
        images: spec.images.clone(),
        resolved: vec![],
        size_gib: 20,
        content_bytes: None,
        snapshot_id: None,
        created_at: jiff::Timestamp::UNIX_EPOCH,
        updated_at: jiff::Timestamp::UNIX_EPOCH,
        expires_at: None,
        events: vec![],
        layers: vec![],
    };
    let mut record = CacheRecord::new(state, SpecRecord::from(&spec), "build".to_owned());
    edit(&mut record);
    let change = RecordChange::Write(Box::new(record), Durability::Durable);
    store.update_record(&id, |_| (change, ())).unwrap();
    id
}

/// Bytes that no compression or hole would hide.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    std::iter::repeat_with(|| random.u8(..)).take(length).collect()
}

/// A temporary store.
pub fn store() -> (tempfile::TempDir, DirectoryStore) {
    let directory = tempfile::tempdir().unwrap();
    let store = DirectoryStore::open(directory.path()).unwrap();
    (directory, store)
}
