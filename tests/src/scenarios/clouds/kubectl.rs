//! kubectl's columns and the status fields, exactly as the vendors publish them.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::spec;
use crate::cloud::{Cloud, Vendor};
use crate::context::Context;
use crate::objects::Dialect;
use crate::scenarios::kubectl::Kubectl;

pub async fn shows_what_the_vendors_publish<V: Vendor>(context: Context) -> Result<()> {
    let cloud = Cloud::<V>::start().await;
    let mut plane = cloud.plane(&context).await?;
    let kubeconfig = plane.kubeconfig().clone();
    let kubectl = Kubectl::new(&context, &kubeconfig)?;
    for (dialect, word) in Dialect::ALL {
        let name = cloud.name(&context, &format!("kubectl-{word}"));
        plane.create(dialect, &name, spec("registry.example.com/app:1")).await?;
        plane.wait_phase(dialect, &name, "Ready").await?;
        let cache = cloud.only_cache()?;
        let (id, snapshot) = (cache.id.as_str(), cache.snapshot.as_deref());

        let kind = format!("imagecaches.v1.{}", dialect.group());
        let table = kubectl.run(&["get", &kind, &name]).await?;
        let mut lines = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let head = lines.next().context("get printed nothing")?;
        let mut row = lines.next().context("get printed no row")?;
        let age_at = head.iter().position(|column| *column == "AGE").context("no AGE")?;
        let age = row.remove(age_at);
        ensure!(age.ends_with('s') || age.ends_with('m'), "age {age:?} in {table}");
        let (columns, cells, fields) = match dialect {
            Dialect::Alibaba => (
                vec!["NAME", "AGE", "CACHEID", "PHASE", "PROGRESS"],
                vec![&name, id, "Ready", "100%"],
                json!({ "imageCacheId": id, "phase": "Ready", "snapshotId": snapshot, "progress": "100%" }),
            ),
            Dialect::Tencent => (
                vec!["NAME", "CACHESIZE", "IMCID", "PHASE", "AGE"],
                vec![&name, "25", id, "Ready"],
                json!({ "imcId": id, "imcPhase": "Ready", "snapshotId": snapshot }),
            ),
        };
        ensure!(
            (&head, &row) == (&columns, &cells),
            "{word}: {head:?} {row:?} and should be {columns:?} {cells:?}"
        );
        let text = kubectl.run(&["get", &kind, &name, "-o", "json"]).await?;
        let object: Value = serde_json::from_str(&text)?;
        for (field, value) in fields.as_object().into_iter().flatten() {
            ensure!(
                &object["status"][field] == value,
                "{word}: {field} is no {value} in {}",
                object["status"]
            );
        }
        plane.delete(dialect, &name).await?;
        cloud.wait_caches(0).await?;
    }
    plane.finish().await
}
