//! What `kubectl kustomize` makes of the shipped overlays, without a cluster.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::binary::tool;
use crate::context::Context;
use crate::scenarios::deploy::copy_manifests;
use crate::scenarios::manifests::kustomize;

/// The overlay for AWS is a complete deployment of the controller with its snapshots in EBS, and switching to it is one line.
pub async fn aws_ebs_is_complete(context: Context) -> Result<()> {
    let dir = copy_manifests(&context)?;
    let objects = rendered(&context, &dir.join("overlays/aws-ebs")).await?;
    let one = |kind: &str| -> Result<&Value> {
        let all = objects.get(kind).map(Vec::as_slice).unwrap_or_default();
        ensure!(all.len() == 1, "there are {} of kind {kind}", all.len());
        all.first().context("no object")
    };
    for kind in [
        "Namespace",
        "ServiceAccount",
        "ClusterRole",
        "ClusterRoleBinding",
        "Service",
    ] {
        one(kind)?;
    }
    let dialects = objects.get("CustomResourceDefinition").map_or(0, Vec::len);
    ensure!(dialects >= 2, "{dialects} resource definitions");

    let deployment = one("Deployment")?;
    let pod = deployment.pointer("/spec/template/spec").context("no pod")?;
    let volumes = pod
        .pointer("/volumes")
        .and_then(Value::as_array)
        .context("no volumes")?;
    let claim = one("PersistentVolumeClaim")?.pointer("/metadata/name");
    let of_claim = |volume: &&Value| volume.pointer("/persistentVolumeClaim/claimName") == claim;
    let store = volumes.iter().find(of_claim).context("the store is not on the claim")?;
    let mounts = pod.pointer("/containers/0/volumeMounts").and_then(Value::as_array);
    let at = mounts
        .into_iter()
        .flatten()
        .find(|mount| mount.get("name") == store.get("name"))
        .and_then(|mount| mount.get("mountPath"));
    let account = one("ServiceAccount")?.pointer("/metadata/name");
    ensure!(pod.pointer("/serviceAccountName") == account, "another service account");

    // The configuration that the pod is given, as the program itself reads it.
    let config = one("ConfigMap")?;
    let name = config.pointer("/metadata/name");
    let used = volumes.iter().any(|volume| volume.pointer("/configMap/name") == name);
    ensure!(used, "the pod does not use the config map {name:?}");
    let text = config.pointer("/data/config.toml").and_then(Value::as_str);
    let file = context.dir.join("config.toml");
    std::fs::write(&file, text.context("no configuration")?)?;
    let effective = tool(
        &context.options.binary.to_string_lossy(),
        &["--config", &file.to_string_lossy(), "config"],
    )
    .await?;
    let path = format!("path = {}", at.context("the store's disk is not mounted")?);
    for line in ["provider = \"local\"", "kind = \"ebs\"", path.as_str()] {
        ensure!(
            effective.lines().any(|found| found == line),
            "{line} is not in {effective}"
        );
    }

    // The one line.
    let top = dir.join("kustomization.yaml");
    let chosen = std::fs::read_to_string(&top)?;
    ensure!(
        chosen.matches("overlays/local").count() == 1,
        "the provider is not one line"
    );
    std::fs::write(&top, chosen.replace("overlays/local", "overlays/aws-ebs"))?;
    ensure!(
        rendered(&context, &dir).await? == objects,
        "the line chooses something else"
    );
    Ok(())
}

/// The objects by kind.
async fn rendered(context: &Context, dir: &Path) -> Result<BTreeMap<String, Vec<Value>>> {
    let mut objects: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for object in kustomize(context, dir).await? {
        let kind = object.get("kind").and_then(Value::as_str).context("no kind")?;
        objects.entry(kind.to_owned()).or_default().push(object);
    }
    Ok(objects)
}
