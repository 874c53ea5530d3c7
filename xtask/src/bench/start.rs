//! `bench start`: a Deployment on a real node, pulled by containerd and started from a cache.

use std::process::Command;

use anyhow::{Result, ensure};

use crate::bench::{StartArgs, report};
use crate::programs::BINARY;
use crate::workspace::{self, Profile};
use crate::{packages, shell};

/// Runs the program that drives the cluster, which prints Markdown tables.
pub fn run(args: &StartArgs) -> Result<()> {
    packages::require(packages::BENCH)?;
    ensure!(
        args.cluster.join("up").exists(),
        "there is no `up` in {}: --cluster names a directory with `up`, `down` and `slow-registry`",
        args.cluster.display()
    );
    let binary = match &args.binary {
        Some(path) => path.clone(),
        None => workspace::build(BINARY, Profile::Release)?,
    };
    let bench = workspace::build("bench-start", Profile::Release)?;
    let parent = args.scratch.clone().map_or_else(workspace::target_dir, Ok)?;
    std::fs::create_dir_all(&parent)?;
    let scratch = tempfile::Builder::new().prefix("bench-").tempdir_in(&parent)?;
    println!("{}: {} rounds\n", report::machine()?, args.rounds);
    let mut command = Command::new(bench);
    command.arg("--binary").arg(binary);
    command.arg("--cluster").arg(&args.cluster);
    command.arg("--kube-dir").arg(&args.kube_dir);
    command.arg("--rounds").arg(args.rounds.to_string());
    command.arg("--scratch").arg(scratch.path());
    shell::run(&mut command)
}
