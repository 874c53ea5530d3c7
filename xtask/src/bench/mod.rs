//! Measurements against what people use today, side by side in one run.

mod build;
mod containerd;
mod ebs;
mod floor;
mod matching;
mod measure;
mod report;
mod start;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};

/// What to measure.
#[derive(Subcommand)]
pub enum What {
    /// A cache built from a registry against `ctr images pull` of the same image
    Build(BuildArgs),
    /// The choice of a cache for a pod among many caches, and the admission of that pod
    Match(MatchArgs),
    /// A snapshot in EBS, uploaded to a fake account, against `coldsnap upload` of the same volume
    Ebs(EbsArgs),
    /// A Deployment on a real node, from its creation to its availability: pulled by containerd, and from a cache
    Start(StartArgs),
}

/// Options of `bench match`.
#[derive(Args)]
pub struct MatchArgs {
    /// Caches in the index
    #[arg(long, default_value_t = 100_000)]
    caches: usize,
    /// Matches that are timed, of each kind
    #[arg(long, default_value_t = 10_000)]
    matches: usize,
    /// Admission reviews that are timed, of each kind
    #[arg(long, default_value_t = 20_000)]
    reviews: usize,
    /// Admission reviews a second
    #[arg(long, default_value_t = 1_000)]
    per_second: usize,
    /// ImageCaches that are made while reviews are timed
    #[arg(long, default_value_t = 3_000)]
    storm: usize,
}

/// Options of `bench build`.
#[derive(Args)]
pub struct BuildArgs {
    /// Registry, plain HTTP, that holds java:17, java:17-patch and java:17-zstd
    #[arg(long, default_value = "127.0.0.1:5000")]
    registry: String,
    /// Rounds; every round runs every row once, so that drift hits all alike
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Where stores and containerd's root go: a directory on the disk to measure; by default in the target directory
    #[arg(long)]
    scratch: Option<PathBuf>,
    /// Measure this binary instead of building one
    #[arg(long)]
    binary: Option<PathBuf>,
}

/// Options of `bench ebs`.
#[derive(Args)]
pub struct EbsArgs {
    /// GiB of the image; as much memory is needed
    #[arg(long, default_value_t = 2)]
    gib: usize,
    /// Rounds; every round runs every row once, so that drift hits all alike
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Where the store and the volume go; by default in the target directory
    #[arg(long)]
    scratch: Option<PathBuf>,
    /// Measure this binary instead of building one
    #[arg(long)]
    binary: Option<PathBuf>,
    /// `coldsnap`, if it is not on the PATH
    #[arg(long)]
    coldsnap: Option<PathBuf>,
}

/// Options of `bench start`.
#[derive(Args)]
pub struct StartArgs {
    /// Directory with `up`, `down` and `slow-registry`, which start and stop a cluster and a registry at a limited rate
    #[arg(long, env = "CLUSTER", default_value = "../shared/cluster")]
    cluster: PathBuf,
    /// Where that cluster keeps everything
    #[arg(long, env = "KUBE_DIR", default_value = "/var/tmp/kube")]
    kube_dir: PathBuf,
    /// Starts of each kind; one that pulls takes most of a minute
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Where the store goes, 15 GiB for a while; by default in the target directory
    #[arg(long)]
    scratch: Option<PathBuf>,
    /// Measure this binary instead of building one
    #[arg(long)]
    binary: Option<PathBuf>,
}

/// Runs one measurement.
pub fn run(what: &What) -> Result<()> {
    match what {
        What::Build(args) => build::run(args),
        What::Match(args) => matching::run(args),
        What::Ebs(args) => ebs::run(args),
        What::Start(args) => start::run(args),
    }
}
