//! Images in an OCI layout directory.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use imagecache_core::{Digest, ErrorKind, ImageRef, Platform, Result};

use crate::blob_reader::BlobReader;
use crate::error::{fail, unreadable};
use crate::hash::verify;
use crate::image::{Blob, ResolvedImage};
use crate::manifest::{self, Descriptor, Document, IndexEntry};
use crate::media_type::clip;
use crate::registry::{MAX_CONFIG_BYTES, MAX_MANIFEST_BYTES};
use crate::resolve::{self, Parts};
use crate::select;
use crate::session::Origin;

/// Finds `tag` (or the only image) in the layout at `path`.
pub(crate) fn resolve(path: &Path, tag: Option<&str>, platform: &Platform) -> Result<ResolvedImage> {
    let name = format!("OCI layout `{}`", path.display());
    let top = read_capped(
        &path.join("index.json"),
        MAX_MANIFEST_BYTES,
        &format!("index of {name}"),
    )?;
    let Document::Index(entries) = manifest::parse_document(&top, None, &format!("index of {name}"))? else {
        return Err(fail(
            ErrorKind::InvalidSpec,
            "resolve",
            format!("index of {name} is not an index"),
        ));
    };
    let candidates: Vec<IndexEntry> = entries
        .into_iter()
        .filter(|entry| tag.is_none_or(|tag| is_called(entry, tag)))
        .collect();
    let chosen = match candidates.as_slice() {
        [] => {
            let tag = tag.map_or_else(String::new, |tag| format!(" `{}`", clip(tag)));
            return Err(fail(
                ErrorKind::NotFound,
                "resolve",
                format!("{name} has no image{tag}"),
            ));
        }
        [only] => only,
        // Several entries under one name are its platforms; without a name they may be different images.
        several if tag.is_some() || several.iter().all(|entry| entry.ref_name == several[0].ref_name) => {
            select::select(several, platform, &name)?
        }
        _ => {
            let message = format!("{name} holds {} images; say which by adding `:<tag>`", candidates.len());
            return Err(fail(ErrorKind::InvalidSpec, "resolve", message));
        }
    };
    let reference = reference(path, chosen, tag)?;
    let mut blob = read_blob(path, &chosen.descriptor, MAX_MANIFEST_BYTES, &name)?;
    let mut index = None;
    for _ in 0..=resolve::MAX_INDEX_DEPTH {
        let entries = match manifest::parse_document(&blob.bytes, Some(&blob.media_type), &name)? {
            Document::Manifest(manifest) => {
                let config = read_blob(path, &manifest.config, MAX_CONFIG_BYTES, &name)?;
                let parts = Parts {
                    reference,
                    index,
                    blob,
                    manifest,
                    config,
                };
                return resolve::finish(parts, platform, Arc::new(Origin::Layout(path.to_owned())));
            }
            Document::Index(entries) => entries,
        };
        let chosen = select::select(&entries, platform, &name)?.descriptor.clone();
        let next = read_blob(path, &chosen, MAX_MANIFEST_BYTES, &name)?;
        index.get_or_insert(std::mem::replace(&mut blob, next));
    }
    Err(fail(
        ErrorKind::Unsupported,
        "resolve",
        format!("{name} nests indexes too deeply"),
    ))
}

/// Opens a layer's blob.
pub(crate) fn open_blob(path: &Path, digest: &Digest, what: &str) -> Result<BlobReader> {
    let path = blob_path(path, digest);
    let failed = |error| unreadable("layer", &path, error, what);
    let file = File::open(&path).map_err(failed)?;
    // More than the manifest says is read too, so that the decoder can say that it is wrong.
    let left = file.metadata().map_err(failed)?.len();
    Ok(BlobReader::File { file, left })
}

fn read_blob(path: &Path, descriptor: &Descriptor, cap: usize, name: &str) -> Result<Blob> {
    let what = format!("blob {} of {name}", descriptor.digest);
    let bytes = read_capped(&blob_path(path, &descriptor.digest), cap, &what)?;
    verify(&bytes, &descriptor.digest, "resolve", &what)?;
    Ok(Blob {
        digest: descriptor.digest.clone(),
        media_type: descriptor.media_type.clone(),
        bytes,
    })
}

fn blob_path(path: &Path, digest: &Digest) -> std::path::PathBuf {
    // A digest is checked hexadecimal: it cannot leave the directory.
    path.join("blobs").join(digest.algorithm().as_str()).join(digest.hex())
}

fn read_capped(path: &Path, cap: usize, what: &str) -> Result<Vec<u8>> {
    let failed = |error| unreadable("resolve", path, error, what);
    let mut bytes = Vec::new();
    let limit = cap as u64 + 1;
    File::open(path)
        .map_err(failed)?
        .take(limit)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() > cap {
        return Err(fail(
            ErrorKind::Internal,
            "resolve",
            format!("{what} is larger than {cap} bytes"),
        ));
    }
    Ok(bytes)
}

/// Whether a layout's entry goes by `tag`: its ref name, or the tag or whole of its full name.
fn is_called(entry: &IndexEntry, tag: &str) -> bool {
    let full = |name: &String| name == tag || name.rsplit_once(':').is_some_and(|(_, end)| end == tag);
    entry.ref_name.as_deref() == Some(tag) || [&entry.ref_name, &entry.image_name].into_iter().flatten().any(full)
}

/// The image's name: what the layout says, else one made from the directory's name.
fn reference(path: &Path, entry: &IndexEntry, tag: Option<&str>) -> Result<ImageRef> {
    let named = [&entry.image_name, &entry.ref_name].into_iter().flatten();
    let full = named
        .filter(|name| name.contains(['/', ':']))
        .find_map(|name| ImageRef::parse(name).ok());
    if let Some(reference) = full {
        return Ok(reference);
    }
    local_reference(path, tag.or(entry.ref_name.as_deref()))
}

/// A name for an image that has none: `localhost/<file name>:<tag>`.
pub(crate) fn local_reference(path: &Path, tag: Option<&str>) -> Result<ImageRef> {
    let stem = path
        .file_stem()
        .map(|stem| stem.to_string_lossy().to_ascii_lowercase())
        .unwrap_or_default();
    let name: String = stem
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    let name = name
        .split('-')
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join("-");
    let name = if name.is_empty() { "image" } else { &name };
    let tagged = tag.and_then(|tag| ImageRef::parse(&format!("localhost/{name}:{tag}")).ok());
    match tagged {
        Some(reference) => Ok(reference),
        None => ImageRef::parse(&format!("localhost/{name}"))
            .map_err(|error| fail(ErrorKind::InvalidSpec, "resolve", error.to_string())),
    }
}
