//! Content digests as OCI writes them: `sha256:<64 hex>`.

use std::fmt;
use std::str::FromStr;

use crate::text_form::text_form;

/// Hash algorithms that OCI registers and that we can check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DigestAlgorithm {
    /// SHA-256, 64 hexadecimal characters.
    Sha256,
    /// SHA-512, 128 hexadecimal characters.
    Sha512,
}

impl DigestAlgorithm {
    /// The name in front of the colon.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    const fn hex_len(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }
}

/// A content digest. Always lower-case hexadecimal of the algorithm's exact length.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest {
    algorithm: DigestAlgorithm,
    hex: String,
}

/// Why a text is not a digest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// No colon between algorithm and value.
    #[error("digest has no `algorithm:` in front")]
    NoAlgorithm,
    /// Not `sha256` or `sha512`.
    #[error("digest algorithm `{0}` is not supported, use sha256 or sha512")]
    Algorithm(String),
    /// Wrong number of characters.
    #[error("{algorithm} digest has {found} characters instead of {expected}")]
    Length {
        /// Name of the algorithm.
        algorithm: &'static str,
        /// Characters that the algorithm needs.
        expected: usize,
        /// Characters that were given.
        found: usize,
    },
    /// A character other than `0-9a-f`.
    #[error("digest has `{0}` where only 0-9 and a-f may be")]
    Character(char),
}

impl Digest {
    /// Makes a digest from an algorithm and its value in lower-case hexadecimal.
    pub fn new(algorithm: DigestAlgorithm, hex: impl Into<String>) -> Result<Self, DigestError> {
        let hex = hex.into();
        if let Some(bad) = hex.chars().find(|c| !matches!(c, '0'..='9' | 'a'..='f')) {
            return Err(DigestError::Character(bad));
        }
        if hex.len() != algorithm.hex_len() {
            return Err(DigestError::Length {
                algorithm: algorithm.as_str(),
                expected: algorithm.hex_len(),
                found: hex.len(),
            });
        }
        Ok(Self { algorithm, hex })
    }

    /// Makes a SHA-256 digest from its 32 raw bytes.
    pub fn from_sha256(raw: [u8; 32]) -> Self {
        let mut hex = String::with_capacity(DigestAlgorithm::Sha256.hex_len());
        for byte in raw {
            for nibble in [byte >> 4, byte & 0xf] {
                hex.extend(char::from_digit(u32::from(nibble), 16));
            }
        }
        Self {
            algorithm: DigestAlgorithm::Sha256,
            hex,
        }
    }

    /// Hashes `bytes` with SHA-256.
    pub fn sha256_of(bytes: &[u8]) -> Self {
        use sha2::Digest as _;
        Self::from_sha256(sha2::Sha256::digest(bytes).into())
    }

    /// The hash algorithm.
    pub fn algorithm(&self) -> DigestAlgorithm {
        self.algorithm
    }

    /// The value, lower-case hexadecimal.
    pub fn hex(&self) -> &str {
        &self.hex
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let (name, hex) = text.split_once(':').ok_or(DigestError::NoAlgorithm)?;
        let algorithm = match name {
            "sha256" => DigestAlgorithm::Sha256,
            "sha512" => DigestAlgorithm::Sha512,
            other => return Err(DigestError::Algorithm(other.to_owned())),
        };
        Self::new(algorithm, hex)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.as_str(), self.hex)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

text_form!(Digest);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_and_prints() {
        let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(empty.parse::<Digest>().unwrap(), Digest::sha256_of(b""));
        assert_eq!(Digest::sha256_of(b"").to_string(), empty);
    }

    #[test]
    fn says_what_is_wrong() {
        for (text, message) in [
            ("e3b0", "digest has no `algorithm:` in front"),
            (
                "md5:00",
                "digest algorithm `md5` is not supported, use sha256 or sha512",
            ),
            ("sha256:00", "sha256 digest has 2 characters instead of 64"),
            ("sha256:E3", "digest has `E` where only 0-9 and a-f may be"),
            ("sha256:../../etc", "digest has `.` where only 0-9 and a-f may be"),
        ] {
            assert_eq!(text.parse::<Digest>().unwrap_err().to_string(), message, "{text}");
        }
    }
}
