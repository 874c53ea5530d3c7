//! One 512-byte tar header: checksum, numbers, names.

use super::RECORD_BYTES;

/// What an entry is. Sparse and contiguous files are [`EntryKind::Regular`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    Regular,
    /// A hard link to an earlier entry.
    HardLink,
    /// A symbolic link.
    Symlink,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A directory.
    Directory,
    /// A named pipe.
    Fifo,
    /// Something else, with the type byte that the header holds.
    Other(u8),
}

/// Which variant of the format a header is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    V7,
    Ustar,
    Gnu,
}

/// A header with a correct checksum.
pub(crate) struct Header<'a>(pub(crate) &'a [u8; RECORD_BYTES]);

const CHECKSUM: std::ops::Range<usize> = 148..156;
const MAGIC: std::ops::Range<usize> = 257..265;

impl Header<'_> {
    /// Whether the stored checksum is one of the two sums in use (unsigned bytes, or signed as old tars did).
    pub(crate) fn checksum_holds(&self) -> bool {
        let Ok(stored) = number(&self.0[CHECKSUM]) else {
            return false;
        };
        let (mut unsigned, mut signed) = (0i64, 0i64);
        for (at, byte) in self.0.iter().enumerate() {
            let byte = if CHECKSUM.contains(&at) { b' ' } else { *byte };
            unsigned += i64::from(byte);
            signed += i64::from(byte as i8);
        }
        stored == unsigned || stored == signed
    }

    pub(crate) fn format(&self) -> Format {
        match &self.0[MAGIC] {
            b"ustar  \0" => Format::Gnu,
            magic if magic.starts_with(b"ustar") => Format::Ustar,
            _ => Format::V7,
        }
    }

    pub(crate) fn type_flag(&self) -> u8 {
        self.0[156]
    }

    pub(crate) fn mode(&self) -> Result<i64, &'static str> {
        number(&self.0[100..108])
    }

    pub(crate) fn uid(&self) -> Result<i64, &'static str> {
        number(&self.0[108..116])
    }

    pub(crate) fn gid(&self) -> Result<i64, &'static str> {
        number(&self.0[116..124])
    }

    pub(crate) fn size(&self) -> Result<i64, &'static str> {
        number(&self.0[124..136])
    }

    pub(crate) fn mtime(&self) -> Result<i64, &'static str> {
        number(&self.0[136..148])
    }

    pub(crate) fn device(&self) -> Result<(i64, i64), &'static str> {
        if self.format() == Format::V7 {
            return Ok((0, 0));
        }
        Ok((number(&self.0[329..337])?, number(&self.0[337..345])?))
    }

    /// The name, with the prefix that ustar keeps apart.
    pub(crate) fn path(&self) -> Vec<u8> {
        let name = text(&self.0[..100]);
        let prefix = match self.format() {
            Format::Ustar if self.0[508..512] == *b"tar\0" => text(&self.0[345..476]),
            Format::Ustar => text(&self.0[345..500]),
            Format::V7 | Format::Gnu => &[],
        };
        if prefix.is_empty() {
            name.to_vec()
        } else {
            [prefix, b"/", name].concat()
        }
    }

    pub(crate) fn link(&self) -> Vec<u8> {
        text(&self.0[157..257]).to_vec()
    }
}

/// A field up to its NUL.
pub(crate) fn text(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    &field[..end]
}

/// A number: octal text padded with spaces or NULs, or base-256 with the top bit set (GNU, negative allowed).
pub(crate) fn number(field: &[u8]) -> Result<i64, &'static str> {
    let Some(first) = field.first() else { return Ok(0) };
    if first & 0x80 != 0 {
        let negative = first & 0x40 != 0;
        let mut value: i64 = if negative { -1 } else { 0 };
        for (at, byte) in field.iter().enumerate() {
            let byte = match (at, negative) {
                (0, false) => byte & 0x7f,
                _ => *byte,
            };
            value = value.checked_mul(256).ok_or("a base-256 number is too large")? | i64::from(byte);
        }
        return Ok(value);
    }
    let padding = |byte: &u8| *byte == b' ' || *byte == 0;
    let Some(start) = field.iter().position(|byte| !padding(byte)) else {
        return Ok(0);
    };
    let digits = &field[start..];
    let end = digits.iter().position(padding).unwrap_or(digits.len());
    // What follows the number must be padding too, as far as the first NUL.
    let tail = text(&digits[end..]);
    if tail.iter().any(|byte| *byte != b' ') {
        return Err("a number field holds something that is not an octal digit");
    }
    digits[..end].iter().try_fold(0i64, |value, byte| match byte {
        b'0'..=b'7' => value
            .checked_mul(8)
            .map(|value| value | i64::from(byte - b'0'))
            .ok_or("an octal number is too large"),
        _ => Err("a number field holds something that is not an octal digit"),
    })
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn numbers() {
        let rows: &[(&str, &[u8], Result<i64, ()>)] = &[
            ("octal", b"0000644\0", Ok(0o644)),
            ("leading spaces", b"   644 \0", Ok(0o644)),
            ("empty", b"\0\0\0\0", Ok(0)),
            ("all spaces", b"    ", Ok(0)),
            ("full width", b"77777777", Ok(0o7777_7777)),
            ("not octal", b"0000689\0", Err(())),
            ("two numbers", b"12 34\0", Err(())),
            ("base-256", &[0x80, 0, 0, 0, 0, 0, 1, 0], Ok(256)),
            ("base-256 minus one", &[0xff; 8], Ok(-1)),
            (
                "base-256 minus 256",
                &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0],
                Ok(-256),
            ),
            (
                "base-256 overflow",
                &[0x80, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
                Err(()),
            ),
        ];
        for (name, field, expected) in rows {
            assert_eq!(number(field).map_err(|_| ()), *expected, "{name}");
        }
    }
}
