//! Configuration of the EBS store; every key has a default.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Quota of `PutSnapshotBlock` and `GetSnapshotBlock`: 1,000 calls a second per account (adjustable) and per snapshot (not).
const PER_SECOND: u32 = 1_000;
/// The EBS user guide counts with 100 ms a request, so that 100 in flight reach the quota; some more make up for slow ones.
const DEFAULT_IN_FLIGHT: usize = 128;

/// What tells the ARN of a key from that of an alias.
const KEY_ARN: &str = ":key/";

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

    /// Whether a snapshot that is encrypted with `key`, or not at all, is encrypted as wanted. EC2 tells the ARN of the key itself;
    /// which key an alias means is not known here, so any will do for that.
    pub(crate) fn is_encrypted_as_wanted(&self, key: Option<&str>) -> bool {
        let wanted = self.kms_key.as_deref().filter(|wanted| wanted.contains(KEY_ARN));
        match key {
            Some(key) => wanted.is_none_or(|wanted| wanted == key),
            None => !self.wants_encryption(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_encrypted_as_wanted_is_used() {
        let (one, other, alias) = (
            "arn:aws:kms:r:1:key/one",
            "arn:aws:kms:r:1:key/other",
            "arn:aws:kms:r:1:alias/a",
        );
        for (encrypted, wanted, found, expected) in [
            (None, None, None, true),
            (None, None, Some(one), true),
            (Some(true), None, None, false),
            (Some(true), None, Some(one), true),
            (None, Some(one), None, false),
            (None, Some(one), Some(one), true),
            (None, Some(one), Some(other), false),
            (None, Some(alias), Some(other), true),
            (None, Some(alias), None, false),
        ] {
            let config = EbsConfig {
                encrypted,
                kms_key: wanted.map(str::to_owned),
                ..EbsConfig::default()
            };
            let is = config.is_encrypted_as_wanted(found);
            assert_eq!(is, expected, "{encrypted:?} {wanted:?} {found:?}");
        }
    }

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
