//! A cache's volume: its own bytes and the part files appear as one filesystem.

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt as _, symlink};
use std::path::{Path, PathBuf};

use imagecache_erofs::{Device, header_blocks, multi_device_superblock};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen,
};

use super::devices::LoopDevices;
use super::namespace::assemble;
use super::overlay::explain;
use super::target_directory;
use crate::block::{BLOCK, BLOCK_BYTES};
use crate::directory::DirectoryStore;
use crate::error::{Error, IoContext as _, Result};
use crate::snapshot::{SnapshotManifest, Source};
use crate::store::Store as _;
use crate::volume_reader::read_block;

/// Block of the filesystem, as device slots count.
const SMALL_BLOCK: u64 = imagecache_erofs::BLOCK_BYTES;

/// Mounts the volume of a snapshot on `target`, read-only. Part files serve as devices of one filesystem, so nothing is
/// copied but the volume's metadata.
///
/// # Errors
/// `Unsupported` without root, or before Linux 5.16, which brought EROFS on several devices: `export` the volume and
/// mount the file there.
pub fn mount_volume(store: &DirectoryStore, manifest: &SnapshotManifest, target: &Path) -> Result<()> {
    let target = target_directory(target)?;
    let primary = Primary::write(store, manifest)?;
    let parts: Vec<PathBuf> = manifest.parts().map(|(part, _)| store.part_path(&part)).collect();
    assemble(&target, || {
        // Links with short names: a mount option holds at most 255 bytes.
        let mut names = Vec::with_capacity(parts.len());
        for (number, part) in parts.iter().enumerate() {
            let name = number.to_string();
            symlink(part, &name).at("create", &name)?;
            names.push(PathBuf::from(name));
        }
        symlink(&primary.path, "primary").at("create", "primary")?;
        let primary_name = Path::new("primary");
        match mount_devices(primary_name, &names) {
            Err(Errno::NOTBLK | Errno::INVAL) => {
                let mut loops = LoopDevices::default();
                let source = loops.attach(&primary.path)?;
                let devices = parts
                    .iter()
                    .map(|part| loops.attach(part))
                    .collect::<Result<Vec<PathBuf>>>()?;
                mount_devices(&source, &devices)
            }
            other => other,
        }
        .map_err(|error| match error {
            Errno::INVAL => Error::Unsupported(
                "this kernel cannot mount a volume from several files (Linux 5.16 can): export it and mount the file"
                    .to_owned(),
            ),
            other => explain("erofs", &target, other),
        })
    })
}

/// Mounts EROFS from a primary device and mapped ones, detached.
fn mount_devices(primary: &Path, devices: &[PathBuf]) -> rustix::io::Result<OwnedFd> {
    let context = fsopen("erofs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&context, "source", primary)?;
    fsconfig_set_flag(&context, "ro")?;
    for device in devices {
        fsconfig_set_string(&context, "device", device)?;
    }
    fsconfig_create(&context)?;
    let attributes =
        MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// The volume's own bytes with a superblock that names the part files as devices. A small sparse file that has no name
/// any more once it is mounted.
struct Primary {
    path: PathBuf,
}

impl Primary {
    fn write(store: &DirectoryStore, manifest: &SnapshotManifest) -> Result<Self> {
        let path = store.scratch_file()?;
        let file = File::create_new(&path).at("create", &path)?;
        let primary = Self { path };
        let own = store.open_own(&manifest.id)?;
        let write = |bytes: &[u8], offset: u64| file.write_all_at(bytes, offset).at("write", &primary.path);
        let mut buffer = vec![0; BLOCK];
        for extent in manifest.extents.iter().filter(|extent| extent.source == Source::Own) {
            for block in extent.first_block..extent.first_block + extent.blocks {
                read_block(own.as_ref(), block * BLOCK_BYTES, &mut buffer).at("read", store.own_path(&manifest.id))?;
                write(&buffer, block * BLOCK_BYTES)?;
            }
        }
        let mut devices = Vec::new();
        for (part, extent) in manifest.parts() {
            let bytes = fs::metadata(store.part_path(&part))
                .at("read", store.part_path(&part))?
                .len();
            let small = |value: u64| {
                u32::try_from(value).map_err(|_| Error::Unsupported("the volume is larger than 16 TiB".to_owned()))
            };
            devices.push(Device {
                blocks: small(bytes / SMALL_BLOCK)?,
                mapped_block: small(extent.first_block * BLOCK_BYTES / SMALL_BLOCK)?,
            });
        }
        let header_bytes = u64::from(header_blocks(devices.len())) * SMALL_BLOCK;
        let mut header = vec![0; usize::try_from(header_bytes).unwrap_or(BLOCK)];
        crate::store::read_full(own.as_ref(), 0, &mut header).at("read", store.own_path(&manifest.id))?;
        multi_device_superblock(&mut header, &devices)
            .map_err(|error| Error::image("cannot describe the volume's devices", error))?;
        write(&header, 0)?;
        file.set_len(manifest.volume_bytes).at("write", &primary.path)?;
        Ok(primary)
    }
}

impl Drop for Primary {
    fn drop(&mut self) {
        // The mount, if there is one, keeps the file itself.
        let _ = fs::remove_file(&self.path);
    }
}
