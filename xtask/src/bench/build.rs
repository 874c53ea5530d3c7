//! `bench build`: an image from a registry into an empty store, against containerd doing the same.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::bench::containerd::Containerd;
use crate::bench::measure::{self, Sample};
use crate::bench::report::{self, Row};
use crate::bench::{BuildArgs, floor};
use crate::programs::BINARY;
use crate::workspace::{self, Profile};
use crate::{packages, shell};

/// The size of image that the vendors' documentation times: two layers, about 400 MB packed.
const IMAGE: &str = "java:17";
/// The same and one small layer more.
const PATCHED: &str = "java:17-patch";
/// The same layers, packed with zstd.
const ZSTD: &str = "java:17-zstd";

/// Runs the rounds and prints a Markdown table.
pub fn run(args: &BuildArgs) -> Result<()> {
    packages::require(packages::BENCH)?;
    let binary = match &args.binary {
        Some(path) => path.clone(),
        None => workspace::build(BINARY, Profile::Release)?,
    };
    let parent = args.scratch.clone().map_or_else(workspace::target_dir, Ok)?;
    std::fs::create_dir_all(&parent)?;
    let scratch = tempfile::Builder::new().prefix("bench-").tempdir_in(&parent)?;
    let image = |name: &str| format!("{}/{name}", args.registry);
    let bench = Bench {
        binary,
        registry: args.registry.clone(),
        scratch: scratch.path().to_owned(),
    };
    let gzip_floor = floor::fetch(&image(IMAGE), &scratch.path().join("floor-gzip"))?;
    let zstd_floor = floor::fetch(&image(ZSTD), &scratch.path().join("floor-zstd"))?;

    let mut samples: [Vec<Sample>; 7] = Default::default();
    for round in 1..=args.rounds {
        eprintln!("round {round} of {}", args.rounds);
        settle()?;
        let cold = bench.scratch.join("cold");
        samples[0].push(bench.create(IMAGE, &cold)?);
        settle()?;
        samples[1].push(bench.create(PATCHED, &cold)?);
        std::fs::remove_dir_all(&cold)?;
        settle()?;
        samples[2].push(bench.create(ZSTD, &cold)?);
        std::fs::remove_dir_all(&cold)?;
        settle()?;
        let (pull, durable) = bench.pull(&image(IMAGE))?;
        samples[3].push(pull);
        samples[4].push(durable);
        settle()?;
        samples[5].push(floor::run(&gzip_floor)?);
        samples[6].push(floor::run(&zstd_floor)?);
    }

    let of = |index: usize| measure::median(&samples[index]);
    let create = "imagecache create --wait";
    let rows = [
        Row::new(format!("`{create} {IMAGE}`, empty store, durable"), of(0)).with_memory(),
        Row::new(format!("`{create} {PATCHED}`, {IMAGE} in the store"), of(1)).with_memory(),
        Row::new(format!("`{create} {ZSTD}`, empty store, durable"), of(2)).with_memory(),
        Row::new(format!("`ctr images pull {IMAGE}`, empty root, not durable"), of(3)),
        Row::new("the same, and `sync`".to_owned(), of(4)),
        Row::new(
            format!("floor: hash, inflate (igzip) and hash the layers of {IMAGE}"),
            of(5),
        ),
        Row::new(format!("floor: the same of {ZSTD} (zstd)"), of(6)),
    ];
    report::print(&rows, args.rounds)?;
    report::ratios(&[
        (
            "create / ctr pull",
            of(0).seconds / of(3).seconds,
            "at most 0.40, aim 0.25",
        ),
        ("create / ctr pull and sync", of(0).seconds / of(4).seconds, ""),
        ("create / floor", of(0).seconds / of(5).seconds, "aim 1.3"),
        ("zstd create / gzip create", of(2).seconds / of(0).seconds, "below 1"),
    ]);
    Ok(())
}

struct Bench {
    binary: PathBuf,
    registry: String,
    scratch: PathBuf,
}

impl Bench {
    fn create(&self, image: &str, store: &Path) -> Result<Sample> {
        let mut command = Command::new(&self.binary);
        command
            .args(["--provider", "local", "create", "--wait"])
            .arg(format!("{}/{image}", self.registry));
        measure::run(command.env("IMAGECACHE_LOCAL__STORE__PATH", store))
    }

    /// The pull alone, and the pull with what it takes to make it durable.
    fn pull(&self, image: &str) -> Result<(Sample, Sample)> {
        let containerd = Containerd::start(&self.scratch.join("containerd"))?;
        let pull = containerd.pull(image)?;
        let sync = measure::time(settle)?;
        Ok((
            pull,
            Sample {
                seconds: pull.seconds + sync.seconds,
                ..pull
            },
        ))
    }
}

/// Writes back everything dirty, so that no row pays for the one before it.
fn settle() -> Result<()> {
    shell::capture(&mut Command::new("sync")).map(|_| ())
}
