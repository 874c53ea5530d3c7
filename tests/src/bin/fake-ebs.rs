//! The fake EBS as a program, for measurements and for other clients: `coldsnap`, `aws ebs`, `imagecache` by hand.
//!
//! It says on standard output what a client needs in its environment, then waits. Each line of its input, as by Enter, makes it
//! print what has arrived so far as one line of JSON. It ends with its input.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Parser;
use imagecache_fakes::ebs::FakeEbs;
use imagecache_tests::report;
use serde_json::{Value, json};

/// Serves the EBS direct APIs, and EC2's DescribeSnapshots and DeleteSnapshot.
#[derive(Parser)]
struct Args {
    /// Where to listen; port 0 is any free one
    #[arg(long, default_value = "127.0.0.1:0")]
    address: SocketAddr,
    /// Milliseconds that each PutSnapshotBlock takes
    #[arg(long, default_value_t = 0)]
    put_latency_ms: u64,
    /// Blocks a second that may be put, per account and per snapshot; any number without it
    #[arg(long)]
    puts_per_second: Option<u32>,
    /// Keeps checksums but not contents, so that a measurement of uploads is not one of a disk
    #[arg(long)]
    forget: bool,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    let listening = FakeEbs::start_at(args.address).await;
    let fake = listening.with_context(|| format!("cannot listen at {}", args.address))?;
    fake.set_latency("PutSnapshotBlock", Duration::from_millis(args.put_latency_ms));
    fake.set_rate("PutSnapshotBlock", args.puts_per_second);
    if args.forget {
        fake.forget_contents();
    }
    for (name, value) in fake.environment() {
        report!("export {name}={value}");
    }
    report!("");
    tokio::task::block_in_place(|| {
        for line in std::io::stdin().lines() {
            line?;
            report!("{}", books(&fake));
        }
        Ok(())
    })
}

fn books(fake: &FakeEbs) -> Value {
    let snapshot = |snapshot: imagecache_fakes::ebs::SnapshotView| {
        json!({
            "id": snapshot.id,
            "status": snapshot.status,
            "parent": snapshot.parent,
            "gib": snapshot.gib,
            "blocks": snapshot.blocks.len(),
        })
    };
    json!({
        "snapshots": fake.snapshots().into_iter().map(snapshot).collect::<Vec<Value>>(),
        "bytes": fake.bytes(),
        "puts": fake.calls("PutSnapshotBlock"),
        "rejections": fake.rejections(),
    })
}
