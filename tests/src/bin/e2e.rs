//! The runner of the end-to-end scenarios; `cargo xtask e2e` builds and starts it.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use imagecache_tests::context::Options;
use imagecache_tests::{plane, report, runner, scenarios};

/// Kills of a build in one scenario where nothing else is asked for: enough to meet each stage in a few runs of CI.
const ROUNDS: u32 = 5;
/// Caches of the scenario with many of them: enough to need pages and to meet the rate, few enough for every run of CI.
const CACHES: usize = 150;

/// Runs end-to-end scenarios with the real binary.
#[derive(Parser)]
struct Args {
    /// The `imagecache` under test
    #[arg(long)]
    binary: PathBuf,
    /// A real cluster to run against, in controller mode
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
    /// Only scenarios whose name contains this
    #[arg(long, default_value = "")]
    filter: String,
    /// A registry with base:12 and java:17
    #[arg(long, env = "IMAGECACHE_E2E_REGISTRY")]
    registry: Option<String>,
    /// Kills of a build in one scenario
    #[arg(long, env = "IMAGECACHE_E2E_ROUNDS", default_value_t = ROUNDS)]
    rounds: u32,
    /// Caches of the scenario that has many
    #[arg(long, env = "IMAGECACHE_E2E_CACHES", default_value_t = CACHES)]
    caches: usize,
    /// Only scenarios of this provider
    #[arg(long)]
    provider: Option<String>,
    /// kubectl, if it is not on the PATH
    #[arg(long, env = "KUBECTL")]
    kubectl: Option<PathBuf>,
    /// kubelet, if it is not on the PATH
    #[arg(long, env = "KUBELET")]
    kubelet: Option<PathBuf>,
    /// Where scenarios work, and the logs of failures stay
    #[arg(long)]
    logs: PathBuf,
    /// Names the scenarios and runs none
    #[arg(long)]
    list: bool,
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let args = Args::parse();
    if args.list {
        for scenario in scenarios::all() {
            report!("{} {}", scenario.provider, scenario.name);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let kubeconfig = args.kubeconfig.map(|path| path.canonicalize()).transpose()?;
    let node = match &kubeconfig {
        Some(kubeconfig) => plane::has_node(kubeconfig).await?,
        None => false,
    };
    let options = Options {
        binary: args.binary.canonicalize()?,
        kubeconfig,
        node,
        registry: args.registry,
        kubectl: args.kubectl.or_else(|| runner::find("kubectl")),
        kubelet: args.kubelet.or_else(|| runner::find("kubelet")),
        rounds: args.rounds,
        caches: args.caches,
    };
    std::fs::create_dir_all(&args.logs)?;
    let wanted = runner::Wanted {
        name: args.filter,
        provider: args.provider,
    };
    let totals = runner::run(&scenarios::all(), &options, &wanted, &args.logs.canonicalize()?).await?;
    let verdict = if totals.failed.is_empty() { "ok" } else { "FAILED" };
    report!(
        "\ne2e: {verdict}. {} passed, {} failed, {} left out",
        totals.passed,
        totals.failed.len(),
        totals.left_out.len()
    );
    Ok(if totals.failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
