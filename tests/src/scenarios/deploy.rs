//! `kubectl apply -k config/deploy` on a real cluster.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use crate::cloud::{Cloud, Vendor};
use crate::context::Context;
use crate::eci::Eci;
use crate::image::Images;
use crate::objects::Dialect;
use crate::plane::{BUILD_LIMIT, Plane, free_port};
use crate::pods::pod;
use crate::registry::Registry;
use crate::scenarios::images;
use crate::scenarios::kubectl::{Kubectl, shows_events};
use crate::tke::Tke;
use crate::wait;

/// The manifests, from the root of the workspace, where the runner is started.
const MANIFESTS: &str = "config/deploy";

/// Where the deployment's image is in the registry; `cargo xtask image --push` puts it there.
pub(super) const IMAGE: &str = "imagecache/controller";
pub(super) const TAG: &str = "dev";

const NAMESPACE: &str = "imagecache-system";
const ACCOUNT: &str = "imagecache-controller";
const ALIBABA: Dialect = Dialect::Alibaba;
/// The webhook's configuration, the Secret with its certificate, and the roles across the cluster, as the manifests name them.
const WEBHOOK_KIND: &str = "mutatingwebhookconfiguration";
const WEBHOOK: &str = "imagecache-webhook";
const CERTIFICATE: &str = "imagecache-webhook-tls";
const ROLE: &str = "imagecache-controller";

/// The controller with no other rights than the deployment gives it does everything that it does.
pub async fn roles_are_enough(context: Context) -> Result<()> {
    let cluster = context.options.kubeconfig.clone().context("needs a real cluster")?;
    let kubectl = Kubectl::new(&context, &cluster)?;
    // Everything but the Deployment: this scenario's own process is the controller.
    let dir = copy_manifests(&context)?;
    let base = dir.join("base/kustomization.yaml");
    let text = std::fs::read_to_string(&base)?;
    std::fs::write(&base, text.replace("  - deployment.yaml\n", ""))?;
    kubectl
        .run(&["apply", "-k", &dir.join("base").to_string_lossy()])
        .await?;
    let outcome = works_with_its_roles(&context, &kubectl, &cluster).await;
    let removed = remove(&kubectl).await;
    outcome?;
    removed
}

async fn works_with_its_roles(context: &Context, kubectl: &Kubectl<'_>, cluster: &Path) -> Result<()> {
    let mut limited = context.clone();
    limited.options.kubeconfig = Some(impersonating(context, cluster, (NAMESPACE, ACCOUNT))?);
    let registry = Registry::serve_to(&Images::of(&[("small", images::small()?)]), "user", "password").await?;
    let secret = context.name("pull");
    let server = format!("--docker-server={}", registry.host());
    kubectl
        .run(&[
            "create",
            "secret",
            "docker-registry",
            &secret,
            &server,
            "--docker-username=user",
            "--docker-password=password",
        ])
        .await?;
    // Nobody reaches it through the Service of the manifests, but it keeps its certificate and says whom to trust.
    let webhook = format!("127.0.0.1:{}", free_port()?);
    let environment = [("IMAGECACHE_CONTROLLER__WEBHOOK__LISTEN", webhook.as_str())];
    let mut plane = Plane::start_as(context, &limited, &environment).await?;
    for (dialect, word) in Dialect::ALL {
        let name = context.name(&format!("roles-{word}"));
        let spec = json!({ "images": [registry.image("small")], "imagePullSecrets": [dialect.pull_secret("default", &secret)] });
        plane.create(dialect, &name, spec).await?;
        plane.wait_phase(dialect, &name, "Ready").await?;
        let described = kubectl
            .run(&["describe", &format!("imagecaches.v1.{}/{name}", dialect.group())])
            .await?;
        ensure!(shows_events(&described), "{word}: it may not write events: {described}");
        plane.delete(dialect, &name).await?;
    }
    keeps_its_certificate(kubectl).await?;
    provides_for_a_pod(context, kubectl, &registry.image("small"), &secret).await?;
    plane.finish().await?;
    let log = std::fs::read_to_string(context.dir.join("plane.log"))?;
    ensure!(
        !log.to_lowercase().contains("forbidden"),
        "something was forbidden; see plane.log"
    );
    kubectl.run(&["delete", "secret", &secret]).await.map(|_| ())
}

/// The Role on the Secret and the rule on the webhook's configuration.
async fn keeps_its_certificate(kubectl: &Kubectl<'_>) -> Result<()> {
    let trusted = [
        "get",
        WEBHOOK_KIND,
        WEBHOOK,
        "-o",
        "jsonpath={.webhooks[*].clientConfig.caBundle}",
    ];
    let authority = [
        "-n",
        NAMESPACE,
        "get",
        "secret",
        CERTIFICATE,
        "--ignore-not-found",
        "-o",
        "jsonpath={.data.ca\\.crt}",
    ];
    wait::until(
        "the webhook's certificate to be kept and trusted",
        BUILD_LIMIT,
        async || {
            let (trusted, authority) = (kubectl.run(&trusted).await?, kubectl.run(&authority).await?);
            let right = !authority.trim().is_empty() && trusted.trim() == authority.trim();
            let lengths = (authority.len(), trusted.len());
            Ok(if right {
                Ok(())
            } else {
                Err(format!("{lengths:?} bytes"))
            })
        },
    )
    .await
}

/// The rules on pods, namespaces, and caches that the controller makes by itself.
async fn provides_for_a_pod(context: &Context, kubectl: &Kubectl<'_>, image: &str, secret: &str) -> Result<()> {
    let name = context.name("roles-pod");
    let mut object = pod(&[("k8s.aliyun.com/eci-auto-imc", "true")], &[image]);
    object["metadata"]["name"] = json!(name);
    object["spec"]["imagePullSecrets"] = json!([{ "name": secret }]);
    let file = context.dir.join("pod.json");
    std::fs::write(&file, serde_json::to_vec(&object)?)?;
    kubectl.run(&["create", "-f", &file.to_string_lossy()]).await?;
    let selector = format!("--field-selector=involvedObject.name={name}");
    let told = ["get", "events", &selector, "-o", "jsonpath={.items[*].reason}"];
    let outcome = wait::until("the events on the pod", BUILD_LIMIT, async || {
        let reasons = kubectl.run(&told).await?;
        let all = ["ImageCacheMissed", "ImageCacheAutoCreated"]
            .iter()
            .all(|reason| reasons.contains(reason));
        Ok(if all { Ok(()) } else { Err(reasons) })
    })
    .await;
    kubectl
        .run(&["delete", "pod", &name, "--grace-period=0", "--force", "--timeout=60s"])
        .await?;
    let kind = format!("imagecaches.v1.{}", ALIBABA.group());
    kubectl
        .run(&["delete", &kind, "-l", "imagecache.dev/automatic=true", "--timeout=60s"])
        .await?;
    outcome
}

/// Takes away what the manifests brought, but for the CRDs, which other scenarios use.
async fn remove(kubectl: &Kubectl<'_>) -> Result<()> {
    // First: while it stays, each new pod is asked about where nobody answers.
    for kind in [WEBHOOK_KIND, "clusterrolebinding", "clusterrole"] {
        let name = if kind == WEBHOOK_KIND { WEBHOOK } else { ROLE };
        kubectl.run(&["delete", kind, name, "--ignore-not-found"]).await?;
    }
    kubectl
        .run(&["delete", "namespace", NAMESPACE, "--timeout=90s"])
        .await
        .map(|_| ())
}

/// The deployment itself, on a node: its pod comes up, passes its probes and builds a cache.
pub async fn runs_on_a_node(context: Context) -> Result<()> {
    let store = context.subdir("node-store")?;
    let overlay = Overlay {
        name: "local",
        environment: Vec::new(),
        volumes: vec![json!({ "name": "store", "hostPath": { "path": store, "type": "DirectoryOrCreate" } })],
        secret: Vec::new(),
    };
    let registry = Registry::of(&[("small", images::small()?)]).await?;
    deployed(&context, &overlay, &registry.image("small")).await
}

pub async fn alibaba_eci_runs_on_a_node(context: Context) -> Result<()> {
    cloud_runs_on_a_node::<Eci>(&context).await
}

pub async fn tencent_eks_runs_on_a_node(context: Context) -> Result<()> {
    cloud_runs_on_a_node::<Tke>(&context).await
}

/// The same for a cloud, with the key in the secret that the overlay names.
async fn cloud_runs_on_a_node<V: Vendor>(context: &Context) -> Result<()> {
    let cloud = Cloud::<V>::start().await;
    let (secret, endpoints) = cloud
        .environment()
        .into_iter()
        .partition(|(name, _)| V::KEY.contains(name));
    let interval = ("IMAGECACHE_CONTROLLER__POLL_INTERVAL", "500ms".to_owned());
    let overlay = Overlay {
        name: V::PROVIDER,
        environment: [endpoints, vec![interval]].concat(),
        volumes: Vec::new(),
        secret,
    };
    deployed(context, &overlay, "registry.example.com/app:1").await?;
    cloud.wait_caches(0).await?;
    cloud.made(1)
}

/// Applies an overlay, builds one cache and takes everything away.
async fn deployed(context: &Context, overlay: &Overlay, image: &str) -> Result<()> {
    let cluster = context.options.kubeconfig.clone().context("needs a real cluster")?;
    let kubectl = Kubectl::new(context, &cluster)?;
    let node = kubectl.node().await?;
    kubectl
        .run(&["label", "--overwrite", &node, "imagecache.io/store=local"])
        .await?;
    let overlay = overlay.write(context, &cluster)?;
    kubectl.run(&["apply", "-k", &overlay.to_string_lossy()]).await?;
    let outcome = build_one(context, &kubectl, image).await;
    if outcome.is_err() {
        let log = kubectl
            .run(&["-n", NAMESPACE, "logs", "deployment/imagecache-controller"])
            .await
            .unwrap_or_default();
        let pods = kubectl
            .run(&["-n", NAMESPACE, "describe", "pods"])
            .await
            .unwrap_or_default();
        std::fs::write(context.dir.join("pod.log"), format!("{log}\n{pods}"))?;
    }
    let removed = remove(&kubectl).await;
    outcome?;
    removed
}

async fn build_one(context: &Context, kubectl: &Kubectl<'_>, image: &str) -> Result<()> {
    kubectl
        .run(&[
            "-n",
            NAMESPACE,
            "rollout",
            "status",
            "deployment/imagecache-controller",
            "--timeout=120s",
        ])
        .await?;
    let (name, file) = (context.name("deployed"), context.dir.join("cache.json"));
    let object = ALIBABA.object(&name, json!({ "images": [image] }))?;
    std::fs::write(&file, serde_json::to_vec(&object)?)?;
    kubectl.run(&["create", "-f", &file.to_string_lossy()]).await?;
    let kind = format!("imagecaches.v1.{}", ALIBABA.group());
    let ready = wait::until("the deployed controller to build", BUILD_LIMIT, async || {
        let phase = kubectl
            .run(&["get", &kind, &name, "-o", "jsonpath={.status.phase}"])
            .await?;
        if phase == "Failed" {
            bail!("{}", kubectl.run(&["get", &kind, &name, "-o", "yaml"]).await?);
        }
        Ok(if phase == "Ready" { Ok(()) } else { Err(phase) })
    })
    .await;
    kubectl.run(&["delete", &kind, &name, "--timeout=60s"]).await?;
    ready
}

/// The manifests, copied to where an overlay of ours can reach them by a relative path, which old kustomizes insist on.
pub(super) fn copy_manifests(context: &Context) -> Result<PathBuf> {
    let target = context.dir.join("deploy");
    for path in crate::store::files(Path::new(MANIFESTS))?.into_keys() {
        let to = target.join(&path);
        std::fs::create_dir_all(to.parent().context("no parent")?)?;
        std::fs::copy(Path::new(MANIFESTS).join(&path), &to)?;
    }
    ensure!(
        target.join("base").is_dir(),
        "{MANIFESTS} was not found: run this from the root of the workspace"
    );
    Ok(target)
}

/// An overlay over a shipped one, for a cluster without service network: the pod shares the node's network and is given a
/// kubeconfig that stands for its service account.
struct Overlay {
    /// The shipped one.
    name: &'static str,
    environment: Vec<(&'static str, String)>,
    volumes: Vec<Value>,
    /// Content of the secret `imagecache-<name>`, which the shipped one may read variables from.
    secret: Vec<(&'static str, String)>,
}

impl Overlay {
    /// Writes it beside a copy of the manifests; returns its directory.
    fn write(&self, context: &Context, cluster: &Path) -> Result<PathBuf> {
        let dir = copy_manifests(context)?.join("overlays/e2e");
        std::fs::create_dir_all(&dir)?;
        std::fs::copy(
            impersonating(context, cluster, (NAMESPACE, ACCOUNT))?,
            dir.join("kubeconfig"),
        )?;
        let registry = context.registry()?;
        let literals: Vec<String> = self
            .secret
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let kustomization = json!({
            "apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "namespace": NAMESPACE,
            "bases": [format!("../{}", self.name)],
            "patchesStrategicMerge": ["patch.yaml"],
            "secretGenerator": [
                { "name": "api", "files": ["kubeconfig"] },
                { "name": format!("imagecache-{}", self.name), "literals": literals },
            ],
            "images": [{ "name": IMAGE, "newName": format!("{registry}/{IMAGE}"), "newTag": TAG }],
        });
        std::fs::write(dir.join("kustomization.yaml"), serde_json::to_vec(&kustomization)?)?;
        let port = free_port()?;
        let mut environment = vec![
            json!({ "name": "KUBECONFIG", "value": "/api/kubeconfig" }),
            json!({ "name": "IMAGECACHE_CONTROLLER__HEALTH_LISTEN", "value": format!("0.0.0.0:{port}") }),
        ];
        let own = self.environment.iter();
        environment.extend(own.map(|(name, value)| json!({ "name": name, "value": value })));
        let mut volumes = vec![json!({ "name": "api", "secret": { "secretName": "api" } })];
        volumes.extend(self.volumes.iter().cloned());
        let patch = json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "imagecache-controller" },
            "spec": { "template": { "spec": {
                "hostNetwork": true,
                "containers": [{
                    "name": "controller",
                    "imagePullPolicy": "Always",
                    "env": environment,
                    "ports": [
                        { "name": "health", "containerPort": 8080, "$patch": "delete" },
                        { "name": "health", "containerPort": port },
                    ],
                    "volumeMounts": [{ "name": "api", "mountPath": "/api", "readOnly": true }],
                }],
                "volumes": volumes,
            } } },
        });
        std::fs::write(dir.join("patch.yaml"), serde_json::to_vec(&patch)?)?;
        Ok(dir)
    }
}

/// The cluster's kubeconfig, every user of it acting as a service account, in its namespace.
pub(super) fn impersonating(context: &Context, cluster: &Path, (namespace, account): (&str, &str)) -> Result<PathBuf> {
    let mut config: serde_json::Value = serde_yaml_ng::from_str(&std::fs::read_to_string(cluster)?)?;
    for user in config["users"].as_array_mut().context("the kubeconfig has no users")? {
        user["user"]["as"] = json!(format!("system:serviceaccount:{namespace}:{account}"));
    }
    for entry in config["contexts"]
        .as_array_mut()
        .context("the kubeconfig has no contexts")?
    {
        entry["context"]["namespace"] = json!(namespace);
    }
    let file = context.dir.join("impersonating");
    std::fs::write(&file, serde_yaml_ng::to_string(&config)?)?;
    Ok(file)
}
