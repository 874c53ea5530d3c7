//! A running control plane: `imagecache standalone`, or `imagecache controller` against a real cluster.

use std::net::TcpListener;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use k8s_openapi::api::core::v1::{Node, NodeCondition};
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Child;

use crate::binary::{Binary, start};
use crate::context::{Context, NAME_PREFIX};
use crate::objects::{Dialect, messages};
use crate::wait;

/// How long the API may take to come up.
const START_LIMIT: Duration = Duration::from_secs(30);

/// How long a small image may take to become Ready, unoptimised and on a busy machine.
pub const BUILD_LIMIT: Duration = Duration::from_secs(120);

/// Label of ImageCaches that the controller made for pods.
const AUTOMATIC_LABEL: &str = "imagecache.dev/automatic";
/// All of them.
const AUTOMATIC: &str = "imagecache.dev/automatic=true";

/// How long an asked-for end may take before it is forced.
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// Below the ports that Linux hands out by itself, and those of Kubernetes' services.
const PORTS: Range<u16> = 15_000..30_000;

/// A control plane over this scenario's store.
pub struct Plane {
    binary: Binary,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    log: PathBuf,
    /// Address of a controller's probes.
    health: String,
    kubeconfig: PathBuf,
    /// What the controller itself is given: the same, unless its rights are to be limited.
    controller_kubeconfig: PathBuf,
    child: Option<Child>,
    client: Option<kube::Client>,
    /// Objects to delete at the end: a real cluster outlives the scenario.
    created: Vec<(Dialect, String)>,
}

impl Plane {
    /// Starts it in the scenario's directory and waits until the API serves both CRDs.
    pub async fn start(context: &Context) -> Result<Self> {
        Self::start_over(context, context.binary(), &[]).await
    }

    /// Starts it with the rights of another kubeconfig and some environment, while objects are created with the scenario's own.
    pub async fn start_as(context: &Context, limited: &Context, environment: &[(&str, &str)]) -> Result<Self> {
        let mut plane = Self::start(context).await?;
        plane.stop().await?;
        plane
            .controller_kubeconfig
            .clone_from(limited.options.kubeconfig.as_ref().context("no kubeconfig")?);
        let environment = environment.iter();
        plane
            .environment
            .extend(environment.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        plane.launch().await?;
        Ok(plane)
    }

    /// Starts it with a store and environment of the caller's choice.
    pub async fn start_over(context: &Context, binary: Binary, environment: &[(&str, &str)]) -> Result<Self> {
        let (arguments, kubeconfig) = match &context.options.kubeconfig {
            Some(kubeconfig) => (vec!["controller".to_owned()], kubeconfig.clone()),
            None => {
                let data = context.subdir("data")?;
                let listen = format!("127.0.0.1:{}", free_port()?);
                let data_text = data.to_string_lossy().into_owned();
                let arguments = ["standalone", "--listen", &listen, "--data", &data_text].map(str::to_owned);
                (arguments.to_vec(), data.join("kubeconfig"))
            }
        };
        // Several control planes share this machine's ports.
        let health = format!("127.0.0.1:{}", free_port()?);
        let environment = environment
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()))
            .chain([("IMAGECACHE_CONTROLLER__HEALTH_LISTEN", health.clone())]);
        let mut plane = Self {
            binary,
            arguments,
            environment: environment.map(|(name, value)| (name.to_owned(), value)).collect(),
            log: context.dir.join("plane.log"),
            health,
            controller_kubeconfig: kubeconfig.clone(),
            kubeconfig,
            child: None,
            client: None,
            created: Vec::new(),
        };
        if context.options.kubeconfig.is_some() {
            plane.client = Some(client(&plane.kubeconfig).await?);
            plane.apply_crds().await?;
            plane.sweep().await?;
        }
        plane.launch().await?;
        Ok(plane)
    }

    /// Kubeconfig that reaches the API.
    pub fn kubeconfig(&self) -> &PathBuf {
        &self.kubeconfig
    }

    /// A client of the API.
    pub fn client(&self) -> Result<&kube::Client> {
        self.client.as_ref().context("the control plane was not started")
    }

    /// What the controller tells Prometheus; `standalone` tells nothing.
    pub async fn metrics(&self) -> Result<String> {
        let mut stream = tokio::net::TcpStream::connect(&self.health).await?;
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            .await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        Ok(text)
    }

    /// Most memory that the control plane took so far, in MiB, without the pages of its own file: those are many in a build
    /// without optimisation, and the kernel can take them back.
    pub fn peak_memory_mib(&self) -> Result<u64> {
        let pid = self
            .child
            .as_ref()
            .and_then(Child::id)
            .context("the control plane does not run")?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let kib = |field: &str| -> Result<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(field));
            let number = line.and_then(|line| line.split_whitespace().next());
            Ok(number.with_context(|| format!("no {field}"))?.parse()?)
        };
        Ok(kib("VmHWM:")?.saturating_sub(kib("RssFile:")?) / 1024)
    }

    /// `kill -9`.
    pub async fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill().await.context("cannot kill the control plane")?;
        }
        Ok(())
    }

    /// Asks it to end, as an operator does, and waits until it has.
    pub async fn stop(&mut self) -> Result<()> {
        let Some(mut child) = self.child.take() else {
            return Ok(());
        };
        let pid = child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(
            pid.context("the control plane has ended by itself")?,
            rustix::process::Signal::TERM,
        )?;
        match tokio::time::timeout(STOP_LIMIT, child.wait()).await {
            Ok(status) => {
                let status = status?;
                ensure!(
                    status.success(),
                    "asked to end, the control plane failed: {status}; see {}",
                    self.log.display()
                );
                Ok(())
            }
            Err(_) => bail!("asked to end, the control plane had not after {STOP_LIMIT:?}"),
        }
    }

    /// Starts it again after [`Self::kill`] or [`Self::stop`], at the same address.
    pub async fn launch(&mut self) -> Result<()> {
        let mut command = self.binary.command(&self.arguments);
        command
            .env("KUBECONFIG", &self.controller_kubeconfig)
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        if self.arguments[0] == "standalone" {
            command.env_remove("KUBECONFIG");
        }
        self.child = Some(start(&mut command, &self.log)?);
        wait::until("the API to serve both kinds", START_LIMIT, async || {
            if let Some(status) = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten()) {
                let log = std::fs::read_to_string(&self.log).unwrap_or_default();
                let last: Vec<&str> = log.lines().rev().take(3).collect();
                bail!("the control plane ended: {status}: {}", last.join(" | "));
            }
            if self.client.is_none() {
                match client(&self.kubeconfig).await {
                    Ok(client) => self.client = Some(client),
                    Err(error) => return Ok(Err(error.to_string())),
                }
            }
            // A controller serves no API; it answers here once it watches, and before that a signal would end it unasked.
            if self.arguments[0] == "controller" && tokio::net::TcpStream::connect(&self.health).await.is_err() {
                return Ok(Err(format!("nothing listens on {}", self.health)));
            }
            self.serves_both().await
        })
        .await
    }

    /// Whether the API serves both kinds; why not, otherwise.
    async fn serves_both(&self) -> Result<std::result::Result<(), String>> {
        for (dialect, _) in Dialect::ALL {
            if let Err(error) = dialect.api(self.client()?).list(&Default::default()).await {
                return Ok(Err(error.to_string()));
            }
        }
        Ok(Ok(()))
    }

    /// Creates an ImageCache; it is deleted at the end.
    pub async fn create(&mut self, dialect: Dialect, name: &str, spec: Value) -> Result<DynamicObject> {
        let object = dialect.object(name, spec)?;
        let created = dialect
            .api(self.client()?)
            .create(&PostParams::default(), &object)
            .await?;
        self.created.push((dialect, name.to_owned()));
        Ok(created)
    }

    /// Creates an ImageCache that is more than name and spec; it is deleted at the end.
    pub async fn create_object(&mut self, dialect: Dialect, object: DynamicObject) -> Result<DynamicObject> {
        let name = object.metadata.name.clone().context("an object without name")?;
        let created = dialect
            .api(self.client()?)
            .create(&PostParams::default(), &object)
            .await?;
        self.created.push((dialect, name));
        Ok(created)
    }

    /// Reads an ImageCache.
    pub async fn get(&self, dialect: Dialect, name: &str) -> Result<DynamicObject> {
        Ok(dialect.api(self.client()?).get(name).await?)
    }

    /// Waits until an ImageCache is in a phase.
    pub async fn wait_phase(&self, dialect: Dialect, name: &str, phase: &str) -> Result<DynamicObject> {
        let what = format!("{name} to be {phase}");
        wait::until(&what, BUILD_LIMIT, async || {
            let object = self.get(dialect, name).await?;
            let seen = dialect.phase(&object);
            if phase != "Failed" && seen == "Failed" {
                bail!("{name} failed and should be {phase}: {:?}", messages(&object));
            }
            Ok(if seen == phase {
                Ok(object)
            } else {
                Err(format!("{seen:?} {:?}", messages(&object)))
            })
        })
        .await
    }

    /// Deletes an ImageCache and waits until it is gone.
    pub async fn delete(&self, dialect: Dialect, name: &str) -> Result<()> {
        let api = dialect.api(self.client()?);
        if api.get_opt(name).await?.is_some() {
            let _ = api.delete(name, &DeleteParams::default()).await?;
        }
        wait::until(&format!("{name} to be gone"), BUILD_LIMIT, async || {
            let left = api.get_opt(name).await?;
            Ok(left.map_or(Ok(()), |object| Err(format!("{:?}", object.metadata.finalizers))))
        })
        .await
    }

    /// Deletes what was created, and what the controller made for pods, and ends the control plane. Part of every scenario's
    /// way out, good or bad.
    pub async fn finish(mut self) -> Result<()> {
        let mut made = std::mem::take(&mut self.created);
        if let Some(client) = &self.client {
            for (dialect, _) in Dialect::ALL {
                let automatic = dialect
                    .api(client)
                    .list(&ListParams::default().labels(AUTOMATIC))
                    .await?;
                let names = automatic.items.into_iter().filter_map(|object| object.metadata.name);
                made.extend(names.map(|name| (dialect, name)));
            }
        }
        for (dialect, name) in made {
            self.delete(dialect, &name).await?;
        }
        self.stop().await
    }

    /// Takes away what scenarios that failed left in a cluster: a controller would build it again.
    async fn sweep(&self) -> Result<()> {
        for (dialect, _) in Dialect::ALL {
            let api = dialect.api(self.client()?);
            for object in api.list(&ListParams::default()).await?.items {
                let name = object.metadata.name.unwrap_or_default();
                let automatic = object.metadata.labels.unwrap_or_default().contains_key(AUTOMATIC_LABEL);
                if automatic || name.starts_with(NAME_PREFIX) {
                    let none = serde_json::json!({ "metadata": { "finalizers": null } });
                    api.patch(&name, &PatchParams::default(), &Patch::Merge(&none)).await?;
                    // Gone already if it was only waiting for its finalizer.
                    let _ = api.delete(&name, &DeleteParams::default()).await;
                }
            }
        }
        Ok(())
    }

    /// Installs the CRDs that the binary prints, as `kubectl apply` would, and waits until their objects can be listed.
    async fn apply_crds(&self) -> Result<()> {
        let yaml = self.binary.run(&["crd"]).await?;
        let resource = kube::api::ApiResource::from_gvk(&kube::api::GroupVersionKind::gvk(
            "apiextensions.k8s.io",
            "v1",
            "CustomResourceDefinition",
        ));
        let api: Api<DynamicObject> = Api::all_with(self.client()?.clone(), &resource);
        for document in yaml
            .split("\n---")
            .map(|text| text.trim_start_matches("---"))
            .filter(|text| !text.trim().is_empty())
        {
            let object: DynamicObject =
                serde_yaml_ng::from_str(document).context("`imagecache crd` printed no YAML")?;
            let name = object.metadata.name.clone().context("a CRD without name")?;
            api.patch(
                &name,
                &PatchParams::apply("imagecache-e2e").force(),
                &Patch::Apply(&object),
            )
            .await?;
        }
        // A definition that is taken, even established, is served a moment later.
        wait::until("both kinds to be served", START_LIMIT, async || {
            self.serves_both().await
        })
        .await
    }
}

/// Whether a cluster has a node that pods can run on now.
pub async fn has_node(kubeconfig: &Path) -> Result<bool> {
    let nodes: Api<Node> = Api::all(client(kubeconfig).await?);
    let is_ready = |node: Node| {
        let conditions = node.status.and_then(|status| status.conditions).unwrap_or_default();
        let ready = |condition: &NodeCondition| condition.type_ == "Ready" && condition.status == "True";
        conditions.iter().any(ready)
    };
    Ok(nodes.list(&Default::default()).await?.items.into_iter().any(is_ready))
}

/// A client of the cluster that a kubeconfig names.
pub async fn client(kubeconfig: &Path) -> Result<kube::Client> {
    let read = Kubeconfig::read_from(kubeconfig)?;
    let config = kube::Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await?;
    Ok(kube::Client::try_from(config)?)
}

/// A port on loopback that nothing listens on, and that no other scenario of this run gets.
///
/// The system hands none of these out itself, be it to a listener without a wish or to an outgoing connection, so nothing but
/// another program's fixed port can take it before the program that it is meant for listens there.
pub fn free_port() -> Result<u16> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let count = u32::from(PORTS.end - PORTS.start);
    for _ in PORTS {
        // Runs beside this one begin elsewhere.
        let turn = NEXT.fetch_add(1, Ordering::Relaxed).wrapping_add(std::process::id());
        let port = PORTS.start + u16::try_from(turn % count)?;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("all ports from {} to {} are taken", PORTS.start, PORTS.end - 1)
}
