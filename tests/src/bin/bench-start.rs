//! From the creation of a Deployment to its availability on a real node: pulled by containerd, and started from a cache.
//! `cargo xtask bench start` builds and starts it.
//!
//! The cluster, its kubelet and its containerd are the same for all rows; only the snapshotter changes. Images come from a
//! registry whose answers leave at a limited rate.

use std::fs::File;
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command as Program, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use clap::Parser;
use imagecache_tests::binary::{Binary, tool};
use imagecache_tests::image::architecture;
use imagecache_tests::mounts::{self, Mounted};
use imagecache_tests::node::spawn;
use imagecache_tests::plane::{client, free_port};
use imagecache_tests::workloads::Workloads;
use imagecache_tests::{cri, report};
use serde_json::json;
use sha2::{Digest as _, Sha256};

/// Where the cluster's registry is, and the same at the limited rate.
const FAST: &str = "127.0.0.1:5000";
const SLOW: &str = "127.0.0.1:5001";
/// The image that the vendors' documentation times, and one ten times as large that is made of it.
const IMAGE: &str = "java:17";
const LARGE: &str = "java-large:17";
/// Copies of the image's files that the large one has more.
const COPIES: usize = 9;
/// What sandboxes need, so that the first row does not pay for all.
const SANDBOX: &str = "pause:3";
/// What the first pod runs.
const WARM_UP: &str = "base:12";
const SNAPSHOTTER: &str = "imagecache";
const BUFFER_BYTES: usize = 1 << 20;

/// Prints Markdown.
#[derive(Parser)]
struct Args {
    /// The `imagecache` to measure
    #[arg(long)]
    binary: PathBuf,
    /// Directory with `up`, `down` and `slow-registry`
    #[arg(long)]
    cluster: PathBuf,
    /// Where the cluster keeps everything
    #[arg(long)]
    kube_dir: PathBuf,
    /// Starts of each kind
    #[arg(long)]
    rounds: usize,
    /// Where the store goes
    #[arg(long)]
    scratch: PathBuf,
}

#[tokio::main]
async fn main() -> Result<()> {
    let bench = Bench { args: Args::parse() };
    let result = bench.run().await;
    bench.end();
    result
}

struct Bench {
    args: Args,
}

impl Bench {
    async fn run(&self) -> Result<()> {
        let args = &self.args;
        ensure!(
            !self.is_up(),
            "a cluster runs in {}: stop it with {}",
            args.kube_dir.display(),
            args.cluster.join("down").display()
        );
        let store = args.scratch.join("store");
        let binary = Binary::new(&args.binary, &store, &args.scratch);

        self.up(&[]).await?;
        binary.create(&format!("{FAST}/{IMAGE}")).await.with_context(|| {
            format!("{IMAGE} is not in the cluster's registry: push it with images/make beside the cluster")
        })?;
        self.push_large(&binary).await?;
        binary.create(&format!("{FAST}/{LARGE}")).await?;
        let pulled = self.starts(IMAGE).await?;
        self.down().await?;

        let dir = args.scratch.join("node");
        std::fs::create_dir_all(&dir)?;
        // A socket's path must be short.
        let run = tempfile::Builder::new().prefix("bench-").tempdir_in("/tmp")?;
        let socket = run.path().join("node.sock");
        let mut node = spawn(&binary, &dir, &socket, &store, free_port()?).await?;
        let snapshotter = [
            ("SNAPSHOTTER", SNAPSHOTTER),
            ("SNAPSHOTTER_SOCK", &socket.to_string_lossy()),
        ];
        self.up(&snapshotter).await?;
        let cached = self.starts(IMAGE).await?;
        let large = self.starts(LARGE).await?;
        self.down().await?;
        node.kill().await?;

        report!("| Deployment created → Available, registry at 64 Mbit/s | seconds, each | median |\n|---|---|---:|");
        for (name, samples) in [
            (format!("{IMAGE}, containerd's overlayfs snapshotter: pulled"), &pulled),
            (format!("{IMAGE}, from the cache"), &cached),
            (format!("{LARGE}, the same files ten times, from the cache"), &large),
        ] {
            let each: Vec<String> = samples
                .iter()
                .map(|sample| format!("{:.2}", sample.as_secs_f64()))
                .collect();
            report!("| {name} | {} | {:.2} |", each.join(", "), median(samples));
        }
        let rows = [
            ("pulled / from the cache", median(&pulled) / median(&cached), None),
            (
                "from the cache, seconds",
                median(&cached),
                Some(("below 1.5, aim 1.0", 1.5)),
            ),
            (
                "ten times as large / java:17",
                median(&large) / median(&cached),
                Some(("about 1", 1.25)),
            ),
        ];
        report!("\n| ratio | measured | wanted |\n|---|---:|---|");
        let mut missed = 0;
        for (name, measured, wanted) in rows {
            report!("| {name} | {measured:.2} | {} |", wanted.map_or("", |(text, _)| text));
            missed += usize::from(wanted.is_some_and(|(_, limit)| measured > limit));
        }
        ensure!(missed == 0, "{missed} of what is wanted was missed");
        Ok(())
    }

    /// Starts of one image, each on a node that does not have it.
    async fn starts(&self, image: &str) -> Result<Vec<Duration>> {
        let client = client(&self.args.kube_dir.join("kubeconfig")).await?;
        let workloads = Workloads::start(&client, "bench-start-", json!({})).await?;
        let containerd = self.args.kube_dir.join("run/containerd.sock");
        cri::pull(&containerd, &format!("{FAST}/{SANDBOX}")).await?;
        let reference = format!("{SLOW}/{image}");
        let mut samples = Vec::new();
        // The first pod of a fresh node pays for much that has nothing to do with images.
        let warm_up = format!("{FAST}/{WARM_UP}");
        let rounds = (0..self.args.rounds).map(|round| (format!("round-{round}"), &reference));
        for (name, reference) in std::iter::once(("warm-up".to_owned(), &warm_up)).chain(rounds) {
            // What a container that is only stopped uses would not be pulled again.
            cri::remove_sandboxes(&containerd).await?;
            for image in [&warm_up, &format!("{FAST}/{IMAGE}"), reference] {
                cri::remove(&containerd, image).await?;
            }
            let took = workloads.deploy(&name, reference, 1).await?;
            if *reference != warm_up {
                samples.push(took);
            }
            workloads.remove(&name).await?;
        }
        workloads.finish().await?;
        // Nothing stays in containerd's books of a snapshotter whose directory goes with this run.
        cri::remove_sandboxes(&containerd).await?;
        for image in [warm_up, reference, format!("{FAST}/{SANDBOX}")] {
            cri::remove(&containerd, &image).await?;
        }
        Ok(samples)
    }

    /// Pushes the large image, made of the files of the one that the store holds.
    async fn push_large(&self, binary: &Binary) -> Result<()> {
        let scratch = self.args.scratch.join("large");
        let (root, layout) = (scratch.join("root"), scratch.join("oci"));
        std::fs::create_dir_all(&root)?;
        let reference = format!("{FAST}/{IMAGE}");
        let id = binary.run(&["create", "--wait", &reference]).await?;
        binary
            .run(&["mount", &id, &root.to_string_lossy(), "--image", &reference])
            .await?;
        let mounted = Mounted::adopt(&root);
        let blobs = layout.join("blobs/sha256");
        std::fs::create_dir_all(&blobs)?;
        let source = format!("docker://{reference}");
        let below = format!("oci:{}:base", layout.display());
        tool("skopeo", &["copy", "-q", "--src-tls-verify=false", &source, &below]).await?;
        let index: serde_json::Value = serde_json::from_slice(&std::fs::read(layout.join("index.json"))?)?;
        let blob = |digest: &serde_json::Value| -> Result<PathBuf> {
            let digest = digest.as_str().context("a descriptor without digest")?;
            Ok(blobs.join(digest.trim_start_matches("sha256:")))
        };
        let mut manifest: serde_json::Value =
            serde_json::from_slice(&std::fs::read(blob(&index["manifests"][0]["digest"])?)?)?;
        let mut config: serde_json::Value =
            serde_json::from_slice(&std::fs::read(blob(&manifest["config"]["digest"])?)?)?;
        for copy in 0..COPIES {
            let layer = packed(mounted.path(), &format!("copy-{copy}"), &blobs)?;
            let layers = manifest["layers"].as_array_mut().context("no layers")?;
            layers.push(json!({
                "mediaType": "application/vnd.oci.image.layer.v1.tar+zstd", "digest": layer.digest, "size": layer.size,
            }));
            let diff_ids = config["rootfs"]["diff_ids"].as_array_mut().context("no diff_ids")?;
            diff_ids.push(json!(layer.diff_id));
        }
        if let Some(object) = config.as_object_mut() {
            object.remove("history");
        }
        ensure!(
            config["architecture"] == architecture(),
            "{IMAGE} is for another machine"
        );
        let (digest, size) = put(&blobs, config.to_string().as_bytes())?;
        manifest["config"]["digest"] = json!(digest);
        manifest["config"]["size"] = json!(size);
        let (digest, size) = put(&blobs, manifest.to_string().as_bytes())?;
        let index = json!({ "schemaVersion": 2, "manifests": [{
            "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": size,
            "annotations": { "org.opencontainers.image.ref.name": "large" },
        }] });
        std::fs::write(layout.join("index.json"), index.to_string())?;
        let from = format!("oci:{}:large", layout.display());
        let to = format!("docker://{FAST}/{LARGE}");
        // As long as it takes: it is larger than anything else here.
        let status = Program::new("skopeo")
            .args(["copy", "-q", "--dest-tls-verify=false", &from, &to])
            .status()?;
        ensure!(status.success(), "skopeo cannot push {LARGE}: {status}");
        drop(mounted);
        std::fs::remove_dir_all(&scratch)?;
        Ok(())
    }

    async fn up(&self, environment: &[(&str, &str)]) -> Result<()> {
        self.script("up", environment)?;
        self.script("slow-registry", &[])
    }

    async fn down(&self) -> Result<()> {
        self.script_with("slow-registry", &["off"], &[])?;
        self.script("down", &[])
    }

    /// Leaves nothing running, whatever happened.
    fn end(&self) {
        if self.is_up() {
            let _ = self.script_with("slow-registry", &["off"], &[]);
            let _ = self.script("down", &[]);
        }
        // A snapshotter leaves its mounts to the containers that run; none does.
        mounts::unmount_below(&self.args.scratch.join("node"));
    }

    fn is_up(&self) -> bool {
        let pid = std::fs::read_to_string(self.args.kube_dir.join("run/apiserver.pid")).unwrap_or_default();
        !pid.trim().is_empty() && Path::new("/proc").join(pid.trim()).exists()
    }

    fn script(&self, name: &str, environment: &[(&str, &str)]) -> Result<()> {
        self.script_with(name, &[], environment)
    }

    /// Runs a script of the cluster. What it starts keeps its output open, so that goes to a file.
    fn script_with(&self, name: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Result<()> {
        let path = self.args.cluster.join(name);
        let log = self.args.scratch.join(format!("{name}.log"));
        let file = File::create(&log)?;
        let status = Program::new(&path)
            .args(arguments)
            .env("KUBE_DIR", &self.args.kube_dir)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .status()
            .with_context(|| format!("cannot start {}", path.display()))?;
        if !status.success() {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            let last: Vec<&str> = said.lines().rev().take(3).collect();
            bail!("{} failed: {status}: {}", path.display(), last.join(" | "));
        }
        Ok(())
    }
}

/// A layer in a layout.
struct Packed {
    digest: String,
    diff_id: String,
    size: u64,
}

/// Packs a directory as a layer that has it under another name.
fn packed(root: &Path, name: &str, blobs: &Path) -> Result<Packed> {
    let partial = blobs.join("partial");
    let mut tar = Program::new("tar")
        .arg("--directory")
        .arg(root)
        .args([
            "--create",
            "--numeric-owner",
            "--transform",
            &format!("flags=r;s,^\\.,{name},"),
            ".",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start tar")?;
    let mut zstd = Program::new("zstd")
        .args(["-1", "-q", "-c"])
        .stdin(Stdio::piped())
        .stdout(File::create(&partial)?)
        .spawn()
        .context("cannot start zstd: install it")?;
    let (mut from, mut to) = (
        tar.stdout.take().context("no pipe")?,
        zstd.stdin.take().context("no pipe")?,
    );
    let diff_id = hashed(&mut from, |piece| to.write_all(piece))?;
    drop(to);
    ensure!(
        tar.wait()?.success() && zstd.wait()?.success(),
        "cannot pack {}",
        root.display()
    );
    let mut file = File::open(&partial)?;
    let digest = hashed(&mut file, |_| Ok(()))?;
    std::fs::rename(&partial, blobs.join(&digest))?;
    Ok(Packed {
        size: file.metadata()?.len(),
        digest: format!("sha256:{digest}"),
        diff_id: format!("sha256:{diff_id}"),
    })
}

/// Reads to the end and hands every piece on; the digest of all of it.
fn hashed(from: &mut impl Read, mut each: impl FnMut(&[u8]) -> io::Result<()>) -> Result<String> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(hex::encode(hash.finalize())),
            count => {
                hash.update(&buffer[..count]);
                each(&buffer[..count])?;
            }
        }
    }
}

/// Writes a blob; its digest and size.
fn put(blobs: &Path, bytes: &[u8]) -> Result<(String, usize)> {
    let digest = hex::encode(Sha256::digest(bytes));
    std::fs::write(blobs.join(&digest), bytes)?;
    Ok((format!("sha256:{digest}"), bytes.len()))
}

fn median(samples: &[Duration]) -> f64 {
    let mut seconds: Vec<f64> = samples.iter().map(Duration::as_secs_f64).collect();
    seconds.sort_by(f64::total_cmp);
    seconds.get(seconds.len() / 2).copied().unwrap_or(f64::NAN)
}
