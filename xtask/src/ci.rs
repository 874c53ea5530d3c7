//! The gate: every check in the order in which it is cheapest to fail.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::programs::{self, E2eArgs};
use crate::{codegen, shell, test, tidy, workspace};

type Step = (&'static str, fn() -> Result<()>);

const STEPS: &[Step] = &[
    ("fmt", fmt),
    ("tidy", tidy::run),
    ("clippy", clippy),
    ("each crate alone", alone),
    ("test", || test::run().map(|_| ())),
    ("doc", doc),
    ("codegen --check", codegen::check),
    ("e2e", || programs::e2e(&E2eArgs::default())),
];

/// Runs every step; stops at the first that fails.
pub fn run() -> Result<()> {
    let mut done: Vec<(&str, Duration)> = Vec::new();
    for (name, step) in STEPS {
        println!("\n=== {name}");
        let start = Instant::now();
        let result = step();
        done.push((name, start.elapsed()));
        if let Err(error) = result {
            summary(&done);
            println!("step {name} ... FAILED: {error:#}");
            println!(
                "ci: {} passed, 1 failed, {} not run",
                done.len() - 1,
                STEPS.len() - done.len()
            );
            bail!("ci stopped at {name}");
        }
        println!("=== {name}: ok in {:.1} s", start.elapsed().as_secs_f64());
    }
    summary(&done);
    println!("ci: {} passed, 0 failed", done.len());
    Ok(())
}

fn summary(done: &[(&str, Duration)]) {
    println!();
    for (name, took) in done {
        println!("step {name:<18} {:>7.1} s", took.as_secs_f64());
    }
    println!(
        "step {:<18} {:>7.1} s",
        "total",
        done.iter().map(|(_, took)| took.as_secs_f64()).sum::<f64>()
    );
}

fn fmt() -> Result<()> {
    shell::run(workspace::cargo().args(["fmt", "--all", "--check"]))
}

fn clippy() -> Result<()> {
    shell::run(
        workspace::cargo()
            .args(["clippy", "--quiet", "--locked", "--workspace", "--all-targets"])
            .args(["--", "--deny", "warnings"]),
    )
}

/// A workspace build unites the features that its crates ask for; alone, each must have asked for what it uses.
fn alone() -> Result<()> {
    for member in workspace::members()? {
        shell::run(workspace::cargo().args(["check", "--quiet", "--locked", "--package", &member.name]))?;
    }
    Ok(())
}

fn doc() -> Result<()> {
    shell::run(
        workspace::cargo()
            .args(["doc", "--quiet", "--locked", "--workspace", "--no-deps"])
            .env("RUSTDOCFLAGS", "--deny warnings"),
    )
}
