//! Manifests: versions stand in the workspace table only, lints are the workspace's, nothing in the table is unused.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result};
use toml::{Table, Value};

use crate::workspace;

const TABLES: &[&str] = &["dependencies", "dev-dependencies", "build-dependencies"];

/// Breaches in the manifests of the workspace.
pub fn check() -> Result<Vec<String>> {
    let root = read(&workspace::root().join("Cargo.toml"))?;
    let shared = root
        .get("workspace")
        .and_then(|table| table.get("dependencies"))
        .and_then(Value::as_table)
        .context("Cargo.toml: no [workspace.dependencies]")?;
    let mut breaches = Vec::new();
    let mut used = BTreeSet::new();
    for member in workspace::members()? {
        let manifest = read(&member.dir.join("Cargo.toml"))?;
        breaches.extend(judge(&member.name, &manifest));
        let tables = TABLES
            .iter()
            .filter_map(|name| manifest.get(*name))
            .chain(target_tables(&manifest));
        used.extend(
            tables
                .filter_map(Value::as_table)
                .flat_map(|table| table.keys().cloned()),
        );
    }
    for name in shared.keys().filter(|name| !used.contains(*name)) {
        breaches.push(format!(
            "Cargo.toml: [workspace.dependencies] {name} is used by no package"
        ));
    }
    Ok(breaches)
}

fn target_tables(manifest: &Table) -> impl Iterator<Item = &Value> {
    let targets = manifest
        .get("target")
        .and_then(Value::as_table)
        .into_iter()
        .flat_map(|targets| targets.values());
    targets.flat_map(|target| TABLES.iter().filter_map(|name| target.get(*name)))
}

fn judge(package: &str, manifest: &Table) -> Vec<String> {
    let mut breaches = Vec::new();
    let inherits = |value: &Value| value.get("workspace").and_then(Value::as_bool) == Some(true);
    if !manifest.get("lints").is_some_and(inherits) {
        breaches.push(format!("{package}: needs `[lints] workspace = true`"));
    }
    let tables = TABLES
        .iter()
        .filter_map(|name| manifest.get(*name))
        .chain(target_tables(manifest));
    for (name, value) in tables.filter_map(Value::as_table).flatten() {
        if !inherits(value) {
            breaches.push(format!(
                "{package}: dependency {name} must be `workspace = true`: versions stand in one place"
            ));
        }
    }
    breaches
}

fn read(path: &Path) -> Result<Table> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    text.parse().with_context(|| format!("{} is not TOML", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifests_are_judged() {
        let rows = [
            (
                "good",
                "[dependencies]\na.workspace = true\n[lints]\nworkspace = true",
                0,
            ),
            ("a version", "[dependencies]\na = \"1\"\n[lints]\nworkspace = true", 1),
            (
                "a version in a table",
                "[dev-dependencies.a]\nversion = \"1\"\n[lints]\nworkspace = true",
                1,
            ),
            (
                "for one target",
                "[target.x.dependencies]\na = \"1\"\n[lints]\nworkspace = true",
                1,
            ),
            ("no lints", "[dependencies]\na.workspace = true", 1),
        ];
        for (row, text, expected) in rows {
            let manifest: Table = text.parse().expect(row);
            assert_eq!(judge("p", &manifest).len(), expected, "{row}");
        }
    }
}
