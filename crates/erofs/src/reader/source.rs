//! Where an image's bytes come from, and a file's content as a stream.

use std::io::{self, Read, Seek, SeekFrom};
use std::sync::{Mutex, PoisonError};

use super::{Image, Inode};

/// Something that can be read at any offset without a shared position.
pub trait ReadAt {
    /// Fills `into` from `offset` on.
    ///
    /// # Errors
    /// Fails with `UnexpectedEof` when the source ends before `into` is full.
    fn read_exact_at(&self, into: &mut [u8], offset: u64) -> io::Result<()>;
}

impl ReadAt for [u8] {
    fn read_exact_at(&self, into: &mut [u8], offset: u64) -> io::Result<()> {
        let start = usize::try_from(offset).ok();
        let bytes = start.and_then(|start| self.get(start..start.checked_add(into.len())?));
        into.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

impl ReadAt for Vec<u8> {
    fn read_exact_at(&self, into: &mut [u8], offset: u64) -> io::Result<()> {
        self.as_slice().read_exact_at(into, offset)
    }
}

impl<T: ReadAt + ?Sized> ReadAt for &T {
    fn read_exact_at(&self, into: &mut [u8], offset: u64) -> io::Result<()> {
        (**self).read_exact_at(into, offset)
    }
}

#[cfg(unix)]
impl ReadAt for std::fs::File {
    fn read_exact_at(&self, into: &mut [u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(self, into, offset)
    }
}

/// Makes a seekable stream readable at any offset, one reader at a time.
#[derive(Debug)]
pub struct Seekable<S>(Mutex<S>);

impl<S: Read + Seek> Seekable<S> {
    /// Takes the stream over; its position no longer matters.
    pub fn new(stream: S) -> Self {
        Self(Mutex::new(stream))
    }
}

impl<S: Read + Seek> ReadAt for Seekable<S> {
    fn read_exact_at(&self, into: &mut [u8], offset: u64) -> io::Result<()> {
        // Every read seeks first, so a panic of another reader leaves nothing behind that matters.
        let mut stream = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        stream.seek(SeekFrom::Start(offset))?;
        stream.read_exact(into)
    }
}

/// Content of one file, from its start.
#[derive(Debug)]
pub struct FileReader<'a, R> {
    image: &'a Image<R>,
    inode: Inode,
    position: u64,
}

impl<'a, R> FileReader<'a, R> {
    pub(super) fn new(image: &'a Image<R>, inode: Inode) -> Self {
        Self {
            image,
            inode,
            position: 0,
        }
    }
}

impl<R: ReadAt> Read for FileReader<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self
            .image
            .read_at(&self.inode, into, self.position)
            .map_err(io::Error::other)?;
        self.position += count as u64;
        Ok(count)
    }
}
