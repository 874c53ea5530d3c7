//! Pods on a real cluster with the webhook in front: where caches are kept, and how pods are made and read.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use imagecache_fakes::BuildEnd;
use imagecache_fakes::image::digest_of;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Event, Namespace, Pod, ServiceAccount};
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use serde_json::{Value, json};

use crate::binary::Binary;
use crate::cloud::{Cloud, Vendor};
use crate::context::Context;
use crate::eci::Eci;
use crate::image::Images;
use crate::objects::Dialect;
use crate::plane::{Plane, free_port};
use crate::registry::Registry;
use crate::scenarios::images;
use crate::tke::Tke;
use crate::wait;

/// How long a pod may take to appear, and its events after it.
const LIMIT: Duration = Duration::from_secs(60);
/// The registration of the webhook.
const WEBHOOK: &str = "imagecache-webhook";
/// Pods that only matter as objects are given a node that no cluster has.
pub const NO_NODE: (&str, &str) = ("imagecache.dev/e2e", "nowhere");

/// A provider, as scenarios about pods need to know it.
#[allow(async_fn_in_trait, reason = "scenarios run one after the other in one thread")]
pub trait Keeper: Sized {
    /// The annotation with which it tells a pod its cache.
    const BOUND: &'static str;
    /// The dialect of its cloud.
    const NATIVE: Option<Dialect>;

    /// Starts what it needs.
    async fn start(context: &Context) -> Result<Self>;

    /// The binary that keeps its caches there.
    fn binary(&self, context: &Context) -> Result<Binary>;

    /// The images `a`, `b` and `c`; any other is in no registry.
    fn image(&self, tag: &str) -> String;

    /// Digest of the manifest of such an image, where the cache's provider tells which it holds.
    fn digest(&self, tag: &str) -> Option<String>;

    /// How many caches of an image the cloud has.
    fn made(&self, image: &str) -> Option<usize>;

    /// Makes the next build fail, where an image that does not exist is not enough for that.
    fn fail_next_build(&self);
}

/// The local provider and a registry.
pub struct Local {
    registry: Registry,
    /// Digests of the manifests, by tag.
    digests: BTreeMap<String, String>,
}

impl Keeper for Local {
    const BOUND: &'static str = "imagecache.dev/cache-id";
    const NATIVE: Option<Dialect> = None;

    async fn start(_context: &Context) -> Result<Self> {
        let mut served = Images::default();
        for tag in ["a", "b", "c"] {
            served.add(tag, &images::small()?);
        }
        let digests = served
            .iter()
            .map(|(tag, image)| (tag.to_owned(), digest_of(&image.manifest.bytes)));
        Ok(Self {
            digests: digests.collect(),
            registry: Registry::serve(&served).await?,
        })
    }

    fn binary(&self, context: &Context) -> Result<Binary> {
        Ok(context.binary())
    }

    fn image(&self, tag: &str) -> String {
        self.registry.image(tag)
    }

    fn digest(&self, tag: &str) -> Option<String> {
        self.digests.get(tag).cloned()
    }

    fn made(&self, _: &str) -> Option<usize> {
        None
    }

    fn fail_next_build(&self) {}
}

/// A cloud, and images that no other scenario's pods have: those outlive their scenario by a moment.
pub struct InCloud<V: Vendor> {
    cloud: Cloud<V>,
    repository: String,
}

macro_rules! in_cloud {
    ($vendor:ty, $bound:literal) => {
        impl Keeper for InCloud<$vendor> {
            const BOUND: &'static str = $bound;
            const NATIVE: Option<Dialect> = Some(<$vendor>::DIALECT);

            async fn start(context: &Context) -> Result<Self> {
                let scenario = context
                    .dir
                    .file_name()
                    .context("a scenario without a directory")?;
                Ok(Self {
                    cloud: Cloud::start().await,
                    repository: format!(
                        "registry.example.com/{}",
                        context.name(&scenario.to_string_lossy())
                    ),
                })
            }

            fn binary(&self, context: &Context) -> Result<Binary> {
                self.cloud.binary(context)
            }

            fn image(&self, tag: &str) -> String {
                format!("{}:{tag}", self.repository)
            }

            fn digest(&self, _: &str) -> Option<String> {
                None
            }

            fn made(&self, image: &str) -> Option<usize> {
                let caches = self.cloud.fake.caches().into_iter();
                Some(
                    caches
                        .filter(|cache| cache.images.iter().any(|held| held == image))
                        .count(),
                )
            }

            fn fail_next_build(&self) {
                self.cloud.fake.fail_next_build(BuildEnd::Failed {
                    reason: "Failed".to_owned(),
                    message: "manifest unknown".to_owned(),
                });
            }
        }
    };
}

in_cloud!(Eci, "k8s.aliyun.com/eci-imc-id");
in_cloud!(Tke, "eks.tke.cloud.tencent.com/use-image-cache");

/// A control plane with the webhook, and a namespace of its own for pods.
pub struct Pods {
    /// The control plane.
    pub plane: Plane,
    /// The namespace.
    pub namespace: String,
    client: kube::Client,
}

impl Pods {
    /// Starts the controller with its webhook where the API server reaches it.
    pub async fn start<K: Keeper>(context: &Context, keeper: &K, environment: &[(&str, &str)]) -> Result<Self> {
        let address = format!("127.0.0.1:{}", free_port()?);
        let url = format!("https://{address}");
        let webhook = [
            ("IMAGECACHE_CONTROLLER__WEBHOOK__LISTEN", address.as_str()),
            ("IMAGECACHE_CONTROLLER__WEBHOOK__URL", url.as_str()),
        ];
        let environment = [&webhook, environment].concat();
        let plane = Plane::start_over(context, keeper.binary(context)?, &environment).await?;
        let client = plane.client()?.clone();
        // A name of its own: the one before may still be on its way out.
        let prefix = format!("{}-", context.name("pods"));
        let object = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "generateName": prefix } });
        let namespaces: Api<Namespace> = Api::all(client.clone());
        let namespace = namespaces
            .create(&PostParams::default(), &serde_json::from_value(object)?)
            .await?;
        let namespace = namespace.metadata.name.context("a namespace without a name")?;
        let pods = Self {
            plane,
            namespace,
            client,
        };
        let accounts: Api<ServiceAccount> = Api::namespaced(pods.client.clone(), &pods.namespace);
        wait::until("the namespace to be ready for pods", LIMIT, async || {
            let account = accounts.get_opt("default").await?;
            Ok(account.map(drop).ok_or_else(|| "no service account".to_owned()))
        })
        .await?;
        pods.wait_registered().await?;
        Ok(pods)
    }

    /// Waits until the API server knows where to ask.
    async fn wait_registered(&self) -> Result<()> {
        let hooks: Api<MutatingWebhookConfiguration> = Api::all(self.client.clone());
        wait::until("the webhook to be registered", LIMIT, async || {
            let found = hooks.get_opt(WEBHOOK).await?;
            let trusted = found.is_some_and(|found| {
                let hooks = found.webhooks.unwrap_or_default();
                !hooks.is_empty() && hooks.iter().all(|hook| hook.client_config.ca_bundle.is_some())
            });
            Ok(if trusted { Ok(()) } else { Err("no caBundle".to_owned()) })
        })
        .await
    }

    /// Waits until pods with `annotations` and `image` are told `wanted` in the annotation `key`: the catalog follows the
    /// caches, and the API server its webhooks, a moment later.
    pub async fn wait_told(&self, annotations: &[(&str, &str)], image: &str, key: &str, wanted: &str) -> Result<()> {
        self.wait_told_object(&pod(annotations, &[image]), key, wanted).await
    }

    /// The same for a pod that is more than annotations and an image.
    pub async fn wait_told_object(&self, object: &Value, key: &str, wanted: &str) -> Result<()> {
        wait::until("pods to be told their cache", LIMIT, async || {
            let pod = self.dry_run(object).await?;
            let told = annotation(&pod, key);
            Ok(if told.as_deref() == Some(wanted) {
                Ok(())
            } else {
                Err(format!("{told:?}"))
            })
        })
        .await
    }

    /// Pods of the scenario's namespace.
    pub fn api(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// What the API server would make of a pod.
    pub async fn dry_run(&self, pod: &Value) -> Result<Pod> {
        let params = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        Ok(self
            .api()
            .create(&params, &serde_json::from_value(pod.clone())?)
            .await?)
    }

    /// Makes a pod.
    pub async fn create(&self, pod: &Value) -> Result<Pod> {
        let pod = serde_json::from_value(pod.clone())?;
        Ok(self.api().create(&PostParams::default(), &pod).await?)
    }

    /// Makes a Deployment of one such pod and returns the pod, without waiting for it to run.
    pub async fn deploy(&self, name: &str, template: &Value) -> Result<Pod> {
        let labels = json!({ "e2e": name });
        let mut template = template.clone();
        template["metadata"]["labels"]["e2e"] = json!(name);
        let object = json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": name },
            "spec": { "replicas": 1, "selector": { "matchLabels": labels }, "template": template },
        });
        let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), &self.namespace);
        deployments
            .create(&PostParams::default(), &serde_json::from_value(object)?)
            .await?;
        let of_deployment = ListParams::default().labels(&format!("e2e={name}"));
        let api = self.api();
        wait::until(&format!("the pod of {name}"), LIMIT, async || {
            let pod = api.list(&of_deployment).await?.items.pop();
            Ok(pod.ok_or_else(|| "no pod".to_owned()))
        })
        .await
    }

    /// Events on a pod that this project writes, by their reasons.
    pub async fn events(&self, pod: &Pod) -> Result<BTreeMap<String, String>> {
        let events: Api<Event> = Api::namespaced(self.client.clone(), &self.namespace);
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let of_pod = ListParams::default().fields(&format!("involvedObject.uid={uid}"));
        let events = events.list(&of_pod).await?.items.into_iter();
        let ours = events.filter(|event| {
            event
                .reason
                .as_deref()
                .is_some_and(|reason| reason.contains("ImageCache"))
        });
        Ok(ours
            .map(|event| (event.reason.unwrap_or_default(), event.message.unwrap_or_default()))
            .collect())
    }

    /// Waits for an event on a pod and returns its message.
    pub async fn wait_event(&self, pod: &Pod, reason: &str) -> Result<String> {
        wait::until(&format!("the event {reason}"), LIMIT, async || {
            let events = self.events(pod).await?;
            Ok(events.get(reason).cloned().ok_or_else(|| format!("{events:?}")))
        })
        .await
    }

    /// Takes everything away and ends the control plane.
    pub async fn finish(self) -> Result<()> {
        let all = ListParams::default();
        let at_once = DeleteParams::default().grace_period(0);
        let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), &self.namespace);
        let _ = deployments.delete_collection(&at_once, &all).await?;
        let _ = self.api().delete_collection(&at_once, &all).await?;
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let _ = namespaces.delete(&self.namespace, &DeleteParams::default()).await?;
        self.plane.finish().await?;
        let hooks: Api<MutatingWebhookConfiguration> = Api::all(self.client);
        let _ = hooks.delete(WEBHOOK, &DeleteParams::default()).await?;
        Ok(())
    }
}

/// A pod that no node takes, one container an image.
pub fn pod(annotations: &[(&str, &str)], images: &[&str]) -> Value {
    let annotations: BTreeMap<_, _> = annotations.iter().copied().collect();
    let containers: Vec<_> = images
        .iter()
        .enumerate()
        .map(|(index, image)| json!({ "name": format!("c{index}"), "image": image }))
        .collect();
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "generateName": "e2e-", "annotations": annotations },
        "spec": { "containers": containers, "nodeSelector": { NO_NODE.0: NO_NODE.1 }, "terminationGracePeriodSeconds": 0 },
    })
}

/// One annotation of a pod.
pub fn annotation(pod: &Pod, name: &str) -> Option<String> {
    pod.metadata.annotations.as_ref()?.get(name).cloned()
}

/// Fails unless the pod's annotation says this.
pub fn ensure_annotation(row: &str, pod: &Pod, name: &str, wanted: Option<&str>) -> Result<()> {
    let found = annotation(pod, name);
    ensure!(
        found.as_deref() == wanted,
        "{row}: {name} is {found:?} and should be {wanted:?}"
    );
    Ok(())
}

/// The error of the API server that refused something.
pub fn refusal<T>(result: Result<T>) -> Result<String> {
    match result {
        Ok(_) => Err(anyhow::anyhow!("it was accepted and should have been refused")),
        Err(error) => Ok(format!("{error:#}")),
    }
    .context("a pod that names a cache which cannot be used")
}
