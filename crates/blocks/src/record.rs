//! What a store knows of a part besides its bytes. A part exists if and only if its record does.

use imagecache_core::Digest;
use serde::{Deserialize, Serialize};

use crate::block::Blocks;
use crate::part::Part;

/// Version of both record formats.
pub(crate) const RECORD_VERSION: u32 = 1;

/// A finished layer image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerRecord {
    /// Version of this format.
    pub version: u32,
    /// The layer.
    pub diff_id: Digest,
    /// Length and block digests of the image.
    #[serde(flatten)]
    pub blocks: Blocks,
    /// Length of the tar that the image was made from.
    pub tar_bytes: u64,
    /// Directories that the tar only implies: a chain may want other attributes for them than the image has.
    #[serde(default, with = "paths")]
    pub implicit_directories: Vec<Vec<u8>>,
    /// Hard links to files of layers below: path, and path of the target.
    #[serde(default, with = "pairs")]
    pub external_links: Vec<(Vec<u8>, Vec<u8>)>,
    /// The layer hides everything below it.
    #[serde(default)]
    pub root_is_opaque: bool,
}

/// A finished patch image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PatchRecord {
    /// Version of this format.
    pub version: u32,
    /// The chain whose top layer it patches.
    pub chain_id: Digest,
    /// Length and block digests of the image.
    #[serde(flatten)]
    pub blocks: Blocks,
}

/// The record of either kind of part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PartRecord {
    /// Of a layer.
    Layer(LayerRecord),
    /// Of a patch.
    Patch(PatchRecord),
}

impl PartRecord {
    /// The part that it describes.
    pub fn part(&self) -> Part {
        match self {
            Self::Layer(record) => Part::Layer(record.diff_id.clone()),
            Self::Patch(record) => Part::Patch(record.chain_id.clone()),
        }
    }

    /// Length and block digests of the image.
    pub fn blocks(&self) -> &Blocks {
        match self {
            Self::Layer(record) => &record.blocks,
            Self::Patch(record) => &record.blocks,
        }
    }

    /// The record as it is stored; the same record gives the same bytes.
    pub fn to_json(&self) -> serde_json::Result<Vec<u8>> {
        match self {
            Self::Layer(record) => serde_json::to_vec(record),
            Self::Patch(record) => serde_json::to_vec(record),
        }
    }
}

impl LayerRecord {
    /// A record of the current version that holds nothing yet but the image.
    pub fn new(diff_id: Digest, blocks: Blocks) -> Self {
        Self {
            version: RECORD_VERSION,
            diff_id,
            blocks,
            tar_bytes: 0,
            implicit_directories: Vec::new(),
            external_links: Vec::new(),
            root_is_opaque: false,
        }
    }
}

impl PatchRecord {
    /// A record of the current version.
    pub fn new(chain_id: Digest, blocks: Blocks) -> Self {
        Self {
            version: RECORD_VERSION,
            chain_id,
            blocks,
        }
    }
}

/// A path as JSON text; bytes that are no UTF-8 (and `%`) are written as `%XX`.
pub(crate) fn escape(path: &[u8]) -> String {
    let mut text = String::with_capacity(path.len());
    for chunk in path.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '%' => text.push_str("%25"),
                other => text.push(other),
            }
        }
        for byte in chunk.invalid() {
            text.push('%');
            text.push_str(&hex::encode([*byte]));
        }
    }
    text
}

/// The opposite of [`escape`]; `None` for a `%` that two hexadecimal digits do not follow.
pub(crate) fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut pieces = text.split('%');
    let mut path = pieces.next()?.as_bytes().to_vec();
    for piece in pieces {
        let (code, rest) = piece.split_at_checked(2)?;
        path.extend(hex::decode(code).ok()?);
        path.extend_from_slice(rest.as_bytes());
    }
    Some(path)
}

mod paths {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(paths: &[Vec<u8>], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(paths.iter().map(|path| super::escape(path)))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Vec<u8>>, D::Error> {
        Vec::<String>::deserialize(deserializer)?
            .iter()
            .map(|text| super::unescape(text).ok_or_else(|| serde::de::Error::custom("bad escape in a path")))
            .collect()
    }
}

mod pairs {
    use serde::{Deserialize, Deserializer, Serializer};

    type Pair = (Vec<u8>, Vec<u8>);

    pub(super) fn serialize<S: Serializer>(pairs: &[Pair], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(pairs.iter().map(|(a, b)| [super::escape(a), super::escape(b)]))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Pair>, D::Error> {
        let bad = || serde::de::Error::custom("bad escape in a path");
        Vec::<[String; 2]>::deserialize(deserializer)?
            .iter()
            .map(|[a, b]| Ok((super::unescape(a).ok_or_else(bad)?, super::unescape(b).ok_or_else(bad)?)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_path_survives_json() {
        for path in [
            &b""[..],
            b"usr/bin",
            b"100%",
            b"%2f",
            b"\xff\xfe/\xc3\xa9",
            "é\u{1F600}".as_bytes(),
            b"a\nb\"\\",
        ] {
            assert_eq!(unescape(&escape(path)).as_deref(), Some(path), "{}", escape(path));
        }
        for bad in ["%", "%f", "%zz"] {
            assert_eq!(unescape(bad), None, "{bad}");
        }
    }

    #[test]
    fn records_round_trip() {
        let digest = Digest::sha256_of(b"x");
        let mut record = LayerRecord::new(
            digest.clone(),
            Blocks {
                bytes: 4096,
                digests: vec![crate::BlockDigest::ZERO],
            },
        );
        record.implicit_directories = vec![b"".to_vec(), b"a/\xff".to_vec()];
        record.external_links = vec![(b"new".to_vec(), b"old".to_vec())];
        let json = serde_json::to_vec(&record).unwrap();
        assert_eq!(serde_json::from_slice::<LayerRecord>(&json).unwrap(), record);
        let patch = PatchRecord::new(digest, Blocks::default());
        let json = serde_json::to_vec(&patch).unwrap();
        assert_eq!(serde_json::from_slice::<PatchRecord>(&json).unwrap(), patch);
    }
}
