//! Images of cached layers, each mounted once however many snapshots use it.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use imagecache_blocks::mount::{mount_part, mounts_below, unmount};
use imagecache_blocks::{Error as BlocksError, Part};
use imagecache_core::chain;

use crate::book::{Book, ImageEntry};
use crate::error::{Error, Result};
use crate::layout::{Layout, numbers_in};
use crate::verify::Verifier;

/// What is mounted now.
#[derive(Debug, Default)]
pub struct Images {
    mounted: BTreeSet<u64>,
}

/// An image that is to be used: what it holds, and its file in a store.
pub type Wanted = ImageEntry;

impl Images {
    /// The mount point of an image that is mounted and sound; `None` for one that is not.
    pub fn usable(&self, layout: &Layout, book: &Book, verifier: &Verifier, part: &Part) -> Option<PathBuf> {
        let (number, image) = book.image_of(part)?;
        let sound = verifier.is_sound(&file_of(layout, number, image), part);
        (sound && self.mounted.contains(&number)).then(|| layout.place(number))
    }

    /// Has images mounted. Those that are and are sound stay; a damaged one is replaced for whoever comes now, while running
    /// containers keep what they have.
    ///
    /// # Errors
    /// When an image cannot be mounted.
    pub fn mount(
        &mut self,
        layout: &Layout,
        book: &mut Book,
        verifier: &Verifier,
        wanted: &[Wanted],
        next: &mut u64,
    ) -> Result<()> {
        let mut fresh = Vec::new();
        let mut replaced = Vec::new();
        for image in wanted {
            if self.usable(layout, book, verifier, &image.part).is_some() {
                continue;
            }
            replaced.extend(book.image_of(&image.part).map(|(number, _)| number));
            *next += 1;
            fresh.push((*next, image.clone()));
        }
        if fresh.is_empty() {
            return Ok(());
        }
        // First the book, so that a crash leaves nothing that is not known.
        book.put_images(&fresh)?;
        for number in replaced {
            self.drop_image(layout, number)?;
            book.remove_images(&[number])?;
        }
        for (number, image) in &fresh {
            keep(layout, *number, image)?;
            self.mount_one(layout, *number, image)?;
        }
        Ok(())
    }

    /// Unmounts images that no snapshot uses. One that is busy stays until the next time.
    ///
    /// # Errors
    /// When the book cannot be written.
    pub fn collect(&mut self, layout: &Layout, book: &mut Book) -> Result<()> {
        let used: BTreeSet<&Part> = book.snapshots().flat_map(crate::snapshot::Snapshot::parts).collect();
        let unused = book.images().filter(|(_, image)| !used.contains(&image.part));
        let mut gone = Vec::new();
        for number in unused.map(|(number, _)| number).collect::<Vec<_>>() {
            match self.drop_image(layout, number) {
                Ok(()) => gone.push(number),
                Err(error) => tracing::info!(number, error = %chain(&error), "an unused image stays mounted for now"),
            }
        }
        book.remove_images(&gone)
    }

    /// After a start: finds out what is mounted, mounts what is missing (all of it, after a reboot) and unmounts what the book
    /// does not know.
    ///
    /// # Errors
    /// When the mounts of this machine cannot be read. An image that cannot be mounted is only reported.
    pub fn reconcile(&mut self, layout: &Layout, book: &mut Book) -> Result<()> {
        let known: BTreeSet<u64> = book.images().map(|(number, _)| number).collect();
        for mount in mounts_below(&layout.snapshots())?.into_iter().rev() {
            match number_of(layout, &mount.path) {
                Some(number) if known.contains(&number) && self.mounted.insert(number) => {}
                // Unknown, or a second mount over the first.
                Some(_) if mount.kind == "erofs" => {
                    if let Err(error) = unmount(&mount.path) {
                        tracing::warn!(path = %mount.path.display(), error = %chain(&error), "a leftover mount stays");
                    }
                }
                // Such as a container's root filesystem that somebody mounted deeper.
                _ => {}
            }
        }
        self.collect(layout, book)?;
        let entries: Vec<(u64, ImageEntry)> = book.images().map(|(number, image)| (number, image.clone())).collect();
        for (number, image) in entries {
            if !self.mounted.contains(&number)
                && let Err(error) = self.mount_one(layout, number, &image)
            {
                tracing::error!(part = %image.part, error = %chain(&error), "an image in use cannot be mounted");
            }
        }
        for number in numbers_in(&layout.images())? {
            if book.images().all(|(known, _)| known != number) {
                remove_file(&layout.image(number))?;
            }
        }
        Ok(())
    }

    /// How many images are mounted.
    pub fn count(&self) -> usize {
        self.mounted.len()
    }

    fn mount_one(&mut self, layout: &Layout, number: u64, image: &ImageEntry) -> Result<()> {
        let place = layout.place(number);
        match fs::create_dir(&place) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(Error::io("create", place, error)),
            _ => {}
        }
        mount_part(&file_of(layout, number, image), &place)?;
        self.mounted.insert(number);
        Ok(())
    }

    fn drop_image(&mut self, layout: &Layout, number: u64) -> Result<()> {
        let place = layout.place(number);
        if self.mounted.contains(&number) {
            match unmount(&place) {
                Ok(()) => {}
                // Somebody else was faster, such as an administrator.
                Err(BlocksError::Unsupported(_)) if mounts_below(&place)?.is_empty() => {}
                Err(error) => return Err(error.into()),
            }
            self.mounted.remove(&number);
        }
        match fs::remove_dir(&place) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(Error::io("remove", place, error)),
            _ => {}
        }
        remove_file(&layout.image(number))
    }
}

/// Makes the image outlive its cache where that is possible.
fn keep(layout: &Layout, number: u64, image: &ImageEntry) -> Result<()> {
    let link = layout.image(number);
    match fs::hard_link(&image.file, &link) {
        Ok(()) => Ok(()),
        // A volume or a store on another filesystem: the mount keeps the file open, until the machine stops.
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::CrossesDevices
                    | ErrorKind::ReadOnlyFilesystem
                    | ErrorKind::PermissionDenied
                    | ErrorKind::Unsupported
                    | ErrorKind::TooManyLinks
            ) =>
        {
            Ok(())
        }
        Err(error) => Err(Error::io("keep", &image.file, error)),
    }
}

/// The file that an image is mounted from.
fn file_of(layout: &Layout, number: u64, image: &ImageEntry) -> PathBuf {
    let link = layout.image(number);
    if link.exists() { link } else { image.file.clone() }
}

fn number_of(layout: &Layout, path: &Path) -> Option<u64> {
    let name = path.strip_prefix(layout.snapshots()).ok()?;
    name.to_str()?.parse().ok()
}

fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io("remove", path, error)),
        _ => Ok(()),
    }
}
