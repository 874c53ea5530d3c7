//! The main job in under a minute, with no network and no cloud; `cargo xtask demo` builds and starts it.
//!
//! Everything is in one temporary directory and in child processes that end with this one: whether it finishes, fails or is
//! interrupted, mounts are undone and nothing stays behind.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Parser;
use imagecache_fakes::image::Image;
use imagecache_fakes::registry::{Fault, FaultKind};
use imagecache_tests::binary::tool;
use imagecache_tests::context::{Context, Options};
use imagecache_tests::image::Images;
use imagecache_tests::layer::Layer;
use imagecache_tests::mounts::Mounted;
use imagecache_tests::objects::Dialect;
use imagecache_tests::plane::{BUILD_LIMIT, Plane};
use imagecache_tests::registry::Registry;
use imagecache_tests::{report, wait};
use serde_json::json;

/// Programs of the host that the image is made of, with the libraries that they load.
const PROGRAMS: &[&str] = &[
    "bash", "ls", "cat", "cp", "date", "find", "grep", "openssl", "perl", "python3", "sed", "sort", "tar", "wc",
];

/// Bytes a second of the slow pull: 64 Mbit/s, at which the vendors' own example of 386 MB takes its 50 s.
const SLOW_BYTES_PER_SECOND: usize = 8_000_000;

/// Shows the main job.
#[derive(Parser)]
struct Args {
    /// The `imagecache` to show
    #[arg(long)]
    binary: PathBuf,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    let dir = tempfile::Builder::new().prefix("imagecache-demo-").tempdir()?;
    let result = tokio::select! {
        result = demo(&args.binary, dir.path()) => result,
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
    };
    dir.close().context("cannot clean up")?;
    report!("cleaned up: no process, mount or file is left");
    result
}

async fn demo(binary: &Path, dir: &Path) -> Result<()> {
    let start = Instant::now();
    let options = Options {
        binary: binary.canonicalize()?,
        kubeconfig: None,
        node: false,
        registry: None,
        kubelet: None,
        kubectl: None,
        rounds: 1,
        caches: 0,
    };
    let context = Context {
        options,
        dir: dir.to_owned(),
        unique: "demo".into(),
    };

    report!("1. A real image, from this machine's own programs, in a registry inside this process");
    let images = Images::of(&[("tools", host_image().await?)]);
    let registry = Registry::serve(&images).await?;
    let image = registry.image("tools");
    let built = images.get("tools")?;
    let mebibytes = built.layers.iter().map(|layer| layer.blob.bytes.len()).sum::<usize>() as f64 / f64::from(1 << 20);
    report!("   {image}: {} layers, {mebibytes:.1} MiB packed\n", built.layers.len());

    report!("2. imagecache standalone: API, controller and provider in one process");
    let mut plane = Plane::start(&context).await?;
    report!(
        "   kubectl --kubeconfig {} get imagecaches\n",
        plane.kubeconfig().display()
    );

    report!("3. An ImageCache, as Alibaba Cloud documents it");
    let spec = json!({ "images": [image] });
    let object = Dialect::Alibaba.object("demo", spec.clone())?;
    for line in serde_yaml_ng::to_string(&object)?.lines() {
        report!("   | {line}");
    }
    report!(
        "   kubectl --kubeconfig {} create -f demo.yaml",
        plane.kubeconfig().display()
    );
    let created = Instant::now();
    plane.create(Dialect::Alibaba, "demo", spec).await?;
    let id = watch(&plane).await?;
    report!("   Ready after {:.2} s\n", created.elapsed().as_secs_f64());

    let from_cache = if rustix::process::geteuid().is_root() {
        report!("4. A container's root filesystem from the cache, and a program of the image in it");
        Some(run_from_cache(&context, &id, &image).await?)
    } else {
        report!("4. Left out, as it needs root: imagecache mount {id} DIR --image {image}");
        None
    };

    report!("\n5. The same without a cache: download, inflate and unpack every layer, as a node does");
    let full_speed = pull(&registry, built, &dir.join("pulled")).await?;
    registry
        .fake()
        .inject(Fault::on("/blobs/", FaultKind::Slow(SLOW_BYTES_PER_SECOND)));
    let slow = pull(&registry, built, &dir.join("pulled-slowly")).await?;
    registry.fake().heal();

    report!(
        "\n   {:<52} {:>9}",
        "until the image's root filesystem is there",
        "seconds"
    );
    report!(
        "   {:<52} {:>9.3}",
        "cold pull, registry in this process, nothing written back",
        full_speed.as_secs_f64()
    );
    report!(
        "   {:<52} {:>9.3}",
        "cold pull, each layer at 64 Mbit/s",
        slow.as_secs_f64()
    );
    match from_cache {
        Some(took) => report!("   {:<52} {:>9.3}", "from the cache", took.as_secs_f64()),
        None => report!("   {:<52} {:>9}", "from the cache", "needs root"),
    }
    plane.finish().await?;
    report!("\ndemo: ok in {:.1} s", start.elapsed().as_secs_f64());
    Ok(())
}

/// Prints each change of phase and progress until the cache is Ready; returns its id.
async fn watch(plane: &Plane) -> Result<String> {
    let dialect = Dialect::Alibaba;
    let mut last = String::new();
    wait::until("the cache to be Ready", BUILD_LIMIT, async || {
        let object = plane.get(dialect, "demo").await?;
        let (phase, id) = (dialect.phase(&object), dialect.id(&object));
        let line = format!("{:<10} {:<5} {id}", phase, dialect.status(&object, "progress"));
        if line != last && !phase.is_empty() {
            report!("   {line}");
            last.clone_from(&line);
        }
        ensure!(phase != "Failed", "the build failed: {}", object.data["status"]);
        Ok(if phase == "Ready" { Ok(id) } else { Err(line) })
    })
    .await
}

/// Mounts the image and runs a program from it; how long the mount took.
async fn run_from_cache(context: &Context, id: &str, image: &str) -> Result<Duration> {
    let (binary, root) = (context.binary(), context.subdir("root")?);
    let text = root.to_string_lossy().into_owned();
    let start = Instant::now();
    binary.run(&["mount", id, &text, "--image", image]).await?;
    let took = start.elapsed();
    let mounted = Mounted::adopt(&root);
    report!("   imagecache mount {id} {text} --image {image}");
    let command = "echo \"hello from inside: $(ls / | wc -l) directories, bash $BASH_VERSION\"";
    let said = tool("chroot", &[text.as_str(), "/usr/bin/bash", "-c", command]).await?;
    report!("   chroot {text} /usr/bin/bash -c '…'\n   {}", said.trim());
    ensure!(said.starts_with("hello from inside"), "the program said {said:?}");
    binary.run(&["umount", &text]).await?;
    drop(mounted);
    Ok(took)
}

/// Two layers: libraries, then programs.
async fn host_image() -> Result<Vec<Vec<u8>>> {
    let (mut programs, mut libraries) = (Layer::new(), Layer::new());
    let mut wanted = BTreeSet::new();
    for dir in ["usr", "usr/bin", "tmp"] {
        programs.dir(dir)?;
    }
    for name in PROGRAMS {
        let path = Path::new("/usr/bin").join(name);
        // A host may lack some of them; which ones matters little.
        let Ok(listed) = tool("ldd", &[path.as_os_str()]).await else {
            continue;
        };
        wanted.extend(
            listed
                .split_whitespace()
                .filter(|word| word.starts_with('/'))
                .map(str::to_owned),
        );
        programs.host_file(&path, &format!("usr/bin/{name}"))?;
    }
    if wanted.is_empty() {
        bail!("none of {PROGRAMS:?} is a dynamically linked program in /usr/bin");
    }
    for library in &wanted {
        libraries.host_file(Path::new(library), library.trim_start_matches('/'))?;
    }
    Ok(vec![libraries.finish()?, programs.finish()?])
}

/// Downloads and unpacks every layer, side by side, without durability: less than a node does.
async fn pull(registry: &Registry, image: &Image, dir: &Path) -> Result<Duration> {
    let start = Instant::now();
    let mut layers = tokio::task::JoinSet::new();
    for layer in &image.layers {
        let (digest, host, dir) = (
            layer.blob.digest.clone(),
            registry.host().to_owned(),
            dir.join(&layer.diff_id),
        );
        layers.spawn_blocking(move || unpack(&host, &digest, &dir));
    }
    while let Some(done) = layers.join_next().await {
        done??;
    }
    Ok(start.elapsed())
}

fn unpack(host: &str, digest: &str, dir: &Path) -> Result<()> {
    let blob = get(host, &format!("/v2/e2e/blobs/{digest}"))?;
    std::fs::create_dir_all(dir)?;
    tar::Archive::new(flate2::read::GzDecoder::new(blob))
        .unpack(dir)
        .context("cannot unpack")
}

/// A blob as it comes from the registry: HTTP 1.0, so that the body ends with the connection.
fn get(host: &str, path: &str) -> Result<impl std::io::Read + use<>> {
    use std::io::{BufRead, BufReader, Write};
    let mut stream = std::net::TcpStream::connect(host)?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n")?;
    let mut answer = BufReader::with_capacity(1 << 18, stream);
    let mut line = String::new();
    answer.read_line(&mut line)?;
    ensure!(line.contains(" 200 "), "the registry answered {line:?}");
    while line.trim_end() != "" {
        line.clear();
        answer.read_line(&mut line)?;
    }
    Ok(answer)
}
