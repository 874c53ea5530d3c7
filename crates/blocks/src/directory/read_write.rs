//! The directory as a [`Store`].

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use imagecache_core::Digest;
use serde::de::DeserializeOwned;

use super::files::{create_directory, read_optional, sync_directory};
use super::scratch::crash_point;
use super::{BLOBS, DirectoryStore, Durability, SNAPSHOTS};
use crate::block::Blocks;
use crate::error::{Error, IoContext as _, Result};
use crate::part::Part;
use crate::record::{LayerRecord, PatchRecord, RECORD_VERSION};
use crate::snapshot::{SnapshotId, SnapshotManifest};
use crate::store::{PartSink, ReadAt, Store};

const MANIFEST_FILE: &str = "manifest.json";
const OWN_FILE: &str = "volume.erofs";

impl Store for DirectoryStore {
    fn location(&self) -> String {
        self.root().display().to_string()
    }

    fn layer(&self, diff_id: &Digest) -> Result<Option<LayerRecord>> {
        let part = Part::Layer(diff_id.clone());
        self.part_record(&part, |record: &LayerRecord| {
            (record.version, record.diff_id.clone(), record.blocks.clone())
        })
    }

    fn patch(&self, chain_id: &Digest) -> Result<Option<PatchRecord>> {
        let part = Part::Patch(chain_id.clone());
        self.part_record(&part, |record: &PatchRecord| {
            (record.version, record.chain_id.clone(), record.blocks.clone())
        })
    }

    fn open_part(&self, part: &Part) -> Result<Box<dyn ReadAt>> {
        let path = self.part_path(part);
        Ok(Box::new(File::open(&path).at("open", &path)?))
    }

    fn create_part(&self, part: &Part) -> Result<Box<dyn PartSink>> {
        Ok(Box::new(self.part_writer(part)?))
    }

    fn blob(&self, digest: &Digest) -> Result<Option<Vec<u8>>> {
        let path = self.blob_path(digest);
        let Some(bytes) = read_optional(&path)? else {
            return Ok(None);
        };
        check_digest(&bytes, digest).map_err(|reason| Error::damaged(&path, reason))?;
        Ok(Some(bytes))
    }

    fn put_blob(&self, digest: &Digest, bytes: &[u8]) -> Result<()> {
        // A blob of the same name that reads well is the same blob.
        if matches!(self.blob(digest), Ok(Some(_))) {
            return Ok(());
        }
        let path = self.blob_path(digest);
        if let Some(parent) = path.parent() {
            create_directory(parent)?;
        }
        self.write_file(&path, bytes, Durability::Durable)
    }

    fn snapshot(&self, id: &SnapshotId) -> Result<Option<SnapshotManifest>> {
        let path = self.snapshot_path(id).join(MANIFEST_FILE);
        let Some(bytes) = read_optional(&path)? else {
            return Ok(None);
        };
        let manifest: SnapshotManifest =
            serde_json::from_slice(&bytes).map_err(|error| Error::damaged(&path, error.to_string()))?;
        match manifest.problem() {
            None if manifest.id == *id => Ok(Some(manifest)),
            None => Err(Error::damaged(path, format!("it describes {}", manifest.id))),
            Some(problem) => Err(Error::damaged(path, problem)),
        }
    }

    fn open_own(&self, id: &SnapshotId) -> Result<Box<dyn ReadAt>> {
        let path = self.own_path(id);
        Ok(Box::new(File::open(&path).at("open", &path)?))
    }

    fn put_snapshot(&self, manifest: &SnapshotManifest, own: &[(u64, Vec<u8>)]) -> Result<()> {
        let target = self.snapshot_path(&manifest.id);
        let directory = self.scratch()?.file();
        fs::create_dir(&directory).at("create", &directory)?;
        let path = directory.join(OWN_FILE);
        let written = File::create_new(&path).and_then(|file| {
            for (offset, bytes) in own {
                file.write_all_at(bytes, *offset)?;
            }
            file.set_len(manifest.volume_bytes)?;
            file.sync_all()
        });
        written.map_err(|error| {
            let needed = own.iter().map(|(_, bytes)| bytes.len() as u64).sum();
            Error::io_needing("write", self.own_path(&manifest.id), error, Some(needed))
        })?;
        let json = serde_json::to_vec(manifest).map_err(|error| Error::damaged(&target, error.to_string()))?;
        self.write_file(&directory.join(MANIFEST_FILE), &json, Durability::Durable)?;
        crash_point("snapshot written");
        // The same id is the same content; an old one may still be damaged, so the new one takes its place.
        let old = self.scratch()?.file();
        match fs::rename(&target, &old) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(Error::io("replace", target, error)),
            _ => {}
        }
        fs::rename(&directory, &target).at("publish", &target)?;
        crash_point("snapshot renamed");
        if old.exists() {
            fs::remove_dir_all(&old).at("remove", &old)?;
        }
        sync_directory(&self.path(SNAPSHOTS))
    }
}

impl DirectoryStore {
    /// The image file of a part.
    pub fn part_path(&self, part: &Part) -> PathBuf {
        self.path(part.image_path())
    }

    /// The file with a volume's own bytes.
    pub fn own_path(&self, id: &SnapshotId) -> PathBuf {
        self.snapshot_path(id).join(OWN_FILE)
    }

    /// Reads a file at the top of the store or volume, for example `index.json`.
    pub fn top_file(&self, name: &str) -> Result<Vec<u8>> {
        let path = self.path(name);
        fs::read(&path).at("read", path)
    }

    pub(crate) fn snapshot_path(&self, id: &SnapshotId) -> PathBuf {
        self.path(SNAPSHOTS).join(id.as_str())
    }

    pub(crate) fn blob_path(&self, digest: &Digest) -> PathBuf {
        [BLOBS, digest.algorithm().as_str(), digest.hex()]
            .iter()
            .fold(self.root().to_owned(), |path, name| path.join(name))
    }

    /// Reads the record of a part and checks it against its name; an image of another length is damage.
    fn part_record<R: DeserializeOwned>(
        &self,
        part: &Part,
        facts: impl FnOnce(&R) -> (u32, Digest, Blocks),
    ) -> Result<Option<R>> {
        let path = self.path(part.record_path());
        let Some(bytes) = read_optional(&path)? else {
            return Ok(None);
        };
        let record: R = serde_json::from_slice(&bytes).map_err(|error| Error::damaged(&path, error.to_string()))?;
        let (version, digest, blocks) = facts(&record);
        if version != RECORD_VERSION {
            return Err(Error::damaged(
                path,
                format!("its version is {version}, known is {RECORD_VERSION}"),
            ));
        }
        if digest != *part.digest() || !blocks.is_consistent() {
            return Err(Error::damaged(path, "it does not fit its name or its length"));
        }
        let image = self.part_path(part);
        match fs::metadata(&image) {
            Ok(meta) if meta.len() == blocks.bytes => Ok(Some(record)),
            Ok(meta) => {
                let reason = format!("it has {} bytes, its record says {}", meta.len(), blocks.bytes);
                Err(Error::damaged(image, reason))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Error::damaged(image, "it is missing")),
            Err(error) => Err(Error::io("read", image, error)),
        }
    }
}

/// Compares bytes with their digest, whatever its algorithm.
pub(crate) fn check_digest(bytes: &[u8], digest: &Digest) -> Result<(), String> {
    use sha2::Digest as _;
    let found = match digest.algorithm() {
        imagecache_core::DigestAlgorithm::Sha256 => hex::encode(sha2::Sha256::digest(bytes)),
        imagecache_core::DigestAlgorithm::Sha512 => hex::encode(sha2::Sha512::digest(bytes)),
    };
    if found == digest.hex() {
        Ok(())
    } else {
        Err(format!("its digest is {found}, not {}", digest.hex()))
    }
}
