//! Pods on a node with the snapshotter: a real kubelet, a real containerd.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail, ensure};
use serde_json::json;

use super::node::{damage, runnable};
use crate::binary::tool;
use crate::compare::{Rules, same_tree};
use crate::context::Context;
use crate::image::Images;
use crate::kubelet::Machine;
use crate::layer::{Layer, noise};
use crate::objects::Dialect;
use crate::plane::Plane;
use crate::registry::Registry;

/// Reads every file of the image.
const SUM: &[&str] = &[
    "/bin/sh",
    "-c",
    "find / -xdev -type f -not -path '/proc/*' -not -path '/sys/*' -not -path '/etc/*' | sort | xargs sha256sum",
];
/// Different images of the crowd, and pods of each.
const IMAGES: usize = 10;
const PODS_EACH: usize = 10;
/// A file of each of these images that nothing reads unasked.
const BALLAST: &str = "data/ballast";
const BALLAST_BYTES: usize = 1 << 20;
/// Pods that come and go together while something is killed.
const FEW: usize = 3;
/// A kill comes within this time after the pods: long enough for any moment of their start.
const MOMENTS: Duration = Duration::from_millis(1_500);

pub async fn a_pod_starts_without_its_layers(context: Context) -> Result<()> {
    let registry = served(&[("run", runnable()?)]).await?;
    let image = registry.image("run");
    context.binary().create(&image).await?;
    let mut machine = Machine::start(&context, &registry).await?;
    machine.node.knows(3).await?;
    let before = registry.requests();
    let took = machine.workloads.deploy("one", &image, 1).await?;
    report!("    available after {:.2} s", took.as_secs_f64());
    registry.fetched_no_layer(before)?;
    ensure!(machine.exec("one", &["/bin/cat", "/data/top"]).await? == ["top\n"]);
    machine.workloads.remove("one").await?;
    machine
        .forget(&Machine::sandbox(&registry), &BTreeSet::from([image]))
        .await?;
    machine.finish().await
}

pub async fn a_pod_starts_while_its_registry_is_away(context: Context) -> Result<()> {
    let registry = served(&[("run", runnable()?)]).await?;
    let (image, sandbox) = (registry.image("run"), Machine::sandbox(&registry));
    for each in [&image, &sandbox] {
        context.binary().create(each).await?;
    }
    let mut machine = Machine::start(&context, &registry).await?;
    machine.node.knows(3).await?;
    machine.node.mirrors(registry.host())?;
    drop(registry);
    machine.workloads.deploy("away", &image, 1).await?;
    ensure!(machine.exec("away", &["/bin/cat", "/data/top"]).await? == ["top\n"]);
    machine.workloads.remove("away").await?;
    machine.forget(&sandbox, &BTreeSet::from([image])).await?;
    machine.finish().await
}

pub async fn a_hundred_pods_share_ten_images(context: Context) -> Result<()> {
    let mut images = Vec::new();
    for number in 0..IMAGES {
        let mut own = Layer::new();
        let seed = u64::try_from(number)?;
        own.file("data/own", format!("{number}\n").as_bytes())?
            .file(BALLAST, &noise(seed, BALLAST_BYTES))?;
        let mut layers = runnable()?;
        layers.push(own.finish()?);
        images.push((format!("crowd-{number}"), layers));
    }
    let named: Vec<(&str, Vec<Vec<u8>>)> = images
        .iter()
        .map(|(tag, layers)| (tag.as_str(), layers.clone()))
        .collect();
    let registry = served(&named).await?;
    for (tag, _) in &images {
        context.binary().create(&registry.image(tag)).await?;
    }
    let mut machine = Machine::start(&context, &registry).await?;
    // Three layers that all have, and each image's own.
    machine.node.knows(3 + IMAGES).await?;
    let before = registry.requests();
    let mut took = Vec::new();
    for each in [1, PODS_EACH] {
        let start = std::time::Instant::now();
        for (tag, _) in &images {
            machine.workloads.apply(tag, &registry.image(tag), each).await?;
        }
        for (tag, _) in &images {
            machine.workloads.wait_available(tag).await?;
        }
        took.push(start.elapsed());
        machine.node.has_each_image_mounted_once()?;
        for (number, (tag, _)) in images.iter().enumerate() {
            let said = machine.exec(tag, &["/bin/cat", "/data/own"]).await?;
            ensure!(
                said.len() == each && said.iter().all(|own| *own == format!("{number}\n")),
                "{tag}: {said:?}"
            );
        }
        if let Some((tag, _)) = images.first().filter(|_| each == PODS_EACH) {
            share_page_cache(&machine, tag).await?;
        }
        for (tag, _) in &images {
            machine.workloads.delete(tag).await?;
        }
        for (tag, _) in &images {
            machine.workloads.wait_gone(tag).await?;
        }
    }
    let [few, many] = took[..] else { return Ok(()) };
    report!(
        "    {IMAGES} pods after {:.1} s, {} pods after {:.1} s",
        few.as_secs_f64(),
        IMAGES * PODS_EACH,
        many.as_secs_f64()
    );
    registry.fetched_no_layer(before)?;
    let names = images.iter().map(|(tag, _)| registry.image(tag)).collect();
    machine.forget(&Machine::sandbox(&registry), &names).await?;
    machine.finish().await
}

/// Fails unless a file that one pod of a Deployment reads is then in memory for all of its pods.
async fn share_page_cache(machine: &Machine, name: &str) -> Result<()> {
    let roots = machine.roots(name).await?;
    let [reader, ..] = &roots[..] else {
        bail!("{name} has no pods");
    };
    let resident = async || -> Result<Vec<usize>> {
        let mut bytes = Vec::new();
        for root in &roots {
            let path = root.join(BALLAST);
            let said = tool(
                "fincore",
                &["--bytes", "--noheadings", "--output", "RES", &path.to_string_lossy()],
            )
            .await?;
            bytes.push(said.trim().parse()?);
        }
        Ok(bytes)
    };
    let before = resident().await?;
    ensure!(
        before.iter().all(|bytes| *bytes == 0),
        "bytes in memory that nobody read: {before:?}"
    );
    ensure!(std::fs::read(reader.join(BALLAST))?.len() == BALLAST_BYTES);
    let after = resident().await?;
    ensure!(
        after.iter().all(|bytes| *bytes == BALLAST_BYTES),
        "one pod read {BALLAST_BYTES} bytes, and of those are in memory, by pod: {after:?}"
    );
    Ok(())
}

pub async fn killed_while_pods_come_and_go(context: Context) -> Result<()> {
    let registry = served(&[("run", runnable()?)]).await?;
    let image = registry.image("run");
    context.binary().create(&image).await?;
    let mut machine = Machine::start(&context, &registry).await?;
    machine.node.knows(3).await?;
    machine.workloads.deploy("kept", &image, 1).await?;
    let whole = machine.exec("kept", SUM).await?.concat();
    for round in 0..context.options.rounds {
        let name = format!("round-{round}");
        // Which moment of a start or an end is met is left to chance: the seed is the round, so that it can be run again.
        let moment = |seed: u32| MOMENTS.mul_f64(f64::from(seed.wrapping_mul(0x9E37_79B9) >> 16) / f64::from(u16::MAX));
        machine.workloads.apply(&name, &image, FEW).await?;
        tokio::time::sleep(moment(round * 2 + 1)).await;
        kill(&mut machine, round).await?;
        machine.workloads.wait_available(&name).await?;
        let said = machine.exec(&name, SUM).await?;
        ensure!(
            said.len() == FEW && said.iter().all(|files| *files == whole),
            "round {round}: other files than {whole}: {said:?}"
        );
        machine.workloads.delete(&name).await?;
        tokio::time::sleep(moment(round * 2 + 2)).await;
        kill(&mut machine, round + 1).await?;
        machine.workloads.wait_gone(&name).await?;
        let kept = machine.exec("kept", SUM).await?;
        ensure!(
            kept == [&*whole],
            "round {round}: the pod that ran all the time: {kept:?}"
        );
    }
    let restarts = machine.workloads.pods_of("kept").await?;
    let restarts = restarts
        .iter()
        .filter_map(|pod| pod.status.as_ref()?.container_statuses.as_ref())
        .flatten()
        .map(|status| status.restart_count)
        .sum::<i32>();
    ensure!(
        restarts == 0,
        "the pod that ran all the time was restarted {restarts} times"
    );
    machine.node.has_each_image_mounted_once()?;
    machine.workloads.remove("kept").await?;
    machine
        .forget(&Machine::sandbox(&registry), &BTreeSet::from([image]))
        .await?;
    machine.finish().await
}

pub async fn damage_after_the_pull_is_repaired(context: Context) -> Result<()> {
    let registry = served(&[("run", runnable()?)]).await?;
    let image = registry.image("run");
    let mut plane = Plane::start(&context).await?;
    let name = context.name("damaged");
    plane
        .create(Dialect::Alibaba, &name, json!({ "images": [image] }))
        .await?;
    plane.wait_phase(Dialect::Alibaba, &name, "Ready").await?;
    let machine = Machine::start(&context, &registry).await?;
    machine.node.knows(3).await?;
    machine.workloads.deploy("before", &image, 1).await?;
    let whole = machine.exec("before", SUM).await?;
    machine.workloads.remove("before").await?;
    // containerd has the image, so kubelet pulls nothing: the snapshotter must see it by itself, and the controller mend it.
    let before = registry.requests();
    let damaged = damage(context.binary().store())?;
    machine.workloads.deploy("after", &image, 1).await?;
    ensure!(
        machine.exec("after", SUM).await? == whole,
        "a container sees other bytes than before {} was damaged",
        damaged.display()
    );
    ensure!(
        registry.layers_fetched(before) == 1,
        "not one layer was fetched again but {}",
        registry.layers_fetched(before)
    );
    plane.wait_phase(Dialect::Alibaba, &name, "Ready").await?;
    context.binary().verify().await?;
    let log = std::fs::read_to_string(machine.node.dir.join("node.log"))?;
    ensure!(log.contains("is damaged"), "the damage was not reported:\n{log}");
    machine.workloads.remove("after").await?;
    machine.finish().await?;
    plane.finish().await
}

/// Kills the snapshotter, containerd or both, and starts them again.
async fn kill(machine: &mut Machine, round: u32) -> Result<()> {
    let (snapshotter, containerd) = (round % 3 != 2, !round.is_multiple_of(3));
    if snapshotter {
        machine.node.kill().await?;
    }
    if containerd {
        machine.node.containerd.kill().await?;
    }
    if snapshotter {
        machine.node.launch().await?;
    }
    if containerd {
        machine.node.containerd.launch().await?;
    }
    Ok(())
}

pub async fn big_images_run(context: Context) -> Result<()> {
    let sandboxes = served(&[("run", runnable()?)]).await?;
    let image = format!("{}/java:17", context.registry()?);
    context.binary().create(&image).await?;
    let machine = Machine::start(&context, &sandboxes).await?;
    machine.node.knows(2).await?;
    let took = machine.workloads.deploy("java", &image, 1).await?;
    report!("    available after {:.2} s", took.as_secs_f64());
    for (command, wanted) in [
        (&["/bin/sh", "-c", "java -version 2>&1"][..], "openjdk version \"17"),
        (&["/bin/sh", "-c", "node --version"], "v"),
        (
            &["python3", "-c", "import ssl, json; print(sum(range(1000)))"],
            "499500",
        ),
    ] {
        let said = machine.exec("java", command).await?;
        ensure!(
            said.iter().all(|text| text.starts_with(wanted)),
            "{command:?} said {said:?}"
        );
    }
    let pulled_at = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let ours = machine.node.mount_image(&image, &context.dir.join("ours")).await?;
    let plain = machine
        .node
        .containerd
        .mount(&image, &context.dir.join("plain"))
        .await?;
    let rules = Rules {
        right_made_after: Some(i64::try_from(pulled_at)?),
        ..Rules::EXACT
    };
    same_tree(("ours", ours.path()), ("a plain pull", plain.path()), rules)?;
    drop((ours, plain));
    machine.workloads.remove("java").await?;
    machine.finish().await
}

/// Serves images, and the one of sandboxes, whose layer is the lowest of them all.
async fn served(images: &[(&str, Vec<Vec<u8>>)]) -> Result<Registry> {
    let mut all = Images::of(images);
    Machine::add_sandbox(&mut all, runnable()?.get(..1).unwrap_or_default())?;
    Registry::serve(&all).await
}
