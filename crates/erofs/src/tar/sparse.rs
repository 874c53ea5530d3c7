//! Sparse files: the four ways in which tars write down which parts of a file have data.

use super::RECORD_BYTES;
use super::header::number;
use super::pax::decimal;

/// A part of a sparse file that has data in the tar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Region {
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

/// Parts of one sparse file: 4 MiB of map, far above what GNU tar writes for real files.
pub(crate) const MAX_REGIONS: usize = 1 << 18;

impl Region {
    pub(crate) fn new(offset: i64, length: i64) -> Result<Self, String> {
        match (u64::try_from(offset), u64::try_from(length)) {
            (Ok(offset), Ok(length)) => Ok(Self { offset, length }),
            _ => Err("negative offset or length in a sparse map".into()),
        }
    }
}

/// Bytes of one entry in GNU's binary map: offset and length.
const GNU_ENTRY_BYTES: usize = 24;

/// Entries of the old GNU map in `field`, up to the first empty one.
pub(crate) fn gnu_entries(field: &[u8], into: &mut Vec<Region>) -> Result<(), String> {
    for entry in field.chunks_exact(GNU_ENTRY_BYTES) {
        if entry[0] == 0 || entry[GNU_ENTRY_BYTES / 2] == 0 {
            break;
        }
        into.push(Region::new(number(&entry[..12])?, number(&entry[12..])?)?);
    }
    if into.len() > MAX_REGIONS {
        return Err(format!("the sparse map has more than {MAX_REGIONS} parts"));
    }
    Ok(())
}

/// Collects the textual map that format 1.0 puts before the data, record by record.
#[derive(Default)]
pub(crate) struct TextMap {
    numbers: Vec<i64>,
    partial: Vec<u8>,
    wanted: Option<usize>,
}

impl TextMap {
    /// Takes the next record; returns the map once it is complete.
    pub(crate) fn feed(&mut self, record: &[u8; RECORD_BYTES]) -> Result<Option<Vec<Region>>, String> {
        for byte in record {
            if *byte != b'\n' {
                self.partial.push(*byte);
                if self.partial.len() > RECORD_BYTES {
                    return Err("a number of the sparse map is too long".into());
                }
                continue;
            }
            let value = decimal(&self.partial)?;
            self.partial.clear();
            match self.wanted {
                None => {
                    let count = usize::try_from(value).ok().filter(|count| *count <= MAX_REGIONS);
                    self.wanted = Some(2 * count.ok_or(format!("the sparse map has more than {MAX_REGIONS} parts"))?);
                }
                Some(_) => self.numbers.push(value),
            }
            if self.wanted == Some(self.numbers.len()) {
                return self
                    .numbers
                    .chunks_exact(2)
                    .map(|pair| Region::new(pair[0], pair[1]))
                    .collect::<Result<_, _>>()
                    .map(Some);
            }
        }
        Ok(None)
    }
}

/// Checks that the parts ascend, do not overlap, end inside the file, and have exactly the data that is there.
pub(crate) fn check(map: &[Region], real_size: u64, data_bytes: u64) -> Result<(), String> {
    let (mut end, mut total) = (0u64, 0u64);
    for region in map {
        let next = region
            .offset
            .checked_add(region.length)
            .ok_or("a sparse part ends beyond any file")?;
        if region.offset < end || next > real_size {
            return Err("the sparse map's parts overlap or end beyond the file".into());
        }
        end = next;
        total += region.length;
    }
    if total != data_bytes {
        return Err(format!(
            "the sparse map has {total} bytes of data, the entry {data_bytes}"
        ));
    }
    Ok(())
}
