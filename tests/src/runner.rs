//! Runs scenarios one after the other, a line each, and keeps the logs of those that failed.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::context::{Context, Options};

/// A scenario that takes longer than this hangs.
const LIMIT: Duration = Duration::from_secs(900);
/// What the scenario with many caches may take longer for each of them.
const LIMIT_PER_CACHE: Duration = Duration::from_millis(400);

/// What a scenario's function returns.
pub type Running = Pin<Box<dyn Future<Output = Result<()>>>>;

/// Something that a user does, and what must come of it.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// Name, as `area::behaviour`.
    pub name: &'static str,
    /// The provider that it is about.
    pub provider: &'static str,
    /// What it cannot run without.
    pub needs: &'static [Need],
    /// Starts it.
    pub run: fn(Context) -> Running,
}

/// What a scenario cannot run without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Root's rights: it mounts.
    Root,
    /// A program on the `PATH`.
    Tool(&'static str),
    /// A registry with the big images.
    Registry,
    /// `kubectl`.
    Kubectl,
    /// `kubelet`.
    Kubelet,
    /// A node of the cluster that pods run on.
    Node,
    /// A Kubernetes API.
    Api(Api),
}

/// How a scenario uses the Kubernetes API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// Through whichever control plane the run is for.
    Either,
    /// Through `imagecache standalone` only.
    Standalone,
    /// Through a real cluster only.
    Cluster,
}

/// What became of a run.
#[derive(Debug, Default)]
pub struct Totals {
    /// Scenarios that held.
    pub passed: usize,
    /// Scenarios that did not.
    pub failed: Vec<&'static str>,
    /// Scenarios that could not run here, with what is missing.
    pub left_out: Vec<(&'static str, String)>,
}

/// Which scenarios to run.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// A part of the name; empty for all.
    pub name: String,
    /// A provider; `None` for all.
    pub provider: Option<String>,
}

impl Wanted {
    fn includes(&self, scenario: &Scenario) -> bool {
        let provider = self.provider.as_deref();
        scenario.name.contains(&self.name) && provider.is_none_or(|provider| scenario.provider == provider)
    }
}

/// Runs the scenarios that are wanted.
pub async fn run(scenarios: &[Scenario], options: &Options, wanted: &Wanted, logs: &Path) -> Result<Totals> {
    let mut totals = Totals::default();
    for scenario in scenarios.iter().filter(|scenario| wanted.includes(scenario)) {
        if let Some(missing) = missing(scenario, options) {
            report!("test {} ... left out, {missing}", scenario.name);
            totals.left_out.push((scenario.name, missing));
            continue;
        }
        let dir = logs.join(scenario.name.replace("::", "-"));
        let start = Instant::now();
        let result = one(scenario, options, &dir).await;
        let seconds = start.elapsed().as_secs_f64();
        match result {
            Ok(()) => {
                report!("test {} ... ok ({seconds:.1} s)", scenario.name);
                totals.passed += 1;
            }
            Err(error) => {
                report!(
                    "test {} ... FAILED ({seconds:.1} s)\n    {error:#}\n    kept: {}",
                    scenario.name,
                    dir.display()
                );
                totals.failed.push(scenario.name);
            }
        }
    }
    if totals.passed == 0 && totals.failed.is_empty() && totals.left_out.is_empty() {
        bail!("no scenario is {wanted:?}");
    }
    Ok(totals)
}

/// Why a scenario cannot run here, if so.
pub fn missing(scenario: &Scenario, options: &Options) -> Option<String> {
    let uses = |api| scenario.needs.contains(&Need::Api(api));
    match options.kubeconfig {
        Some(_) if !uses(Api::Either) && !uses(Api::Cluster) => return Some("does not use a cluster".into()),
        None if uses(Api::Cluster) => return Some("needs --kubeconfig of a real cluster".into()),
        Some(_) | None => {}
    }
    scenario.needs.iter().find_map(|need| match need {
        Need::Root if !rustix::process::geteuid().is_root() => Some("needs root".into()),
        Need::Tool(program) if find(program).is_none() => Some(format!("needs {program}")),
        Need::Registry if options.registry.is_none() => Some("needs --registry with the big images".into()),
        Need::Kubectl if options.kubectl.is_none() => Some("needs kubectl".into()),
        Need::Kubelet if options.kubelet.is_none() => Some("needs kubelet".into()),
        Need::Node if !options.node => Some("needs a cluster with a node that is Ready".into()),
        Need::Root | Need::Tool(_) | Need::Registry | Need::Kubectl | Need::Kubelet | Need::Node | Need::Api(_) => None,
    })
}

/// A program on the `PATH`, or in the directories of the system's administration that a user's `PATH` may lack.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    dirs.map(|dir| dir.join(program)).find(|file| file.is_file())
}

async fn one(scenario: &Scenario, options: &Options, dir: &Path) -> Result<()> {
    if dir.exists() {
        std::fs::remove_dir_all(dir)?;
    }
    std::fs::create_dir_all(dir)?;
    let unique = format!("{:x}", std::process::id());
    let context = Context {
        options: options.clone(),
        dir: dir.to_owned(),
        unique,
    };
    let limit = LIMIT + LIMIT_PER_CACHE * u32::try_from(options.caches)?;
    match tokio::time::timeout(limit, (scenario.run)(context)).await {
        Ok(result) => result?,
        Err(_) => bail!("not over after {limit:?}"),
    }
    std::fs::remove_dir_all(dir)?;
    Ok(())
}
