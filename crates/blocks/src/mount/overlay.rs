//! An image's root filesystem: its parts, stacked.

use std::ffi::{CString, OsString};
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::mount::{MountFlags, mount};

use super::devices::run;
use super::namespace::{assemble, detach};
use super::target_directory;
use crate::content::ImageStack;
use crate::directory::DirectoryStore;
use crate::error::{Error, IoContext as _, Result};

/// What every mount of ours is.
const FLAGS: MountFlags = MountFlags::RDONLY.union(MountFlags::NOSUID).union(MountFlags::NODEV);
/// Where the superblock is, and what it begins with.
const SUPERBLOCK: (u64, u32) = (1024, 0xE0F5_E1E2);
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
        let mut names = Vec::with_capacity(images.len());
        for (number, image) in images.iter().enumerate() {
            // Short names relative to the working directory: all of them fit into the one page of options.
            let name = number.to_string();
            fs::create_dir(&name).at("create", &name)?;
            mount_erofs(image, Path::new(&name))?;
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
/// `Unsupported` without root or where the kernel lacks EROFS, `Damaged` for a file or device that holds no EROFS image.
pub fn mount_part(image: &Path, target: &Path) -> Result<()> {
    mount_erofs(image, target)
}

/// Mounts an EROFS image: straight from the file where the kernel can (Linux 6.12), else through a loop device.
fn mount_erofs(image: &Path, target: &Path) -> Result<()> {
    if !is_erofs(image)? {
        return Err(Error::damaged(image, "it holds no EROFS filesystem"));
    }
    match mount(image, target, "erofs", FLAGS, None) {
        Ok(()) => Ok(()),
        Err(Errno::NOTBLK | Errno::INVAL) => mount_by_loop(image, target),
        Err(error) => Err(explain("erofs", image, error)),
    }
}

/// Mounts an image through a loop device that goes away with the mount. mount(8) makes it so in one step, so that a kill at
/// any moment leaves no device behind.
fn mount_by_loop(image: &Path, target: &Path) -> Result<()> {
    let arguments = ["-t", "erofs", "-o", "loop,ro,nosuid,nodev"].map(OsString::from);
    let arguments = arguments.into_iter().chain([image.into(), target.into()]);
    run("mount", &arguments.collect::<Vec<_>>()).map(drop)
}

/// Whether there is an EROFS superblock. Asked before a loop device is made of whatever was named.
fn is_erofs(image: &Path) -> Result<bool> {
    let (offset, magic) = SUPERBLOCK;
    let mut found = [0; 4];
    match File::open(image).and_then(|file| file.read_exact_at(&mut found, offset)) {
        Ok(()) => Ok(found == magic.to_le_bytes()),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(Error::io("read", image, error)),
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

#[cfg(test)]
mod tests {
    use imagecache_erofs::{LayerOptions, write_layer};

    use super::*;

    fn image(directory: &Path) -> PathBuf {
        let path = directory.join("image");
        let mut header = tar::Header::new_ustar();
        header.set_size(5);
        header.set_mode(0o644);
        let mut builder = tar::Builder::new(Vec::new());
        builder.append_data(&mut header, "file", &b"hello"[..]).unwrap();
        let tar = builder.into_inner().unwrap();
        let mut file = File::create_new(&path).unwrap();
        write_layer(tar.as_slice(), &mut file, &LayerOptions::default()).unwrap();
        path
    }

    fn loops_of(file: &Path) -> usize {
        let systems = fs::read_dir("/sys/class/block").unwrap().flatten();
        let files = systems.filter_map(|system| fs::read_to_string(system.path().join("loop/backing_file")).ok());
        files
            .filter(|text| text.trim().starts_with(&*file.to_string_lossy()))
            .count()
    }

    #[test]
    fn what_is_no_image_is_not_mounted() {
        let directory = tempfile::tempdir().unwrap();
        for (name, content) in [("short", &b"x"[..]), ("long", &[7; 8192])] {
            let path = directory.path().join(name);
            fs::write(&path, content).unwrap();
            let error = mount_part(&path, directory.path()).unwrap_err();
            assert!(error.to_string().contains("no EROFS"), "{name}: {error}");
            assert_eq!(loops_of(&path), 0, "{name}");
        }
        assert!(is_erofs(&image(directory.path())).unwrap());
    }

    #[test]
    #[ignore = "needs root"]
    fn a_loop_device_goes_with_its_mount() {
        let directory = tempfile::tempdir().unwrap();
        let (path, target) = (image(directory.path()), directory.path().join("target"));
        fs::create_dir(&target).unwrap();
        mount_by_loop(&path, &target).unwrap();
        let read = fs::read_to_string(target.join("file"));
        let (attached, lost) = (loops_of(&path), fs::write(target.join("new"), "x").is_ok());
        super::super::unmount(&target).unwrap();
        assert_eq!((read.unwrap().as_str(), attached, lost), ("hello", 1, false));
        // The kernel frees it a moment after the last user.
        for _ in 0..1000 {
            if loops_of(&path) == 0 {
                return;
            }
            std::thread::yield_now();
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        panic!("a loop device of {} stays", path.display());
    }
}
