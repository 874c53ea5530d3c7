//! Configuration of the EBS store; every key has a default.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Quota of `PutSnapshotBlock` and `GetSnapshotBlock`: 1,000 calls a second per account (adjustable) and per snapshot (not).
const DEFAULT_PER_SECOND: u32 = 1_000;
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
    /// Blocks that are sent or read a second, over all snapshots and for each. Default: 1,000.
    pub blocks_per_second: u32,
    /// Blocks that are under way at a time, half a MiB of memory each. Default: 128.
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
            blocks_per_second: DEFAULT_PER_SECOND,
            in_flight: DEFAULT_IN_FLIGHT,
        }
    }
}
