//! What is known of an upload under way, in a file that survives a kill.
//!
//! ```text
//! {"version":2,"token":"…",…}       written and synced before the snapshot is asked for
//! snapshot snap-0123… 2026-…        its id, as soon as it is known, and when that was
//! 17 07854d2f…                      a block that the service acknowledged, with its digest, one a line, in any order
//! complete snap-4567…               CompleteSnapshot is about to be called for this volume
//! shared snap-89ab…                 claims the snapshot of another cache, which holds the same volume
//! unshared                          no longer
//! ```
//!
//! A line counts once its end is there, so a torn last line is no line. A block is written down with a plain `write` by the task
//! that got the answer, before anything else is done: it survives the death of the process. The disk is waited for now and
//! then. After a power cut some blocks are sent again, which the service allows. EBS cannot list the blocks of a pending
//! snapshot, so this is the only way to go on.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use imagecache_blocks::{BlockDigest, DirectoryStore, Error, Published, Result, SnapshotId};
use imagecache_core::Digest;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

const VERSION: u32 = 2;
const SNAPSHOT: &str = "snapshot ";
const COMPLETE: &str = "complete ";
const SHARED: &str = "shared ";
const UNSHARED: &str = "unshared";
const EXTENSION: &str = "journal";

/// What an upload is; never changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Header {
    version: u32,
    /// The idempotency token of StartSnapshot, also the tag by which the snapshot is known to be claimed.
    pub(crate) token: String,
    /// Digest of the volume's index: which images it is made for.
    pub(crate) index: Digest,
    /// The volume; `None` when the upload began before all of it was there. What differs in the end is sent again.
    pub(crate) manifest: Option<SnapshotId>,
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
        index: Digest,
        manifest: Option<SnapshotId>,
        device_bytes: u64,
        parent: Option<Parent>,
        started_at: Timestamp,
    ) -> Self {
        Self {
            version: VERSION,
            token,
            index,
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
    pub(crate) snapshot: Option<Started>,
    /// Blocks that the service acknowledged, and what is in them.
    pub(crate) acknowledged: BTreeMap<u64, BlockDigest>,
    /// The volume for which CompleteSnapshot may have been called.
    pub(crate) completing: Option<SnapshotId>,
    /// The snapshot of another cache that is claimed.
    pub(crate) shared: Option<String>,
}

/// A snapshot, and when its id was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Started {
    pub(crate) id: String,
    pub(crate) at: Timestamp,
}

/// An open journal. Whoever holds the cache's lock writes it; clones are the same journal.
#[derive(Clone, Debug)]
pub(crate) struct Journal {
    pub(crate) header: Arc<Header>,
    path: Arc<Path>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    file: File,
    progress: Progress,
    /// How many bytes of the file are whole lines.
    valid: u64,
    /// Whether there may be more bytes than that, because a full disk ended a line anywhere.
    is_torn: bool,
}

impl State {
    fn append(&mut self, line: &str) -> io::Result<()> {
        if self.is_torn {
            // What was torn must not become the start of this line, which would then be another one.
            self.file.set_len(self.valid)?;
        }
        self.is_torn = true;
        // One write, so that a kill leaves the whole line or a torn one, never a mixture of two.
        self.file.write_all(line.as_bytes())?;
        self.is_torn = false;
        self.valid += line.len() as u64;
        Ok(())
    }
}

impl Journal {
    /// Name of the journal of a cache.
    fn name(cache: &str) -> String {
        format!("{cache}.{EXTENSION}")
    }

    /// Starts the journal of a cache, in place of an older one.
    pub(crate) fn create(store: &DirectoryStore, cache: &str, header: Header) -> Result<Self> {
        let name = Self::name(cache);
        let mut line = serde_json::to_vec(&header).map_err(|error| Error::io("write", &name, error.into()))?;
        line.push(b'\n');
        let path = store.begin_journal(&name, &line)?;
        Self::append(path, header, Progress::default(), line.len() as u64)
    }

    /// Goes on with the journal of a cache; `None` when there is none that can be read.
    pub(crate) fn open(store: &DirectoryStore, cache: &str) -> Result<Option<Self>> {
        let path = store.uploads()?.join(Self::name(cache));
        let Some((header, progress, valid)) = read(&path)? else {
            return Ok(None);
        };
        Self::append(path, header, progress, valid).map(Some)
    }

    /// Goes on behind the first `valid` bytes. What a kill tore goes.
    fn append(path: PathBuf, header: Header, progress: Progress, valid: u64) -> Result<Self> {
        let opened = OpenOptions::new().append(true).open(&path).and_then(|file| {
            file.set_len(valid)?;
            Ok(file)
        });
        let file = opened.map_err(|error| Error::io("open", &path, error))?;
        let state = State {
            file,
            progress,
            valid,
            is_torn: false,
        };
        Ok(Self {
            header: Arc::new(header),
            path: path.into(),
            state: Arc::new(Mutex::new(state)),
        })
    }

    /// How far the upload is.
    pub(crate) fn progress(&self) -> Progress {
        self.state().progress.clone()
    }

    /// Notes the snapshot's id.
    pub(crate) fn started(&self, snapshot: &str) -> Result<()> {
        let started = Started {
            id: snapshot.to_owned(),
            at: Timestamp::now(),
        };
        self.line(&format!("{SNAPSHOT}{snapshot} {}", started.at), |progress| {
            progress.snapshot = Some(started);
        })?;
        self.sync()
    }

    /// Notes a block that the service has. Does not wait for the disk.
    pub(crate) fn acknowledged(&self, index: u64, digest: BlockDigest) -> Result<()> {
        self.line(&format!("{index} {digest}"), |progress| {
            progress.acknowledged.insert(index, digest);
        })
    }

    /// Notes that CompleteSnapshot is about to be called.
    pub(crate) fn completing(&self, manifest: &SnapshotId) -> Result<()> {
        self.line(&format!("{COMPLETE}{manifest}"), |progress| {
            progress.completing = Some(manifest.clone());
        })?;
        self.sync()
    }

    /// Claims the snapshot of another cache, or gives it up again.
    pub(crate) fn share(&self, snapshot: Option<&str>) -> Result<()> {
        let text = snapshot.map_or_else(|| UNSHARED.to_owned(), |id| format!("{SHARED}{id}"));
        self.line(&text, |progress| progress.shared = snapshot.map(str::to_owned))?;
        self.sync()
    }

    /// Waits for the disk. Blocks.
    pub(crate) fn sync(&self) -> Result<()> {
        let file = self.state().file.try_clone();
        // Not under the lock, which blocks that arrive need.
        let synced = file.and_then(|file| file.sync_data());
        synced.map_err(|error| Error::io("write", &self.path, error))
    }

    fn line(&self, text: &str, note: impl FnOnce(&mut Progress)) -> Result<()> {
        let mut state = self.state();
        let written = state.append(&format!("{text}\n"));
        written.map_err(|error| Error::io("write", &self.path, error))?;
        note(&mut state.progress);
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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
        if apply(text, &mut progress).is_none() {
            // A disk that lost power may leave anything; what follows is not trusted.
            break;
        }
        valid += line.len() as u64;
    }
    Some((header, progress, valid))
}

/// Takes a line over; `None` when it is none.
fn apply(text: &str, progress: &mut Progress) -> Option<()> {
    if let Some(rest) = text.strip_prefix(SNAPSHOT) {
        let (id, at) = rest.split_once(' ')?;
        progress.snapshot = Some(Started {
            id: id.to_owned(),
            at: at.parse().ok()?,
        });
    } else if let Some(manifest) = text.strip_prefix(COMPLETE) {
        progress.completing = Some(manifest.parse().ok()?);
    } else if let Some(snapshot) = text.strip_prefix(SHARED) {
        progress.shared = Some(snapshot.to_owned());
    } else if text == UNSHARED {
        progress.shared = None;
    } else {
        let (index, digest) = text.split_once(' ')?;
        progress.acknowledged.insert(index.parse().ok()?, digest.parse().ok()?);
    }
    Some(())
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
    let path = uploads.join(Journal::name(cache));
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", path, error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;
    use proptest::test_runner::TestRunner;

    use super::*;

    fn header() -> Header {
        let manifest = SnapshotId::of(524_288, &[BlockDigest::ZERO]);
        let index = Digest::sha256_of(b"index");
        Header::new(
            "token".to_owned(),
            index,
            Some(manifest),
            1 << 30,
            None,
            Timestamp::UNIX_EPOCH,
        )
    }

    fn digest(index: u64) -> BlockDigest {
        BlockDigest::of(&index.to_le_bytes())
    }

    fn with_digests(blocks: &[u64]) -> BTreeMap<u64, BlockDigest> {
        blocks.iter().map(|index| (*index, digest(*index))).collect()
    }

    /// A journal of these blocks; its file and what is in it.
    fn written(store: &DirectoryStore, blocks: &[u64]) -> (PathBuf, Vec<u8>) {
        let journal = Journal::create(store, "imc-1", header()).unwrap();
        journal.started("snap-1").unwrap();
        let note = |block: &u64| journal.acknowledged(*block, digest(*block)).unwrap();
        blocks.iter().for_each(note);
        let bytes = fs::read(&journal.path).unwrap();
        (journal.path.to_path_buf(), bytes)
    }

    fn open(store: &DirectoryStore) -> Journal {
        Journal::open(store, "imc-1").unwrap().unwrap()
    }

    /// A kill or a power cut at any byte: what is read is a prefix of what was written, and goes on from there.
    #[test]
    fn cut_anywhere_it_goes_on() {
        let directory = tempfile::tempdir().unwrap();
        let store = DirectoryStore::open(directory.path()).unwrap();
        let cases = (prop::collection::vec(0_u64..200_000, 0..40), 0.0..1.0_f64);
        let goes_on = |(blocks, cut): (Vec<u64>, f64)| {
            let (path, bytes) = written(&store, &blocks);
            let length = (bytes.len() as f64 * cut) as usize;
            fs::write(&path, &bytes[..length]).unwrap();
            let Some(journal) = Journal::open(&store, "imc-1").unwrap() else {
                let first = bytes.iter().position(|byte| *byte == b'\n').unwrap();
                prop_assert!(length <= first);
                return Ok(());
            };
            let kept = journal.progress().acknowledged;
            prop_assert!((0..=blocks.len()).any(|count| kept == with_digests(&blocks[..count])));
            journal.acknowledged(200_001, digest(200_001)).unwrap();
            let again = open(&store).progress();
            let expected: BTreeMap<u64, BlockDigest> = kept.into_iter().chain([(200_001, digest(200_001))]).collect();
            prop_assert_eq!(again.acknowledged, expected);
            Ok(())
        };
        TestRunner::default().run(&cases, goes_on).unwrap();
    }

    #[test]
    fn everything_comes_back() {
        let directory = tempfile::tempdir().unwrap();
        let store = DirectoryStore::open(directory.path()).unwrap();
        let before = Timestamp::now();
        written(&store, &[3, 1, 2, 3]);
        let manifest = SnapshotId::of(0, &[]);
        let journal = open(&store);
        journal.share(Some("snap-2")).unwrap();
        journal.share(None).unwrap();
        journal.share(Some("snap-3")).unwrap();
        journal.acknowledged(3, digest(7)).unwrap();
        journal.completing(&manifest).unwrap();
        let journal = open(&store);
        assert_eq!(*journal.header, header());
        let found = journal.progress();
        let started = found.snapshot.clone().unwrap();
        assert_eq!(started.id, "snap-1");
        assert!(started.at >= before && started.at <= Timestamp::now(), "{started:?}");
        let expected = Progress {
            snapshot: Some(started),
            acknowledged: [(1, digest(1)), (2, digest(2)), (3, digest(7))].into(),
            completing: Some(manifest),
            shared: Some("snap-3".to_owned()),
        };
        assert_eq!(found, expected, "the last line of a block counts");
        let uploads = store.uploads().unwrap();
        assert_eq!(all(&uploads).unwrap(), [("imc-1".to_owned(), Some(header()), expected)]);
        remove(&uploads, "imc-1").unwrap();
        remove(&uploads, "imc-1").unwrap();
        assert_eq!(all(&uploads).unwrap(), []);
    }

    #[test]
    fn what_follows_nonsense_is_not_trusted() {
        let directory = tempfile::tempdir().unwrap();
        let store = DirectoryStore::open(directory.path()).unwrap();
        let (path, mut bytes) = written(&store, &[1]);
        bytes.extend(b"\0\0\0\n");
        bytes.extend(format!("7 {}\n", digest(7)).as_bytes());
        fs::write(&path, bytes).unwrap();
        assert_eq!(open(&store).progress().acknowledged, with_digests(&[1]));
    }

    /// Unmounted when dropped.
    struct Disk(tempfile::TempDir);

    impl Drop for Disk {
        fn drop(&mut self) {
            let umount = Command::new("umount").arg("-l").arg(self.0.path()).status();
            assert!(umount.unwrap().success());
        }
    }

    #[test]
    #[ignore = "needs root"]
    fn a_line_that_a_full_disk_tore_is_not_the_start_of_the_next() {
        let disk = Disk(tempfile::tempdir().unwrap());
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=64k", "none"])
            .arg(disk.0.path())
            .status();
        assert!(mount.unwrap().success());
        let store = DirectoryStore::open(disk.0.path()).unwrap();
        let journal = Journal::create(&store, "imc-1", header()).unwrap();
        let filler = disk.0.path().join("filler");
        // Fails once the disk is full.
        fs::write(&filler, vec![0; 128 << 10]).unwrap_err();
        let torn = (0..).find(|index| journal.acknowledged(*index, digest(*index)).is_err());
        let torn: u64 = torn.unwrap();
        let text = fs::read_to_string(&journal.path).unwrap();
        assert!(!text.ends_with('\n'), "nothing was torn: {text}");
        journal.acknowledged(torn, digest(torn)).unwrap_err();
        fs::remove_file(filler).unwrap();
        let more: Vec<u64> = (1_000..1_010).collect();
        for index in &more {
            journal.acknowledged(*index, digest(*index)).unwrap();
        }
        let expected = with_digests(&[(0..torn).collect(), more].concat());
        assert_eq!(journal.progress().acknowledged, expected);
        assert_eq!(open(&store).progress().acknowledged, expected);
    }
}
