//! The framing of gzip (RFC 1952): headers, trailers, several members, padding. No inflating here.

use crate::decode::DecodeError;

/// Longest header field of unknown length (file name, comment) that we skip.
const MAX_TEXT_BYTES: u32 = 64 * 1024;
/// CRC-32 and length after each member.
const TRAILER_BYTES: u32 = 8;
/// Fixed part of a header.
const HEADER_BYTES: usize = 10;

/// First byte of a member.
const MAGIC: u8 = 0x1f;

const FLAG_HEADER_CRC: u8 = 2;
const FLAG_EXTRA: u8 = 4;
const FLAG_NAME: u8 = 8;
const FLAG_COMMENT: u8 = 16;

/// Where in a gzip file we are.
#[derive(Debug)]
pub(crate) struct GzipFrame {
    place: Place,
    flags: u8,
    header: [u8; HEADER_BYTES],
}

#[derive(Clone, Copy, Debug)]
enum Place {
    Header(usize),
    ExtraLength { low: Option<u8> },
    Extra(u32),
    Text { seen: u32, flag: u8 },
    HeaderCrc(u32),
    Body,
    Trailer(u32),
    Between,
    Padding,
}

/// What to do with the next bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// So many bytes were framing.
    Consumed(usize),
    /// So many bytes were framing, and after them a new member's deflate stream starts.
    NewMember(usize),
    /// The bytes belong to the deflate stream.
    Body,
}

impl Default for GzipFrame {
    fn default() -> Self {
        Self {
            place: Place::Header(0),
            flags: 0,
            header: [0; HEADER_BYTES],
        }
    }
}

impl GzipFrame {
    /// Looks at `input`; `Consumed(0)` means that it is empty.
    pub(crate) fn next(&mut self, input: &[u8]) -> Result<Next, DecodeError> {
        if matches!(self.place, Place::Body) {
            return Ok(Next::Body);
        }
        for (index, byte) in input.iter().enumerate() {
            self.step(*byte)?;
            if matches!(self.place, Place::Body) {
                return Ok(Next::NewMember(index + 1));
            }
        }
        Ok(Next::Consumed(input.len()))
    }

    /// The deflate stream ended; the trailer follows.
    pub(crate) fn end_of_body(&mut self) {
        self.place = Place::Trailer(TRAILER_BYTES);
    }

    /// Whether a file may end here.
    pub(crate) fn may_end(&self) -> bool {
        matches!(self.place, Place::Between | Place::Padding)
    }

    fn step(&mut self, byte: u8) -> Result<(), DecodeError> {
        let bad = |problem: &str| Err(DecodeError::Gzip(problem.to_owned()));
        self.place = match self.place {
            Place::Body => Place::Body,
            Place::Between if byte == 0 => Place::Padding,
            Place::Padding if byte == 0 => Place::Padding,
            Place::Padding => return bad("there is data after the padding"),
            Place::Between if byte != MAGIC => return bad("there is garbage after the data"),
            Place::Between => self.header(0, byte)?,
            Place::Header(at) => self.header(at, byte)?,
            Place::ExtraLength { low: None } => Place::ExtraLength { low: Some(byte) },
            Place::ExtraLength { low: Some(low) } => match u32::from(low) | (u32::from(byte) << 8) {
                0 => self.after(FLAG_EXTRA),
                length => Place::Extra(length),
            },
            Place::Extra(1) => self.after(FLAG_EXTRA),
            Place::Extra(left) => Place::Extra(left - 1),
            Place::Text { flag, .. } if byte == 0 => self.after(flag),
            Place::Text { seen, .. } if seen >= MAX_TEXT_BYTES => return bad("a header field is too long"),
            Place::Text { seen, flag } => Place::Text { seen: seen + 1, flag },
            Place::HeaderCrc(1) => Place::Body,
            Place::HeaderCrc(left) => Place::HeaderCrc(left - 1),
            Place::Trailer(1) => Place::Between,
            Place::Trailer(left) => Place::Trailer(left - 1),
        };
        Ok(())
    }

    fn header(&mut self, at: usize, byte: u8) -> Result<Place, DecodeError> {
        if let Some(slot) = self.header.get_mut(at) {
            *slot = byte;
        }
        if at + 1 < HEADER_BYTES {
            return Ok(Place::Header(at + 1));
        }
        let [id1, id2, method, flags, ..] = self.header;
        if (id1, id2, method) != (MAGIC, 0x8b, 8) {
            return Err(DecodeError::Gzip("it has no gzip header".to_owned()));
        }
        self.flags = flags;
        Ok(self.after(0))
    }

    /// The next header part after the one that `done` stands for; the flags are in file order of their fields.
    fn after(&self, done: u8) -> Place {
        let follows = |flag: u8| self.flags & flag != 0 && flag_order(flag) > flag_order(done);
        if follows(FLAG_EXTRA) {
            Place::ExtraLength { low: None }
        } else if follows(FLAG_NAME) {
            Place::Text {
                seen: 0,
                flag: FLAG_NAME,
            }
        } else if follows(FLAG_COMMENT) {
            Place::Text {
                seen: 0,
                flag: FLAG_COMMENT,
            }
        } else if follows(FLAG_HEADER_CRC) {
            Place::HeaderCrc(2)
        } else {
            Place::Body
        }
    }
}

/// Position of a header field in the file.
fn flag_order(flag: u8) -> u8 {
    match flag {
        FLAG_EXTRA => 1,
        FLAG_NAME => 2,
        FLAG_COMMENT => 3,
        FLAG_HEADER_CRC => 4,
        _ => 0,
    }
}
