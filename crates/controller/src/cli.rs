//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use imagecache_core::cost::{Amount, UsageError};
use imagecache_core::{CacheId, ImageRef, MAX_IMAGES, Platform};
use imagecache_node::Source;
use serde::Serialize;

/// Container images as ready-made block snapshots: pods start without waiting for image pulls.
#[derive(Debug, Parser)]
#[command(name = "imagecache", version, propagate_version = true, max_term_width = 100)]
pub struct Cli {
    /// What every command takes.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What every command takes.
#[derive(Args, Debug)]
pub struct Global {
    /// Configuration file (TOML). Environment variables IMAGECACHE_* win over it, flags win over both
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Who keeps the caches
    #[arg(long, global = true, value_name = "NAME")]
    pub provider: Option<String>,
    /// Store directory of the local provider (local.store.path)
    #[arg(long, global = true, value_name = "DIR")]
    pub store: Option<PathBuf>,
    /// How results are written to stdout
    #[arg(short, long, global = true, value_enum, default_value_t)]
    pub output: Format,
    /// Log level on stderr: error, warn, info, debug, trace, or a tracing filter such as imagecache=debug
    #[arg(long, global = true, value_name = "FILTER")]
    pub log: Option<String>,
}

/// How results are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Columns for people.
    #[default]
    Table,
    /// One JSON document.
    Json,
    /// One YAML document.
    Yaml,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run against a Kubernetes cluster (kubeconfig or in-cluster): make every ImageCache object real
    Controller,
    /// Run API, controller and provider in one process, for kubectl on this machine
    Standalone(StandaloneArgs),
    /// Make one cache and print its id
    Create(CreateArgs),
    /// Show one cache
    Get(IdArgs),
    /// Show all caches
    List,
    /// Remove a cache and its snapshot; mounts in use stay
    Delete(IdArgs),
    /// Show which caches suit these images, best first
    Match(MatchArgs),
    /// Estimate what a cache costs to build, keep and use, with each provider
    Cost(CostArgs),
    /// Mount a cache read-only: its volume, or one image's root filesystem (needs root)
    Mount(MountArgs),
    /// Undo `mount`
    Umount(UmountArgs),
    /// Write the raw volume to a file, sparse and byte-equal to the snapshot
    Export(ExportArgs),
    /// Re-read everything and check every digest; exit code 1 when something is damaged
    Verify(VerifyArgs),
    /// Serve containerd as a snapshotter: layers that a cache holds are mounted instead of pulled (needs root)
    Node(NodeArgs),
    /// Print the CustomResourceDefinitions as YAML
    Crd,
    /// Print the effective configuration; secrets are never part of it
    Config,
}

/// Arguments of `standalone`.
#[derive(Args, Debug)]
pub struct StandaloneArgs {
    /// Address of the API, plain HTTP. Anything but loopback needs IMAGECACHE_STANDALONE_TOKEN
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8001")]
    pub listen: SocketAddr,
    /// Where all state lives; `DIR/kubeconfig` is written for kubectl
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
}

/// Arguments of `create`.
#[derive(Args, Debug)]
pub struct CreateArgs {
    /// Images to keep ready
    #[arg(required = true, value_name = "IMAGE", num_args = 1..=MAX_IMAGES)]
    pub images: Vec<ImageRef>,
    /// A name for people
    #[arg(long)]
    pub name: Option<String>,
    /// Most that the cache's volume may take, in GiB
    #[arg(long, value_name = "GIB", default_value_t = imagecache_core::DEFAULT_SIZE_GIB)]
    pub size_gib: u32,
    /// Remove the cache after this many days; never when left out
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=i64::from(imagecache_core::MAX_RETENTION_DAYS)))]
    pub retention_days: Option<u32>,
    /// Registry credentials: a file as `docker login` writes it (dockerconfigjson)
    #[arg(long, value_name = "FILE")]
    pub pull_secret: Vec<PathBuf>,
    /// Platform to choose from multi-platform images, for example linux/arm64; this machine's when left out
    #[arg(long, value_name = "OS/ARCH")]
    pub platform: Option<Platform>,
    /// Reach this registry over plain HTTP
    #[arg(long, value_name = "HOST")]
    pub plain_http: Vec<String>,
    /// Do not check this registry's certificate
    #[arg(long, value_name = "HOST")]
    pub insecure: Vec<String>,
    /// Return when the cache is Ready or has failed (exit code 1), with progress on stderr
    #[arg(long)]
    pub wait: bool,
}

/// Arguments of commands about one cache.
#[derive(Args, Debug)]
pub struct IdArgs {
    /// Id of the cache
    #[arg(value_name = "ID")]
    pub id: CacheId,
}

/// Arguments of `match`.
#[derive(Args, Debug)]
pub struct MatchArgs {
    /// Images of a pod
    #[arg(required = true, value_name = "IMAGE")]
    pub images: Vec<ImageRef>,
    /// Show every cache that has one of the images, and why it won or lost
    #[arg(long)]
    pub explain: bool,
    /// Choose as this vendor does; that of the provider's cloud when left out, and with no cloud: any version, smaller first
    #[arg(long, value_enum)]
    pub dialect: Option<MatchDialect>,
    /// Only caches that hold all images exactly (imc-perfect-match); wins over --count
    #[arg(long)]
    pub perfect: bool,
    /// Only caches that hold so many images exactly (imc-match-count-request)
    #[arg(long, value_name = "N")]
    pub count: Option<u32>,
    /// The pod's temporary storage, which a cache must fit into; 30 with --dialect alibaba, else unlimited when left out
    #[arg(long, value_name = "GIB")]
    pub storage_gib: Option<u32>,
}

/// Whose rules of matching.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MatchDialect {
    /// Any version of any image, the size closest to the pod's temporary storage, then the newest.
    Alibaba,
    /// All images in their version, the smallest, then the newest.
    Tencent,
}

/// Arguments of `cost`.
///
/// Quantities become bytes and seconds when they are read, so that nothing is calculated with floating-point numbers.
#[derive(Args, Debug)]
#[command(after_long_help = COST_HELP)]
pub struct CostArgs {
    /// Take the sizes from this cache instead of the flags
    #[arg(value_name = "ID", conflicts_with = "size_gib")]
    pub id: Option<CacheId>,
    /// Size of the cache: of the disk that it is built on, and of each pod's disk. 20 when left out
    #[arg(long, value_name = "GIB")]
    pub size_gib: Option<u32>,
    /// What the cache holds, unpacked: the size of its snapshot. Decimals are allowed, as in all that follows
    #[arg(long = "content-gib", value_name = "GIB", value_parser = gib, required_unless_present = "id")]
    pub content_bytes: Option<u64>,
    /// How long the build takes
    #[arg(long = "build-minutes", value_name = "MINUTES", value_parser = minutes, default_value = "5")]
    pub build_seconds: u64,
    /// How long the cache is kept
    #[arg(long = "keep-days", value_name = "DAYS", value_parser = days, default_value = "30")]
    pub keep_seconds: u64,
    /// How many pods use it, in all; a whole number
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub pods: u32,
    /// How long each pod runs
    #[arg(long = "pod-hours", value_name = "HOURS", value_parser = hours, default_value = "1")]
    pub pod_seconds: u64,
}

/// What `cost --help` adds.
const COST_HELP: &str = "\
Prices come from the configuration; none is built in. What has no price is shown with its quantity, and a sum that lacks \
prices with `≥`. A month is 30 days. With --provider only that one is shown.

An example, with the prices that Alibaba prints for one region; give your own:

  [cost]
  currency = \"CNY\"
  [cost.alibaba-eci]               # and [cost.tencent-eks], with the same keys
  vcpu_second = \"0.000049\"         # build instance
  memory_gib_second = \"0.00000613\"
  disk_gib_hour = \"0.0021\"         # of the build, and of each pod
  snapshot_gib_month = \"0.12\"
  [cost.local]
  store_gib_month = \"…\"            # the disk that the store is on
  [cost.local-ebs]                 # a store in AWS EBS
  write_thousand = \"…\"             # a thousand block writes
  snapshot_gib_month = \"…\"
  volume_gib_month = \"…\"\n";

fn gib(text: &str) -> Result<u64, UsageError> {
    Amount::Gib.parse(text)
}

fn minutes(text: &str) -> Result<u64, UsageError> {
    Amount::Minutes.parse(text)
}

fn hours(text: &str) -> Result<u64, UsageError> {
    Amount::Hours.parse(text)
}

fn days(text: &str) -> Result<u64, UsageError> {
    Amount::Days.parse(text)
}

/// Arguments of `mount`.
#[derive(Args, Debug)]
pub struct MountArgs {
    /// Id of the cache
    #[arg(value_name = "ID")]
    pub id: CacheId,
    /// Existing directory to mount on
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// Mount this image's root filesystem instead of the volume
    #[arg(long, value_name = "IMAGE")]
    pub image: Option<ImageRef>,
}

/// Arguments of `umount`.
#[derive(Args, Debug)]
pub struct UmountArgs {
    /// Directory that `mount` was given
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
}

/// Arguments of `export`.
#[derive(Args, Debug)]
pub struct ExportArgs {
    /// Id of the cache
    #[arg(value_name = "ID")]
    pub id: CacheId,
    /// File to write; it appears only when it is complete
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// Arguments of `verify`.
#[derive(Args, Debug)]
pub struct VerifyArgs {
    /// Id of the cache; everything in the store when left out
    #[arg(value_name = "ID")]
    pub id: Option<CacheId>,
}

/// Arguments of `node`.
#[derive(Args, Debug)]
pub struct NodeArgs {
    /// Where snapshots, and everything known of them, are kept; the same at every start
    #[arg(long, value_name = "DIR", default_value = "/var/lib/imagecache-node")]
    pub root: PathBuf,
    /// Unix socket for containerd: `address` of its proxy plugin
    #[arg(long, value_name = "FILE", default_value = "/run/imagecache/node.sock")]
    pub socket: PathBuf,
    /// Where layers are: a store directory, a block device or file with a volume, or LABEL=… of such a device. The first that
    /// has a layer serves it; each may appear later. The store of the local provider when left out
    #[arg(long, value_name = "SOURCE")]
    pub source: Vec<Source>,
    /// Serve containerd as a registry mirror here, a loopback address: manifests and configs of cached images, for when their
    /// registry is away
    #[arg(long, value_name = "ADDRESS")]
    pub mirror: Option<SocketAddr>,
    /// Answer /healthz and /metrics here
    #[arg(long, value_name = "ADDRESS")]
    pub metrics: Option<SocketAddr>,
    /// containerd's `root`. Give it where containerd measures the disk below it, whatever its configuration says (1.6, 1.7): it is
    /// shown this one's
    #[arg(long, value_name = "DIR")]
    pub containerd_root: Option<PathBuf>,
    /// containerd's configuration, for --check; the usual places when left out
    #[arg(long, value_name = "FILE")]
    pub containerd_config: Option<PathBuf>,
    /// The cluster that hears what this node holds; in a pod, its own when left out
    #[arg(long, value_name = "FILE", conflicts_with = "no_kubernetes")]
    pub kubeconfig: Option<PathBuf>,
    /// Have nothing to do with a cluster
    #[arg(long)]
    pub no_kubernetes: bool,
    /// Name of this machine's Node object; the host name when left out
    #[arg(long, value_name = "NAME", env = "NODE_NAME")]
    pub node_name: Option<String>,
    /// Say what this host has, and what it lacks, to run the snapshotter; exit code 1 when it cannot
    #[arg(long)]
    pub check: bool,
}

/// Flags as a configuration layer: only those given are serialized, so that others do not win.
#[derive(Debug, Serialize)]
pub struct Overrides<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    provider: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<LogOverride<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    local: Option<LocalOverride<'a>>,
}

#[derive(Debug, Serialize)]
struct LogOverride<'a> {
    filter: &'a str,
}

#[derive(Debug, Serialize)]
struct LocalOverride<'a> {
    store: StoreOverride<'a>,
}

#[derive(Debug, Serialize)]
struct StoreOverride<'a> {
    path: &'a PathBuf,
}

impl Global {
    /// The flags that were given.
    pub fn overrides(&self) -> Overrides<'_> {
        Overrides {
            provider: self.provider.as_deref(),
            log: self.log.as_deref().map(|filter| LogOverride { filter }),
            local: self.store.as_ref().map(|path| LocalOverride {
                store: StoreOverride { path },
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn bad_arguments_name_the_problem() {
        for (line, part) in [
            ("imagecache create", "<IMAGE>"),
            ("imagecache create Nginx", "invalid at character 1"),
            ("imagecache create nginx --retention-days 0", "0 is not in 1..=65536"),
            ("imagecache get nginx", "is not a cache id"),
            ("imagecache create nginx --platform amd64", "os/architecture"),
            ("imagecache standalone", "--data"),
        ] {
            let error = Cli::try_parse_from(line.split(' ')).expect_err(line).to_string();
            assert!(error.contains(part), "{line}: {error}");
        }
    }
}
