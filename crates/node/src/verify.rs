//! Whether an image file is what its store recorded, asked once for each file.
//!
//! Every block of a file is hashed before the file is mounted for the first time, on all cores. What was found is remembered
//! with the file's inode, size and time of last change, so a file that is written to is hashed again. For files of a store
//! directory it is also remembered across restarts, in a small mark file; volumes are asked again, since their inode numbers
//! and times say little.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::num::NonZero;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use imagecache_blocks::{BLOCK_BYTES, BlockDigest, Blocks, Part, ReadAt as _};

use crate::error::{Error, Result};

/// Whether a file may be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every block has its digest.
    Sound,
    /// It must not be used; why.
    Damaged(String),
}

/// Whether a verdict outlives the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// It does: the file lies in a directory.
    Kept,
    /// It does not: the file lies on a volume.
    Process,
}

/// A file at one moment; another one after a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct FileState {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
}

#[derive(Clone, Debug)]
enum Entry {
    Running,
    Done(Verdict),
}

/// Remembers which files are sound.
#[derive(Debug)]
pub struct Verifier {
    marks: PathBuf,
    entries: Mutex<HashMap<FileState, Entry>>,
    finished: Condvar,
    hashed: Hashed,
}

/// How much was hashed, and how long that took.
#[derive(Debug, Default)]
struct Hashed {
    bytes: AtomicU64,
    microseconds: AtomicU64,
}

impl Verifier {
    /// A verifier that keeps its marks in `directory`.
    pub fn open(directory: &Path) -> Result<Self> {
        fs::create_dir_all(directory).map_err(|error| Error::io("create", directory, error))?;
        Ok(Self {
            marks: directory.to_owned(),
            entries: Mutex::default(),
            finished: Condvar::new(),
            hashed: Hashed::default(),
        })
    }

    /// Says whether `file`, an image of `part`, is sound. The first time it reads all of it and compares it with `blocks`.
    /// Whoever asks meanwhile waits for that answer.
    ///
    /// # Errors
    /// `Io` when the file cannot be looked at. One that cannot be read is damaged.
    pub fn check(
        &self,
        file: &Path,
        part: &Part,
        memory: Memory,
        blocks: &dyn Fn() -> Result<Blocks>,
    ) -> Result<Verdict> {
        let opened = File::open(file).map_err(|error| Error::io("open", file, error))?;
        let state = FileState::of(&opened.metadata().map_err(|error| Error::io("read", file, error))?);
        if let Some(verdict) = self.claim(state, part) {
            return Ok(verdict);
        }
        // The claim ends with this, whatever happens.
        let mut claim = Claim {
            verifier: self,
            state,
            verdict: None,
        };
        let blocks = blocks()?;
        let begin = Instant::now();
        let difference = compare(&opened, &blocks);
        self.count(state.bytes, begin.elapsed());
        let verdict = match difference {
            None => Verdict::Sound,
            Some(reason) => Verdict::Damaged(reason),
        };
        // A write during the check leaves it open what was checked.
        let now = FileState::of(&opened.metadata().map_err(|error| Error::io("read", file, error))?);
        if now != state {
            return Ok(Verdict::Damaged("it was written to while it was checked".to_owned()));
        }
        if verdict == Verdict::Sound && memory == Memory::Kept {
            self.mark(state, part)?;
        }
        claim.verdict = Some(verdict.clone());
        Ok(verdict)
    }

    /// Bytes that were hashed, and how long that took.
    pub fn hashed(&self) -> (u64, Duration) {
        let microseconds = self.hashed.microseconds.load(Ordering::Relaxed);
        (
            self.hashed.bytes.load(Ordering::Relaxed),
            Duration::from_micros(microseconds),
        )
    }

    fn count(&self, bytes: u64, took: Duration) {
        self.hashed.bytes.fetch_add(bytes, Ordering::Relaxed);
        let microseconds = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.hashed.microseconds.fetch_add(microseconds, Ordering::Relaxed);
    }

    /// Whether `file` was found sound and was not written to since. Reads nothing but its state.
    pub fn is_sound(&self, file: &Path, part: &Part) -> bool {
        let Ok(meta) = fs::metadata(file) else { return false };
        let state = FileState::of(&meta);
        match self.lock().get(&state) {
            Some(Entry::Done(verdict)) => *verdict == Verdict::Sound,
            Some(Entry::Running) => false,
            None => self.is_marked(state, part),
        }
    }

    /// The answer, if there is one; else the caller must find it.
    fn claim(&self, state: FileState, part: &Part) -> Option<Verdict> {
        let mut entries = self.lock();
        loop {
            match entries.get(&state) {
                Some(Entry::Done(verdict)) => return Some(verdict.clone()),
                Some(Entry::Running) => {
                    entries = self.finished.wait(entries).unwrap_or_else(PoisonError::into_inner);
                }
                None if self.is_marked(state, part) => {
                    entries.insert(state, Entry::Done(Verdict::Sound));
                }
                None => {
                    entries.insert(state, Entry::Running);
                    return None;
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<FileState, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_marked(&self, state: FileState, part: &Part) -> bool {
        fs::read_to_string(self.mark_path(state, part)).is_ok_and(|text| text == state.text())
    }

    /// Remembers a sound file. A mark that is lost or torn only costs another check.
    fn mark(&self, state: FileState, part: &Part) -> Result<()> {
        let path = self.mark_path(state, part);
        let written = File::create(&path).and_then(|mut mark| {
            mark.write_all(state.text().as_bytes())?;
            mark.sync_all()
        });
        written.map_err(|error| Error::io("write", path, error))
    }

    fn mark_path(&self, state: FileState, part: &Part) -> PathBuf {
        let name = format!("{}-{}-{}", part.directory(), part.digest().hex(), state.inode);
        self.marks.join(name)
    }
}

/// The right to find an answer; gives it back when dropped.
struct Claim<'a> {
    verifier: &'a Verifier,
    state: FileState,
    verdict: Option<Verdict>,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let mut entries = self.verifier.lock();
        match self.verdict.take() {
            Some(verdict) => entries.insert(self.state, Entry::Done(verdict)),
            None => entries.remove(&self.state),
        };
        self.verifier.finished.notify_all();
    }
}

impl FileState {
    fn of(meta: &fs::Metadata) -> Self {
        Self {
            device: meta.dev(),
            inode: meta.ino(),
            bytes: meta.len(),
            modified: (meta.mtime(), meta.mtime_nsec()),
        }
    }

    /// Device numbers may change when the machine starts, so they are no part of it.
    fn text(self) -> String {
        let (seconds, nanoseconds) = self.modified;
        format!("{} {} {seconds}.{nanoseconds:09}\n", self.inode, self.bytes)
    }
}

/// Says what is wrong with a file, if anything is.
fn compare(file: &File, blocks: &Blocks) -> Option<String> {
    let bytes = match file.metadata() {
        Ok(meta) => meta.len(),
        Err(error) => return Some(error.to_string()),
    };
    if bytes != blocks.bytes {
        return Some(format!("it has {bytes} bytes, its record says {}", blocks.bytes));
    }
    let workers = std::thread::available_parallelism()
        .map_or(1, NonZero::get)
        .min(blocks.digests.len());
    let next = AtomicUsize::new(0);
    let work = || {
        let mut buffer = vec![0; usize::try_from(BLOCK_BYTES).unwrap_or_default()];
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let expected = blocks.digests.get(index)?;
            if let Some(problem) = block_problem(file, blocks, index as u64, *expected, &mut buffer) {
                // Nobody needs the rest.
                next.store(blocks.digests.len(), Ordering::Relaxed);
                return Some(problem);
            }
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (1..workers).map(|_| scope.spawn(work)).collect();
        let own = work();
        threads.into_iter().fold(own, |found, thread| {
            let other = thread.join().unwrap_or_else(|_| Some("its check died".to_owned()));
            found.or(other)
        })
    })
}

fn block_problem(file: &File, blocks: &Blocks, index: u64, expected: BlockDigest, buffer: &mut [u8]) -> Option<String> {
    let wanted = usize::try_from(blocks.len_of(index)).unwrap_or_default();
    let mut filled = 0;
    while filled < wanted {
        match file.read_at(index * BLOCK_BYTES + filled as u64, buffer.get_mut(filled..wanted)?) {
            Ok(0) => return Some(format!("block {index} is cut off")),
            Ok(count) => filled += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Some(format!("block {index} cannot be read: {error}")),
        }
    }
    let found = BlockDigest::of(buffer.get(..wanted)?);
    (found != expected).then(|| format!("block {index} does not have its digest"))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::os::unix::fs::FileExt as _;

    use imagecache_blocks::BlockHasher;
    use imagecache_core::Digest;

    use super::*;

    #[test]
    fn a_file_is_read_once_until_it_is_written_to() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("image");
        let content: Vec<u8> = (0..BLOCK_BYTES * 2 + 77).map(|n| (n % 251) as u8).collect();
        fs::write(&file, &content).unwrap();
        let mut hasher = BlockHasher::default();
        hasher.update(&content);
        let blocks = hasher.finish();
        let part = Part::Layer(Digest::sha256_of(b"x"));
        let marks = dir.path().join("marks");
        let verifier = Verifier::open(&marks).unwrap();
        let reads = Cell::new(0);
        let check = |verifier: &Verifier, memory| {
            let blocks = || {
                reads.set(reads.get() + 1);
                Ok(blocks.clone())
            };
            verifier.check(&file, &part, memory, &blocks).unwrap()
        };
        assert!(!verifier.is_sound(&file, &part), "not known yet");
        assert_eq!(check(&verifier, Memory::Process), Verdict::Sound);
        assert_eq!(check(&verifier, Memory::Process), Verdict::Sound);
        assert!(verifier.is_sound(&file, &part));
        assert_eq!(reads.get(), 1);
        let verifier = Verifier::open(&marks).unwrap();
        assert!(!verifier.is_sound(&file, &part), "no mark was kept");
        assert_eq!(check(&verifier, Memory::Kept), Verdict::Sound);
        let verifier = Verifier::open(&marks).unwrap();
        assert!(verifier.is_sound(&file, &part), "the mark was kept");
        assert_eq!(check(&verifier, Memory::Kept), Verdict::Sound);
        assert_eq!(reads.get(), 2);
        // One bit, in any block.
        for at in [0, BLOCK_BYTES, BLOCK_BYTES * 2 + 76] {
            let original = content[usize::try_from(at).unwrap()];
            let open = || File::options().write(true).open(&file).unwrap();
            open().write_at(&[original ^ 1], at).unwrap();
            assert!(!verifier.is_sound(&file, &part));
            let expected = format!("block {} does not have its digest", at / BLOCK_BYTES);
            assert_eq!(check(&verifier, Memory::Kept), Verdict::Damaged(expected));
            assert!(!verifier.is_sound(&file, &part));
            open().write_at(&[original], at).unwrap();
            assert_eq!(check(&verifier, Memory::Kept), Verdict::Sound, "repaired");
        }
        fs::write(&file, &content[1..]).unwrap();
        assert!(matches!(check(&verifier, Memory::Kept), Verdict::Damaged(reason) if reason.contains("bytes")));
    }
}
