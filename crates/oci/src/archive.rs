//! Images in a docker-archive: the tar file that `docker save` writes.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use imagecache_core::{Digest, ErrorKind, ImageRef, Platform, Result};
use serde::Deserialize;

use crate::blob_reader::BlobReader;
use crate::decode::{Compression, SNIFF_BYTES};
use crate::error::{fail, unreadable};
use crate::hash::Hasher;
use crate::image::{Blob, ResolvedImage};
use crate::layout::local_reference;
use crate::manifest::{self, Descriptor, Manifest};
use crate::media_type;
use crate::registry::{MAX_CONFIG_BYTES, MAX_MANIFEST_BYTES};
use crate::resolve::{self, Parts};
use crate::session::Origin;

/// Most files that an archive may hold: three for each layer of many images.
const MAX_ENTRIES: usize = 100_000;
/// Links that are followed from one entry; `docker save` makes one.
const MAX_LINKS: usize = 8;
/// How much is hashed at a time.
const HASH_CHUNK_BYTES: usize = 256 * 1024;

/// A part of a file.
#[derive(Clone, Debug)]
pub(crate) struct FilePart {
    path: PathBuf,
    offset: u64,
    size: u64,
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Item {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// An entry of the outer tar.
enum Entry {
    File(FilePart),
    Link(String),
}

impl FilePart {
    /// Opens the part for the decoder.
    pub(crate) fn open(&self, what: &str) -> Result<BlobReader> {
        let file = self
            .file()
            .map_err(|error| unreadable("resolve", &self.path, error, what))?;
        Ok(BlobReader::File { file, left: self.size })
    }

    fn file(&self) -> std::io::Result<File> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.offset))?;
        Ok(file)
    }

    fn bytes(&self, cap: usize, what: &str) -> Result<Vec<u8>> {
        if self.size > cap as u64 {
            return Err(fail(
                ErrorKind::Internal,
                "resolve",
                format!("{what} is larger than {cap} bytes"),
            ));
        }
        let mut bytes = Vec::new();
        let read = self
            .file()
            .and_then(|file| file.take(self.size).read_to_end(&mut bytes));
        read.map_err(|error| unreadable("resolve", &self.path, error, what))?;
        Ok(bytes)
    }

    /// Digest of the part, and how it is compressed.
    fn examine(&self, like: &Digest, what: &str) -> Result<(Digest, Compression)> {
        let failed = |error| unreadable("resolve", &self.path, error, what);
        let mut reader = self.file().map_err(failed)?.take(self.size);
        let mut head = Vec::new();
        reader
            .by_ref()
            .take(SNIFF_BYTES as u64)
            .read_to_end(&mut head)
            .map_err(failed)?;
        let compression = Compression::sniff(&head);
        if compression == Compression::None {
            // Reading the layer checks this digest; there is no need to read it twice.
            return Ok((like.clone(), compression));
        }
        let mut hasher = Hasher::like(like);
        hasher.update(&head);
        let mut buffer = vec![0; HASH_CHUNK_BYTES];
        loop {
            match reader.read(&mut buffer).map_err(failed)? {
                0 => return Ok((hasher.finish()?, compression)),
                count => hasher.update(buffer.get(..count).unwrap_or_default()),
            }
        }
    }
}

/// Finds `wanted` (or the only image) in the archive at `path`.
pub(crate) fn resolve(path: &Path, wanted: Option<&str>, platform: &Platform) -> Result<ResolvedImage> {
    let name = format!("docker-archive `{}`", path.display());
    let entries = scan(path, &name)?;
    let list = find(&entries, "manifest.json", &name)?.bytes(MAX_MANIFEST_BYTES, &name)?;
    let items: Vec<Item> = serde_json::from_slice(&list).map_err(|error| {
        fail(
            ErrorKind::InvalidSpec,
            "resolve",
            format!("{name} has a malformed list"),
        )
        .with_source(error)
    })?;
    let (item, reference) = choose(&items, wanted, path, &name)?;
    let config = find(&entries, &item.config, &name)?.bytes(MAX_CONFIG_BYTES, &name)?;
    let parsed = manifest::parse_config(&config, &format!("config of {name}"))?;
    if parsed.diff_ids.len() != item.layers.len() {
        let message = format!(
            "{name} is inconsistent: it has {} layers, its config {}",
            item.layers.len(),
            parsed.diff_ids.len()
        );
        return Err(fail(ErrorKind::Internal, "resolve", message));
    }
    let (mut layers, mut parts) = (Vec::new(), Vec::new());
    for (entry, diff_id) in item.layers.iter().zip(&parsed.diff_ids) {
        let part = find(&entries, entry, &name)?;
        let (digest, compression) = part.examine(diff_id, &name)?;
        let media_type = match compression {
            Compression::None => media_type::OCI_LAYER,
            Compression::Gzip => media_type::OCI_LAYER_GZIP,
            Compression::Zstd => media_type::OCI_LAYER_ZSTD,
        };
        layers.push(Descriptor {
            media_type: media_type.to_owned(),
            digest,
            size: part.size,
        });
        parts.push(part);
    }
    let config_digest = Digest::sha256_of(&config);
    let config_descriptor = Descriptor {
        media_type: media_type::OCI_CONFIG.to_owned(),
        digest: config_digest.clone(),
        size: config.len() as u64,
    };
    let manifest = Manifest {
        config: config_descriptor,
        layers,
    };
    let bytes = written(&manifest);
    let parts_of_image = Parts {
        reference,
        index: None,
        blob: Blob {
            digest: Digest::sha256_of(&bytes),
            media_type: media_type::OCI_MANIFEST.to_owned(),
            bytes,
        },
        manifest,
        config: Blob {
            digest: config_digest,
            media_type: media_type::OCI_CONFIG.to_owned(),
            bytes: config,
        },
    };
    resolve::finish(parts_of_image, platform, Arc::new(Origin::Archive(parts)))
}

/// The manifest that an archive does not have, always the same for the same image.
fn written(manifest: &Manifest) -> Vec<u8> {
    let descriptor = |d: &Descriptor| serde_json::json!({ "mediaType": d.media_type, "digest": d.digest.to_string(), "size": d.size });
    serde_json::json!({
        "schemaVersion": 2,
        "mediaType": media_type::OCI_MANIFEST,
        "config": descriptor(&manifest.config),
        "layers": manifest.layers.iter().map(descriptor).collect::<Vec<_>>(),
    })
    .to_string()
    .into_bytes()
}

fn choose(items: &[Item], wanted: Option<&str>, path: &Path, name: &str) -> Result<(Item, ImageRef)> {
    let parse = |text: &str| ImageRef::parse(text).ok();
    let tags = |item: &Item| item.repo_tags.clone().unwrap_or_default();
    match (wanted, items) {
        (Some(wanted), _) => {
            let reference = ImageRef::parse(wanted)
                .map_err(|error| fail(ErrorKind::InvalidSpec, "resolve", error.to_string()).with_source(error))?;
            let found = items
                .iter()
                .find(|item| tags(item).iter().any(|tag| parse(tag).as_ref() == Some(&reference)));
            let item = found.ok_or_else(|| {
                fail(
                    ErrorKind::NotFound,
                    "resolve",
                    format!("{name} has no image `{}`", media_type::clip(wanted)),
                )
            })?;
            Ok((item.clone(), reference))
        }
        (None, [only]) => {
            let reference = tags(only).iter().find_map(|tag| parse(tag));
            Ok((only.clone(), reference.map_or_else(|| local_reference(path, None), Ok)?))
        }
        (None, several) => {
            let message = format!(
                "{name} holds {} images; say which by adding `:<reference>`",
                several.len()
            );
            Err(fail(ErrorKind::InvalidSpec, "resolve", message))
        }
    }
}

/// Lists the archive without reading its layers.
fn scan(path: &Path, name: &str) -> Result<HashMap<String, Entry>> {
    let failed = |error| unreadable("resolve", path, error, name);
    let mut file = File::open(path).map_err(failed)?;
    let mut head = [0; SNIFF_BYTES];
    let compressed = file.read_exact(&mut head).is_ok() && Compression::sniff(&head) != Compression::None;
    if compressed {
        return Err(fail(
            ErrorKind::Unsupported,
            "resolve",
            format!("{name} is compressed as a whole; decompress it first"),
        ));
    }
    file.rewind().map_err(failed)?;
    let mut entries = HashMap::new();
    let mut archive = tar::Archive::new(file);
    for entry in archive.entries_with_seek().map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entries.len() >= MAX_ENTRIES {
            return Err(fail(
                ErrorKind::Internal,
                "resolve",
                format!("{name} holds more than {MAX_ENTRIES} files"),
            ));
        }
        let own = normal(&String::from_utf8_lossy(&entry.path_bytes()));
        let kind = entry.header().entry_type();
        if kind.is_file() {
            let part = FilePart {
                path: path.to_owned(),
                offset: entry.raw_file_position(),
                size: entry.size(),
            };
            entries.insert(own, Entry::File(part));
        } else if let Some(target) = entry.link_name_bytes() {
            let target = String::from_utf8_lossy(&target).into_owned();
            let parent = own.rsplit_once('/').map_or("", |(parent, _)| parent);
            let target = if kind.is_symlink() {
                format!("{parent}/{target}")
            } else {
                target
            };
            entries.insert(own, Entry::Link(normal(&target)));
        }
    }
    Ok(entries)
}

fn find(entries: &HashMap<String, Entry>, entry: &str, name: &str) -> Result<FilePart> {
    let mut current = normal(entry);
    for _ in 0..=MAX_LINKS {
        match entries.get(&current) {
            Some(Entry::File(part)) => return Ok(part.clone()),
            Some(Entry::Link(target)) => current.clone_from(target),
            None => break,
        }
    }
    Err(fail(
        ErrorKind::InvalidSpec,
        "resolve",
        format!("{name} has no file `{}`", media_type::clip(entry)),
    ))
}

/// A path without `.` and `..`: only names inside the archive are looked up, never files.
fn normal(path: &str) -> String {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}
