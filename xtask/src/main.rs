//! Project automation, run as `cargo xtask <command>`.
//!
//! Everything here drives other programs (cargo, the `imagecache` binary, Debian's tools). What needs the project's own
//! crates lives in `imagecache-tests` and is started as a program, so that this one builds in seconds.

// Printing is this program's purpose.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod bench;
mod ci;
mod codegen;
mod image;
mod packages;
mod programs;
mod shell;
mod test;
mod tidy;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Project automation.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The gate: fmt, tidy, clippy, each crate alone, tests, docs, codegen --check, e2e
    Ci,
    /// Every test of the workspace that can run on this machine; names those that cannot
    Test,
    /// End-to-end scenarios with the real binary
    E2e(programs::E2eArgs),
    /// The main job in under a minute: no network, no cloud
    Demo,
    /// Measurements, printed as Markdown
    Bench {
        #[command(subcommand)]
        what: bench::What,
    },
    /// Writes the committed generated files
    Codegen {
        /// Change nothing; fail if a file is not what would be written
        #[arg(long)]
        check: bool,
    },
    /// Builds the release binary into a container image and pushes it
    Image(image::ImageArgs),
    /// Rules that the compiler does not check: dependency edges, versions, file headers and sizes
    Tidy,
}

fn main() -> ExitCode {
    let result = match Args::parse().command {
        Command::Ci => ci::run(),
        Command::Test => test::run().map(|_| ()),
        Command::E2e(args) => programs::e2e(&args),
        Command::Demo => programs::demo(),
        Command::Bench { what } => bench::run(&what),
        Command::Codegen { check: true } => codegen::check(),
        Command::Codegen { check: false } => codegen::write(),
        Command::Image(args) => image::run(&args),
        Command::Tidy => tidy::run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
