//! The manifests as kubectl reads them, without a cluster.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::binary::tool;
use crate::context::Context;

/// Every directory that `kubectl apply -k` is documented for, from the root of the workspace.
const DIRECTORIES: [&str; 6] = [
    "config/deploy",
    "config/deploy/overlays/local",
    "config/deploy/overlays/aws-ebs",
    "config/deploy/overlays/alibaba-eci",
    "config/deploy/overlays/tencent-eks",
    NODE,
];
pub(super) const NODE: &str = "config/deploy/node";

/// Reads what kubectl makes of a directory.
pub(super) async fn kustomize(context: &Context, directory: &Path) -> Result<Vec<Value>> {
    let kubectl = context.kubectl()?.to_string_lossy();
    let text = tool(&kubectl, &["kustomize", &directory.to_string_lossy()]).await?;
    text.split("\n---\n")
        .map(|document| Ok(serde_yaml_ng::from_str(document)?))
        .collect()
}

fn list<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

pub async fn every_directory_is_accepted(context: Context) -> Result<()> {
    for directory in DIRECTORIES {
        let objects = kustomize(&context, Path::new(directory))
            .await
            .with_context(|| directory.to_owned())?;
        ensure!(objects.len() > 4, "{directory} has {} objects", objects.len());
        for object in &objects {
            let name = object.pointer("/metadata/name").and_then(Value::as_str);
            ensure!(name.is_some() && object["kind"].is_string(), "{directory}: {object}");
        }
    }
    Ok(())
}

/// What the snapshotter cannot do without: the node's own paths, mounts that reach it, and a binary that knows the flags.
pub async fn the_node_daemonset_fits_the_node(context: Context) -> Result<()> {
    let objects = kustomize(&context, Path::new(NODE)).await?;
    let set = objects
        .iter()
        .find(|object| object["kind"] == "DaemonSet")
        .context("no DaemonSet")?;
    let pod = &set["spec"]["template"]["spec"];
    ensure!(pod["priorityClassName"] == "system-node-critical", "{pod}");
    let container = list(pod, "/containers").next().context("no container")?;
    for mount in list(container, "/volumeMounts") {
        let volume = list(pod, "/volumes").find(|volume| volume["name"] == mount["name"]);
        let volume = volume.with_context(|| format!("no volume for {mount}"))?;
        let path = volume.pointer("/hostPath/path").unwrap_or(&mount["mountPath"]);
        ensure!(*path == mount["mountPath"], "{mount} is {path} on the node");
    }
    let arguments: Vec<String> = list(container, "/args")
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    let flag = |name: &str| {
        let found = arguments
            .iter()
            .find_map(|argument| argument.strip_prefix(&format!("--{name}=")));
        found.map(Path::new).with_context(|| format!("no --{name}"))
    };
    let (root, store) = (flag("root")?, flag("source")?);
    let shared = list(container, "/volumeMounts").find(|mount| {
        let path = Path::new(mount["mountPath"].as_str().unwrap_or_default());
        root.starts_with(path) && store.starts_with(path)
    });
    let shared = shared.context("root and store share no mount, so nothing can be hard-linked")?;
    ensure!(
        shared["mountPropagation"] == "Bidirectional",
        "mounts do not reach the node: {shared}"
    );
    // The binary knows the flags: it gets as far as looking at the host.
    let check = [&arguments[..], &["--check".to_owned(), "--no-kubernetes".to_owned()]].concat();
    let output = context.binary().output(&check).await?;
    ensure!(output.stdout.contains("root directory"), "{}", output.stderr);
    // The unit starts the same.
    let unit = std::fs::read_to_string(Path::new(NODE).join("imagecache-node.service"))?;
    let command = unit
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart=/usr/local/bin/imagecache "));
    let mut command: Vec<&str> = command.context("no ExecStart")?.split(' ').collect();
    command.push("--check");
    let output = context.binary().output(&command).await?;
    ensure!(output.stdout.contains("root directory"), "{}", output.stderr);
    for line in ["Before=containerd.service", "KillMode=process", "Restart=always"] {
        ensure!(unit.lines().any(|found| found == line), "the unit lacks {line}");
    }
    Ok(())
}
