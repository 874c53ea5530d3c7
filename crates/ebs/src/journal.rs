//! What is known of an upload under way, in a file that survives a kill.
//!
//! ```text
//! {"version":1,"token":"…",…}     written and synced before the snapshot is asked for
//! snapshot snap-0123…             its id, as soon as it is known
//! 17                              a block that the service acknowledged, one a line, in any order
//! complete                        CompleteSnapshot is about to be called
//! ```
//!
//! A line counts once its end is there, so a torn last line is no line. A block is written down with a plain `write`, which
//! survives the death of the process; the disk is waited for now and then. After a power cut some blocks are sent again, which
//! the service allows. EBS cannot list the blocks of a pending snapshot, so this is the only way to go on.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use imagecache_blocks::{Error, Published, Result, SnapshotId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

const VERSION: u32 = 1;
/// Acknowledged blocks after which the disk is waited for: one second at the full rate.
const SYNC_EVERY: usize = 1_000;
const SNAPSHOT: &str = "snapshot ";
const COMPLETE: &str = "complete";
const EXTENSION: &str = "journal";

/// What an upload is; never changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Header {
    version: u32,
    /// The idempotency token of StartSnapshot, also the tag by which the snapshot is known to be claimed.
    pub(crate) token: String,
    /// The volume.
    pub(crate) manifest: SnapshotId,
    /// Size of the device.
    pub(crate) device_bytes: u64,
    /// What it is made on top of.
    pub(crate) parent: Option<Parent>,
    /// When the snapshot was first asked for.
    pub(crate) started_at: Timestamp,
}

/// The snapshot that an upload is made on top of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Parent {
    pub(crate) manifest: SnapshotId,
    pub(crate) published: Published,
}

impl Header {
    pub(crate) fn new(
        token: String,
        manifest: SnapshotId,
        device_bytes: u64,
        parent: Option<Parent>,
        started_at: Timestamp,
    ) -> Self {
        Self {
            version: VERSION,
            token,
            manifest,
            device_bytes,
            parent,
            started_at,
        }
    }
}

/// How far an upload is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// The snapshot, once it is known.
    pub(crate) snapshot: Option<String>,
    /// Blocks that the service acknowledged.
    pub(crate) acknowledged: BTreeSet<u64>,
    /// Whether CompleteSnapshot may have been called.
    pub(crate) completing: bool,
}

/// An open journal. Whoever holds the cache's lock writes it.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    file: File,
    unsynced: usize,
    pub(crate) header: Header,
    pub(crate) progress: Progress,
}

impl Journal {
    /// Where the journal of a cache is.
    pub(crate) fn path(uploads: &Path, cache: &str) -> PathBuf {
        uploads.join(cache).with_extension(EXTENSION)
    }

    /// Starts a journal, in place of an older one.
    pub(crate) fn create(path: PathBuf, header: Header) -> Result<Self> {
        let written = || -> io::Result<File> {
            let temporary = path.with_extension("new");
            let mut line = serde_json::to_vec(&header)?;
            line.push(b'\n');
            let mut file = File::create(&temporary)?;
            file.write_all(&line)?;
            file.sync_all()?;
            fs::rename(&temporary, &path)?;
            if let Some(parent) = path.parent() {
                File::open(parent)?.sync_all()?;
            }
            Ok(file)
        };
        let file = written().map_err(|error| Error::io("write", &path, error))?;
        Ok(Self {
            path,
            file,
            unsynced: 0,
            header,
            progress: Progress::default(),
        })
    }

    /// Goes on with the journal at `path`; `None` when there is none that can be read.
    pub(crate) fn open(path: PathBuf) -> Result<Option<Self>> {
        let Some((header, progress, valid)) = read(&path)? else {
            return Ok(None);
        };
        let opened = OpenOptions::new().append(true).open(&path).and_then(|file| {
            // What was torn must not become the start of the next line.
            file.set_len(valid)?;
            Ok(file)
        });
        let file = opened.map_err(|error| Error::io("open", &path, error))?;
        Ok(Some(Self {
            path,
            file,
            unsynced: 0,
            header,
            progress,
        }))
    }

    /// Notes the snapshot's id.
    pub(crate) fn started(&mut self, snapshot: &str) -> Result<()> {
        self.line(&format!("{SNAPSHOT}{snapshot}"))?;
        self.progress.snapshot = Some(snapshot.to_owned());
        self.sync()
    }

    /// Notes a block that the service has.
    pub(crate) fn acknowledged(&mut self, index: u64) -> Result<()> {
        self.line(&index.to_string())?;
        self.progress.acknowledged.insert(index);
        self.unsynced += 1;
        if self.unsynced >= SYNC_EVERY {
            self.sync()
        } else {
            Ok(())
        }
    }

    /// Notes that CompleteSnapshot is about to be called.
    pub(crate) fn completing(&mut self) -> Result<()> {
        self.line(COMPLETE)?;
        self.progress.completing = true;
        self.sync()
    }

    fn line(&mut self, text: &str) -> Result<()> {
        // One write, so that a kill leaves the whole line or a torn one, never a mixture of two.
        let written = self.file.write_all(format!("{text}\n").as_bytes());
        written.map_err(|error| Error::io("write", &self.path, error))
    }

    fn sync(&mut self) -> Result<()> {
        self.unsynced = 0;
        self.file
            .sync_data()
            .map_err(|error| Error::io("write", &self.path, error))
    }
}

/// Reads a journal without touching it: its header, how far the upload is, and how many of its bytes are whole lines.
fn read(path: &Path) -> Result<Option<(Header, Progress, u64)>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("read", path, error)),
    };
    Ok(parse(&bytes))
}

fn parse(bytes: &[u8]) -> Option<(Header, Progress, u64)> {
    let mut lines = bytes.split_inclusive(|byte| *byte == b'\n');
    let first = lines.next()?;
    let header: Header = serde_json::from_slice(first.strip_suffix(b"\n")?).ok()?;
    if header.version != VERSION {
        return None;
    }
    let mut progress = Progress::default();
    let mut valid = first.len() as u64;
    for line in lines {
        let Some(text) = line.strip_suffix(b"\n").and_then(|line| std::str::from_utf8(line).ok()) else {
            break;
        };
        if let Some(snapshot) = text.strip_prefix(SNAPSHOT) {
            progress.snapshot = Some(snapshot.to_owned());
        } else if text == COMPLETE {
            progress.completing = true;
        } else if let Ok(index) = text.parse() {
            progress.acknowledged.insert(index);
        } else {
            // A disk that lost power may leave anything; what follows is not trusted.
            break;
        }
        valid += line.len() as u64;
    }
    Some((header, progress, valid))
}

/// Every journal in `uploads`: the cache's id as text, and what it claims.
pub(crate) fn all(uploads: &Path) -> Result<Vec<(String, Option<Header>, Progress)>> {
    let failed = |error| Error::io("read", uploads, error);
    let mut found = Vec::new();
    for entry in fs::read_dir(uploads).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_stem().and_then(|stem| stem.to_str()).map(str::to_owned);
        if let Some(name) = name.filter(|_| path.extension().is_some_and(|extension| extension == EXTENSION)) {
            let (header, progress) = read(&path)?.map_or((None, Progress::default()), |(header, progress, _)| {
                (Some(header), progress)
            });
            found.push((name, header, progress));
        }
    }
    Ok(found)
}

/// Removes the journal of a cache; one that is not there is fine.
pub(crate) fn remove(uploads: &Path, cache: &str) -> Result<()> {
    let path = Journal::path(uploads, cache);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", path, error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use imagecache_blocks::BlockDigest;
    use proptest::prelude::*;

    use super::*;

    fn header() -> Header {
        let manifest = SnapshotId::of(524_288, &[BlockDigest::ZERO]);
        Header::new("token".to_owned(), manifest, 1 << 30, None, Timestamp::UNIX_EPOCH)
    }

    fn written(directory: &Path, blocks: &[u64]) -> (PathBuf, Vec<u8>) {
        let path = Journal::path(directory, "imc-1");
        let mut journal = Journal::create(path.clone(), header()).unwrap();
        journal.started("snap-1").unwrap();
        blocks.iter().for_each(|block| journal.acknowledged(*block).unwrap());
        let bytes = fs::read(&path).unwrap();
        (path, bytes)
    }

    proptest! {
        /// A kill or a power cut at any byte: what is read is a prefix of what was written, and goes on from there.
        #[test]
        fn cut_anywhere_it_goes_on(blocks in prop::collection::vec(0_u64..200_000, 0..40), cut in 0.0..1.0_f64) {
            let directory = tempfile::tempdir().unwrap();
            let (path, bytes) = written(directory.path(), &blocks);
            let length = (bytes.len() as f64 * cut) as usize;
            fs::write(&path, &bytes[..length]).unwrap();
            let Some(mut journal) = Journal::open(path.clone()).unwrap() else {
                let first = bytes.iter().position(|byte| *byte == b'\n').unwrap();
                prop_assert!(length <= first);
                return Ok(());
            };
            let kept = journal.progress.acknowledged.clone();
            prop_assert!((0..=blocks.len()).any(|count| kept == blocks[..count].iter().copied().collect()));
            journal.acknowledged(200_001).unwrap();
            let again = Journal::open(path).unwrap().unwrap().progress;
            let expected: BTreeSet<u64> = kept.into_iter().chain([200_001]).collect();
            prop_assert_eq!(again.acknowledged, expected);
        }
    }

    #[test]
    fn everything_comes_back() {
        let directory = tempfile::tempdir().unwrap();
        let (path, _) = written(directory.path(), &[3, 1, 2, 3]);
        Journal::open(path.clone()).unwrap().unwrap().completing().unwrap();
        let journal = Journal::open(path).unwrap().unwrap();
        assert_eq!(journal.header, header());
        let expected = Progress {
            snapshot: Some("snap-1".to_owned()),
            acknowledged: [1, 2, 3].into(),
            completing: true,
        };
        assert_eq!(journal.progress, expected);
        assert_eq!(
            all(directory.path()).unwrap(),
            [("imc-1".to_owned(), Some(header()), expected)]
        );
        remove(directory.path(), "imc-1").unwrap();
        remove(directory.path(), "imc-1").unwrap();
        assert_eq!(all(directory.path()).unwrap(), []);
    }

    #[test]
    fn what_follows_nonsense_is_not_trusted() {
        let directory = tempfile::tempdir().unwrap();
        let (path, mut bytes) = written(directory.path(), &[1]);
        bytes.extend(b"\0\0\0\n7\n");
        fs::write(&path, bytes).unwrap();
        assert_eq!(Journal::open(path).unwrap().unwrap().progress.acknowledged, [1].into());
    }
}
