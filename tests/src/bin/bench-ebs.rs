//! Uploads to EBS, ours against coldsnap's: the same data, the same fake account; `cargo xtask bench ebs` builds and starts it.
//!
//! What is measured is seen from the account: from StartSnapshot to CompleteSnapshot, and the blocks in between. So building
//! the image counts for nobody, and neither does starting a process.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use clap::Parser;
use imagecache_fakes::ebs::{BLOCK_BYTES, FakeEbs, SnapshotView};
use imagecache_fakes::image::{Compression, Format, Image, Layer};
use imagecache_fakes::registry::FakeRegistry;
use imagecache_tests::binary::{Binary, tool, tool_with};
use imagecache_tests::ebs::Ebs;
use imagecache_tests::image::architecture;
use imagecache_tests::report;
use imagecache_tests::scenarios::images;

/// What AWS's guide counts with for a request.
const PUT_LATENCY: Duration = Duration::from_millis(100);
/// The quota of PutSnapshotBlock for one snapshot, which nobody can have raised.
const QUOTA: u32 = 1_000;
/// A rate that nothing here reaches.
const NO_PACE: &str = "1000000";
const LAYER_MIB: usize = 256;
/// The layer that is added to a cached image.
const SMALL_LAYER_MIB: usize = 1;
const REPOSITORY: &str = "bench";

/// Prints Markdown.
#[derive(Parser)]
struct Args {
    /// The `imagecache` to measure
    #[arg(long)]
    binary: PathBuf,
    /// The `coldsnap` to compare with
    #[arg(long)]
    coldsnap: PathBuf,
    /// GiB of the image
    #[arg(long)]
    gib: usize,
    /// Rounds; every round runs every row once
    #[arg(long)]
    rounds: usize,
    /// Where the store goes
    #[arg(long)]
    scratch: PathBuf,
}

/// One upload, as the account saw it.
#[derive(Clone, Copy)]
struct Upload {
    blocks: usize,
    seconds: f64,
    throttled: usize,
}

impl Upload {
    fn rate(&self) -> f64 {
        self.blocks as f64 / self.seconds
    }
}

struct Bench {
    args: Args,
    registry: FakeRegistry,
    exported: PathBuf,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    let exported = args.scratch.join("volume");
    let bench = Bench {
        args,
        registry: FakeRegistry::start().await?,
        exported,
    };
    bench.push_images()?;
    let (base, patched) = bench.incremental().await?;
    let limits = [("no limit", None), ("1,000 puts/s", Some(QUOTA))];
    let mut samples: [[Vec<Upload>; 2]; 2] = Default::default();
    for _ in 0..bench.args.rounds {
        for (of_limit, (_, limit)) in samples.iter_mut().zip(limits) {
            of_limit[0].push(bench.ours(limit).await?);
            of_limit[1].push(bench.theirs(limit).await?);
        }
    }
    report!(
        "| upload of {} GiB, {} ms a put | blocks | seconds | blocks/s | throttled |",
        bench.args.gib,
        PUT_LATENCY.as_millis()
    );
    report!("|---|---:|---:|---:|---:|");
    for (of_limit, (limit, _)) in samples.iter().zip(limits) {
        for (uploads, name) in of_limit.iter().zip(["imagecache", "coldsnap"]) {
            let Upload {
                blocks,
                seconds,
                throttled,
            } = median(uploads)?;
            let rate = blocks as f64 / seconds;
            report!("| {name}, {limit} | {blocks} | {seconds:.2} | {rate:.0} | {throttled} |");
        }
    }
    report!("\n| ratio | measured | wanted |\n|---|---:|---|");
    let rate = |limit: usize, who: usize| Ok::<_, anyhow::Error>(median(&samples[limit][who])?.rate());
    let faster = rate(0, 0)? / rate(0, 1)?;
    report!("| imagecache / coldsnap, no limit | {faster:.2} | at least 1.5 |");
    let used = rate(1, 0)? / f64::from(QUOTA);
    report!("| imagecache / the limit of 1,000 puts/s | {used:.3} | 0.95 to 1.05 |");
    let percent = patched as f64 * 100.0 / base as f64;
    report!(
        "| blocks sent after a layer of {SMALL_LAYER_MIB} MiB was added, of {base} | {patched}, {percent:.2} % | below 2 %; coldsnap sends all |",
    );
    let missed = [
        ("throughput against coldsnap", faster < 1.5),
        ("the limit", !(0.95..=1.05).contains(&used)),
        ("blocks sent after a small change", percent >= 2.0),
    ];
    let missed: Vec<&str> = missed
        .iter()
        .filter(|(_, missed)| *missed)
        .map(|(name, _)| *name)
        .collect();
    ensure!(missed.is_empty(), "missed: {}", missed.join(", "));
    Ok(())
}

impl Bench {
    /// An image of random bytes, and the same with a small layer more. Packing them would only make the build longer.
    fn push_images(&self) -> Result<()> {
        let layer = |tar: Vec<u8>| Layer::from_tar(tar, Compression::None);
        let large = images::heavy(71, (self.args.gib * 1024 / LAYER_MIB) as u64, LAYER_MIB)?;
        let mut layers: Vec<Layer> = large.into_iter().map(layer).collect();
        let platform = format!("linux/{}", architecture());
        self.registry
            .push(REPOSITORY, "base", &Image::of(&platform, Format::Oci, layers.clone()));
        layers.extend(images::heavy(72, 1, SMALL_LAYER_MIB)?.into_iter().map(layer));
        self.registry
            .push(REPOSITORY, "patched", &Image::of(&platform, Format::Oci, layers));
        Ok(())
    }

    fn image(&self, tag: &str) -> String {
        format!("{}/{REPOSITORY}:{tag}", self.registry.host())
    }

    /// Exports the volume for coldsnap; how many blocks the image has, and how many were sent for a small layer more.
    async fn incremental(&self) -> Result<(usize, usize)> {
        let ebs = Ebs::start(PUT_LATENCY).await?;
        let binary = self.binary(&ebs, None)?;
        let id = binary.create(&self.image("base")).await?;
        binary.run(&["export", &id, &self.exported.to_string_lossy()]).await?;
        binary.create(&self.image("patched")).await?;
        let sizes: Vec<usize> = ebs
            .fake
            .snapshots()
            .iter()
            .map(|snapshot| snapshot.blocks.len())
            .collect();
        std::fs::remove_dir_all(binary.store())?;
        match sizes.as_slice() {
            [base, patched] => Ok((*base, *patched)),
            other => bail!("there should be two snapshots, and they have {other:?} blocks"),
        }
    }

    /// With a store of its own, so that nothing is known before.
    fn binary(&self, ebs: &Ebs, limit: Option<u32>) -> Result<Binary> {
        let store = self.args.scratch.join("store");
        let binary = ebs.binary(Binary::new(&self.args.binary, &store, &self.args.scratch));
        Ok(match limit {
            Some(_) => binary,
            None => binary.with_environment([("IMAGECACHE_LOCAL__EBS__BLOCKS_PER_SECOND", NO_PACE.to_owned())]),
        })
    }

    async fn account(&self, limit: Option<u32>) -> Result<Ebs> {
        let ebs = Ebs::start(PUT_LATENCY).await?;
        ebs.fake.set_rate("PutSnapshotBlock", limit);
        ebs.fake.forget_contents();
        tool::<&str>("sync", &[]).await?;
        Ok(ebs)
    }

    async fn ours(&self, limit: Option<u32>) -> Result<Upload> {
        let ebs = self.account(limit).await?;
        let binary = self.binary(&ebs, limit)?;
        // An upload begins while layers are still being built; what is measured here is the upload alone. Another cache has
        // all layers already.
        let only_here = [("IMAGECACHE_LOCAL__STORE__KIND", "directory".to_owned())];
        let before = self.binary(&ebs, limit)?.with_environment(only_here);
        before
            .run(&["create", "--wait", "--size-gib", "21", &self.image("base")])
            .await?;
        tool::<&str>("sync", &[]).await?;
        binary.create(&self.image("base")).await?;
        std::fs::remove_dir_all(binary.store())?;
        measured(&ebs.fake)
    }

    async fn theirs(&self, limit: Option<u32>) -> Result<Upload> {
        let ebs = self.account(limit).await?;
        let program = path(&self.args.coldsnap);
        let args = ["upload", "--no-progress", path(&self.exported)];
        tool_with(program, &args, ebs.fake.environment()).await?;
        measured(&ebs.fake)
    }
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap_or_default()
}

fn measured(fake: &FakeEbs) -> Result<Upload> {
    let snapshots = fake.snapshots();
    let [
        SnapshotView {
            started,
            sealed: Some(sealed),
            blocks,
            ..
        },
    ] = snapshots.as_slice()
    else {
        bail!(
            "there should be one completed snapshot, and there are {}",
            snapshots.len()
        );
    };
    ensure!(
        fake.bytes() >= (blocks.len() * BLOCK_BYTES) as u64,
        "blocks without bytes"
    );
    Ok(Upload {
        blocks: blocks.len(),
        seconds: sealed.duration_since(*started).as_secs_f64(),
        throttled: fake.rejections().get("RequestThrottledException").copied().unwrap_or(0),
    })
}

/// The upload in the middle by its rate.
fn median(uploads: &[Upload]) -> Result<Upload> {
    let mut sorted = uploads.to_vec();
    sorted.sort_by(|one, other| one.rate().total_cmp(&other.rate()));
    sorted.get(sorted.len() / 2).copied().context("nothing was measured")
}
