//! Mounting what a directory store holds, read-only: volumes, and root filesystems of images. Needs root.
//!
//! No byte is copied but a volume's few own blocks. A mount keeps its files open, so deleting a cache does not disturb
//! it, and nothing but the mount itself has to be undone: loop devices and staging directories are gone or go with it.

mod backing;
mod staging;
mod table;

use std::ffi::CString;
use std::fs::File;
use std::path::Path;

use imagecache_erofs::{Device, header_blocks, multi_device_superblock};
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, UnmountFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, unmount,
};

use crate::content::ImageStack;
use crate::directory::DirectoryStore;
use crate::error::{Error, IoContext as _, Result};
use crate::part::Part;
use crate::snapshot::{SnapshotManifest, Source};
use crate::store::read_full;
use backing::{Backed, Backing};
use staging::Staging;

/// What our overlay mounts are called in the mount table.
const OVERLAY_SOURCE: &str = "imagecache";
/// mount(2) takes one page of options, the terminating NUL included.
const MAX_OPTION_BYTES: usize = 4095;
/// Block of the filesystem, as device tables count.
const SMALL_BLOCK: u64 = imagecache_erofs::BLOCK_BYTES;

/// Mounts a volume on the existing directory `target`.
///
/// The volume's own bytes come from the store, the layers from their images, which serve as extra devices of one EROFS
/// filesystem (Linux 5.16 or newer).
///
/// # Errors
///
/// When `target` is no directory or already a mount point, when the process may not mount, or the kernel cannot.
pub fn mount_volume(store: &DirectoryStore, manifest: &SnapshotManifest, target: &Path) -> Result<()> {
    table::check_target(target)?;
    let staging = Staging::new()?;
    let primary = staging.path("volume");
    let parts: Vec<(Part, &crate::snapshot::Extent)> = manifest.parts().collect();
    write_primary(store, manifest, &parts, &primary)?;
    with_either_backing(target, |backing| {
        let volume = backing.attach(&primary)?;
        let mut devices = Vec::with_capacity(parts.len());
        for (number, (part, _)) in parts.iter().enumerate() {
            // fsconfig(2) takes 255 bytes a value; a store may be anywhere.
            let link = staging.link(number, &store.part_path(part))?;
            devices.push(backing.attach(&link)?);
        }
        mount_erofs(&volume, &devices, MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOSUID, target)
    })
}

/// Mounts the root filesystem of an image on the existing directory `target`: its layers, stacked by overlayfs.
///
/// # Errors
///
/// As [`mount_volume`]; any Linux from 5.4 on will do.
pub fn mount_image(store: &DirectoryStore, stack: &ImageStack, target: &Path) -> Result<()> {
    table::check_target(target)?;
    let staging = Staging::new()?;
    with_either_backing(target, |backing| {
        // Drops in reverse order of mounting; overlayfs has its own references by then.
        let mut layers = Vec::with_capacity(stack.parts.len());
        for (number, part) in stack.parts.iter().enumerate() {
            let image = backing.attach(&store.part_path(part))?;
            let place = staging.layer(number)?;
            mount_erofs(&image, &[], MountAttrFlags::empty(), place.path())?;
            layers.push(place.mounted());
        }
        // Overlayfs wants two lower directories, and hides whiteouts only where it merges.
        let empty = staging.layer(stack.parts.len())?;
        let lower: Vec<&Path> = layers.iter().map(|layer| layer.path()).chain([empty.path()]).collect();
        mount_overlay(&lower, target)
    })
}

/// Undoes [`mount_volume`] or [`mount_image`], whichever store it was from.
///
/// # Errors
///
/// When `target` is no mount of this program, or a process still uses it.
pub fn umount(target: &Path) -> Result<()> {
    table::check_ours(target)?;
    match unmount(target, UnmountFlags::empty()) {
        Err(Errno::BUSY) => Err(Error::Unsupported(format!(
            "{} is in use: a process has files open in it or works there; stop it and try again",
            target.display()
        ))),
        other => other.at("unmount", target),
    }
}

/// Tries plain files first; where the kernel cannot mount those (before 6.12, or too deep a stack), loop devices.
fn with_either_backing(target: &Path, mount: impl Fn(Backing) -> Result<()>) -> Result<()> {
    match mount(Backing::File) {
        Err(Error::Io { source, .. })
            if [Errno::NOTBLK, Errno::INVAL, Errno::NODEV]
                .iter()
                .any(|errno| source.raw_os_error() == Some(errno.raw_os_error())) =>
        {
            tracing::debug!(target = %target.display(), error = %source, "no file-backed mount, using loop devices");
            mount(Backing::Loop)
        }
        other => other,
    }
}

/// Writes the primary device: the volume's own blocks, with a header that names the parts as devices. Sparse.
fn write_primary(
    store: &DirectoryStore,
    manifest: &SnapshotManifest,
    parts: &[(Part, &crate::snapshot::Extent)],
    path: &Path,
) -> Result<()> {
    use std::os::unix::fs::FileExt as _;

    let too_large = || Error::Unsupported(format!("{} is too large to mount", manifest.id));
    let small = |blocks: u64| u32::try_from(blocks).map_err(|_| too_large());
    let own_path = store.own_path(&manifest.id);
    let own = File::open(&own_path).at("open", &own_path)?;
    let out = File::create_new(path).at("create", path)?;
    out.set_len(manifest.volume_bytes).at("write", path)?;
    let mut buffer = vec![0; usize::try_from(crate::BLOCK_BYTES).map_err(|_| too_large())?];
    for extent in manifest.extents.iter().filter(|extent| extent.source == Source::Own) {
        for block in extent.first_block..extent.first_block + extent.blocks {
            let offset = block * crate::BLOCK_BYTES;
            own.read_exact_at(&mut buffer, offset).at("read", &own_path)?;
            out.write_all_at(&buffer, offset).at("write", path)?;
        }
    }
    let mut devices = Vec::with_capacity(parts.len());
    for (part, extent) in parts {
        let image = store.part_path(part);
        let bytes = std::fs::metadata(&image).at("read", &image)?.len();
        let mapped_block = small(extent.first_block * (crate::BLOCK_BYTES / SMALL_BLOCK))?;
        devices.push(Device { blocks: small(bytes / SMALL_BLOCK)?, mapped_block });
    }
    let header_bytes = u64::from(header_blocks(devices.len())) * SMALL_BLOCK;
    let mut header = vec![0; usize::try_from(header_bytes).map_err(|_| too_large())?];
    read_full(&own, 0, &mut header).at("read", &own_path)?;
    multi_device_superblock(&mut header, &devices)
        .map_err(|source| Error::image(format!("cannot prepare {} for mounting", manifest.id), source))?;
    out.write_all_at(&header, 0).at("write", path)
}

/// The mount API of Linux 5.2: each option is a call of its own, so there can be any number of devices.
fn mount_erofs(image: &Backed, devices: &[Backed], attributes: MountAttrFlags, target: &Path) -> Result<()> {
    let mounted = || -> rustix::io::Result<()> {
        let context = fsopen("erofs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_set_string(&context, "source", image.path())?;
        for device in devices {
            fsconfig_set_string(&context, "device", device.path())?;
        }
        fsconfig_set_flag(&context, "ro")?;
        fsconfig_create(&context)?;
        let attributes = attributes | MountAttrFlags::MOUNT_ATTR_RDONLY;
        let mount = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
        move_mount(&mount, "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
    };
    mounted().map_err(|errno| refused("mount an EROFS image on", target, errno))
}

/// The older mount(2), which every kernel takes overlay options through.
fn mount_overlay(lower: &[&Path], target: &Path) -> Result<()> {
    let names: Vec<String> = lower.iter().map(|path| path.display().to_string()).collect();
    let options = format!("lowerdir={}", names.join(":"));
    let mounted = if options.len() <= MAX_OPTION_BYTES {
        let options = CString::new(options).map_err(|_| Error::Unsupported("a path holds a NUL byte".to_owned()))?;
        rustix::mount::mount(OVERLAY_SOURCE, target, "overlay", MountFlags::RDONLY, options.as_c_str())
    } else {
        mount_many_layers(lower, target)
    };
    mounted.map_err(|errno| refused("mount an overlay on", target, errno))
}

/// Each lower directory in a call of its own (Linux 6.8), for stacks whose options do not fit into a page.
fn mount_many_layers(lower: &[&Path], target: &Path) -> rustix::io::Result<()> {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&context, "source", OVERLAY_SOURCE)?;
    for path in lower {
        fsconfig_set_string(&context, "lowerdir+", *path)?;
    }
    fsconfig_set_flag(&context, "ro")?;
    fsconfig_create(&context)?;
    let mount = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::MOUNT_ATTR_RDONLY)?;
    move_mount(&mount, "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}

fn refused(operation: &'static str, target: &Path, errno: Errno) -> Error {
    match errno {
        Errno::PERM | Errno::ACCESS => {
            Error::Unsupported(format!("mounting on {} needs root (CAP_SYS_ADMIN)", target.display()))
        }
        other => Error::io(operation, target, other.into()),
    }
}
