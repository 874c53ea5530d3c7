//! Configuration of the local provider; every key has a default.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use imagecache_core::Platform;
use imagecache_ebs::EbsConfig;
use imagecache_oci::HostsConfig;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Where a store is kept unless configured.
const DEFAULT_STORE: &str = "/var/lib/imagecache";
/// Fewest and most layers that are fetched at once by default. More would only wait for the same processors, and each
/// costs some 10 MiB of memory.
const DEFAULT_CONCURRENCY: std::ops::RangeInclusive<usize> = 3..=8;
/// Overlayfs and Docker both stop near this many layers.
const DEFAULT_MAX_LAYERS: usize = 127;
/// Real layers reach 20:1, text full of repetitions perhaps 100:1; gzip ends at 1,032:1.
const DEFAULT_BOMB_RATIO: u64 = 200;
/// Below this size nothing counts as a bomb: a file of zeros is no attack.
const DEFAULT_BOMB_FLOOR: ByteSize = ByteSize(1 << 30);

/// The local provider's table in the config file.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct LocalConfig {
    /// Where layer images and snapshots are kept.
    pub store: StoreConfig,
    /// How snapshots are kept in AWS EBS, when they are.
    pub ebs: EbsConfig,
    /// Platform to choose from multi-platform images when the spec names none. Default: this machine's.
    pub platform: Option<Platform>,
    /// Layers to fetch at once. Default: one more than there are processors, at least 3, at most 8.
    pub concurrency: Option<usize>,
    /// How to reach registries.
    pub registry: HostsConfig,
    /// OCI layouts (`oci:<directory>`) and docker-archives (`docker-archive:<file>`) that are asked before the registry,
    /// for use without a network. An image is taken from the first that holds it under its full name.
    pub sources: Vec<String>,
    /// Use the logins that `docker login` or `podman login` stored for the user that runs this program. Default: yes.
    pub docker_config: bool,
    /// What one image may cost.
    pub limits: LimitsConfig,
}

/// Where layer images and snapshots are kept.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreConfig {
    /// Where finished snapshots are kept. Default: in the directory.
    pub kind: StoreKind,
    /// Directory of the store; made if it does not exist. Default: `/var/lib/imagecache`.
    pub path: PathBuf,
}

/// Where finished snapshots are kept. Layer images are always in the directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreKind {
    /// In the directory.
    #[default]
    Directory,
    /// In AWS EBS too: each cache is an EBS snapshot, which volumes can be made of.
    Ebs,
}

/// What one image may cost.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// Most layers of one image. Default: 127.
    pub max_layers: usize,
    /// Most tar bytes that one byte of a compressed layer may become. Default: 200.
    pub bomb_ratio: u64,
    /// Layers below this uncompressed size are accepted whatever their ratio. Default: `1GiB`.
    pub bomb_floor: ByteSize,
}

impl Default for LocalConfig {
    fn default() -> Self {
        Self {
            store: StoreConfig::default(),
            ebs: EbsConfig::default(),
            platform: None,
            concurrency: None,
            registry: HostsConfig::default(),
            sources: Vec::new(),
            docker_config: true,
            limits: LimitsConfig::default(),
        }
    }
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            kind: StoreKind::default(),
            path: DEFAULT_STORE.into(),
        }
    }
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            max_layers: DEFAULT_MAX_LAYERS,
            bomb_ratio: DEFAULT_BOMB_RATIO,
            bomb_floor: DEFAULT_BOMB_FLOOR,
        }
    }
}

impl LocalConfig {
    /// Layers to fetch at once.
    pub fn effective_concurrency(&self) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let default = (cores + 1).clamp(*DEFAULT_CONCURRENCY.start(), *DEFAULT_CONCURRENCY.end());
        self.concurrency.unwrap_or(default).max(1)
    }
}

/// A number of bytes, written with a unit: `512MiB`, `1GiB`, `4096B`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// Units, largest first.
const UNITS: [(&str, u64); 5] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = UNITS
            .iter()
            .find(|(_, unit)| self.0 >= *unit && self.0.is_multiple_of(*unit));
        let (name, unit) = exact.copied().unwrap_or(("B", 1));
        write!(f, "{}{name}", self.0 / unit)
    }
}

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("`{text}` is not a size; write a whole number with B, KiB, MiB, GiB or TiB, like 512MiB");
        let text = text.trim();
        let (digits, unit) = UNITS
            .iter()
            .find_map(|(name, unit)| Some((text.strip_suffix(name)?, *unit)))
            .ok_or_else(wrong)?;
        let number: u64 = digits.trim().parse().map_err(|_| wrong())?;
        number.checked_mul(unit).map(Self).ok_or_else(wrong)
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_carry_units() {
        for (text, bytes) in [
            ("1GiB", 1 << 30),
            ("512MiB", 512 << 20),
            ("4096B", 4096),
            (" 3 KiB ", 3072),
            ("0B", 0),
        ] {
            let size: ByteSize = text.parse().unwrap();
            assert_eq!(size.0, bytes, "{text}");
            assert_eq!(size.to_string().parse(), Ok(size), "{text}");
        }
        for bad in ["", "1", "GiB", "1.5GiB", "-1B", "99999999999TiB", "1GB"] {
            assert!(bad.parse::<ByteSize>().is_err(), "{bad}");
        }
    }
}
