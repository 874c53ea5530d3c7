//! Ids, keys and tokens that nobody can guess, none of them twice.

use std::hash::{BuildHasher, RandomState};

use sha2::{Digest, Sha256};

const LETTERS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// Makes them.
#[derive(Debug)]
pub struct Mint {
    salt: u64,
    count: u64,
}

impl Default for Mint {
    fn default() -> Self {
        Self {
            salt: RandomState::new().hash_one(std::process::id()),
            count: 0,
        }
    }
}

impl Mint {
    fn bytes(&mut self) -> [u8; 32] {
        self.count += 1;
        Sha256::digest(format!("{}/{}", self.salt, self.count)).into()
    }

    /// `length` hexadecimal characters, at most 64.
    pub(crate) fn hex(&mut self, length: usize) -> String {
        let mut text = hex::encode(self.bytes());
        text.truncate(length);
        text
    }

    /// `length` lower-case letters and digits, at most 32.
    pub(crate) fn word(&mut self, length: usize) -> String {
        let letter = |byte: u8| LETTERS.get(usize::from(byte) % LETTERS.len()).copied();
        let letters = self.bytes().into_iter().filter_map(letter);
        letters.take(length).map(char::from).collect()
    }

    /// A UUID in lower case.
    pub(crate) fn uuid(&mut self) -> String {
        let text = self.hex(32);
        let parts = [(0, 8), (8, 12), (12, 16), (16, 20), (20, 32)];
        parts.map(|(from, to)| text.get(from..to).unwrap_or_default()).join("-")
    }
}
