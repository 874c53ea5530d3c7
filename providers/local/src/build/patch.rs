//! Patches: what a layer needs from the layers below it.
//!
//! A layer image depends on its layer only, so a directory that the layer merely implies has default attributes there,
//! and a hard link to a file of a lower layer is left out. Where a chain wants something else, a small image right above
//! the layer brings it. Lower layers are asked one at a time, top first, as containerd does.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;

use imagecache_blocks::{
    DirectoryStore, Error as BlocksError, ImageRecord, LayerRecord, Part, PartRecord, PatchRecord, Store as _,
};
use imagecache_core::{ErrorKind, chain};
use imagecache_erofs::reader::{Image, Inode};
use imagecache_erofs::{Attributes, FileType, Limits, PatchContent, PatchFile, PatchOptions, write_patch};

use super::layer::uuid_of;
use crate::failure::Stop;

/// Xattr that hides everything below a directory.
const OPAQUE: &[u8] = b"trusted.overlay.opaque";
/// Attributes of this namespace belong to overlayfs, not to the content.
const OVERLAY_NAMESPACE: &[u8] = b"trusted.";

/// A layer below the one at hand.
struct Lower {
    image: Image<File>,
    /// Directories that the layer's own patch describes anew, by node of the layer's image.
    patched: BTreeMap<u64, Attributes>,
    patch: Option<Image<File>>,
}

/// Writes the patches that the image's chain needs and does not have; returns one slot for each layer.
pub(super) fn write_patches(
    store: &DirectoryStore,
    image: &ImageRecord,
    cancelled: &dyn Fn() -> bool,
) -> Result<Vec<Option<PatchRecord>>, Stop> {
    let mut patches: Vec<Option<PatchRecord>> = Vec::with_capacity(image.layers.len());
    for (number, reference) in image.layers.iter().enumerate() {
        if cancelled() {
            return Err(Stop::Cancelled);
        }
        let record = layer(store, image, number)?;
        let patch = if number == 0 && record.external_links.is_empty() || is_self_contained(&record) {
            None
        } else {
            match store.patch(&reference.chain_id) {
                Ok(Some(patch)) => Some(patch),
                Ok(None) | Err(BlocksError::Damaged { .. }) => write(store, image, number, &record)?,
                Err(error) => return Err(error.into()),
            }
        };
        patches.push(patch);
    }
    Ok(patches)
}

fn is_self_contained(record: &LayerRecord) -> bool {
    (record.implicit_directories.is_empty() || record.root_is_opaque) && record.external_links.is_empty()
}

fn layer(store: &DirectoryStore, image: &ImageRecord, number: usize) -> Result<LayerRecord, Stop> {
    let diff_id = image.layers.get(number).map(|layer| layer.diff_id.clone());
    let record = diff_id
        .as_ref()
        .map(|diff_id| store.layer(diff_id))
        .transpose()?
        .flatten();
    record.ok_or_else(|| {
        Stop::stalled(
            ErrorKind::Internal,
            format!("layer {} of {} vanished", number + 1, image.reference),
        )
    })
}

fn open(store: &DirectoryStore, part: &Part) -> Result<Image<File>, Stop> {
    let path = store.part_path(part);
    let file = File::open(&path).map_err(|error| BlocksError::io("open", &path, error))?;
    Image::open(file).map_err(|error| unreadable(store, part, &error))
}

/// A part that makes no sense is damaged: without it the next build fetches it again.
fn unreadable(store: &DirectoryStore, part: &Part, error: &imagecache_erofs::Error) -> Stop {
    let path = store.part_path(part);
    let removed = fs::metadata(&path)
        .map_err(|error| BlocksError::io("read", &path, error))
        .and_then(|meta| store.quarantine(part, Some(meta.ino())));
    if let Err(error) = removed {
        tracing::warn!(%part, error = &error as &dyn std::error::Error, "a damaged part stays in the store");
    }
    read_failure(part, error)
}

fn read_failure(part: &Part, error: &imagecache_erofs::Error) -> Stop {
    Stop::stalled(
        ErrorKind::Internal,
        format!("{part} in the store cannot be read: {}", chain(error)),
    )
}

/// Opens the layers below `number`, top first, down to one that hides the rest.
fn open_lowers(store: &DirectoryStore, image: &ImageRecord, number: usize) -> Result<Vec<Lower>, Stop> {
    let mut lowers = Vec::new();
    for below in (0..number).rev() {
        let Some(reference) = image.layers.get(below) else {
            continue;
        };
        let record = layer(store, image, below)?;
        let part = Part::Layer(reference.diff_id.clone());
        let opened = open(store, &part)?;
        let (mut patched, mut patch_image) = (BTreeMap::new(), None);
        if store.patch(&reference.chain_id)?.is_some() {
            let patch_part = Part::Patch(reference.chain_id.clone());
            let patch = open(store, &patch_part)?;
            for path in &record.implicit_directories {
                let found = opened.lookup(path).map_err(|error| unreadable(store, &part, &error))?;
                let anew = patch
                    .lookup(path)
                    .map_err(|error| unreadable(store, &patch_part, &error))?;
                if let (Some(inode), Some(anew)) = (found, anew) {
                    let attributes = patch
                        .attributes(&anew)
                        .map_err(|error| unreadable(store, &patch_part, &error))?;
                    patched.insert(inode.nid, attributes);
                }
            }
            patch_image = Some(patch);
        }
        lowers.push(Lower {
            image: opened,
            patched,
            patch: patch_image,
        });
        if record.root_is_opaque {
            break;
        }
    }
    Ok(lowers)
}

/// Writes the patch of layer `number`, if it needs one.
fn write(
    store: &DirectoryStore,
    image: &ImageRecord,
    number: usize,
    record: &LayerRecord,
) -> Result<Option<PatchRecord>, Stop> {
    let Some(reference) = image.layers.get(number) else {
        return Ok(None);
    };
    let what = format!("layer {} of image {}", number + 1, image.reference);
    let own_part = Part::Layer(reference.diff_id.clone());
    let own = open(store, &own_part)?;
    let lowers = if record.root_is_opaque {
        Vec::new()
    } else {
        open_lowers(store, image, number)?
    };
    let implicit: BTreeSet<&[u8]> = record.implicit_directories.iter().map(Vec::as_slice).collect();
    let read_error = |error: imagecache_erofs::Error| read_failure(&own_part, &error);

    // What a directory looks like in the chain: the layer's own word, else that of the layers below.
    let inherited = |path: &[u8]| -> Result<Option<Attributes>, Stop> {
        for lower in &lowers {
            match lower.image.resolve(path).map_err(read_error)? {
                Some(inode) if inode.file_type == FileType::Directory => {
                    return match lower.patched.get(&inode.nid) {
                        Some(attributes) => Ok(Some(attributes.clone())),
                        None => lower
                            .image
                            .attributes(&inode)
                            .map(content_attributes)
                            .map(Some)
                            .map_err(read_error),
                    };
                }
                Some(_) => return Ok(None),
                None => {}
            }
        }
        Ok(None)
    };
    let merged = |path: &[u8]| -> Result<Attributes, Stop> {
        let inode = own
            .lookup(path)
            .map_err(read_error)?
            .filter(|inode| inode.file_type == FileType::Directory);
        match inode {
            Some(inode) if !implicit.contains(path) => {
                own.attributes(&inode).map(content_attributes).map_err(read_error)
            }
            _ => Ok(inherited(path)?.unwrap_or_else(Attributes::directory)),
        }
    };

    let mut wanted: BTreeSet<Vec<u8>> = BTreeSet::new();
    for path in &record.implicit_directories {
        if inherited(path)?.is_some_and(|attributes| attributes != Attributes::directory()) {
            wanted.extend(with_parents(path));
        }
    }
    let links = group_links(record);
    let mut files = Vec::new();
    for (target, mut paths) in links {
        let missing = || {
            let shown = String::from_utf8_lossy(&target).into_owned();
            Stop::failed(
                ErrorKind::Unsupported,
                format!("{what}: a hard link points to {shown:?}, which does not exist"),
            )
        };
        let (source, inode) = find_file(&lowers, &target).map_err(read_error)?.ok_or_else(missing)?;
        // A layer that hides the target keeps it hidden; else both names become one file again.
        if own.lookup(&target).map_err(read_error)?.is_none() {
            paths.insert(0, target.clone());
        }
        for path in &paths {
            wanted.extend(with_parents(parent(path)));
        }
        let attributes = source
            .attributes(&inode)
            .map(content_attributes_of_file)
            .map_err(read_error)?;
        let content = match inode.file_type {
            FileType::Regular => PatchContent::Regular {
                size: inode.size,
                data: source.file(&inode),
            },
            _ => PatchContent::Special(special(source, &inode).map_err(read_error)?),
        };
        files.push(PatchFile {
            paths,
            attributes,
            content,
        });
    }
    if wanted.is_empty() && files.is_empty() {
        return Ok(None);
    }
    let directories = wanted.into_iter().map(|path| Ok((path.clone(), merged(&path)?)));
    let directories: Vec<(Vec<u8>, Attributes)> = directories.collect::<Result<_, Stop>>()?;

    let part = Part::Patch(reference.chain_id.clone());
    let mut writer = store.part_writer(&part)?;
    let options = PatchOptions {
        uuid: uuid_of(&reference.chain_id),
        limits: Limits::default(),
    };
    write_patch(&directories, files, &mut writer, &options).map_err(|error| match error {
        imagecache_erofs::Error::WriteImage(error) => BlocksError::io("write", store.part_path(&part), error).into(),
        other => Stop::failed(ErrorKind::Unsupported, format!("{what}: {}", chain(&other))),
    })?;
    let chain_id = reference.chain_id.clone();
    match writer.publish(|blocks| PartRecord::Patch(PatchRecord::new(chain_id, blocks)))? {
        PartRecord::Patch(record) => Ok(Some(record)),
        PartRecord::Layer(_) => Ok(None),
    }
}

/// Links by target: all names of one file.
fn group_links(record: &LayerRecord) -> BTreeMap<Vec<u8>, Vec<Vec<u8>>> {
    let mut groups: BTreeMap<Vec<u8>, Vec<Vec<u8>>> = BTreeMap::new();
    for (path, target) in &record.external_links {
        groups.entry(target.clone()).or_default().push(path.clone());
    }
    groups
}

/// A path and all directories above it, the root included.
fn with_parents(path: &[u8]) -> Vec<Vec<u8>> {
    let ends = path
        .iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b'/')
        .map(|(at, _)| at);
    let mut all: Vec<Vec<u8>> = ends.filter_map(|end| path.get(..end)).map(<[u8]>::to_vec).collect();
    all.push(Vec::new());
    all.push(path.to_vec());
    all
}

fn parent(path: &[u8]) -> &[u8] {
    path.iter()
        .rposition(|byte| *byte == b'/')
        .and_then(|at| path.get(..at))
        .unwrap_or_default()
}

/// Without what only overlayfs cares about.
fn content_attributes(mut attributes: Attributes) -> Attributes {
    attributes
        .xattrs
        .retain(|xattr| !xattr.name.starts_with(OVERLAY_NAMESPACE));
    attributes
}

fn content_attributes_of_file(attributes: Attributes) -> Attributes {
    content_attributes(attributes)
}

type Found<'a> = Option<(&'a Image<File>, Inode)>;

/// The file that the merged lower layers have at `path`.
fn find_file<'a>(lowers: &'a [Lower], path: &[u8]) -> imagecache_erofs::Result<Found<'a>> {
    for lower in lowers {
        for image in lower.patch.iter().chain([&lower.image]) {
            match image.resolve(path)? {
                Some(inode) if is_whiteout(&inode) || inode.file_type == FileType::Directory => return Ok(None),
                Some(_) => return Ok(lookup_or_resolve(image, path)?.map(|inode| (image, inode))),
                None => {}
            }
        }
        if hides(&lower.image, path)? {
            return Ok(None);
        }
    }
    Ok(None)
}

/// A link may name a symlink itself; only links on the way to it are followed.
fn lookup_or_resolve(image: &Image<File>, path: &[u8]) -> imagecache_erofs::Result<Option<Inode>> {
    match image.lookup(path)? {
        Some(inode) => Ok(Some(inode)),
        None => image.resolve(path),
    }
}

/// Whether the layer hides what layers below it have at `path`: a whiteout or an opaque directory on the way.
fn hides(image: &Image<File>, path: &[u8]) -> imagecache_erofs::Result<bool> {
    for above in with_parents(path) {
        let Some(inode) = image.lookup(&above)? else { continue };
        let opaque = || -> imagecache_erofs::Result<bool> {
            Ok(image
                .xattrs(&inode)?
                .iter()
                .any(|xattr| xattr.name == OPAQUE && xattr.value == b"y"))
        };
        if inode.file_type != FileType::Directory || opaque()? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn is_whiteout(inode: &Inode) -> bool {
    inode.file_type == FileType::CharDevice && inode.device == (0, 0)
}

/// A file without data, as the tree writer takes it.
fn special(image: &Image<File>, inode: &Inode) -> imagecache_erofs::Result<imagecache_erofs::Kind> {
    use imagecache_erofs::Kind;
    let (major, minor) = inode.device;
    Ok(match inode.file_type {
        FileType::Symlink => Kind::Symlink(image.read_link(inode)?),
        FileType::CharDevice => Kind::CharDevice { major, minor },
        FileType::BlockDevice => Kind::BlockDevice { major, minor },
        FileType::Socket => Kind::Socket,
        FileType::Regular | FileType::Directory | FileType::Fifo => Kind::Fifo,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_end_at_the_root() {
        for (path, expected) in [
            (&b""[..], vec![&b""[..], b""]),
            (b"a", vec![b"", b"a"]),
            (b"a/b/c", vec![b"a", b"a/b", b"", b"a/b/c"]),
        ] {
            assert_eq!(with_parents(path), expected, "{}", String::from_utf8_lossy(path));
        }
        assert_eq!((parent(b"a/b"), parent(b"a")), (&b"a"[..], &b""[..]));
    }
}
