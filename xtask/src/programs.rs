//! The programs of `imagecache-tests`, built and started: `e2e` and `demo`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::workspace::{self, Profile};
use crate::{packages, shell};

/// The real binary.
pub const BINARY: &str = "imagecache";

/// Options of `e2e`, passed on to its runner.
#[derive(Args, Default)]
pub struct E2eArgs {
    /// A real cluster to run against, in controller mode; without it, the embedded API
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
    /// Only scenarios whose name contains this
    #[arg(long)]
    filter: Option<String>,
    /// A registry that holds base:12 and java:17, such as 127.0.0.1:5000; its scenarios are left out without it
    #[arg(long)]
    registry: Option<String>,
    /// How many times the scenarios that kill a build do so
    #[arg(long)]
    rounds: Option<u32>,
    /// How many caches the scenario with many of them has
    #[arg(long)]
    caches: Option<usize>,
    /// Only scenarios of this provider; of all providers without it
    #[arg(long)]
    provider: Option<String>,
    /// Names the scenarios and runs none
    #[arg(long)]
    list: bool,
    /// The binary under test; built from this workspace if not given
    #[arg(long)]
    binary: Option<PathBuf>,
}

/// Builds the binary and the runner, and runs the scenarios.
pub fn e2e(args: &E2eArgs) -> Result<()> {
    let missing = packages::install(packages::TESTS)?;
    if !missing.is_empty() {
        let names: Vec<_> = missing.iter().map(|tool| tool.package).collect();
        println!(
            "e2e: not installed, so what needs them is left out: {}",
            names.join(" ")
        );
    }
    let runner = workspace::build("e2e", Profile::Dev)?;
    let mut command = Command::new(runner);
    command.arg("--binary").arg(match &args.binary {
        Some(path) => path.clone(),
        None => workspace::build(BINARY, Profile::Dev)?,
    });
    command.arg("--logs").arg(workspace::target_dir()?.join("e2e"));
    let options: [(&str, Option<OsString>); 6] = [
        ("--kubeconfig", args.kubeconfig.as_ref().map(Into::into)),
        ("--filter", args.filter.as_ref().map(Into::into)),
        ("--provider", args.provider.as_ref().map(Into::into)),
        ("--registry", args.registry.as_ref().map(Into::into)),
        ("--rounds", args.rounds.map(|rounds| rounds.to_string().into())),
        ("--caches", args.caches.map(|caches| caches.to_string().into())),
    ];
    for (flag, value) in options {
        if let Some(value) = value {
            command.arg(flag).arg(value);
        }
    }
    if args.list {
        command.arg("--list");
    }
    command.current_dir(workspace::root());
    shell::run(&mut command)
}

/// Builds the release binary and the demo, and runs it.
pub fn demo() -> Result<()> {
    let binary = workspace::build(BINARY, Profile::Release)?;
    let demo = workspace::build("demo", Profile::Release)?;
    // Not `shell::run`: a Ctrl-C must reach the demo, which cleans up, and must not end us before it has.
    let status = Command::new(demo)
        .arg("--binary")
        .arg(binary)
        .stdin(Stdio::null())
        .status()
        .context("cannot start the demo")?;
    if !status.success() {
        bail!("the demo failed: {status}");
    }
    Ok(())
}
