//! The stream of entries: headers merged with their extensions, then the data in file order with holes filled.

use std::io::Read;

use super::RECORD_BYTES;
use super::header::{EntryKind, Format, Header, text};
use super::pax::{self, Overrides};
use super::sparse::{self, Region, TextMap};
use crate::attributes::Xattr;
use crate::error::{Error, Result, printable};

/// Input buffer: headers and small files come from here, large data goes past it.
const BUFFER_BYTES: usize = 256 << 10;
/// From this much on, data is read straight into the caller's buffer.
const DIRECT_BYTES: usize = 64 << 10;
/// Extended headers in front of one entry; real tars have at most three.
const MAX_EXTENSIONS: usize = 64;

/// One entry with everything that its header and extensions say.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Type of the entry.
    pub kind: EntryKind,
    /// Name as it stands in the tar, not cleaned.
    pub path: Vec<u8>,
    /// Target of a hard or symbolic link.
    pub link: Vec<u8>,
    /// Size of the file in bytes, holes included; 0 for everything that has no data.
    pub size: u64,
    /// Permission bits and whatever else the field holds.
    pub mode: i64,
    /// Owner, not yet checked.
    pub uid: i64,
    /// Group, not yet checked.
    pub gid: i64,
    /// Seconds since 1970.
    pub mtime_seconds: i64,
    /// Nanoseconds below one second.
    pub mtime_nanoseconds: u32,
    /// Device number, major and minor, not yet checked.
    pub device: (i64, i64),
    /// `SCHILY.xattr.*` records.
    pub xattrs: Vec<Xattr>,
}

/// Reads a tar stream entry by entry.
pub struct TarReader<R> {
    input: R,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Bytes handed on so far.
    position: u64,
    /// Bytes of the current entry's data that are still in the stream, and the padding after them.
    data_left: u64,
    padding: u64,
    /// Current file: bytes handed out so far, size, and the parts that have data (the next one first).
    file_position: u64,
    file_size: u64,
    regions: std::vec::IntoIter<Region>,
    region: Option<Region>,
    header_at: u64,
    name: Vec<u8>,
    max_header_bytes: u64,
}

impl<R: Read> TarReader<R> {
    /// A reader that refuses extended headers above `max_header_bytes`.
    pub fn new(input: R, max_header_bytes: u64) -> Self {
        Self {
            input,
            buffer: vec![0; BUFFER_BYTES],
            start: 0,
            end: 0,
            position: 0,
            data_left: 0,
            padding: 0,
            file_position: 0,
            file_size: 0,
            regions: Vec::new().into_iter(),
            region: None,
            header_at: 0,
            name: Vec::new(),
            max_header_bytes,
        }
    }

    /// Bytes of the stream read so far, buffered ones not counted.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Skips what is left of the current entry and reads the next one; `None` at the end marker or the end of input.
    ///
    /// # Errors
    /// Fails when the input does, is cut off inside an entry, or is not a tar.
    pub fn next_entry(&mut self) -> Result<Option<Entry>> {
        self.skip(self.data_left + self.padding)?;
        (self.data_left, self.padding) = (0, 0);
        let mut overrides = Overrides::default();
        let (mut long_name, mut long_link) = (None, None);
        for _ in 0..MAX_EXTENSIONS {
            self.header_at = self.position;
            let Some(record) = self.header_record()? else {
                return Ok(None);
            };
            let header = Header(&record);
            if !header.checksum_holds() {
                return Err(self.malformed("the header's checksum is wrong"));
            }
            match header.type_flag() {
                b'x' => {
                    // Only the last extended header before an entry counts.
                    overrides = Overrides::default();
                    let body = self.extension(&header)?;
                    pax::parse(&body, &mut overrides).map_err(|reason| self.malformed(reason))?;
                }
                b'g' => {
                    let body = self.extension(&header)?;
                    pax::parse(&body, &mut Overrides::default()).map_err(|reason| self.malformed(reason))?;
                }
                b'L' => long_name = Some(text(&self.extension(&header)?).to_vec()),
                b'K' => long_link = Some(text(&self.extension(&header)?).to_vec()),
                _ => return self.entry(&header, overrides, long_name, long_link).map(Some),
            }
        }
        Err(self.malformed("too many extended headers in a row"))
    }

    /// Reads file content in order, holes as zeros; 0 only at the end of the entry or for an empty `into`.
    ///
    /// # Errors
    /// Fails when the input does or ends early.
    pub fn read_data(&mut self, into: &mut [u8]) -> Result<usize> {
        let left = self.file_size - self.file_position;
        let room = usize::try_from(left).unwrap_or(usize::MAX).min(into.len());
        if room == 0 {
            return Ok(0);
        }
        while self.region.is_none_or(|region| region.length == 0) {
            match self.regions.next() {
                Some(region) => self.region = Some(region),
                None => break,
            }
        }
        let count = match self.region {
            Some(region) if region.length > 0 && region.offset <= self.file_position => {
                let room = room.min(usize::try_from(region.length).unwrap_or(usize::MAX));
                let count = self.read_some(&mut into[..room])?;
                self.data_left -= count as u64;
                let count64 = count as u64;
                self.region = Some(Region {
                    offset: region.offset + count64,
                    length: region.length - count64,
                });
                count
            }
            Some(region) if region.length > 0 => {
                let hole = region.offset - self.file_position;
                let count = room.min(usize::try_from(hole).unwrap_or(usize::MAX));
                into[..count].fill(0);
                count
            }
            _ => {
                into[..room].fill(0);
                room
            }
        };
        self.file_position += count as u64;
        Ok(count)
    }

    /// Reads and drops everything up to the true end of the input, so that whoever hashes it sees every byte.
    ///
    /// # Errors
    /// Fails when the input does.
    pub fn drain(&mut self) -> Result<u64> {
        loop {
            self.position += (self.end - self.start) as u64;
            (self.start, self.end) = (0, 0);
            if self.fill()? == 0 {
                return Ok(self.position);
            }
        }
    }

    /// The next header, or `None` at an end marker (two zero records, or one at the very end) or the end of input.
    fn header_record(&mut self) -> Result<Option<[u8; RECORD_BYTES]>> {
        let Some(record) = self.record()? else { return Ok(None) };
        if record.iter().any(|byte| *byte != 0) {
            return Ok(Some(record));
        }
        match self.record()? {
            None => Ok(None),
            Some(second) if second.iter().all(|byte| *byte == 0) => Ok(None),
            Some(_) => Err(self.malformed("a lone zero record in the middle of the archive")),
        }
    }

    fn entry(
        &mut self,
        header: &Header<'_>,
        overrides: Overrides,
        long_name: Option<Vec<u8>>,
        long_link: Option<Vec<u8>>,
    ) -> Result<Entry> {
        let bad = |reader: &Self, reason: &str| reader.malformed(reason.to_owned());
        let sparse = overrides.sparse;
        let path = sparse
            .name
            .or(overrides.path)
            .or(long_name)
            .unwrap_or_else(|| header.path());
        self.name.clone_from(&path);
        let flag = header.type_flag();
        let kind = match flag {
            0 if path.ends_with(b"/") => EntryKind::Directory,
            0 | b'0' | b'7' | b'S' => EntryKind::Regular,
            b'1' => EntryKind::HardLink,
            b'2' => EntryKind::Symlink,
            b'3' => EntryKind::CharDevice,
            b'4' => EntryKind::BlockDevice,
            b'5' => EntryKind::Directory,
            b'6' => EntryKind::Fifo,
            other => EntryKind::Other(other),
        };
        let stated = match overrides.size {
            Some(size) => size,
            None => header.size().map_err(|reason| bad(self, reason))?,
        };
        let stated = u64::try_from(stated).map_err(|_| bad(self, "the size is negative"))?;
        let has_data = matches!(kind, EntryKind::Regular | EntryKind::Other(_));
        let stored = if has_data { stated } else { 0 };
        self.data_left = stored;
        self.padding = stored.wrapping_neg() % RECORD_BYTES as u64;
        if stored.checked_add(self.padding).is_none() {
            return Err(bad(self, "the size is absurd"));
        }
        let (seconds, nanoseconds) = match overrides.mtime {
            Some(time) => time,
            None => (header.mtime().map_err(|reason| bad(self, reason))?, 0),
        };
        let device = match kind {
            EntryKind::CharDevice | EntryKind::BlockDevice => header.device().map_err(|reason| bad(self, reason))?,
            _ => (0, 0),
        };
        let map = if flag == b'S' {
            Some(self.old_gnu_map(header)?)
        } else if kind == EntryKind::Regular && sparse.major == Some(1) && sparse.minor == Some(0) {
            let real = sparse
                .real_size
                .ok_or_else(|| bad(self, "a sparse file has no GNU.sparse.realsize"))?;
            Some((self.text_map()?, real))
        } else {
            match (sparse.map, sparse.real_size) {
                (Some(map), Some(real)) if kind == EntryKind::Regular => Some((map, real)),
                (Some(_), None) => return Err(bad(self, "a sparse file has no GNU.sparse.size")),
                _ => None,
            }
        };
        let size = match map {
            Some((map, real)) => {
                let real = u64::try_from(real).map_err(|_| bad(self, "the size of a sparse file is negative"))?;
                sparse::check(&map, real, self.data_left).map_err(|reason| self.malformed(reason))?;
                self.regions = map.into_iter();
                self.region = None;
                real
            }
            None => {
                self.regions = Vec::new().into_iter();
                self.region = Some(Region {
                    offset: 0,
                    length: stored,
                });
                stored
            }
        };
        (self.file_position, self.file_size) = (0, size);
        Ok(Entry {
            kind,
            path,
            link: overrides.link.or(long_link).unwrap_or_else(|| header.link()),
            size,
            mode: header.mode().map_err(|reason| bad(self, reason))?,
            uid: overrides
                .uid
                .map_or_else(|| header.uid(), Ok)
                .map_err(|reason| bad(self, reason))?,
            gid: overrides
                .gid
                .map_or_else(|| header.gid(), Ok)
                .map_err(|reason| bad(self, reason))?,
            mtime_seconds: seconds,
            mtime_nanoseconds: nanoseconds,
            device,
            xattrs: overrides
                .xattrs
                .into_iter()
                .map(|(name, value)| Xattr { name, value })
                .collect(),
        })
    }

    /// The map of an old GNU sparse file (type `S`): four parts in the header, more in records after it.
    fn old_gnu_map(&mut self, header: &Header<'_>) -> Result<(Vec<Region>, i64)> {
        if header.format() != Format::Gnu {
            return Err(self.malformed("a sparse entry without GNU magic"));
        }
        let bytes = header.0;
        let real = super::header::number(&bytes[483..495]).map_err(|reason| self.malformed(reason))?;
        let mut map = Vec::new();
        sparse::gnu_entries(&bytes[386..482], &mut map).map_err(|reason| self.malformed(reason))?;
        let mut more = bytes[482] != 0;
        while more {
            let record = self
                .record()?
                .ok_or_else(|| self.malformed("cut off in a sparse map"))?;
            sparse::gnu_entries(&record[..504], &mut map).map_err(|reason| self.malformed(reason))?;
            more = record[504] != 0;
        }
        Ok((map, real))
    }

    /// The map that format 1.0 keeps at the start of the data.
    fn text_map(&mut self) -> Result<Vec<Region>> {
        let mut map = TextMap::default();
        loop {
            if self.data_left < RECORD_BYTES as u64 {
                return Err(self.malformed("the data ends inside the sparse map"));
            }
            let record = self
                .record()?
                .ok_or_else(|| self.malformed("cut off in a sparse map"))?;
            self.data_left -= RECORD_BYTES as u64;
            if let Some(regions) = map.feed(&record).map_err(|reason| self.malformed(reason))? {
                return Ok(regions);
            }
        }
    }

    /// Body of an extended header, its padding skipped.
    fn extension(&mut self, header: &Header<'_>) -> Result<Vec<u8>> {
        let size = header.size().map_err(|reason| self.malformed(reason))?;
        let size = u64::try_from(size).map_err(|_| self.malformed("an extended header has a negative size"))?;
        if size > self.max_header_bytes {
            return Err(Error::limit(
                "extended header bytes",
                &self.name,
                size,
                self.max_header_bytes,
            ));
        }
        let mut body = Vec::new();
        let mut left = size as usize;
        while left > 0 {
            if self.start == self.end && self.fill()? == 0 {
                return Err(self.malformed("cut off in an extended header"));
            }
            let now = left.min(self.end - self.start);
            body.extend_from_slice(&self.buffer[self.start..self.start + now]);
            self.consume(now);
            left -= now;
        }
        self.skip(size.wrapping_neg() % RECORD_BYTES as u64)?;
        Ok(body)
    }

    /// A whole record, or `None` when the input ends right before it.
    fn record(&mut self) -> Result<Option<[u8; RECORD_BYTES]>> {
        let mut record = [0u8; RECORD_BYTES];
        let mut have = 0;
        while have < RECORD_BYTES {
            if self.start == self.end && self.fill()? == 0 {
                if have == 0 {
                    return Ok(None);
                }
                return Err(self.malformed("cut off in the middle of a record"));
            }
            let now = (RECORD_BYTES - have).min(self.end - self.start);
            record[have..have + now].copy_from_slice(&self.buffer[self.start..self.start + now]);
            self.consume(now);
            have += now;
        }
        Ok(Some(record))
    }

    /// At least one byte of data; past the buffer when it is empty and `into` is large.
    fn read_some(&mut self, into: &mut [u8]) -> Result<usize> {
        if self.start == self.end {
            if into.len() >= DIRECT_BYTES {
                let count = read(&mut self.input, into)?;
                self.position += count as u64;
                return if count == 0 {
                    Err(self.malformed("cut off in a file's data"))
                } else {
                    Ok(count)
                };
            }
            if self.fill()? == 0 {
                return Err(self.malformed("cut off in a file's data"));
            }
        }
        let count = into.len().min(self.end - self.start);
        into[..count].copy_from_slice(&self.buffer[self.start..self.start + count]);
        self.consume(count);
        Ok(count)
    }

    fn skip(&mut self, mut bytes: u64) -> Result<()> {
        while bytes > 0 {
            if self.start == self.end && self.fill()? == 0 {
                return Err(self.malformed("cut off in an entry's data"));
            }
            let now = usize::try_from(bytes).unwrap_or(usize::MAX).min(self.end - self.start);
            self.consume(now);
            bytes -= now as u64;
        }
        Ok(())
    }

    fn consume(&mut self, bytes: usize) {
        self.start += bytes;
        self.position += bytes as u64;
    }

    fn fill(&mut self) -> Result<usize> {
        self.start = 0;
        self.end = 0;
        self.end = read(&mut self.input, &mut self.buffer)?;
        Ok(self.end)
    }

    fn malformed(&self, reason: impl Into<String>) -> Error {
        Error::Tar {
            offset: self.header_at,
            entry: printable(&self.name),
            reason: reason.into(),
        }
    }
}

/// One read that is not interrupted.
fn read<R: Read>(input: &mut R, into: &mut [u8]) -> Result<usize> {
    loop {
        match input.read(into) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            result => return result.map_err(Error::ReadInput),
        }
    }
}
