//! Stores filled with layers made of tars.

use std::collections::BTreeMap;

use imagecache_blocks::{
    DirectoryStore, LayerRecord, Part, PartRecord, SnapshotManifest, Store as _, VolumeContent, write_snapshot,
};
use imagecache_core::Digest;
use imagecache_erofs::{LayerOptions, write_layer};
use imagecache_fakes::image::{Compression, LayerBuilder};

/// A store in a temporary directory.
pub struct TestStore {
    pub store: DirectoryStore,
    pub dir: tempfile::TempDir,
}

impl TestStore {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = DirectoryStore::open(dir.path().join("store")).unwrap();
        Self { store, dir }
    }

    /// Makes a directory beside the store.
    pub fn mount_point(&self, name: &str) -> std::path::PathBuf {
        let path = self.dir.path().join(name);
        std::fs::create_dir(&path).unwrap();
        path
    }

    /// Writes a layer into the store.
    pub fn layer(&self, layer: LayerBuilder) -> LayerRecord {
        let tar = layer.build(Compression::None).blob.bytes.to_vec();
        let diff_id = Digest::sha256_of(&tar);
        if let Some(known) = self.store.layer(&diff_id).unwrap() {
            return known;
        }
        let mut writer = self.store.part_writer(&Part::Layer(diff_id.clone())).unwrap();
        let summary = write_layer(tar.as_slice(), &mut writer, &LayerOptions::default()).unwrap();
        let record = writer.publish(|blocks| {
            let mut record = LayerRecord::new(diff_id, blocks);
            record.tar_bytes = summary.tar_bytes;
            PartRecord::Layer(record)
        });
        match record.unwrap() {
            PartRecord::Layer(record) => record,
            PartRecord::Patch(_) => unreachable!(),
        }
    }

    /// A snapshot of these layers.
    pub fn snapshot(&self, layers: &[LayerRecord], previous: Option<&SnapshotManifest>) -> SnapshotManifest {
        let parts = layers.iter().cloned().map(|layer| PartRecord::Layer(layer).into()).collect();
        let content = VolumeContent { images: Vec::new(), blobs: BTreeMap::new(), parts };
        write_snapshot(&self.store, &content, previous).unwrap()
    }
}
