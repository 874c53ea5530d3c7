//! Patches: JSON, merge, strategic merge and server-side apply bodies.

use serde_json::Value;

use crate::call::{Call, parse_json, parse_yaml, require_map};
use crate::object::{meta, metadata_mut};
use crate::registry::Origin;
use crate::routes::Target;
use crate::schema::Schema;
use crate::status::{ApiError, Cause};
use crate::{strategic, write};

/// Operations one JSON patch may have, as in Kubernetes.
const JSON_PATCH_OPERATIONS: usize = 10_000;

/// Whether an apply takes fields other managers own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Force {
    Yes,
    No,
}

/// A patch of one of the four kinds.
#[derive(Debug, Clone)]
pub(crate) enum Patch {
    Json(json_patch::Patch),
    Merge(Value),
    Strategic(Value),
    Apply { object: Value, force: Force },
}

/// The patch in the body, by its content type.
pub(crate) fn parse(target: &Target, call: &Call) -> Result<Patch, ApiError> {
    let custom = target.resource.origin == Origin::Custom;
    match call.content_type() {
        "application/json-patch+json" => {
            let patch: json_patch::Patch = serde_json::from_slice(&call.body)
                .map_err(|e| ApiError::bad_request(format!("error decoding patch: {e}")))?;
            if patch.0.len() > JSON_PATCH_OPERATIONS {
                return Err(ApiError::too_large(JSON_PATCH_OPERATIONS));
            }
            Ok(Patch::Json(patch))
        }
        "application/merge-patch+json" => Ok(Patch::Merge(parse_json(&call.body)?)),
        "application/strategic-merge-patch+json" if !custom => Ok(Patch::Strategic(parse_json(&call.body)?)),
        "application/apply-patch+yaml" | "application/apply-patch+json" => parse_apply(target, call),
        _ => {
            let strategic = if custom {
                ""
            } else {
                "application/strategic-merge-patch+json, "
            };
            Err(ApiError::unsupported_media_type(&format!(
                "application/json-patch+json, application/merge-patch+json, {strategic}application/apply-patch+yaml"
            )))
        }
    }
}

fn parse_apply(target: &Target, call: &Call) -> Result<Patch, ApiError> {
    if call.param("fieldManager").is_none() {
        let cause = Cause::required("fieldManager", "is required for apply patch");
        return Err(ApiError::invalid("meta.k8s.io", "PatchOptions", "", vec![cause]));
    }
    let mut object = require_map(parse_yaml(&call.body)?)?;
    for field in ["apiVersion", "kind"] {
        if object[field].as_str().unwrap_or("").is_empty() {
            return Err(ApiError::bad_request(format!(
                "{field} must be set in an applied object"
            )));
        }
    }
    let name = target.name.as_deref().unwrap_or("");
    match meta(&object, "name") {
        "" => {
            metadata_mut(&mut object).insert("name".to_owned(), name.into());
        }
        sent if sent != name => {
            return Err(ApiError::bad_request(format!(
                "the name of the object ({sent}) does not match the name on the URL ({name})"
            )));
        }
        _ => {}
    }
    if object["metadata"]
        .get("managedFields")
        .is_some_and(|m| m.as_array().is_none_or(|m| !m.is_empty()))
    {
        return Err(ApiError::bad_request("metadata.managedFields must be nil"));
    }
    let force = if call.flag("force")? { Force::Yes } else { Force::No };
    Ok(Patch::Apply {
        object: write::accept(target, object)?,
        force,
    })
}

/// Applies a JSON patch. As in Kubernetes, a test for null holds where there is nothing: `kube` adds finalizers so.
fn json(object: &mut Value, patch: &[json_patch::PatchOperation]) -> Result<(), json_patch::PatchError> {
    for operation in patch {
        let absent_as_wanted = match operation {
            json_patch::PatchOperation::Test(test) => {
                test.value.is_null() && object.pointer(test.path.as_str()).is_none()
            }
            _ => false,
        };
        if !absent_as_wanted {
            json_patch::patch(object, std::slice::from_ref(operation))?;
        }
    }
    Ok(())
}

/// The object after the patch. Apply patches are not for here and leave it as it is.
pub(crate) fn apply(patch: &Patch, schema: &Schema<'_>, target: &Target, mut object: Value) -> Result<Value, ApiError> {
    match patch {
        Patch::Json(patch) => {
            json(&mut object, patch).map_err(|e| {
                let resource = &target.resource;
                let name = target.name.as_deref().unwrap_or("");
                let cause = Cause::other("FieldValueInvalid", "patch", e.to_string());
                ApiError::invalid(&resource.group, &resource.kind, name, vec![cause])
            })?;
        }
        Patch::Merge(patch) => json_patch::merge(&mut object, patch),
        Patch::Strategic(patch) => strategic::merge(schema, &mut object, patch)?,
        Patch::Apply { .. } => {}
    }
    if !object.is_object() {
        return Err(ApiError::bad_request(
            "the patch makes the object something else than a map",
        ));
    }
    Ok(object)
}
