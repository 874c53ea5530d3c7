//! Get and list.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Response, StatusCode};
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};
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
    let listing = Listing {
        target,
        view: form.view,
        page: &page,
        meta: &meta,
    };
    Ok(encoded(StatusCode::OK, form.encoding, &listing))
}

/// A list that is written item by item: thousands of objects are never in memory parsed, all at once.
struct Listing<'a> {
    target: &'a Target,
    view: View,
    page: &'a [(Key, Packed)],
    meta: &'a Value,
}

impl Serialize for Listing<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (resource, version) = (&self.target.resource, self.target.version());
        let api_version = resource.api_version(&version.name);
        let (kind, api_version, items) = match self.view {
            View::Object => (resource.list_kind.as_str(), api_version.as_str(), "items"),
            View::Partial => ("PartialObjectMetadataList", "meta.k8s.io/v1", "items"),
            View::Table => ("Table", "meta.k8s.io/v1", "rows"),
        };
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("kind", kind)?;
        map.serialize_entry("apiVersion", api_version)?;
        map.serialize_entry("metadata", self.meta)?;
        if let View::Table = self.view {
            map.serialize_entry("columnDefinitions", &table::header(version))?;
        }
        map.serialize_entry(items, &Items(self))?;
        map.end()
    }
}

/// The items of a list, each opened when its turn comes.
struct Items<'a>(&'a Listing<'a>);

impl Serialize for Items<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Listing { target, view, page, .. } = self.0;
        let (resource, version) = (&target.resource, target.version());
        serializer.collect_seq(page.iter().map(|(_, object)| {
            let object = object.open();
            match view {
                View::Object => present(resource, version, &object),
                View::Partial => partial(&object),
                View::Table => table::row(
                    version,
                    &object,
                    &present(resource, version, &object),
                    target.include_object,
                ),
            }
        }))
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
