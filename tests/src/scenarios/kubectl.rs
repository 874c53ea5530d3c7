//! kubectl, as the vendors' pages use it.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::binary::tool;
use crate::context::{Context, NAME_PREFIX};
use crate::objects::Dialect;
use crate::plane::Plane;
use crate::registry::Registry;
use crate::scenarios::command_line::is_cache_id;
use crate::scenarios::images;

/// kubectl with a kubeconfig.
pub struct Kubectl<'a> {
    program: &'a Path,
    kubeconfig: &'a Path,
}

impl<'a> Kubectl<'a> {
    /// kubectl as the run's options name it.
    pub fn new(context: &'a Context, kubeconfig: &'a Path) -> Result<Self> {
        Ok(Self {
            program: context.kubectl()?,
            kubeconfig,
        })
    }

    /// Runs it; its stdout, or an error with its stderr.
    pub async fn run(&self, args: &[&str]) -> Result<String> {
        let kubeconfig = format!("--kubeconfig={}", self.kubeconfig.display());
        let mut all = vec![kubeconfig.as_str()];
        all.extend_from_slice(args);
        tool(&self.program.to_string_lossy(), &all).await
    }

    /// A node of the cluster, as `node/NAME`, that no other scenario brought.
    pub async fn node(&self) -> Result<String> {
        let nodes = self.run(&["get", "nodes", "-o", "name"]).await?;
        let own = format!("node/{NAME_PREFIX}");
        let found = nodes.lines().find(|name| !name.starts_with(&own));
        Ok(found.context("the cluster has no node")?.to_owned())
    }
}

pub async fn vendor_pages_hold(context: Context) -> Result<()> {
    let registry = Registry::of(&[("small", images::small()?)]).await?;
    let plane = Plane::start(&context).await?;
    let kubeconfig = plane.kubeconfig().clone();
    let kubectl = Kubectl::new(&context, &kubeconfig)?;
    for (dialect, word) in Dialect::ALL {
        one_dialect(&context, &kubectl, dialect, word, &registry.image("small"))
            .await
            .context(word)?;
    }
    plane.finish().await
}

async fn one_dialect(
    context: &Context,
    kubectl: &Kubectl<'_>,
    dialect: Dialect,
    word: &str,
    image: &str,
) -> Result<()> {
    let (name, group) = (context.name(&format!("kubectl-{word}")), dialect.group());
    let file = context.dir.join(format!("{word}.yaml"));
    let yaml = format!(
        "apiVersion: {group}/v1\nkind: ImageCache\nmetadata:\n  name: {name}\nspec:\n  images:\n  - {image}\n  retentionDays: 7\n"
    );
    std::fs::write(&file, yaml)?;
    let file = file.to_string_lossy();
    let (short, columns): (&str, &[&str]) = match dialect {
        Dialect::Alibaba => ("ic", &["NAME", "AGE", "CACHEID", "PHASE", "PROGRESS"]),
        Dialect::Tencent => ("imc", &["NAME", "CACHESIZE", "IMCID", "PHASE", "AGE"]),
    };
    let qualified = format!("imagecaches.v1.{group}");

    let created = kubectl.run(&["create", "-f", &file]).await?;
    ensure!(
        created.trim() == format!("imagecache.{group}/{name} created"),
        "create printed {created:?}"
    );
    kubectl
        .run(&[
            "wait",
            "--for=condition=Ready",
            "--timeout=90s",
            &format!("{qualified}/{name}"),
        ])
        .await?;

    for kind in [short, &qualified] {
        let table = kubectl.run(&["get", kind, &name]).await?;
        let mut lines = table.lines();
        let head: Vec<&str> = lines.next().unwrap_or_default().split_whitespace().collect();
        ensure!(head == columns, "get {kind} has the columns {head:?}");
        let row = lines.next().context("get printed no row")?;
        ensure!(
            row.contains("Ready") && row.split_whitespace().any(is_cache_id),
            "get {kind}: {row}"
        );
        ensure!(dialect == Dialect::Tencent || row.contains("100%"), "get {kind}: {row}");
    }
    let object: Value = serde_json::from_str(&kubectl.run(&["get", &qualified, &name, "-o", "json"]).await?)?;
    ensure!(object["spec"]["images"] == json!([image]), "the spec changed: {object}");
    let yaml = kubectl.run(&["get", &qualified, &name, "-o", "yaml"]).await?;
    ensure!(
        yaml.contains("finalizers:") && yaml.contains("Ready"),
        "get -o yaml: {yaml}"
    );
    let described = kubectl.run(&["describe", &qualified, &name]).await?;
    ensure!(shows_events(&described), "describe shows no events: {described}");
    let explained = kubectl
        .run(&[
            "explain",
            &format!("{short}.spec.images"),
            "--api-version",
            &format!("{group}/v1"),
        ])
        .await?;
    ensure!(explained.contains("images"), "explain: {explained}");
    let raw: Value = serde_json::from_str(
        &kubectl
            .run(&["get", "--raw", &format!("/apis/{group}/v1/imagecaches")])
            .await?,
    )?;
    ensure!(raw["kind"] == "ImageCacheList", "the raw API answers {raw}");

    // Applying over an object that `create` made works, with kubectl's own warning; a second time changes nothing.
    kubectl.run(&["apply", "-f", &file]).await?;
    let again = kubectl.run(&["apply", "-f", &file]).await?;
    ensure!(again.contains("unchanged"), "apply of the same twice: {again}");
    kubectl.run(&["annotate", &qualified, &name, "e2e/note=yes"]).await?;
    kubectl.run(&["label", &qualified, &name, "e2e=yes"]).await?;
    let selected = kubectl.run(&["get", &qualified, "-l", "e2e=yes", "-o", "name"]).await?;
    ensure!(selected.contains(&name), "get by label: {selected}");
    kubectl.run(&["delete", "-f", &file, "--timeout=60s"]).await?;
    let left = kubectl.run(&["get", &qualified, &name, "--ignore-not-found"]).await?;
    ensure!(left.is_empty(), "after delete: {left}");
    Ok(())
}

/// Whether `kubectl describe` found events about the object; its status has a field of the same name, further in.
pub fn shows_events(described: &str) -> bool {
    described
        .lines()
        .any(|line| line.starts_with("Events:") && !line.contains("<none>"))
}
