//! An image's root filesystem: its parts, stacked.

use std::ffi::CString;
use std::fs;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::mount::{MountFlags, mount};

use super::devices::LoopDevices;
use super::namespace::{assemble, detach};
use super::target_directory;
use crate::content::ImageStack;
use crate::directory::DirectoryStore;
use crate::error::{Error, IoContext as _, Result};

/// What every mount of ours is.
const FLAGS: MountFlags = MountFlags::RDONLY.union(MountFlags::NOSUID).union(MountFlags::NODEV);
/// Directory in which the stack appears before it is taken out.
const MERGED: &str = "merged";

/// Mounts the root filesystem of an image on `target`, read-only.
///
/// Works with stacks of up to 500 parts, the most that overlayfs takes.
///
/// # Errors
/// `Unsupported` without root or where the kernel lacks EROFS or overlayfs.
pub fn mount_image(store: &DirectoryStore, stack: &ImageStack, target: &Path) -> Result<()> {
    let target = target_directory(target)?;
    let images: Vec<PathBuf> = stack.parts.iter().map(|part| store.part_path(part)).collect();
    assemble(&target, || {
        let mut loops = LoopDevices::default();
        let mut names = Vec::with_capacity(images.len());
        for (number, image) in images.iter().enumerate() {
            // Short names relative to the working directory: all of them fit into the one page of options.
            let name = number.to_string();
            fs::create_dir(&name).at("create", &name)?;
            mount_erofs(image, Path::new(&name), &mut loops)?;
            names.push(name);
        }
        match names.as_slice() {
            [only] => detach(Path::new(only)),
            several => {
                fs::create_dir(MERGED).at("create", MERGED)?;
                let options = format!("lowerdir={}", several.join(":"));
                let options = CString::new(options).map_err(|error| Error::Unsupported(error.to_string()))?;
                mount("imagecache", MERGED, "overlay", FLAGS, Some(options.as_c_str()))
                    .map_err(|error| explain("overlay", &target, error))?;
                detach(Path::new(MERGED))
            }
        }
    })
}

/// Mounts one image file on `target`, read-only, `nosuid` and `nodev`. Undone by `unmount`; the kernel keeps the file open.
///
/// # Errors
/// `Unsupported` without root or where the kernel lacks EROFS.
pub fn mount_part(image: &Path, target: &Path) -> Result<()> {
    mount_erofs(image, target, &mut LoopDevices::default())
}

/// Mounts an EROFS image: straight from the file where the kernel can (Linux 6.12), else through a loop device.
fn mount_erofs(image: &Path, target: &Path, loops: &mut LoopDevices) -> Result<()> {
    match mount(image, target, "erofs", FLAGS, None) {
        Ok(()) => Ok(()),
        Err(Errno::NOTBLK | Errno::INVAL) => {
            let device = loops.attach(image)?;
            mount(&device, target, "erofs", FLAGS, None).map_err(|error| explain("erofs", image, error))
        }
        Err(error) => Err(explain("erofs", image, error)),
    }
}

/// Says what is missing when the kernel does not know a filesystem.
pub(super) fn explain(filesystem: &str, path: &Path, error: Errno) -> Error {
    match error {
        Errno::NODEV => Error::Unsupported(format!(
            "this kernel cannot mount {filesystem}: load its module `{filesystem}`"
        )),
        other => Error::io("mount", path, other.into()),
    }
}
