//! `bench ebs`: an upload to EBS, against coldsnap doing the same.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, ensure};

use crate::bench::{EbsArgs, report};
use crate::programs::BINARY;
use crate::shell;
use crate::workspace::{self, Profile};

/// The client of AWS's own that uploads and downloads snapshots.
const COLDSNAP: &str = "coldsnap";

/// Runs the program that has the fake account, which prints Markdown tables.
pub fn run(args: &EbsArgs) -> Result<()> {
    ensure!(
        args.coldsnap.is_some() || shell::has(COLDSNAP),
        "coldsnap is not installed: install it with `cargo install coldsnap --locked`, or name it with --coldsnap"
    );
    let binary = match &args.binary {
        Some(path) => path.clone(),
        None => workspace::build(BINARY, Profile::Release)?,
    };
    let bench = workspace::build("bench-ebs", Profile::Release)?;
    let parent = args.scratch.clone().map_or_else(workspace::target_dir, Ok)?;
    std::fs::create_dir_all(&parent)?;
    let scratch = tempfile::Builder::new().prefix("bench-").tempdir_in(&parent)?;
    println!("{}: medians of {} rounds\n", report::machine()?, args.rounds);
    let mut command = Command::new(bench);
    command.arg("--binary").arg(binary);
    command
        .arg("--coldsnap")
        .arg(args.coldsnap.clone().unwrap_or_else(|| PathBuf::from(COLDSNAP)));
    command.arg("--gib").arg(args.gib.to_string());
    command.arg("--rounds").arg(args.rounds.to_string());
    command.arg("--scratch").arg(scratch.path());
    shell::run(&mut command)
}
