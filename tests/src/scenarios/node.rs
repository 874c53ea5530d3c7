//! `imagecache node` behind a real containerd: what kubelet would pull, what the registry was asked, what containers see.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use crate::binary::tool;
use crate::compare::{Rules, same_tree};
use crate::context::Context;
use crate::layer::{Attributes, Layer, noise};
use crate::node::Node;
use crate::registry::Registry;
use crate::scenarios::images;
use crate::store;

/// A namespace of containerd in which nothing is ours.
const PLAIN: &str = "plain";
/// Programs of this machine that the runnable image has.
const PROGRAMS: [&str; 17] = [
    "/bin/sh",
    "/bin/cat",
    "/bin/chmod",
    "/bin/chown",
    "/bin/cp",
    "/bin/ln",
    "/bin/mkdir",
    "/bin/mv",
    "/bin/rm",
    "/bin/rmdir",
    "/bin/sleep",
    "/usr/bin/find",
    "/usr/bin/sha256sum",
    "/usr/bin/sort",
    "/usr/bin/touch",
    "/usr/bin/truncate",
    "/usr/bin/xargs",
];

/// Directories that no layer of the runnable image lists; whoever unpacks it makes them.
const IMPLIED: &[&str] = &[
    "bin",
    "data",
    "lib",
    "lib/x86_64-linux-gnu",
    "lib64",
    "usr",
    "usr/bin",
    "usr/lib",
    "usr/lib/x86_64-linux-gnu",
];

/// Layers with a shell, its libraries, and a file of 3 MiB.
pub(super) fn runnable() -> Result<Vec<Vec<u8>>> {
    let mut libraries = BTreeSet::new();
    for program in PROGRAMS {
        let output = std::process::Command::new("ldd").arg(program).output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        libraries.extend(
            text.split_whitespace()
                .filter(|word| word.starts_with('/'))
                .map(str::to_owned),
        );
    }
    let mut low = Layer::new();
    for path in libraries.iter().map(String::as_str).chain(PROGRAMS) {
        low.host_file(&fs::canonicalize(path)?, path.trim_start_matches('/'))?;
    }
    let mut middle = Layer::new();
    middle
        .dir("data")?
        .file("data/noise", &noise(5, 3 << 20))?
        .file("data/gone", b"x")?;
    middle.file_with("data/tool", b"#!/bin/sh\necho tool\n", &Attributes::executable())?;
    middle
        .dir("data/tree")?
        .dir("data/tree/deep")?
        .file("data/tree/deep/leaf", b"leaf\n")?;
    middle.hard_link("data/linked", "data/tree/deep/leaf")?;
    middle.symlink("data/pointer", "tree/deep/leaf")?;
    let mut top = Layer::new();
    top.whiteout("data/gone")?.file("data/top", b"top\n")?;
    Ok(vec![low.finish()?, middle.finish()?, top.finish()?])
}

pub async fn cached_image_starts_without_its_layers(context: Context) -> Result<()> {
    let registry = Registry::of(&[("run", runnable()?)]).await?;
    let image = registry.image("run");
    let node = Node::start(&context).await?;
    context.binary().create(&image).await?;
    node.knows(3).await?;
    let before = registry.requests();
    node.containerd.pull(&image).await?;
    registry.fetched_no_layer(before)?;
    node.has_each_image_mounted_once()?;
    let said = node
        .script(
            &image,
            &context.name("one"),
            "cat /data/top; /data/tool; cat /data/gone || echo none",
        )
        .await?;
    ensure!(said == "top\ntool\nnone\n", "the container said {said:?}");
    let written = "echo new > /data/top && mv /data/noise /data/moved && rm /data/tool && cat /data/top";
    ensure!(node.script(&image, &context.name("two"), written).await? == "new\n");
    ensure!(
        node.script(&image, &context.name("three"), "cat /data/top").await? == "top\n",
        "a container wrote into the cache"
    );
    node.has_each_image_mounted_once()?;
    node.forget(&image).await
}

pub async fn uncached_and_half_cached_images_work(context: Context) -> Result<()> {
    let layers = runnable()?;
    let registry = Registry::of(&[("whole", &layers[..]), ("half", layers.get(..1).unwrap_or_default())]).await?;
    let node = Node::start(&context).await?;
    // Nothing is cached.
    let whole = registry.image("whole");
    node.containerd.pull(&whole).await?;
    ensure!(node.script(&whole, &context.name("plain"), "cat /data/top").await? == "top\n");
    ensure!(node.mounts()?.is_empty(), "something was mounted: {:?}", node.mounts()?);
    node.forget(&whole).await?;
    // The lowest layer is cached: only the others are fetched.
    context.binary().create(&registry.image("half")).await?;
    node.knows(1).await?;
    node.containerd.pull(&whole).await?;
    ensure!(
        node.mounts()?.len() == 1,
        "the cached layer is not mounted: {:?}",
        node.mounts()?
    );
    ensure!(node.script(&whole, &context.name("half"), "cat /data/top").await? == "top\n");
    node.forget(&whole).await
}

pub async fn roots_equal_a_plain_pull(context: Context) -> Result<()> {
    let rows = [
        ("basic", images::basic()?, Rules::EXACT),
        ("whiteouts", images::whiteouts()?, Rules::EXACT),
        (
            "cross",
            images::cross_layer()?,
            Rules {
                any_time: images::MADE_BY_CONTAINERD,
                ..Rules::EXACT
            },
        ),
    ];
    let registry = Registry::of(&rows.each_ref().map(|(tag, layers, _)| (*tag, layers))).await?;
    let node = Node::start(&context).await?;
    let mut known = BTreeSet::new();
    for (tag, layers, rules) in &rows {
        let image = registry.image(tag);
        context.binary().create(&image).await?;
        known.extend((1..=layers.len()).map(|count| layers.get(..count)));
        node.knows(known.len()).await?;
        let before = registry.requests();
        node.containerd.pull(&image).await?;
        registry.fetched_no_layer(before).context(*tag)?;
        let ours = node.mount(layers, &context.dir.join(format!("ours-{tag}"))).await?;
        let plain = node
            .containerd
            .mount(&image, &context.dir.join(format!("plain-{tag}")))
            .await?;
        same_tree(("ours", ours.path()), ("a plain pull", plain.path()), *rules).with_context(|| (*tag).to_owned())?;
    }
    Ok(())
}

/// What programs do to files of an image, each step with what came of it, and everything that is there afterwards.
const WRITES: &str = r#"
cd /data
try() { "$@" 2>&1; echo "$1: $?"; }
try sh -c 'echo more >> noise'
try truncate -s 1000000 noise
try sh -c 'echo new > top; cat top'
try chmod 600 tool
try chown 7:8 tool
try mv top renamed
try mv tree moved
try sh -c 'cat moved/deep/leaf; echo changed > moved/deep/leaf; cat linked pointer moved/deep/leaf'
try rm -r moved/deep
try mkdir moved/deep
try rmdir moved/deep moved
try mkdir tree
try sh -c 'echo again > tree/leaf'
try ln linked second
try sh -c 'echo appended >> second; cat linked second'
try ln -s nowhere dangling
try mv -T tree /tmp-tree
try cp -a /tmp-tree back
try rm gone tool
try touch gone
try mv gone linked
try mkdir -p a/b/c
try rm -r a
try sh -c 'echo x > a; exec 3<>a; rm a; echo y >&3; cat /proc/self/fd/3'
try sh -c 'cat < /data/noise | sha256sum'
find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /run \) -prune \
  -o -type d -printf '%p d %m %U:%G\n' -o -printf '%p %y %s %m %U:%G %n %l\n' | sort
find /data -type f | sort | while read -r file; do sha256sum "$file"; done
"#;

pub async fn writes_behave_as_on_overlayfs(context: Context) -> Result<()> {
    let registry = Registry::of(&[("run", runnable()?)]).await?;
    let image = registry.image("run");
    let node = Node::start(&context).await?;
    context.binary().create(&image).await?;
    node.knows(3).await?;
    node.containerd.pull(&image).await?;
    let ours = node.script(&image, &context.name("ours"), WRITES).await?;
    let pull = [
        "-n",
        PLAIN,
        "images",
        "pull",
        "--plain-http",
        "--snapshotter",
        "overlayfs",
        &image,
    ];
    node.containerd.ctr(&pull).await?;
    let name = context.name("plain");
    let run = [
        "-n",
        PLAIN,
        "run",
        "--rm",
        "--snapshotter",
        "overlayfs",
        &image,
        &name,
        "/bin/sh",
        "-c",
        WRITES,
    ];
    let plain = node.containerd.ctr(&run).await?;
    ensure!(plain.lines().count() > 50, "the script did not run: {plain}");
    for (ours, plain) in ours.lines().zip(plain.lines()) {
        ensure!(ours == plain, "`{ours}` and on overlayfs `{plain}`");
    }
    ensure!(ours == plain, "one of both says more:\n{ours}\n{plain}");
    node.forget(&image).await
}

pub async fn survives_kills(context: Context) -> Result<()> {
    let registry = Registry::of(&[("run", runnable()?)]).await?;
    let image = registry.image("run");
    let id = context.binary().create(&image).await?;
    let mut node = Node::start(&context).await?;
    node.knows(3).await?;
    node.containerd.pull(&image).await?;
    for round in 0..context.options.rounds {
        let (name, next) = (
            context.name(&format!("kept-{round}")),
            context.name(&format!("next-{round}")),
        );
        node.containerd.idle(&image, &name).await?;
        node.restart().await?;
        if round % 2 == 1 {
            node.containerd.restart().await?;
        }
        let exec = node.containerd.exec(&name, &["/bin/cat", "/data/top"]).await?;
        ensure!(exec == "top\n", "round {round}: the container lost its files: {exec:?}");
        ensure!(
            node.script_again(&image, &next, "cat /data/top").await? == "top\n",
            "round {round}"
        );
        node.has_each_image_mounted_once()
            .with_context(|| format!("round {round}"))?;
        node.containerd.end(&name).await?;
    }
    // As after a reboot, and with the cache gone: the images that snapshots use were kept.
    node.kill().await?;
    for path in node.mounts()? {
        tool("umount", &[path.as_str()]).await?;
    }
    context.binary().run(&["delete", &id]).await?;
    node.restart().await?;
    ensure!(
        node.script_again(&image, &context.name("after"), "cat /data/top")
            .await?
            == "top\n",
        "the deleted cache was needed"
    );
    node.forget(&image).await
}

/// Turns one bit in the middle of the largest layer image of a store; where.
pub(super) fn damage(store: &Path) -> Result<PathBuf> {
    let images = store::layer_images(store)?.into_iter();
    let largest = images.max_by_key(|path| path.metadata().map_or(0, |meta| meta.len()));
    let damaged = largest.context("the store is empty")?;
    let file = fs::File::options().read(true).write(true).open(&damaged)?;
    let at = file.metadata()?.len() / 2;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at)?;
    file.write_all_at(&[byte[0] ^ 1], at)?;
    Ok(damaged)
}

pub async fn damaged_layer_is_pulled(context: Context) -> Result<()> {
    let layers = runnable()?;
    let registry = Registry::of(&[("run", &layers)]).await?;
    let image = registry.image("run");
    context.binary().create(&image).await?;
    let node = Node::start(&context).await?;
    node.knows(3).await?;
    // After the snapshotter found the layer sound.
    let damaged = damage(context.binary().store())?;
    let before = registry.requests();
    node.containerd.pull(&image).await?;
    ensure!(registry.layers_fetched(before) > 0, "the damaged layer was not pulled");
    let plain = node.containerd.mount(&image, &context.dir.join("plain")).await?;
    let ours = node.mount(&layers, &context.dir.join("ours")).await?;
    ensure!(
        ours.path().join("data/top").exists(),
        "nothing is mounted on {}",
        ours.path().display()
    );
    let rules = Rules {
        any_time: IMPLIED,
        ..Rules::EXACT
    };
    same_tree(("ours", ours.path()), ("a plain pull", plain.path()), rules)?;
    let log = fs::read_to_string(node.dir.join("node.log"))?;
    let reported = log
        .lines()
        .filter(|line| line.contains("is damaged") && line.contains(&damaged.display().to_string()));
    ensure!(reported.count() == 1, "the damage was not reported once:\n{log}");
    Ok(())
}

pub async fn exported_volume_serves_layers(context: Context) -> Result<()> {
    let registry = Registry::of(&[("run", runnable()?)]).await?;
    let image = registry.image("run");
    let binary = context.binary();
    let id = binary.create(&image).await?;
    let volume = context.dir.join("volume.erofs");
    // The volume appears while the snapshotter runs, as a disk that is attached.
    let mut node = Node::start_with(&context, &volume).await?;
    binary.run(&["export", &id, &volume.to_string_lossy()]).await?;
    node.knows(3).await?;
    let before = registry.requests();
    node.containerd.pull(&image).await?;
    registry.fetched_no_layer(before)?;
    ensure!(node.script(&image, &context.name("volume"), "cat /data/top").await? == "top\n");
    node.has_each_image_mounted_once()?;
    node.restart().await?;
    let again = node
        .script_again(&image, &context.name("again"), "cat /data/top")
        .await?;
    ensure!(again == "top\n", "after a restart: {again:?}");
    ensure!(
        node.mounts_below("volumes")?.len() == 1,
        "volumes: {:?}",
        node.mounts_below("volumes")?
    );
    node.forget(&image).await
}
