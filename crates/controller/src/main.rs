//! Entry point: parse, run, report one error line, set the exit code.

use std::process::ExitCode;

use clap::Parser as _;
use imagecache_controller::cli::Cli;
use imagecache_controller::commands;
use imagecache_controller::output::report;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return report(&error),
    };
    let outcome = runtime.block_on(commands::run(cli));
    // A build that was not awaited must not hold the process; what it finished is durable and resumable.
    runtime.shutdown_background();
    match outcome {
        Ok(code) => code,
        Err(error) => report(error.as_ref()),
    }
}
