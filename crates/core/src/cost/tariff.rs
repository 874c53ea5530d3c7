//! The rules by which caches are billed, one table a tariff. Rules only; the prices come from configuration.

use serde::Serialize;

use super::usage::GIB_BYTES;
use super::{Quantity, Stage, Unit, Usage};

/// vCPUs of the instance that both clouds build with (Alibaba "Image cache billing", Tencent "Image cache" billing section).
const BUILD_VCPUS: u128 = 2;
/// GiB of memory of the same instance.
const BUILD_MEMORY_GIB: u128 = 4;
/// Bytes of a block that is written to EBS with one request (EBS direct APIs, PutSnapshotBlock).
const EBS_BLOCK_BYTES: u64 = 512 * 1024;

/// An address is billed by its bandwidth or by what passes, as whoever asks for one chooses: no one price fits.
const BUILD_ADDRESS: &str =
    "a public address (EIP) for the build, if asked for, is billed beside it by traffic or bandwidth: not counted";

/// Whose rules a cache is billed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tariff {
    /// Caches that were asked for through Alibaba ECI's API ("Image cache billing", 2024-10): a build instance of 2 vCPU and
    /// 4 GiB, an ESSD disk of the cache's size and an EIP, if asked for, until the build ends; a snapshot; a disk of the cache's
    /// size for each pod, as long as the pod lives.
    AlibabaEci,
    /// Tencent's image cache: a 2-core, 4 GiB instance, a Premium disk and an EIP, if asked for, until the build ends; one CBS
    /// snapshot; a disk for each pod, capacity × price × running time.
    TencentEks,
    /// The local provider with a directory: the room that the content takes in the store.
    Local,
    /// The local provider with its blocks in AWS EBS: writing the blocks, the snapshot, a volume for each pod.
    LocalEbs,
}

impl Tariff {
    /// Every tariff.
    pub const ALL: [Self; 4] = [Self::AlibabaEci, Self::TencentEks, Self::Local, Self::LocalEbs];

    /// The name, which is also that of its table of prices.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AlibabaEci => "alibaba-eci",
            Self::TencentEks => "tencent-eks",
            Self::Local => "local",
            Self::LocalEbs => "local-ebs",
        }
    }

    /// Name of the provider whose caches it is for.
    pub fn provider(self) -> &'static str {
        match self {
            Self::LocalEbs => Self::Local.as_str(),
            other => other.as_str(),
        }
    }

    /// What the figures do not contain, and where the vendor's rule is uncertain.
    pub fn notes(self) -> &'static [&'static str] {
        match self {
            Self::AlibabaEci => &[
                "for caches that are asked for; those that Alibaba makes by itself have other rules",
                "one snapshot: the price of instant (flash) copies is not published, and further standard copies are billed by what differs",
                "disks are ESSD PL1 unless chosen otherwise: the price has to be that of the kind in use",
                BUILD_ADDRESS,
                "how a failed build is billed is not documented",
            ],
            Self::TencentEks => &[
                "the snapshot is counted by what the cache holds; Tencent says by capacity, and not of what",
                "snapshots are billed on the sum of a region, in mainland China above a free 80 GB: not deducted, since other snapshots count too",
                BUILD_ADDRESS,
                "how a failed build is billed is not documented",
                "pods with image-cache-disk-size, -disk-type or -disk-retain-minute pay for a larger, other or longer disk",
            ],
            Self::Local => &[
                "builds and pods run on machines that you have: their CPU, memory and network are not counted, pods need no disk of their own",
                "layers that several caches share are kept once, so that this is the most that a cache can add",
            ],
            Self::LocalEbs => &[
                "an estimate for a store in EBS: a volume for each pod is the most, pods of one node can share one",
                "all blocks are counted as new; blocks that an older snapshot holds are neither written nor kept twice",
            ],
        }
    }

    pub(super) fn rules(self) -> &'static [Rule] {
        match self {
            Self::AlibabaEci | Self::TencentEks => CLOUD,
            Self::Local => LOCAL,
            Self::LocalEbs => LOCAL_EBS,
        }
    }

    /// The prices that it can use.
    pub fn price_names(self) -> Vec<PriceName> {
        let mut names = Vec::new();
        for rule in self.rules() {
            if !names.contains(&rule.price) {
                names.push(rule.price);
            }
        }
        names
    }
}

/// One thing that is billed.
pub(super) struct Rule {
    pub(super) stage: Stage,
    pub(super) item: &'static str,
    pub(super) price: PriceName,
    pub(super) quantity: fn(&Usage) -> Quantity,
}

/// Both clouds bill the same things; what differs is in their notes.
const CLOUD: &[Rule] = &[
    Rule {
        stage: Stage::Build,
        item: "instance, vCPU",
        price: PriceName::VcpuSecond,
        quantity: |usage| Quantity::new(BUILD_VCPUS * u128::from(usage.build_seconds), Unit::VcpuSecond),
    },
    Rule {
        stage: Stage::Build,
        item: "instance, memory",
        price: PriceName::MemoryGibSecond,
        quantity: |usage| Quantity::new(BUILD_MEMORY_GIB * u128::from(usage.build_seconds), Unit::GibSecond),
    },
    Rule {
        stage: Stage::Build,
        item: "disk",
        price: PriceName::DiskGibHour,
        quantity: |usage| disk(usage, 1, usage.build_seconds),
    },
    Rule {
        stage: Stage::Keep,
        item: "snapshot",
        price: PriceName::SnapshotGibMonth,
        quantity: content,
    },
    Rule {
        stage: Stage::Use,
        item: "disk of each pod",
        price: PriceName::DiskGibHour,
        quantity: |usage| disk(usage, usage.pods, usage.pod_seconds),
    },
];

const LOCAL: &[Rule] = &[Rule {
    stage: Stage::Keep,
    item: "room in the store",
    price: PriceName::StoreGibMonth,
    quantity: content,
}];

const LOCAL_EBS: &[Rule] = &[
    Rule {
        stage: Stage::Build,
        item: "block writes",
        price: PriceName::WriteThousand,
        quantity: |usage| {
            let blocks = usage.content_bytes.div_ceil(EBS_BLOCK_BYTES);
            Quantity::new(u128::from(blocks), Unit::ThousandRequests)
        },
    },
    Rule {
        stage: Stage::Keep,
        item: "snapshot",
        price: PriceName::SnapshotGibMonth,
        quantity: content,
    },
    Rule {
        stage: Stage::Use,
        item: "volume of each pod",
        price: PriceName::VolumeGibMonth,
        quantity: |usage| {
            let bytes = u128::from(usage.size_gib) * GIB_BYTES;
            let seconds = u128::from(usage.pods) * u128::from(usage.pod_seconds);
            Quantity::new(bytes * seconds, Unit::GibMonth)
        },
    },
];

/// Disks of the cache's size.
fn disk(usage: &Usage, disks: u32, seconds: u64) -> Quantity {
    let gib_seconds = u128::from(usage.size_gib) * u128::from(disks) * u128::from(seconds);
    Quantity::new(gib_seconds, Unit::GibHour)
}

/// What the cache holds, as long as it is kept.
fn content(usage: &Usage) -> Quantity {
    let byte_seconds = u128::from(usage.content_bytes) * u128::from(usage.keep_seconds);
    Quantity::new(byte_seconds, Unit::GibMonth)
}

/// A price, by its key in configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PriceName {
    /// One vCPU for a second.
    VcpuSecond,
    /// One GiB of memory for a second.
    MemoryGibSecond,
    /// One GiB of disk for an hour.
    DiskGibHour,
    /// One GiB of snapshot for a month of 30 days.
    SnapshotGibMonth,
    /// One GiB of the local store's disk for a month of 30 days.
    StoreGibMonth,
    /// A thousand block writes to EBS.
    WriteThousand,
    /// One GiB of EBS volume for a month of 30 days.
    VolumeGibMonth,
}

impl PriceName {
    /// The key in the tariff's table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::VcpuSecond => "vcpu_second",
            Self::MemoryGibSecond => "memory_gib_second",
            Self::DiskGibHour => "disk_gib_hour",
            Self::SnapshotGibMonth => "snapshot_gib_month",
            Self::StoreGibMonth => "store_gib_month",
            Self::WriteThousand => "write_thousand",
            Self::VolumeGibMonth => "volume_gib_month",
        }
    }
}

/// The prices of one tariff, in one currency. There are none until somebody gives them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prices(Vec<(PriceName, super::Price)>);

impl Prices {
    /// The same prices and this one; a second price of the same name replaces the first.
    #[must_use]
    pub fn with(mut self, name: PriceName, price: super::Price) -> Self {
        self.0.retain(|(known, _)| *known != name);
        self.0.push((name, price));
        self
    }

    /// A price, when it was given.
    pub fn get(&self, name: PriceName) -> Option<super::Price> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, price)| *price)
    }

    /// Whether none was given.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
