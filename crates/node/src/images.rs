//! Images of cached layers, each mounted once however many snapshots use it.
//!
//! An image is mounted first and written into the book then, together with whatever needs it. A mount that the book does not
//! know is left by a crash, and goes at the next start.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use imagecache_blocks::mount::{mount_part, mounts_below, unmount, unmount_lazily};
use imagecache_blocks::{Error as BlocksError, Part};
use imagecache_core::chain;

use crate::book::{Book, Change, ImageEntry};
use crate::error::{Error, Result};
use crate::file_state::FileState;
use crate::layout::{Layout, numbers_in};

/// What is mounted now.
#[derive(Debug, Default)]
pub struct Images {
    mounted: BTreeSet<u64>,
    /// Parts that are mounted before a snapshot needs them.
    ahead: BTreeSet<Part>,
}

/// An image that is to be used: what it holds, its file in a store, and how that was when it was found sound.
pub type Wanted = ImageEntry;

/// Images that were mounted for a change of the book.
#[derive(Debug, Default)]
pub struct Mounted {
    /// The new ones.
    pub fresh: Vec<(u64, ImageEntry)>,
    /// Those whose place they take.
    pub replaced: Vec<u64>,
}

impl Images {
    /// The mount point of an image that is mounted and was not written to since it was found sound. One whose file is gone
    /// is as good as before: the kernel keeps it.
    pub fn usable(&self, layout: &Layout, book: &Book, part: &Part) -> Option<PathBuf> {
        let (number, image) = book.image_of(part)?;
        let state = image.state.filter(|_| self.mounted.contains(&number))?;
        let written = FileState::at(&file_of(layout, number, image)).is_ok_and(|now| state.is_written_in(now));
        let holds = image.volume.as_ref().is_none_or(|volume| volume.holds());
        (!written && holds).then(|| layout.place(number))
    }

    /// Has images mounted. Those that are and are usable stay; a damaged one is replaced for whoever comes now, while running
    /// containers keep what they have. The caller writes the result into the book, or gives it to [`Images::retire`].
    ///
    /// # Errors
    /// When an image cannot be mounted; then none is.
    pub fn mount(&mut self, layout: &Layout, book: &Book, wanted: &[Wanted], next: &mut u64) -> Result<Mounted> {
        let mut mounted = Mounted::default();
        for image in wanted {
            let known = mounted.fresh.iter().any(|(_, fresh)| fresh.part == image.part);
            if known || self.usable(layout, book, &image.part).is_some() {
                continue;
            }
            *next += 1;
            let number = *next;
            let done = keep(layout, number, image).and_then(|()| self.mount_one(layout, number, image));
            if let Err(error) = done {
                let undo = mounted.fresh.iter().map(|(number, _)| *number).chain([number]);
                self.retire(layout, undo);
                return Err(error);
            }
            mounted
                .replaced
                .extend(book.image_of(&image.part).map(|(number, _)| number));
            mounted.fresh.push((number, image.clone()));
        }
        Ok(mounted)
    }

    /// Takes images away that the book does not name any more; what uses them keeps them.
    pub fn retire(&mut self, layout: &Layout, numbers: impl IntoIterator<Item = u64>) {
        for number in numbers {
            if let Err(error) = self.drop_image(layout, number, unmount_lazily) {
                // The next cleanup finds a mount that the book does not know.
                tracing::warn!(number, error = %chain(&error), "a replaced image stays mounted");
            }
        }
    }

    /// Takes away a mount that the book does not know.
    pub fn retire_unknown(&mut self, layout: &Layout, number: u64) {
        self.mounted.insert(number);
        self.retire(layout, [number]);
    }

    /// Says which parts stay mounted although no snapshot uses them.
    pub fn keep_ahead(&mut self, parts: BTreeSet<Part>) {
        self.ahead = parts;
    }

    /// Unmounts images that nothing uses. One that is busy stays until the next time.
    ///
    /// # Errors
    /// When the book cannot be written.
    pub fn collect(&mut self, layout: &Layout, book: &mut Book) -> Result<()> {
        let used: BTreeSet<&Part> = book.snapshots().flat_map(crate::snapshot::Snapshot::parts).collect();
        let unused = book
            .images()
            .filter(|(_, image)| !used.contains(&image.part) && !self.ahead.contains(&image.part));
        let mut gone = Vec::new();
        for number in unused.map(|(number, _)| number).collect::<Vec<_>>() {
            match self.drop_image(layout, number, unmount) {
                Ok(()) => gone.push(number),
                Err(error) => tracing::info!(number, error = %chain(&error), "an unused image stays mounted for now"),
            }
        }
        if gone.is_empty() {
            return Ok(());
        }
        book.apply(Change {
            gone,
            ..Change::default()
        })
    }

    /// After a start: finds out what is mounted, mounts what is missing (all of it, after a reboot) and unmounts what the book
    /// does not know, or knows twice.
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
                    if let Err(error) = unmount_lazily(&mount.path) {
                        tracing::warn!(path = %mount.path.display(), error = %chain(&error), "a leftover mount stays");
                    }
                }
                // Such as a container's root filesystem that somebody mounted deeper.
                _ => {}
            }
        }
        let outdated = book
            .images()
            .filter(|(number, image)| book.image_of(&image.part).is_none_or(|(newest, _)| newest != *number));
        let outdated: Vec<u64> = outdated.map(|(number, _)| number).collect();
        if !outdated.is_empty() {
            book.apply(Change {
                gone: outdated.clone(),
                ..Change::default()
            })?;
            self.retire(layout, outdated);
        }
        self.collect(layout, book)?;
        self.mount_missing(layout, book)?;
        for number in numbers_in(&layout.images())? {
            if book.image(number).is_none()
                && let Err(error) = remove_file(&layout.image(number))
            {
                tracing::warn!(number, error = %chain(&error), "a leftover image stays");
            }
        }
        Ok(())
    }

    /// How many images are mounted.
    pub fn count(&self) -> usize {
        self.mounted.len()
    }

    /// Mounts what the book names, if it is still what was found sound.
    fn mount_missing(&mut self, layout: &Layout, book: &mut Book) -> Result<()> {
        // A volume says little of its files, so they are hashed again; whoever needs one asks for it.
        let missing = book
            .images()
            .filter(|(number, image)| !self.mounted.contains(number) && image.volume.is_none());
        let missing: Vec<(u64, ImageEntry)> = missing.map(|(number, image)| (number, image.clone())).collect();
        let mut images = Vec::new();
        for (number, mut image) in missing {
            let now = FileState::at(&file_of(layout, number, &image)).ok();
            if !image.state.zip(now).is_some_and(|(state, now)| state.is_still(now)) {
                tracing::warn!(part = %image.part, file = %image.file.display(), "an image in use is gone or was changed while it was not mounted; another one is looked for when it is needed");
                continue;
            }
            image.state = now;
            match self.mount_one(layout, number, &image) {
                Ok(()) => images.push((number, image)),
                Err(error) => {
                    tracing::error!(part = %image.part, error = %chain(&error), "an image in use cannot be mounted");
                }
            }
        }
        match images.is_empty() {
            true => Ok(()),
            // Devices may have other numbers now.
            false => book.apply(Change {
                images,
                ..Change::default()
            }),
        }
    }

    fn mount_one(&mut self, layout: &Layout, number: u64, image: &ImageEntry) -> Result<()> {
        let place = layout.place(number);
        match fs::create_dir(&place) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(Error::io("create", place, error)),
            _ => {}
        }
        let file = file_of(layout, number, image);
        mount_part(&file, &place)?;
        self.mounted.insert(number);
        // What was found sound is what was mounted.
        let now = FileState::at(&file).map_err(|error| Error::io("read", &file, error))?;
        if image.state == Some(now) {
            return Ok(());
        }
        unmount_lazily(&place)?;
        self.mounted.remove(&number);
        Err(Error::Unavailable(format!("{} was replaced just now", image.part)))
    }

    fn drop_image(
        &mut self,
        layout: &Layout,
        number: u64,
        unmount: fn(&Path) -> imagecache_blocks::Result<()>,
    ) -> Result<()> {
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

#[cfg(test)]
mod tests {
    use imagecache_core::Digest;

    use super::*;
    use crate::tiny_image::tiny_image;

    #[test]
    #[ignore = "needs root"]
    fn of_what_a_kill_left_only_the_newest_image_of_a_part_stays() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::create(&dir.path().join("root")).unwrap();
        let mut book = Book::open(&layout.book()).unwrap();
        let file = dir.path().join("image");
        fs::write(&file, tiny_image("file", b"content")).unwrap();
        let image = ImageEntry {
            part: Part::Layer(Digest::sha256_of(b"x")),
            state: FileState::at(&file).ok(),
            file,
            volume: None,
        };
        let mut images = Images::default();
        images.keep_ahead([image.part.clone()].into());
        let mut next = 4;
        let mounted = images
            .mount(&layout, &book, std::slice::from_ref(&image), &mut next)
            .unwrap();
        assert_eq!(mounted.fresh, [(5, image.clone())]);
        // Killed before the old one was taken away; and one more that never came into the book.
        for number in [6, 7] {
            fs::create_dir(layout.place(number)).unwrap();
            mount_part(&image.file, &layout.place(number)).unwrap();
        }
        book.apply(Change {
            images: vec![(5, image.clone()), (6, image.clone())],
            ..Change::default()
        })
        .unwrap();
        let mut images = Images::default();
        images.keep_ahead([image.part.clone()].into());
        images.reconcile(&layout, &mut book).unwrap();
        let left: Vec<PathBuf> = mounts_below(&layout.snapshots())
            .unwrap()
            .into_iter()
            .map(|mount| mount.path)
            .collect();
        let usable = images.usable(&layout, &book, &image.part);
        let known = book.images().count();
        let links = numbers_in(&layout.images()).unwrap();
        images.keep_ahead(BTreeSet::new());
        images.collect(&layout, &mut book).unwrap();
        assert_eq!((left, usable), (vec![layout.place(6)], Some(layout.place(6))));
        assert_eq!((known, links.len()), (1, 0), "{links:?}");
        assert_eq!(mounts_below(&layout.snapshots()).unwrap(), []);
    }
}
