//! Configuration of the EBS store; every key has a default.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Quota of `PutSnapshotBlock` and `GetSnapshotBlock`: 1,000 calls a second per account (adjustable) and per snapshot (not).
const PER_SECOND: u32 = 1_000;
/// The EBS user guide counts with 100 ms a request, so that 100 in flight reach the quota; some more make up for slow ones.
const DEFAULT_IN_FLIGHT: usize = 128;

/// The table `[local.ebs]` in the config file.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct EbsConfig {
    /// Region of the snapshots. Default: as the AWS SDK finds it (environment, profile, instance).
    pub region: Option<String>,
    /// Profile of the AWS configuration files. Default: `AWS_PROFILE`, else `default`.
    pub profile: Option<String>,
    /// Whether the first snapshot of a lineage is encrypted; later ones are as it is. Default: as the account says.
    pub encrypted: Option<bool>,
    /// KMS key of encrypted snapshots, as ARN. Default: the account's.
    pub kms_key: Option<String>,
    /// Tags that every snapshot gets besides ours.
    pub tags: BTreeMap<String, String>,
    /// Blocks that are sent or read a second over all snapshots: the account's quota, which AWS raises when asked. Default: 1,000.
    pub blocks_per_second: u32,
    /// The same for each snapshot. AWS allows 1,000 and raises it for nobody, so more counts as 1,000. Default: 1,000.
    pub snapshot_blocks_per_second: u32,
    /// Blocks that are under way at a time over all snapshots, half a MiB of memory each. Default: 128.
    pub in_flight: usize,
}

impl Default for EbsConfig {
    fn default() -> Self {
        Self {
            region: None,
            profile: None,
            encrypted: None,
            kms_key: None,
            tags: BTreeMap::new(),
            blocks_per_second: PER_SECOND,
            snapshot_blocks_per_second: PER_SECOND,
            in_flight: DEFAULT_IN_FLIGHT,
        }
    }
}

impl EbsConfig {
    /// Blocks a second for one snapshot.
    pub(crate) fn snapshot_rate(&self) -> u32 {
        self.snapshot_blocks_per_second.min(PER_SECOND)
    }

    /// Whether snapshots must be encrypted, whatever the account says.
    pub(crate) fn wants_encryption(&self) -> bool {
        self.encrypted == Some(true) || self.kms_key.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_never_gets_more_than_its_quota() {
        for (configured, expected) in [(1, 1), (1_000, 1_000), (5_000, 1_000)] {
            let config = EbsConfig {
                blocks_per_second: 5_000,
                snapshot_blocks_per_second: configured,
                ..EbsConfig::default()
            };
            assert_eq!(config.snapshot_rate(), expected, "{configured}");
        }
    }
}
