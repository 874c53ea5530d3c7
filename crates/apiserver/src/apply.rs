//! Conflicts of server-side apply: fields another manager owns and the applied object changes.

use serde_json::Value;

use crate::fieldset::FieldSet;
use crate::managed::{Entry, Manager};
use crate::patch::Force;
use crate::schema::Schema;
use crate::status::ApiError;
use crate::typed;

/// Refuses to change what others own, or with `Force::Yes` takes it from them.
pub(crate) fn settle_conflicts(
    schema: &Schema<'_>,
    manager: &Manager,
    entries: &mut [Entry],
    live: &Value,
    merged: &Value,
    wanted: &FieldSet,
    force: Force,
) -> Result<(), ApiError> {
    let changed = typed::changed(schema, live, merged).and(wanted);
    let mut conflicts: Vec<(String, Vec<String>)> = Vec::new();
    for entry in entries.iter_mut().filter(|e| !e.is_of(manager, "Apply")) {
        let taken = entry.fields.and(&changed);
        if taken.is_empty() {
            continue;
        }
        if force == Force::Yes {
            entry.fields = entry.fields.minus(&taken);
        } else {
            conflicts.push((describe(entry), taken.paths()));
        }
    }
    if conflicts.is_empty() {
        Ok(())
    } else {
        Err(conflict(&conflicts))
    }
}

fn describe(entry: &Entry) -> String {
    let mut text = format!("{:?}", entry.manager);
    if !entry.subresource.is_empty() {
        text.push_str(&format!(" with subresource {:?}", entry.subresource));
    }
    if entry.operation == "Update" {
        text.push_str(&format!(" using {}", entry.api_version));
    }
    text
}

fn conflict(conflicts: &[(String, Vec<String>)]) -> ApiError {
    let count: usize = conflicts.iter().map(|(_, paths)| paths.len()).sum();
    let causes = conflicts.iter().flat_map(|(who, paths)| {
        paths
            .iter()
            .map(move |path| (format!("conflict with {who}"), path.clone()))
    });
    let message = match conflicts {
        [(who, paths)] if count == 1 => {
            format!("Apply failed with 1 conflict: conflict with {who}: {}", paths.join(""))
        }
        many => {
            let list: Vec<String> = many
                .iter()
                .map(|(who, paths)| {
                    let lines: Vec<String> = paths.iter().map(|p| format!("\n- {p}")).collect();
                    format!("conflicts with {who}:{}", lines.concat())
                })
                .collect();
            format!("Apply failed with {count} conflicts: {}", list.join("\n"))
        }
    };
    ApiError::apply_conflict(causes.collect(), message)
}
