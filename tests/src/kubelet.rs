//! A node of our own in a real cluster: kubelet over our containerd and snapshotter.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::{Namespace, Node as NodeObject, Pod};
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use serde_json::json;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::binary::start;
use crate::context::{Context, NAME_PREFIX};
use crate::cri;
use crate::image::Images;
use crate::node::Node;
use crate::plane::{client, free_port};
use crate::registry::Registry;
use crate::workloads::{Workloads, wait_for};

/// The image of sandboxes.
const SANDBOX: &str = "sandbox";
/// Where another kubelet of this machine does not look for pods that it does not know.
const CGROUP: &str = "imagecache-e2e";
const CGROUPS: &str = "/sys/fs/cgroup";
/// More than any scenario starts.
const MAX_PODS: u32 = 250;

/// A kubelet, and everything below it; all ends when dropped.
pub struct Machine {
    /// containerd and the snapshotter.
    pub node: Node,
    kubelet: Child,
    client: kube::Client,
    /// Its pods.
    pub workloads: Workloads,
    /// Holds kubelet's directory: its sockets' paths must be short.
    _dir: TempDir,
}

impl Machine {
    /// Adds what a [`Machine`] needs to the images that its registry serves.
    pub fn add_sandbox(images: &mut Images, layers: &[Vec<u8>]) -> Result<()> {
        images.add_running(SANDBOX, layers, &["/bin/sleep", "1000000"])
    }

    /// The image of sandboxes.
    pub fn sandbox(registry: &Registry) -> String {
        registry.image(SANDBOX)
    }

    /// Starts all three over the binary's store and waits until pods may come.
    pub async fn start(context: &Context, registry: &Registry) -> Result<Self> {
        let kubeconfig = context.options.kubeconfig.clone().context("needs a cluster")?;
        let program = context.options.kubelet.clone().context("needs kubelet")?;
        let client = client(&kubeconfig).await?;
        sweep(&client).await?;
        let store = context.dir.join("store");
        let node = Node::start_for_pods(context, &store, &Self::sandbox(registry)).await?;
        let name = context.name("node");
        let dir = tempfile::Builder::new().prefix("kubelet-").tempdir_in("/tmp")?;
        make_cgroup()?;
        let config = dir.path().join("config.json");
        let content = json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "port": free_port()?, "readOnlyPort": 0, "healthzPort": 0,
            "authentication": { "anonymous": { "enabled": true }, "webhook": { "enabled": false } },
            "authorization": { "mode": "AlwaysAllow" },
            "cgroupDriver": "cgroupfs", "cgroupsPerQOS": true, "cgroupRoot": format!("/{CGROUP}"),
            "enforceNodeAllocatable": [], "failSwapOn": false,
            "evictionHard": { "nodefs.available": "1%", "imagefs.available": "1%" },
            "maxPods": MAX_PODS,
            // What newer versions have as defaults.
            "kubeAPIQPS": 50, "kubeAPIBurst": 100, "eventRecordQPS": 50, "eventBurst": 100,
        });
        std::fs::write(&config, content.to_string())?;
        let mut command = Command::new(program);
        command
            .arg("--config")
            .arg(&config)
            .arg("--kubeconfig")
            .arg(&kubeconfig)
            .arg("--root-dir")
            .arg(dir.path())
            .arg("--container-runtime=remote")
            .arg(format!(
                "--container-runtime-endpoint=unix://{}",
                node.containerd.socket().display()
            ))
            .arg(format!("--hostname-override={name}"))
            .arg("--node-ip=127.0.0.1");
        let kubelet = start(&mut command, &context.dir.join("kubelet.log"))?;
        // No scheduler is needed then, and no network beside this machine's.
        let pod = json!({ "nodeName": name, "hostNetwork": true, "tolerations": [{ "operator": "Exists" }] });
        let machine = Self {
            node,
            kubelet,
            workloads: Workloads::start(&client, &format!("{name}-"), pod).await?,
            client,
            _dir: dir,
        };
        let nodes: Api<NodeObject> = Api::all(machine.client.clone());
        wait_for(nodes, &name, "the node to be ready; kubelet.log says more", is_ready).await?;
        Ok(machine)
    }

    /// Runs a program in the container of every pod of a Deployment; what each printed.
    pub async fn exec(&self, name: &str, command: &[&str]) -> Result<Vec<String>> {
        let mut said = Vec::new();
        for id in self.containers(name).await? {
            said.push(self.node.containerd.exec(&id, command).await?);
        }
        Ok(said)
    }

    /// The root directory of the container of every pod of a Deployment, seen from outside.
    pub async fn roots(&self, name: &str) -> Result<Vec<PathBuf>> {
        let tasks = self.node.containerd.kubelets(&["task", "ls"]).await?;
        let pid = |id: &str| {
            let mut line = tasks.lines().find(|line| line.starts_with(id))?.split_whitespace();
            line.nth(1)
        };
        let ids = self.containers(name).await?;
        let root = |id: &String| {
            Ok(Path::new("/proc")
                .join(pid(id).context("a container that does not run")?)
                .join("root"))
        };
        ids.iter().map(root).collect()
    }

    /// Id of the container of every pod of a Deployment.
    async fn containers(&self, name: &str) -> Result<Vec<String>> {
        let id = |pod: Pod| {
            let statuses = pod.status.and_then(|status| status.container_statuses);
            let id = statuses.into_iter().flatten().find_map(|status| status.container_id);
            let id = id.context("a pod without a container")?;
            Ok(id.trim_start_matches("containerd://").to_owned())
        };
        self.workloads.pods_of(name).await?.into_iter().map(id).collect()
    }

    /// Ends kubelet, removes the pods' sandboxes and images as it does, and fails unless nothing of them is left.
    pub async fn forget(&mut self, sandbox: &str, images: &BTreeSet<String>) -> Result<()> {
        self.kubelet.kill().await?;
        cri::remove_sandboxes(self.node.containerd.socket()).await?;
        for image in images {
            self.node.containerd.remove(image).await?;
        }
        self.node.forget(sandbox).await
    }

    /// Takes everything away.
    pub async fn finish(mut self) -> Result<()> {
        self.workloads.finish().await?;
        self.kubelet.kill().await?;
        sweep(&self.client).await
    }
}

fn is_ready(node: Option<&NodeObject>) -> bool {
    let conditions = node.and_then(|node| node.status.as_ref()?.conditions.as_ref());
    conditions.is_some_and(|all| all.iter().any(|one| one.type_ == "Ready" && one.status == "True"))
}

/// Takes away nodes and namespaces of this kind, also those that a scenario left which failed.
async fn sweep(client: &kube::Client) -> Result<()> {
    let ours = |name: &Option<String>| {
        name.as_ref()
            .is_some_and(|name| name.starts_with(&format!("{NAME_PREFIX}node-")))
    };
    let namespaces: Api<Namespace> = Api::all(client.clone());
    for namespace in namespaces.list(&ListParams::default()).await?.items {
        if ours(&namespace.metadata.name) {
            let name = namespace.metadata.name.unwrap_or_default();
            let pods: Api<Pod> = Api::namespaced(client.clone(), &name);
            let at_once = DeleteParams::default().grace_period(0);
            let _ = namespaces.delete(&name, &DeleteParams::default()).await?;
            let _ = pods.delete_collection(&at_once, &ListParams::default()).await?;
        }
    }
    let nodes: Api<NodeObject> = Api::all(client.clone());
    for node in nodes.list(&ListParams::default()).await?.items {
        if ours(&node.metadata.name) {
            let name = node.metadata.name.unwrap_or_default();
            let _ = nodes.delete(&name, &DeleteParams::default()).await?;
        }
    }
    Ok(())
}

/// Makes the cgroup that kubelet wants to find, in every hierarchy there is.
fn make_cgroup() -> Result<()> {
    let root = Path::new(CGROUPS);
    let controllers = root.join("cgroup.controllers");
    let hierarchies: Vec<PathBuf> = if controllers.exists() {
        let all = std::fs::read_to_string(controllers)?;
        let enabled: Vec<String> = all.split_whitespace().map(|name| format!("+{name}")).collect();
        std::fs::write(root.join("cgroup.subtree_control"), enabled.join(" "))?;
        vec![root.to_owned()]
    } else {
        let entries = std::fs::read_dir(root)?.collect::<Result<Vec<_>, _>>()?;
        entries.into_iter().map(|entry| entry.path()).collect()
    };
    for hierarchy in hierarchies {
        std::fs::create_dir_all(hierarchy.join(CGROUP))?;
    }
    Ok(())
}
