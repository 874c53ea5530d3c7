//! Decompression as a pure state machine: compressed bytes in, tar bytes out, any chunking.

use flate2::{Decompress, FlushDecompress, Status};
use zstd::stream::raw::{DParameter, Decoder as ZstdRaw, InBuffer, Operation, OutBuffer};

use crate::gzip_frame::{GzipFrame, Next};

/// Largest zstd window that we allocate (2^27 = 128 MiB), the limit of the `zstd` program itself.
const ZSTD_MAX_WINDOW_LOG: u32 = 27;
/// First bytes of a gzip member.
const GZIP_MAGIC: [u8; 3] = [0x1f, 0x8b, 8];
/// First bytes of a zstd frame.
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Skippable zstd frames start with 0x184d2a50 to 0x184d2a5f, little endian.
const ZSTD_SKIPPABLE: [u8; 3] = [0x2a, 0x4d, 0x18];
/// How many first bytes [`Compression::sniff`] wants to see.
pub const SNIFF_BYTES: usize = 4;

/// How a layer is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Compression {
    /// Not at all.
    None,
    /// Gzip, one or more members.
    Gzip,
    /// Zstandard, one or more frames.
    Zstd,
}

impl Compression {
    /// What the media type says.
    pub fn of_media_type(media_type: &str) -> Self {
        if media_type.ends_with("gzip") {
            Self::Gzip
        } else if media_type.ends_with("zstd") {
            Self::Zstd
        } else {
            Self::None
        }
    }

    /// What the first bytes say. They win over the media type, as in containerd: there are images that lie.
    pub fn sniff(first: &[u8]) -> Self {
        if first.starts_with(&GZIP_MAGIC) {
            Self::Gzip
        } else if first.starts_with(&ZSTD_MAGIC)
            || (first.get(1..4) == Some(&ZSTD_SKIPPABLE) && first.first().is_some_and(|b| b & 0xf0 == 0x50))
        {
            Self::Zstd
        } else {
            Self::None
        }
    }
}

/// Why a compressed stream cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not valid gzip or deflate.
    #[error("gzip data is damaged: {0}")]
    Gzip(String),
    /// Not valid zstd, or its window is over 128 MiB.
    #[error("zstd data is damaged: {0}")]
    Zstd(String),
    /// The stream ends in the middle.
    #[error("compressed data ends too early")]
    Truncated,
}

/// A decoder for one stream. Memory is bounded by the format's window: 32 KiB for gzip, 128 MiB for zstd.
///
/// Gzip's own CRC-32 is not checked: whoever reads a layer checks the SHA-256 of the same bytes.
pub struct Decoder(Inner);

enum Inner {
    Plain,
    Gzip { frame: GzipFrame, inflate: Box<Decompress> },
    Zstd { raw: Box<ZstdRaw<'static>>, in_frame: bool },
}

impl Decoder {
    /// A decoder at the start of a stream.
    pub fn new(compression: Compression) -> Result<Self, DecodeError> {
        Ok(Self(match compression {
            Compression::None => Inner::Plain,
            Compression::Gzip => Inner::Gzip {
                frame: GzipFrame::default(),
                inflate: Box::new(Decompress::new(false)),
            },
            Compression::Zstd => {
                let zstd = |error: std::io::Error| DecodeError::Zstd(error.to_string());
                let mut raw = ZstdRaw::new().map_err(zstd)?;
                raw.set_parameter(DParameter::WindowLogMax(ZSTD_MAX_WINDOW_LOG))
                    .map_err(zstd)?;
                Inner::Zstd {
                    raw: Box::new(raw),
                    in_frame: false,
                }
            }
        }))
    }

    /// Reads some of `input`, writes some of `out`; returns how many bytes of each.
    ///
    /// Both zero means: more input is needed (or, with no room in `out`, more room).
    pub fn decode(&mut self, input: &[u8], out: &mut [u8]) -> Result<(usize, usize), DecodeError> {
        match &mut self.0 {
            Inner::Plain => {
                let count = input.len().min(out.len());
                if let (Some(to), Some(from)) = (out.get_mut(..count), input.get(..count)) {
                    to.copy_from_slice(from);
                }
                Ok((count, count))
            }
            Inner::Gzip { frame, inflate } => gzip(frame, inflate, input, out),
            Inner::Zstd { raw, in_frame } => {
                let mut source = InBuffer::around(input);
                let mut target = OutBuffer::around(out);
                if !input.is_empty() || *in_frame {
                    let hint = raw
                        .run(&mut source, &mut target)
                        .map_err(|error| DecodeError::Zstd(error.to_string()))?;
                    // Zero means that a frame just ended and all of it was given out.
                    *in_frame = hint != 0;
                }
                Ok((source.pos(), target.pos()))
            }
        }
    }

    /// Whether the stream may end here.
    pub fn finish(&self) -> Result<(), DecodeError> {
        let whole = match &self.0 {
            Inner::Plain => true,
            Inner::Gzip { frame, .. } => frame.may_end(),
            Inner::Zstd { in_frame, .. } => !in_frame,
        };
        if whole { Ok(()) } else { Err(DecodeError::Truncated) }
    }
}

fn gzip(
    frame: &mut GzipFrame,
    inflate: &mut Decompress,
    input: &[u8],
    out: &mut [u8],
) -> Result<(usize, usize), DecodeError> {
    let mut consumed = 0;
    loop {
        let rest = input.get(consumed..).unwrap_or_default();
        match frame.next(rest)? {
            Next::Consumed(0) => return Ok((consumed, 0)),
            Next::Consumed(count) => consumed += count,
            Next::NewMember(count) => {
                consumed += count;
                inflate.reset(false);
            }
            Next::Body => {
                let (read, written) = (inflate.total_in(), inflate.total_out());
                let status = inflate
                    .decompress(rest, out, FlushDecompress::None)
                    .map_err(|error| DecodeError::Gzip(error.to_string()))?;
                // Both differences are at most a slice's length.
                consumed += (inflate.total_in() - read) as usize;
                let produced = (inflate.total_out() - written) as usize;
                if status == Status::StreamEnd {
                    frame.end_of_body();
                }
                if produced > 0 || status != Status::StreamEnd {
                    return Ok((consumed, produced));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    fn gz(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::GzBuilder::new()
            .filename("n")
            .comment("c")
            .extra(vec![1, 2])
            .write(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn decode_all(compression: Compression, input: &[u8], step: usize, room: usize) -> Result<Vec<u8>, DecodeError> {
        let mut decoder = Decoder::new(compression)?;
        let (mut all, mut out) = (Vec::new(), vec![0; room]);
        for chunk in input.chunks(step) {
            let mut chunk = chunk;
            loop {
                let (read, wrote) = decoder.decode(chunk, &mut out)?;
                all.extend_from_slice(&out[..wrote]);
                chunk = &chunk[read..];
                if read == 0 && wrote == 0 {
                    assert!(chunk.is_empty());
                    break;
                }
            }
        }
        decoder.finish()?;
        Ok(all)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_chunking_gives_the_same(
            parts in proptest::collection::vec(proptest::collection::vec(0u8..4, 0..3000), 1..4),
            step in 1usize..200,
            room in 1usize..500,
            padding in 0usize..20,
        ) {
            let plain = parts.concat();
            let mut gzip: Vec<u8> = parts.iter().flat_map(|part| gz(part)).collect();
            gzip.extend(vec![0; padding]);
            let zstd: Vec<u8> = parts.iter().flat_map(|part| zstd::encode_all(&part[..], 1).unwrap()).collect();
            for (compression, input) in [
                (Compression::None, &plain), (Compression::Gzip, &gzip), (Compression::Zstd, &zstd),
            ] {
                let decoded = decode_all(compression, input, step, room);
                prop_assert_eq!(decoded.as_ref(), Ok(&plain), "{:?}", compression);
            }
        }

        #[test]
        fn damage_never_hangs(bytes in proptest::collection::vec(any::<u8>(), 0..400), step in 1usize..50) {
            for (compression, magic) in [(Compression::Gzip, &GZIP_MAGIC[..]), (Compression::Zstd, &ZSTD_MAGIC[..])] {
                let _ = decode_all(compression, &[magic, &bytes[..]].concat(), step, 64);
            }
        }
    }

    #[test]
    fn a_cut_stream_is_an_error() {
        let text = b"some text that is long enough to be cut anywhere".repeat(20);
        for (compression, whole) in [
            (Compression::Gzip, gz(&text)),
            (Compression::Zstd, zstd::encode_all(&text[..], 1).unwrap()),
        ] {
            for end in 1..whole.len() {
                assert!(
                    decode_all(compression, &whole[..end], 7, 50).is_err(),
                    "{compression:?} cut at {end}"
                );
            }
        }
    }

    #[test]
    fn garbage_after_gzip_is_refused() {
        let mut bytes = gz(b"x");
        bytes.extend(b"garbage");
        assert!(matches!(
            decode_all(Compression::Gzip, &bytes, 100, 100),
            Err(DecodeError::Gzip(_))
        ));
    }

    #[test]
    fn sniffs_what_is_there() {
        for (name, first, expected) in [
            ("gzip", &[0x1f, 0x8b, 8, 0][..], Compression::Gzip),
            ("zstd", &ZSTD_MAGIC, Compression::Zstd),
            ("zstd skippable", &[0x50, 0x2a, 0x4d, 0x18], Compression::Zstd),
            ("tar", b"etc/", Compression::None),
            ("empty", b"", Compression::None),
        ] {
            assert_eq!(Compression::sniff(first), expected, "{name}");
        }
    }
}
