//! Whether an image file is what its store recorded, asked once for each file.
//!
//! Every block of a file is hashed before the file is mounted for the first time, on all cores. What was found is remembered
//! with the file's inode, size and time of last change, so a file that is written to is hashed again. For files of a store
//! directory it is also remembered across restarts, in a small mark file; volumes are asked again, since their inode numbers
//! and times say little.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::Write as _;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use imagecache_blocks::{BLOCK_BYTES, BlockDigest, Blocks, Part, ReadAt as _};

use crate::error::{Error, Result};
use crate::file_state::FileState;

/// Whether a file may be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every block had its digest when the file was in this state.
    Sound(FileState),
    /// It must not be used; why.
    Damaged(String),
}

/// Whether a verdict outlives the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// It does: the file lies in a directory.
    Kept,
    /// It does not: the file lies on a volume, which was mounted for this time. The next one may have other bytes in a file
    /// that looks the same.
    Process(u64),
}

/// A file, and which mount of its volume it was read through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    state: FileState,
    mounting: u64,
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
    entries: Mutex<HashMap<Key, Entry>>,
    finished: Condvar,
    /// Bytes that were hashed since the start, and the microseconds that checks took.
    hashed: AtomicU64,
    microseconds: AtomicU64,
    stopped: AtomicBool,
}

impl Verifier {
    /// A verifier that keeps its marks in `directory`.
    pub fn open(directory: &Path) -> Result<Self> {
        fs::create_dir_all(directory).map_err(|error| Error::io("create", directory, error))?;
        Ok(Self {
            marks: directory.to_owned(),
            entries: Mutex::default(),
            finished: Condvar::new(),
            hashed: AtomicU64::new(0),
            microseconds: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
        })
    }

    /// Ends all checks within a block, as errors; the process is about to end.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Bytes that were hashed since the start.
    pub fn hashed(&self) -> u64 {
        self.hashed.load(Ordering::Relaxed)
    }

    /// How long checks took since the start; of two at a time both count.
    pub fn hash_time(&self) -> Duration {
        Duration::from_micros(self.microseconds.load(Ordering::Relaxed))
    }

    /// Says whether `file`, an image of `part`, is sound. The first time it reads all of it and compares it with `blocks`.
    /// Whoever asks meanwhile waits for that answer.
    ///
    /// # Errors
    /// `Io` when the file cannot be looked at; one that cannot be read is damaged. `Unavailable` when it is being written to,
    /// or the process ends.
    pub fn check(
        &self,
        file: &Path,
        part: &Part,
        memory: Memory,
        blocks: &dyn Fn() -> Result<Blocks>,
    ) -> Result<Verdict> {
        let opened = File::open(file).map_err(|error| Error::io("open", file, error))?;
        let state = FileState::of(&opened.metadata().map_err(|error| Error::io("read", file, error))?);
        let key = Key::of(state, memory);
        if let Some(verdict) = self.claim(key, part, memory) {
            return Ok(verdict);
        }
        // The claim ends with this, whatever happens.
        let mut claim = Claim {
            verifier: self,
            key,
            verdict: None,
        };
        let blocks = blocks()?;
        let begin = Instant::now();
        let difference = self.compare(&opened, &blocks);
        let took = u64::try_from(begin.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.microseconds.fetch_add(took, Ordering::Relaxed);
        let verdict = match difference? {
            None => Verdict::Sound(state),
            Some(reason) => Verdict::Damaged(reason),
        };
        // A write during the check leaves it open what was checked.
        let now = FileState::of(&opened.metadata().map_err(|error| Error::io("read", file, error))?);
        if now != state {
            return Err(Error::Unavailable(format!(
                "{part} was written to while it was checked"
            )));
        }
        if memory == Memory::Kept && matches!(verdict, Verdict::Sound(_)) {
            self.mark(state, part)?;
        }
        claim.verdict = Some(verdict.clone());
        Ok(verdict)
    }

    /// The state of `file` if it was found sound and was not written to since. Hashes nothing.
    pub fn known_sound(&self, file: &Path, part: &Part, memory: Memory) -> Option<FileState> {
        let state = FileState::at(file).ok()?;
        let sound = match self.lock().get(&Key::of(state, memory)) {
            Some(Entry::Done(verdict)) => matches!(verdict, Verdict::Sound(_)),
            Some(Entry::Running) => false,
            None => memory == Memory::Kept && self.is_marked(state, part),
        };
        sound.then_some(state)
    }

    /// Has damaged files hashed again when they are asked for: what could not be read may be readable now.
    pub fn forget_damage(&self) {
        self.lock()
            .retain(|_, entry| !matches!(entry, Entry::Done(Verdict::Damaged(_))));
    }

    /// Forgets every file but these. Files that are being checked stay.
    pub fn prune(&self, files: &[(PathBuf, Part, Memory)]) {
        let known: Vec<(Key, &Part, Memory)> = files
            .iter()
            .filter_map(|(file, part, memory)| Some((Key::of(FileState::at(file).ok()?, *memory), part, *memory)))
            .collect();
        let keys: HashSet<Key> = known.iter().map(|(key, ..)| *key).collect();
        self.lock()
            .retain(|key, entry| matches!(entry, Entry::Running) || keys.contains(key));
        let kept = known.iter().filter(|(.., memory)| *memory == Memory::Kept);
        let names: HashSet<PathBuf> = kept.map(|(key, part, _)| self.mark_path(key.state, part)).collect();
        for entry in fs::read_dir(&self.marks).into_iter().flatten().flatten() {
            // One that cannot be removed now is met again.
            if !names.contains(&entry.path()) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    /// The answer, if there is one; else the caller must find it.
    fn claim(&self, key: Key, part: &Part, memory: Memory) -> Option<Verdict> {
        let mut entries = self.lock();
        loop {
            match entries.get(&key) {
                Some(Entry::Done(verdict)) => return Some(verdict.clone()),
                Some(Entry::Running) => {
                    entries = self.finished.wait(entries).unwrap_or_else(PoisonError::into_inner);
                }
                None if memory == Memory::Kept && self.is_marked(key.state, part) => {
                    entries.insert(key, Entry::Done(Verdict::Sound(key.state)));
                }
                None => {
                    entries.insert(key, Entry::Running);
                    return None;
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Entry>> {
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
        let name = format!("{}-{}-{}", part.directory(), part.digest().hex(), state.inode());
        self.marks.join(name)
    }

    /// Says what is wrong with a file, if anything is.
    fn compare(&self, file: &File, blocks: &Blocks) -> Result<Option<String>> {
        let bytes = match file.metadata() {
            Ok(meta) => meta.len(),
            Err(error) => return Ok(Some(error.to_string())),
        };
        if bytes != blocks.bytes {
            let reason = format!("it has {bytes} bytes, its record says {}", blocks.bytes);
            return Ok(Some(reason));
        }
        let workers = std::thread::available_parallelism()
            .map_or(1, NonZero::get)
            .min(blocks.digests.len());
        let next = AtomicUsize::new(0);
        let work = || {
            let mut buffer = vec![0; usize::try_from(BLOCK_BYTES).unwrap_or_default()];
            while !self.stopped.load(Ordering::Relaxed) {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let expected = blocks.digests.get(index)?;
                if let Some(problem) = block_problem(file, blocks, index as u64, *expected, &mut buffer) {
                    // Nobody needs the rest.
                    next.store(blocks.digests.len(), Ordering::Relaxed);
                    return Some(problem);
                }
                self.hashed.fetch_add(blocks.len_of(index as u64), Ordering::Relaxed);
            }
            None
        };
        let problem = std::thread::scope(|scope| {
            let threads: Vec<_> = (1..workers).map(|_| scope.spawn(work)).collect();
            let own = work();
            threads.into_iter().fold(own, |found, thread| {
                let other = thread.join().unwrap_or_else(|_| Some("its check died".to_owned()));
                found.or(other)
            })
        });
        match problem {
            None if self.stopped.load(Ordering::Relaxed) => {
                Err(Error::Unavailable("the snapshotter is about to end".to_owned()))
            }
            found => Ok(found),
        }
    }
}

/// The right to find an answer; gives it back when dropped.
struct Claim<'a> {
    verifier: &'a Verifier,
    key: Key,
    verdict: Option<Verdict>,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let mut entries = self.verifier.lock();
        match self.verdict.take() {
            Some(verdict) => entries.insert(self.key, Entry::Done(verdict)),
            None => entries.remove(&self.key),
        };
        self.verifier.finished.notify_all();
    }
}

impl Key {
    fn of(state: FileState, memory: Memory) -> Self {
        let mounting = match memory {
            Memory::Kept => 0,
            Memory::Process(mounting) => mounting,
        };
        Self { state, mounting }
    }
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
        let is_sound = |verifier: &Verifier, memory| verifier.known_sound(&file, &part, memory).is_some();
        let sound = || Verdict::Sound(FileState::at(&file).unwrap());
        let volume = Memory::Process(1);
        assert!(!is_sound(&verifier, volume), "not known yet");
        assert_eq!(check(&verifier, volume), sound());
        assert_eq!(check(&verifier, volume), sound());
        assert!(is_sound(&verifier, volume));
        assert_eq!(reads.get(), 1);
        assert!(!is_sound(&verifier, Memory::Process(2)), "another mount of the volume");
        let verifier = Verifier::open(&marks).unwrap();
        assert!(!is_sound(&verifier, Memory::Kept), "no mark was kept");
        assert_eq!(check(&verifier, Memory::Kept), sound());
        let verifier = Verifier::open(&marks).unwrap();
        assert!(is_sound(&verifier, Memory::Kept), "the mark was kept");
        assert!(!is_sound(&verifier, volume), "a mark says nothing of a volume");
        assert_eq!(check(&verifier, Memory::Kept), sound());
        assert_eq!(reads.get(), 2);
        // One bit, in any block.
        for at in [0, BLOCK_BYTES, BLOCK_BYTES * 2 + 76] {
            let original = content[usize::try_from(at).unwrap()];
            let open = || File::options().write(true).open(&file).unwrap();
            open().write_at(&[original ^ 1], at).unwrap();
            assert!(!is_sound(&verifier, Memory::Kept));
            let expected = format!("block {} does not have its digest", at / BLOCK_BYTES);
            assert_eq!(check(&verifier, Memory::Kept), Verdict::Damaged(expected));
            assert!(!is_sound(&verifier, Memory::Kept));
            open().write_at(&[original], at).unwrap();
            assert_eq!(check(&verifier, Memory::Kept), sound(), "repaired");
        }
        fs::write(&file, &content[1..]).unwrap();
        assert!(matches!(check(&verifier, Memory::Kept), Verdict::Damaged(reason) if reason.contains("bytes")));
    }

    #[test]
    fn what_nobody_has_any_more_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let marks = dir.path().join("marks");
        let verifier = Verifier::open(&marks).unwrap();
        let mut hasher = BlockHasher::default();
        hasher.update(b"content");
        let blocks = hasher.finish();
        let parts = [b"a", b"b"].map(|name| Part::Layer(Digest::sha256_of(name)));
        let files = ["a", "b"].map(|name| dir.path().join(name));
        for (file, part) in files.iter().zip(&parts) {
            fs::write(file, "content").unwrap();
            verifier
                .check(file, part, Memory::Kept, &|| Ok(blocks.clone()))
                .unwrap();
        }
        let left = || (verifier.lock().len(), fs::read_dir(&marks).unwrap().count());
        assert_eq!(left(), (2, 2));
        verifier.prune(&[(files[1].clone(), parts[1].clone(), Memory::Kept)]);
        assert_eq!(left(), (1, 1));
        assert!(verifier.known_sound(&files[1], &parts[1], Memory::Kept).is_some());
    }

    #[test]
    fn checks_end_when_the_process_is_to_end() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("image");
        fs::write(&file, "content").unwrap();
        let verifier = Verifier::open(&dir.path().join("marks")).unwrap();
        verifier.stop();
        let mut hasher = BlockHasher::default();
        hasher.update(b"content");
        let blocks = hasher.finish();
        let part = Part::Layer(Digest::sha256_of(b"x"));
        let checked = verifier.check(&file, &part, Memory::Kept, &|| Ok(blocks.clone()));
        assert!(matches!(checked, Err(Error::Unavailable(_))), "{checked:?}");
    }
}
