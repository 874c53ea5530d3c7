//! `config/deploy/node` on a real node: its pod serves a containerd beside the node's own, as a RuntimeClass would have it.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::deploy::{self, IMAGE, TAG};
use super::kubectl::Kubectl;
use super::manifests::{self, NODE};
use super::node::runnable;
use crate::binary::tool;
use crate::containerd::Containerd;
use crate::context::Context;
use crate::mounts::{self, Mounted};
use crate::plane::free_port;
use crate::registry::Registry;
use crate::wait;

const NAMESPACE: &str = "imagecache-node";
const ACCOUNT: &str = "imagecache-node";
const LABEL: &str = "imagecache.dev/node";
const ANNOTATION: &str = "imagecache.dev/node-status";
/// How long a pod may take to start.
const LIMIT: std::time::Duration = std::time::Duration::from_secs(120);

pub async fn snapshotter_runs_on_a_node(context: Context) -> Result<()> {
    let cluster = context.options.kubeconfig.clone().context("needs a real cluster")?;
    let kubectl = Kubectl::new(&context, &cluster)?;
    let registry = Registry::of(&[("run", runnable()?)]).await?;
    // Mounts of the pod must reach the node: what systemd makes shared on most nodes is so here whatever the machine.
    let store = context.subdir("store")?;
    let _shared = Mounted::mount(&["--bind", &store.to_string_lossy()], &store).await?;
    tool("mount", &["--make-rshared", &store.to_string_lossy()]).await?;
    context.binary().create(&registry.image("run")).await?;

    let containerd = Containerd::with_snapshotter(&context.subdir("containerd")?, "localhost/none").await?;
    let objects = context.dir.join("objects.json");
    std::fs::write(&objects, adapted(&context, &cluster, &store, &containerd).await?)?;
    let node = kubectl.node().await?;
    kubectl
        .run(&["label", "--overwrite", &node, &format!("{LABEL}=true")])
        .await?;
    kubectl.run(&["apply", "-f", &objects.to_string_lossy()]).await?;
    let outcome = serves(&kubectl, &node, &containerd, &registry).await;
    if outcome.is_err() {
        let pods = ["-n", NAMESPACE, "describe", "pods"];
        let log = ["-n", NAMESPACE, "logs", "daemonset/imagecache-node"];
        let mut said = kubectl.run(&pods).await.unwrap_or_default();
        said += &kubectl.run(&log).await.unwrap_or_default();
        std::fs::write(context.dir.join("pod.log"), said)?;
    }
    kubectl
        .run(&["delete", "-f", &objects.to_string_lossy(), "--timeout=90s"])
        .await?;
    kubectl.run(&["label", &node, &format!("{LABEL}-")]).await?;
    kubectl.run(&["annotate", &node, &format!("{ANNOTATION}-")]).await?;
    // The snapshotter leaves its mounts to containers that run; none does any more.
    mounts::unmount_below(&store.join("node"));
    outcome
}

/// The manifests as they are rendered, with the paths, ports and the image of this scenario, and a kubeconfig with the rights of
/// their service account: the cluster has no service network.
async fn adapted(context: &Context, cluster: &Path, store: &Path, containerd: &Containerd) -> Result<String> {
    let mut objects = manifests::kustomize(context, Path::new(NODE)).await?;
    let set = objects.iter_mut().find(|object| object["kind"] == "DaemonSet");
    let pod = &mut set.context("no DaemonSet")?["spec"]["template"]["spec"];
    let list = |value: &mut Value, key: &str, more: Value| {
        if let Some(list) = value[key].as_array_mut() {
            list.push(more);
        }
    };
    list(
        pod,
        "volumes",
        json!({ "name": "api", "secret": { "secretName": "api" } }),
    );
    let container = &mut pod["containers"][0];
    container["imagePullPolicy"] = json!("Always");
    list(
        container,
        "volumeMounts",
        json!({ "name": "api", "mountPath": "/api", "readOnly": true }),
    );
    list(container, "args", json!("--kubeconfig=/api/kubeconfig"));
    let kubeconfig = deploy::impersonating(context, cluster, (NAMESPACE, ACCOUNT))?;
    objects.push(json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "api", "namespace": NAMESPACE },
        "stringData": { "kubeconfig": std::fs::read_to_string(kubeconfig)? },
    }));
    let socket = containerd.snapshotter_socket();
    let run = socket.parent().context("a socket in no directory")?;
    let mut text = json!({ "apiVersion": "v1", "kind": "List", "items": objects }).to_string();
    for (shipped, here) in [
        ("/var/lib/imagecache", store.display().to_string()),
        (
            "/var/lib/containerd",
            context.dir.join("containerd/root").display().to_string(),
        ),
        ("/run/imagecache/node.sock", socket.display().to_string()),
        ("/run/imagecache", run.display().to_string()),
        (":1007", format!(":{}", free_port()?)),
        ("9471", free_port()?.to_string()),
        (
            "imagecache/controller:dev",
            format!("{}/{IMAGE}:{TAG}", context.registry()?),
        ),
    ] {
        ensure!(text.contains(shipped), "{shipped} is not in {NODE}");
        text = text.replace(shipped, &here);
    }
    Ok(text)
}

async fn serves(kubectl: &Kubectl<'_>, node: &str, containerd: &Containerd, registry: &Registry) -> Result<()> {
    // Less than Kubernetes 1.20 takes to notice a pod that has a startup probe alone.
    let rollout = [
        "-n",
        NAMESPACE,
        "rollout",
        "status",
        "daemonset/imagecache-node",
        "--timeout=60s",
    ];
    kubectl.run(&rollout).await?;
    let image = registry.image("run");
    let before = registry.requests();
    containerd.pull(&image).await?;
    registry.fetched_no_layer(before)?;
    containerd.idle(&image, "kept").await?;
    let look = async || containerd.exec("kept", &["/bin/cat", "/data/top"]).await;
    ensure!(look().await? == "top\n");

    let annotation = format!("jsonpath={{.metadata.annotations.{}}}", ANNOTATION.replace('.', "\\."));
    wait::until("the node to be annotated", LIMIT, async || {
        let said = kubectl.run(&["get", node, "-o", &annotation]).await?;
        Ok(if said.contains(&image) { Ok(()) } else { Err(said) })
    })
    .await?;

    // Another pod takes over what the first one mounted.
    kubectl
        .run(&["-n", NAMESPACE, "delete", "pods", "--all", "--timeout=60s"])
        .await?;
    ensure!(
        look().await? == "top\n",
        "a container that ran changed when the pod went"
    );
    kubectl.run(&rollout).await?;
    let said = containerd.script_again(LIMIT, &image, "next", "cat /data/top").await?;
    ensure!(said == "top\n", "{said}");
    containerd.end("kept").await
}
