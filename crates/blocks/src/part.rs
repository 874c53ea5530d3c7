//! The EROFS images that a volume is made of.

use std::fmt;
use std::path::PathBuf;

use imagecache_core::Digest;
use serde::{Deserialize, Serialize};

/// One EROFS image in a store.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// The layer with this diffID.
    Layer(Digest),
    /// What the layer at the top of this chain needs from the layers below it.
    Patch(Digest),
}

impl Part {
    /// diffID or chainID.
    pub fn digest(&self) -> &Digest {
        match self {
            Self::Layer(digest) | Self::Patch(digest) => digest,
        }
    }

    /// Top directory that holds parts of this kind.
    pub fn directory(&self) -> &'static str {
        match self {
            Self::Layer(_) => "layers",
            Self::Patch(_) => "patches",
        }
    }

    /// Where the image is, from the top of a store or volume: `layers/sha256/<first two hex>/<hex>.erofs`.
    pub fn image_path(&self) -> PathBuf {
        self.path("erofs")
    }

    /// Where its record is: beside the image, ending in `.json`.
    pub fn record_path(&self) -> PathBuf {
        self.path("json")
    }

    /// The part whose image lies at `path` below the top of a store.
    pub(crate) fn from_path(directory: &str, algorithm: &str, hex: &str) -> Option<Self> {
        let digest: Digest = format!("{algorithm}:{hex}").parse().ok()?;
        match directory {
            "layers" => Some(Self::Layer(digest)),
            "patches" => Some(Self::Patch(digest)),
            _ => None,
        }
    }

    fn path(&self, extension: &str) -> PathBuf {
        let hex = self.digest().hex();
        let shard = hex.get(..2).unwrap_or(hex);
        [
            self.directory(),
            self.digest().algorithm().as_str(),
            shard,
            &format!("{hex}.{extension}"),
        ]
        .iter()
        .collect()
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Layer(digest) => write!(f, "layer {digest}"),
            Self::Patch(digest) => write!(f, "patch {digest}"),
        }
    }
}

/// The chainID of each prefix of `diff_ids`, as the OCI image specification defines it.
pub fn chain_ids(diff_ids: &[Digest]) -> Vec<Digest> {
    let mut chain: Vec<Digest> = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        chain.push(match chain.last() {
            None => diff_id.clone(),
            Some(below) => Digest::sha256_of(format!("{below} {diff_id}").as_bytes()),
        });
    }
    chain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_design() {
        let digest = Digest::sha256_of(b"");
        let layer = Part::Layer(digest.clone());
        let expected = format!("layers/sha256/e3/{}.erofs", digest.hex());
        assert_eq!(layer.image_path().to_str(), Some(expected.as_str()));
        assert_eq!(Part::from_path("layers", "sha256", digest.hex()), Some(layer));
        assert_eq!(Part::from_path("layers", "sha256", ".."), None);
    }

    #[test]
    fn chain_of_one_is_the_layer_itself() {
        let [a, b] = [b"a", b"b"].map(|text| Digest::sha256_of(text));
        let chain = chain_ids(&[a.clone(), b.clone()]);
        assert_eq!(chain, [a.clone(), Digest::sha256_of(format!("{a} {b}").as_bytes())]);
    }
}
