//! Deployments of a scenario or a measurement, in a namespace of their own.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::runtime::wait::{Condition, await_condition};
use serde_json::{Value, json};

use crate::wait;

/// How long anything may take that is done with a few pods.
const LIMIT: Duration = Duration::from_secs(180);

/// A namespace of Deployments whose pods sleep.
pub struct Workloads {
    client: kube::Client,
    namespace: String,
    /// More of a pod's spec.
    pod: Value,
}

impl Workloads {
    /// Makes the namespace. `pod` is what the spec of every pod has besides its container.
    pub async fn start(client: &kube::Client, prefix: &str, pod: Value) -> Result<Self> {
        let object = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "generateName": prefix } });
        let namespaces: Api<Namespace> = Api::all(client.clone());
        let created = namespaces
            .create(&PostParams::default(), &serde_json::from_value(object)?)
            .await?;
        Ok(Self {
            client: client.clone(),
            namespace: created.metadata.name.context("a namespace without a name")?,
            pod,
        })
    }

    /// Makes a Deployment of `replicas` pods of an image, without waiting for them.
    pub async fn apply(&self, name: &str, image: &str, replicas: usize) -> Result<()> {
        let labels = json!({ "e2e": name });
        let mut pod = self.pod.clone();
        pod["automountServiceAccountToken"] = json!(false);
        pod["enableServiceLinks"] = json!(false);
        pod["terminationGracePeriodSeconds"] = json!(0);
        pod["containers"] = json!([{ "name": "main", "image": image, "command": ["/bin/sleep", "1000000"] }]);
        let object = json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": name },
            "spec": {
                "replicas": replicas,
                "selector": { "matchLabels": labels },
                "template": { "metadata": { "labels": labels }, "spec": pod },
            },
        });
        self.deployments()
            .create(&PostParams::default(), &serde_json::from_value(object)?)
            .await?;
        Ok(())
    }

    /// Waits until all pods of a Deployment are available.
    pub async fn wait_available(&self, name: &str) -> Result<()> {
        let what = format!("the Deployment {name} to be available");
        wait_for(self.deployments(), name, &what, is_available).await
    }

    /// Makes a Deployment, and how long it took until it was available.
    pub async fn deploy(&self, name: &str, image: &str, replicas: usize) -> Result<Duration> {
        let start = Instant::now();
        self.apply(name, image, replicas).await?;
        self.wait_available(name).await?;
        Ok(start.elapsed())
    }

    /// Deletes a Deployment without waiting for its pods to go.
    pub async fn delete(&self, name: &str) -> Result<()> {
        let _ = self.deployments().delete(name, &DeleteParams::background()).await?;
        Ok(())
    }

    /// Waits until no pod of a Deployment is left.
    pub async fn wait_gone(&self, name: &str) -> Result<()> {
        wait::until(&format!("the pods of {name} to go"), LIMIT, async || {
            let left = self.pods_of(name).await?.len();
            Ok(if left == 0 { Ok(()) } else { Err(format!("{left} pods")) })
        })
        .await
    }

    /// Deletes a Deployment and waits until no pod of it is left.
    pub async fn remove(&self, name: &str) -> Result<()> {
        self.delete(name).await?;
        self.wait_gone(name).await
    }

    /// Pods of a Deployment.
    pub async fn pods_of(&self, name: &str) -> Result<Vec<Pod>> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let labels = ListParams::default().labels(&format!("e2e={name}"));
        Ok(pods.list(&labels).await?.items)
    }

    /// Takes all Deployments away, and the namespace.
    pub async fn finish(&self) -> Result<()> {
        for deployment in self.deployments().list(&ListParams::default()).await?.items {
            self.remove(&deployment.metadata.name.unwrap_or_default()).await?;
        }
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let _ = namespaces.delete(&self.namespace, &DeleteParams::default()).await?;
        Ok(())
    }

    fn deployments(&self) -> Api<Deployment> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }
}

/// Waits until an object is as wanted.
pub async fn wait_for<K>(api: Api<K>, name: &str, what: &str, condition: impl Condition<K>) -> Result<()>
where
    K: Clone + std::fmt::Debug + Send + kube::Resource<DynamicType = ()> + serde::de::DeserializeOwned + 'static,
{
    let found = tokio::time::timeout(LIMIT, await_condition(api, name, condition)).await;
    ensure!(found.is_ok(), "waited {LIMIT:?} for {what}");
    found?.with_context(|| what.to_owned())?;
    Ok(())
}

/// Available, and with all of its pods.
fn is_available(deployment: Option<&Deployment>) -> bool {
    let Some(deployment) = deployment else { return false };
    let wanted = deployment.spec.replicas;
    let there = deployment.status.as_ref().and_then(|status| status.available_replicas);
    wanted.is_some() && wanted == there
}
