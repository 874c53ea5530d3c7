//! Get and list.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Response, StatusCode};
use serde_json::{Value, json};

use crate::call::Call;
use crate::events;
use crate::negotiate::{Body, Form, View, encoded};
use crate::registry::{EVENTS_GROUP, Resource, Version};
use crate::routes::Target;
use crate::selector::Selector;
use crate::server::Server;
use crate::status::ApiError;
use crate::store::{Key, Packed};
use crate::table;

/// The stored object as the asked group and version show it.
pub(crate) fn present(resource: &Resource, version: &Version, object: &Value) -> Value {
    let mut object = object.clone();
    if resource.group == EVENTS_GROUP {
        object = events::to_new(object);
    }
    object["apiVersion"] = resource.api_version(&version.name).into();
    object["kind"] = resource.kind.clone().into();
    object
}

/// Answers with one object in the asked form.
pub(crate) fn answer(target: &Target, form: Form, status: StatusCode, object: &Value) -> Response<Body> {
    let (resource, version) = (&target.resource, target.version());
    let value = match form.view {
        View::Object => present(resource, version, object),
        View::Partial => partial(object),
        View::Table => {
            let presented = present(resource, version, object);
            let columns = table::header(version);
            let rows = vec![table::row(version, object, &presented, target.include_object)];
            let meta = json!({"resourceVersion": object["metadata"]["resourceVersion"]});
            table::table(columns, rows, &meta)
        }
    };
    encoded(status, form.encoding, &value)
}

pub(crate) fn get(server: &Server, target: &Target, form: Form) -> Result<Response<Body>, ApiError> {
    let object = server.store.get(&target.key()).ok_or_else(|| target.not_found())?;
    Ok(answer(target, form, StatusCode::OK, &object))
}

fn partial(object: &Value) -> Value {
    json!({
        "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"],
    })
}

/// Where the next page starts, and the revision all pages are of.
struct Continue {
    revision: u64,
    after: Key,
}

impl Continue {
    fn encode(&self) -> String {
        let text = json!([self.revision, self.after.namespace, self.after.name]).to_string();
        URL_SAFE_NO_PAD.encode(text)
    }

    fn decode(text: &str, resource: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (revision, namespace, name): (u64, String, String) = serde_json::from_slice(&bytes).ok()?;
        Some(Self {
            revision,
            after: Key::new(resource, &namespace, &name),
        })
    }
}

pub(crate) fn list(server: &Server, target: &Target, call: &Call, form: Form) -> Result<Response<Body>, ApiError> {
    let resource = &target.resource;
    let selector = Selector::parse(resource, call.param("labelSelector"), call.param("fieldSelector"))?;
    let limit = call
        .number("limit")?
        .filter(|l| *l > 0)
        .and_then(|l| usize::try_from(l).ok())
        .unwrap_or(usize::MAX);
    let token = call
        .param("continue")
        .map(|t| {
            Continue::decode(t, &resource.storage).ok_or_else(|| {
                ApiError::bad_request(
                    "invalid continue token: continue key is not valid: it was not made by this server",
                )
            })
        })
        .transpose()?;
    let exact = call.param("resourceVersionMatch") == Some("Exact");
    let asked = call.number("resourceVersion")?;
    if asked.is_some_and(|r| r > server.store.current_revision()) {
        return Err(ApiError::timeout("Too large resource version"));
    }
    let namespace = target.namespace.as_deref();
    let (revision, objects) = match (&token, asked.filter(|_| exact)) {
        (Some(token), _) => (
            token.revision,
            server.store.list_at(&resource.storage, namespace, token.revision)?,
        ),
        (None, Some(revision)) => (revision, server.store.list_at(&resource.storage, namespace, revision)?),
        (None, None) => server.store.list(&resource.storage, namespace),
    };
    let mut matching = objects
        .into_iter()
        .filter(|(key, _)| token.as_ref().is_none_or(|t| *key > t.after))
        .filter(|(_, object)| selector == Selector::default() || selector.matches(&object.open()));
    let page: Vec<(Key, Packed)> = matching.by_ref().take(limit).collect();
    let remaining = matching.count();
    let mut meta = json!({"resourceVersion": revision.to_string()});
    if let (true, Some((last, _))) = (remaining > 0, page.last()) {
        meta["continue"] = Continue {
            revision,
            after: last.clone(),
        }
        .encode()
        .into();
        if selector == Selector::default() {
            meta["remainingItemCount"] = remaining.into();
        }
    }
    let objects: Vec<Value> = page.iter().map(|(_, object)| object.open()).collect();
    Ok(encoded(
        StatusCode::OK,
        form.encoding,
        &listing(target, form, objects.iter(), &meta),
    ))
}

fn listing<'a>(target: &Target, form: Form, objects: impl Iterator<Item = &'a Value>, meta: &Value) -> Value {
    let (resource, version) = (&target.resource, target.version());
    match form.view {
        View::Object => json!({
            "kind": resource.list_kind, "apiVersion": resource.api_version(&version.name), "metadata": meta,
            "items": objects.map(|o| present(resource, version, o)).collect::<Vec<_>>(),
        }),
        View::Partial => json!({
            "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": meta,
            "items": objects.map(partial).collect::<Vec<_>>(),
        }),
        View::Table => {
            let rows = objects
                .map(|o| table::row(version, o, &present(resource, version, o), target.include_object))
                .collect();
            table::table(table::header(version), rows, meta)
        }
    }
}

/// One object of a watch event in the asked form.
pub(crate) fn watched(target: &Target, form: Form, object: &Value, first: bool) -> Value {
    let (resource, version) = (&target.resource, target.version());
    match form.view {
        View::Object => present(resource, version, object),
        View::Partial => partial(object),
        View::Table => {
            let columns = if first { table::header(version) } else { Value::Null };
            let presented = present(resource, version, object);
            let rows = vec![table::row(version, object, &presented, target.include_object)];
            table::table(
                columns,
                rows,
                &json!({"resourceVersion": object["metadata"]["resourceVersion"]}),
            )
        }
    }
}
