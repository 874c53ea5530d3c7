//! The book of snapshots: every change is on the disk before it counts, and everything is in memory for reading.
//!
//! What the book does not name does not exist: directories and mounts without an entry are left by a crash, and go.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use imagecache_blocks::Part;
use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::file_state::FileState;
use crate::snapshot::{Content, Snapshot};
use crate::volumes::VolumeMark;

/// Snapshots by name, as JSON.
const SNAPSHOTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("snapshots");
/// Images in use by number, as JSON.
const IMAGES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("images");

/// An image of a store that is mounted, or was before the machine stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageEntry {
    /// What it holds.
    pub part: Part,
    /// The file in the store.
    pub file: PathBuf,
    /// The file as it was when it was found sound and mounted.
    #[serde(default)]
    pub state: Option<FileState>,
    /// The volume that the file lies on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<VolumeMark>,
}

/// What is written at once: all of it or nothing.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// A snapshot that goes, by name.
    pub remove: Option<String>,
    /// A snapshot that comes, or takes the place of the one of its name.
    pub put: Option<Snapshot>,
    /// Images that go.
    pub gone: Vec<u64>,
    /// Images that come, or are known better.
    pub images: Vec<(u64, ImageEntry)>,
}

/// Snapshots, and the images that they use.
#[derive(Debug)]
pub struct Book {
    path: PathBuf,
    database: Database,
    snapshots: BTreeMap<String, Snapshot>,
    children: BTreeSet<(String, String)>,
    images: BTreeMap<u64, ImageEntry>,
    /// The image of each part: the one that came last.
    newest: HashMap<Part, u64>,
}

impl Book {
    /// Opens the book, or begins one. Only one process can have it open.
    ///
    /// # Errors
    /// When another process has it open, or it cannot be read.
    pub fn open(path: &Path) -> Result<Self> {
        let at = |source: redb::Error| failure("open", path, source);
        let database = Database::create(path).map_err(|error| at(error.into()))?;
        let mut book = Self {
            path: path.to_owned(),
            database,
            snapshots: BTreeMap::new(),
            children: BTreeSet::new(),
            images: BTreeMap::new(),
            newest: HashMap::new(),
        };
        book.write(|_| Ok(()))?;
        book.load().map_err(at)?;
        Ok(book)
    }

    /// A snapshot by name.
    pub fn snapshot(&self, name: &str) -> Option<&Snapshot> {
        self.snapshots.get(name)
    }

    /// All snapshots.
    pub fn snapshots(&self) -> impl Iterator<Item = &Snapshot> {
        self.snapshots.values()
    }

    /// A snapshot upon this one, if there is any.
    pub fn child_of(&self, name: &str) -> Option<&str> {
        let from = (name.to_owned(), String::new());
        let (parent, child) = self.children.range(from..).next()?;
        (parent == name).then_some(child)
    }

    /// Adds a snapshot, or replaces the one of its name.
    pub fn put(&mut self, snapshot: Snapshot) -> Result<()> {
        self.apply(Change {
            put: Some(snapshot),
            ..Change::default()
        })
    }

    /// Makes a change, in one transaction.
    pub fn apply(&mut self, change: Change) -> Result<()> {
        let Change {
            remove,
            put,
            gone,
            images,
        } = change;
        let put_json = put.as_ref().map(|snapshot| self.json(snapshot)).transpose()?;
        let rows = images
            .iter()
            .map(|(number, image)| Ok((*number, self.json(image)?)))
            .collect::<Result<Vec<_>>>()?;
        self.write(|transaction| {
            let mut snapshots = transaction.open_table(SNAPSHOTS)?;
            if let Some(name) = &remove {
                snapshots.remove(name.as_str())?;
            }
            if let (Some(snapshot), Some(json)) = (&put, &put_json) {
                snapshots.insert(snapshot.name.as_str(), json.as_slice())?;
            }
            let mut table = transaction.open_table(IMAGES)?;
            for number in &gone {
                table.remove(number)?;
            }
            for (number, json) in &rows {
                table.insert(number, json.as_slice())?;
            }
            Ok(())
        })?;
        if let Some(name) = remove {
            self.forget(&name);
        }
        if let Some(snapshot) = put {
            self.remember(snapshot);
        }
        if !gone.is_empty() || !images.is_empty() {
            for number in &gone {
                self.images.remove(number);
            }
            self.images.extend(images);
            self.index_images();
        }
        Ok(())
    }

    /// Removes a snapshot.
    pub fn remove(&mut self, name: &str) -> Result<()> {
        self.apply(Change {
            remove: Some(name.to_owned()),
            ..Change::default()
        })
    }

    /// Images in use.
    pub fn images(&self) -> impl Iterator<Item = (u64, &ImageEntry)> {
        self.images.iter().map(|(number, image)| (*number, image))
    }

    /// An image by number.
    pub fn image(&self, number: u64) -> Option<&ImageEntry> {
        self.images.get(&number)
    }

    /// The image that whoever comes now uses for this part. A kill may leave older ones.
    pub fn image_of(&self, part: &Part) -> Option<(u64, &ImageEntry)> {
        let number = *self.newest.get(part)?;
        Some((number, self.images.get(&number)?))
    }

    /// Whether a snapshot has a directory with this number.
    pub fn uses_directory(&self, number: u64) -> bool {
        self.snapshots
            .values()
            .any(|snapshot| snapshot.content == Content::Directory(number))
    }

    /// The highest number of a directory or image.
    pub fn last_number(&self) -> u64 {
        let directories = self.snapshots.values().map(|snapshot| match snapshot.content {
            Content::Directory(number) => number,
            Content::Cached(_) => 0,
        });
        directories.chain(self.images.keys().copied()).max().unwrap_or(0)
    }

    fn remember(&mut self, snapshot: Snapshot) {
        self.forget(&snapshot.name.clone());
        if let Some(parent) = &snapshot.parent {
            self.children.insert((parent.clone(), snapshot.name.clone()));
        }
        self.snapshots.insert(snapshot.name.clone(), snapshot);
    }

    fn forget(&mut self, name: &str) {
        if let Some(old) = self.snapshots.remove(name)
            && let Some(parent) = old.parent
        {
            self.children.remove(&(parent, old.name));
        }
    }

    fn load(&mut self) -> Result<(), redb::Error> {
        let transaction = self.database.begin_read()?;
        let mut snapshots = Vec::new();
        for row in transaction.open_table(SNAPSHOTS)?.iter()? {
            snapshots.push(parse::<Snapshot>(row?.1.value())?);
        }
        let mut images = BTreeMap::new();
        for row in transaction.open_table(IMAGES)?.iter()? {
            let (number, json) = row?;
            images.insert(number.value(), parse(json.value())?);
        }
        for snapshot in snapshots {
            self.remember(snapshot);
        }
        self.images = images;
        self.index_images();
        Ok(())
    }

    fn index_images(&mut self) {
        // In rising order: the last one stays.
        let newest = self.images.iter().map(|(number, image)| (image.part.clone(), *number));
        self.newest = newest.collect();
    }

    /// Makes one change durable.
    fn write(
        &self,
        change: impl FnOnce(&redb::WriteTransaction) -> std::result::Result<(), redb::Error>,
    ) -> Result<()> {
        let written = (|| {
            let transaction = self.database.begin_write()?;
            // Both tables exist from the first change on.
            transaction.open_table(SNAPSHOTS)?;
            transaction.open_table(IMAGES)?;
            change(&transaction)?;
            transaction.commit()?;
            Ok(())
        })();
        written.map_err(|error| failure("write", &self.path, error))
    }

    fn json(&self, value: &impl Serialize) -> Result<Vec<u8>> {
        let corrupted =
            |error: serde_json::Error| failure("write", &self.path, redb::Error::Corrupted(error.to_string()));
        serde_json::to_vec(value).map_err(corrupted)
    }
}

fn parse<T: DeserializeOwned>(json: &[u8]) -> Result<T, redb::Error> {
    serde_json::from_slice(json).map_err(|error| redb::Error::Corrupted(error.to_string()))
}

fn failure(operation: &'static str, path: &Path, source: redb::Error) -> Error {
    Error::Book {
        operation,
        path: path.to_owned(),
        source: Box::new(source),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::{Kind, Labels};

    fn snapshot(name: &str, parent: Option<&str>, number: u64) -> Snapshot {
        Snapshot::new(name, parent, Kind::Active, Labels::new(), Content::Directory(number))
    }

    #[test]
    fn what_was_written_is_there_after_a_new_start() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("book");
        let mut book = Book::open(&path).unwrap();
        book.put(snapshot("base", None, 1)).unwrap();
        book.put(snapshot("key", Some("base"), 7)).unwrap();
        let commit = Change {
            remove: Some("key".to_owned()),
            put: Some(snapshot("name", Some("base"), 7)),
            ..Change::default()
        };
        book.apply(commit).unwrap();
        book.put(snapshot("gone", Some("name"), 9)).unwrap();
        assert_eq!(book.child_of("name"), Some("gone"));
        book.remove("gone").unwrap();
        assert!(Book::open(&path).is_err(), "another process could change it");
        drop(book);
        let book = Book::open(&path).unwrap();
        let names: Vec<&str> = book.snapshots().map(|snapshot| snapshot.name.as_str()).collect();
        assert_eq!(names, ["base", "name"]);
        assert_eq!((book.child_of("base"), book.child_of("name")), (Some("name"), None));
        assert_eq!(book.child_of("bas"), None, "a name is not a prefix");
        assert_eq!(book.last_number(), 7);
        assert!(book.uses_directory(7) && !book.uses_directory(9));
    }

    #[test]
    fn of_two_images_of_a_part_the_later_one_counts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("book");
        let part = Part::Layer(imagecache_core::Digest::sha256_of(b"x"));
        let image = |file: &str| ImageEntry {
            part: part.clone(),
            file: file.into(),
            state: None,
            volume: None,
        };
        let mut book = Book::open(&path).unwrap();
        let both = vec![(12, image("new")), (5, image("damaged"))];
        book.apply(Change {
            images: both,
            ..Change::default()
        })
        .unwrap();
        drop(book);
        let mut book = Book::open(&path).unwrap();
        assert_eq!(book.image_of(&part).unwrap(), (12, &image("new")));
        book.apply(Change {
            gone: vec![12],
            images: vec![(13, image("third"))],
            ..Change::default()
        })
        .unwrap();
        assert_eq!(book.image_of(&part).unwrap().0, 13);
        assert_eq!(book.images().count(), 2);
    }
}
