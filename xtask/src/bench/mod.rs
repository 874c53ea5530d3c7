//! Measurements against what people use today, side by side in one run.

mod build;
mod containerd;
mod floor;
mod measure;
mod report;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};

/// What to measure.
#[derive(Subcommand)]
pub enum What {
    /// A cache built from a registry against `ctr images pull` of the same image
    Build(BuildArgs),
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

/// Runs one measurement.
pub fn run(what: &What) -> Result<()> {
    match what {
        What::Build(args) => build::run(args),
    }
}
