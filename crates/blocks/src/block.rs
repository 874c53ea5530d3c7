//! Blocks of 512 KiB and their digests.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

/// Size of a block: what EBS snapshots use, and a good unit for every other store.
pub const BLOCK_BYTES: u64 = 524_288;
pub(crate) const BLOCK: usize = 524_288;

/// SHA-256 of one block; the last block of something shorter is padded with zeros first.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockDigest([u8; 32]);

impl BlockDigest {
    /// Digest of a block of zeros.
    pub const ZERO: Self = Self([
        0x07, 0x85, 0x4d, 0x2f, 0xef, 0x29, 0x7a, 0x06, 0xba, 0x81, 0x68, 0x5e, 0x66, 0x0c, 0x33, 0x2d, 0xe3, 0x6d,
        0x5d, 0x18, 0xd5, 0x46, 0x92, 0x7d, 0x30, 0xda, 0xad, 0x6d, 0x7f, 0xda, 0x15, 0x41,
    ]);

    /// Hashes at most one block; what is missing counts as zeros.
    pub fn of(bytes: &[u8]) -> Self {
        let mut hash = Sha256::new();
        hash.update(bytes);
        pad(&mut hash, bytes.len());
        Self(hash.finalize().into())
    }

    /// The raw value.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for BlockDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for BlockDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for BlockDigest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(self.0))
    }
}

impl<'de> Deserialize<'de> for BlockDigest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl FromStr for BlockDigest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut raw = [0; 32];
        hex::decode_to_slice(text, &mut raw).map_err(|error| format!("`{text}` is not a block digest: {error}"))?;
        Ok(Self(raw))
    }
}

/// Length of some bytes and the digests of their blocks, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blocks {
    /// Length in bytes.
    pub bytes: u64,
    /// One digest for each block.
    pub digests: Vec<BlockDigest>,
}

impl Blocks {
    /// Number of blocks that `bytes` fill.
    pub fn count(&self) -> u64 {
        self.bytes.div_ceil(BLOCK_BYTES)
    }

    /// Whether length and number of digests agree.
    pub fn is_consistent(&self) -> bool {
        self.digests.len() as u64 == self.count()
    }

    /// Bytes of block `index` that are there.
    pub fn len_of(&self, index: u64) -> u64 {
        self.bytes
            .saturating_sub(index.saturating_mul(BLOCK_BYTES))
            .min(BLOCK_BYTES)
    }
}

/// Takes bytes in order and gives the digests of their blocks.
#[derive(Debug, Default)]
pub struct BlockHasher {
    hash: Sha256,
    filled: usize,
    done: Blocks,
}

impl BlockHasher {
    /// Adds bytes.
    pub fn update(&mut self, mut bytes: &[u8]) {
        self.done.bytes += bytes.len() as u64;
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(BLOCK - self.filled));
            self.hash.update(now);
            self.filled += now.len();
            bytes = later;
            if self.filled == BLOCK {
                self.close();
            }
        }
    }

    /// The digests of everything added.
    pub fn finish(mut self) -> Blocks {
        if self.filled > 0 {
            pad(&mut self.hash, self.filled);
            self.close();
        }
        self.done
    }

    fn close(&mut self) {
        self.done.digests.push(BlockDigest(self.hash.finalize_reset().into()));
        self.filled = 0;
    }
}

/// Zeros to pad from; a small piece, so that it stays in the first-level cache.
static ZEROS: [u8; 4096] = [0; 4096];

fn pad(hash: &mut Sha256, filled: usize) {
    let mut missing = BLOCK.saturating_sub(filled);
    while missing > 0 {
        let piece = ZEROS.get(..missing).unwrap_or(&ZEROS);
        hash.update(piece);
        missing -= piece.len();
    }
}

/// Whether every byte is zero.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    let mut chunks = bytes.chunks_exact(ZEROS.len());
    chunks.all(|chunk| chunk == ZEROS)
        && bytes
            .chunks_exact(ZEROS.len())
            .remainder()
            .iter()
            .all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_digest_is_that_of_zeros() {
        assert_eq!(BlockDigest::of(&[0; BLOCK]), BlockDigest::ZERO);
        assert_eq!(BlockDigest::of(&[]), BlockDigest::ZERO);
    }

    #[test]
    fn pieces_of_any_size_give_the_same_blocks() {
        let bytes: Vec<u8> = (0..BLOCK * 2 + 5000).map(|n| (n % 251) as u8).collect();
        let expected: Vec<BlockDigest> = bytes.chunks(BLOCK).map(BlockDigest::of).collect();
        for piece in [1 << 10, 4096, BLOCK - 1, BLOCK, BLOCK + 1, bytes.len()] {
            let mut hasher = BlockHasher::default();
            bytes.chunks(piece).for_each(|chunk| hasher.update(chunk));
            let blocks = hasher.finish();
            assert_eq!(blocks.digests, expected, "pieces of {piece}");
            assert!(
                blocks.is_consistent() && blocks.bytes == bytes.len() as u64,
                "pieces of {piece}"
            );
        }
    }

    #[test]
    fn zeros_are_recognised() {
        for length in [0, 1, 4095, 4096, 4097, BLOCK] {
            let mut bytes = vec![0; length];
            assert!(is_zero(&bytes), "{length}");
            if let Some(last) = bytes.last_mut() {
                *last = 1;
                assert!(!is_zero(&bytes), "{length}");
            }
        }
    }
}
