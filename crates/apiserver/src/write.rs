//! Create, update, patch, apply: everything that writes objects.

use std::sync::Arc;

use http::{Method, Response, StatusCode};
use serde_json::{Map, Value, json};

use crate::call::{Call, FieldValidation};
use crate::events;
use crate::lifecycle;
use crate::managed::{self, Manager};
use crate::negotiate::{Body, Form, encoded, warn};
use crate::object::{drop_nulls, is_deleting, map_mut, meta, metadata_mut};
use crate::patch::{self, Patch};
use crate::read;
use crate::registry::{CRDS, EVENTS, EVENTS_GROUP, Origin};
use crate::routes::{Part, Target};
use crate::schema::Schema;
use crate::selector::Selector;
use crate::server::Server;
use crate::status::{ApiError, Cause};
use crate::store::{Durability, Txn};
use crate::validate;

/// A written object and what to tell the client.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) status: StatusCode,
    pub(crate) object: Value,
    pub(crate) warnings: Vec<String>,
}

/// What every write needs to know of its request.
pub(crate) struct Write<'a> {
    pub(crate) target: &'a Target,
    pub(crate) manager: Manager,
    validation: FieldValidation,
}

/// Runs a changing request; the disk is waited for on a blocking thread.
pub(crate) async fn start(
    server: Arc<Server>,
    target: Target,
    call: &Call,
    form: Form,
) -> Result<Response<Body>, ApiError> {
    let durability = if call.is_dry_run()? {
        Durability::DryRun
    } else {
        Durability::Commit
    };
    let method = call.method.clone();
    let job: Job = match (method, &target.name) {
        (Method::POST, None) => Job::Create(body(&target, call)?),
        (Method::PUT, Some(_)) => Job::Update(body(&target, call)?),
        (Method::PATCH, Some(_)) => Job::Patch(patch::parse(&target, call)?),
        (Method::DELETE, Some(_)) if target.part == Part::Main => Job::Delete(delete_options(call)?),
        (Method::DELETE, None) if target.namespace.is_some() || !target.resource.is_namespaced() => {
            let fields = call.param("fieldSelector");
            Job::DeleteCollection(Selector::parse(&target.resource, call.param("labelSelector"), fields)?)
        }
        _ => return Err(ApiError::method_not_allowed()),
    };
    let manager = Manager::new(&target, call.manager());
    let validation = call.field_validation()?;
    let task = tokio::task::spawn_blocking(move || {
        let write = Write {
            target: &target,
            manager,
            validation,
        };
        server
            .store
            .write(durability, |txn| job.run(&write, txn))
            .map(|done| done.answer(&target, form))
    });
    task.await
        .map_err(|e| ApiError::internal(format!("the request was not finished: {e}")))?
}

enum Job {
    Create(Value),
    Update(Value),
    Patch(Patch),
    Delete(Value),
    DeleteCollection(Selector),
}

/// What a finished write answers with.
pub(crate) enum Done {
    Object(Written),
    Value(Value),
}

impl Done {
    fn answer(self, target: &Target, form: Form) -> Response<Body> {
        match self {
            Self::Object(written) => {
                let mut response = read::answer(target, form, written.status, &written.object);
                warn(&mut response, &written.warnings);
                response
            }
            Self::Value(value) => encoded(StatusCode::OK, form.encoding, &value),
        }
    }
}

impl Job {
    fn run(self, write: &Write<'_>, txn: &mut Txn<'_>) -> Result<Done, ApiError> {
        match self {
            Self::Create(object) => write.create(txn, object).map(Done::Object),
            Self::Update(object) => write.update(txn, object).map(Done::Object),
            Self::Patch(patch) => write.patch(txn, &patch).map(Done::Object),
            Self::Delete(options) => write.delete(txn, &options),
            Self::DeleteCollection(selector) => Ok(write.delete_collection(txn, &selector)),
        }
    }
}

/// The sent object, of the right kind, in stored form.
fn body(target: &Target, call: &Call) -> Result<Value, ApiError> {
    let object = call.object()?;
    accept(target, object)
}

/// Checks kind, version and namespace of a sent object against the path.
pub(crate) fn accept(target: &Target, mut object: Value) -> Result<Value, ApiError> {
    let (expected, kind) = (target.api_version(), &target.resource.kind);
    let is_custom = target.resource.origin == Origin::Custom;
    for (field, wanted) in [("apiVersion", &expected), ("kind", kind)] {
        let sent = object[field].as_str().unwrap_or("").to_owned();
        if sent.is_empty() && !is_custom {
            continue;
        }
        if sent != *wanted && is_custom && field == "kind" && !sent.is_empty() {
            let cause = Cause::invalid("kind", &object["kind"], &format!("must be {wanted}"));
            return Err(ApiError::invalid(
                &target.resource.group,
                &sent,
                meta(&object, "name"),
                vec![cause],
            ));
        }
        if sent != *wanted {
            return Err(ApiError::bad_request(format!(
                "{} in the data ({sent}) does not match the expected {} ({wanted})",
                if field == "kind" { "the kind" } else { "the API version" },
                if field == "kind" { "kind" } else { "API version" },
            )));
        }
    }
    let namespace = target.namespace.clone().unwrap_or_default();
    let sent = meta(&object, "namespace");
    if !sent.is_empty() && sent != namespace {
        return Err(ApiError::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    if target.resource.is_namespaced() {
        metadata_mut(&mut object).insert("namespace".to_owned(), namespace.into());
    } else {
        metadata_mut(&mut object).remove("namespace");
    }
    if target.resource.group == EVENTS_GROUP {
        object = events::from_new(object);
    }
    let map = map_mut(&mut object);
    map.insert("apiVersion".to_owned(), stored_api_version(target).into());
    map.insert("kind".to_owned(), target.resource.kind.clone().into());
    Ok(object)
}

fn stored_api_version(target: &Target) -> String {
    if target.resource.group == EVENTS_GROUP {
        "v1".to_owned()
    } else {
        target.api_version()
    }
}

impl Write<'_> {
    /// The schema of the stored form.
    pub(crate) fn schema(&self) -> Schema<'_> {
        let registry = &self.target.registry;
        if self.target.resource.group == EVENTS_GROUP {
            return Schema::new(&registry.definitions["io.k8s.api.core.v1.Event"], &registry.definitions);
        }
        Schema::new(&self.target.version().schema, &registry.definitions)
    }

    fn create(&self, txn: &mut Txn<'_>, mut object: Value) -> Result<Written, ApiError> {
        let (resource, version) = (&self.target.resource, self.target.version());
        if !meta(&object, "resourceVersion").is_empty() {
            return Err(ApiError::bad_request(
                "resourceVersion should not be set on objects to be created",
            ));
        }
        lifecycle::check_namespace(txn, resource, meta(&object, "namespace"), meta(&object, "name"))?;
        let warnings = self.clean(&mut object)?;
        lifecycle::before_create(resource, version, &mut object);
        self.schema().default(&mut object);
        self.check(None, &object)?;
        let key = self.target.key_of(meta(&object, "name"));
        if txn.get(&key).is_some() {
            return Err(ApiError::already_exists(&resource.group, &resource.plural, &key.name));
        }
        managed::update(&self.schema(), &self.manager, None, &mut object);
        if resource.is(EVENTS) {
            lifecycle::expire_events(txn);
        }
        Ok(Written {
            status: StatusCode::CREATED,
            object: txn.put(key, object),
            warnings,
        })
    }

    fn update(&self, txn: &mut Txn<'_>, mut object: Value) -> Result<Written, ApiError> {
        let name = self.target.name.as_deref().unwrap_or("");
        let sent = meta(&object, "name");
        if sent != name {
            return Err(ApiError::bad_request(format!(
                "the name of the object ({sent}) does not match the name on the URL ({name})"
            )));
        }
        let key = self.target.key();
        let old = txn.get(&key).ok_or_else(|| self.target.not_found())?;
        let resource = &self.target.resource;
        let revision = meta(&object, "resourceVersion");
        let strict = resource.origin == Origin::Custom || resource.is(CRDS) || resource.plural == "leases";
        if revision.is_empty() && strict {
            let cause = Cause::invalid("metadata.resourceVersion", &json!(0), "must be specified for an update");
            let cause = Cause {
                message: cause.message.replace("value: 0:", "value: 0x0:"),
                ..cause
            };
            return Err(ApiError::invalid(&resource.group, &resource.plural, name, vec![cause]));
        }
        let warnings = self.clean(&mut object)?;
        self.replace(txn, &old, object, warnings)
    }

    fn patch(&self, txn: &mut Txn<'_>, patch: &Patch) -> Result<Written, ApiError> {
        let key = self.target.key();
        let old = txn.get(&key);
        if let Patch::Apply { object, force } = patch {
            return self.apply(txn, old, object, *force);
        }
        let old = old.ok_or_else(|| self.target.not_found())?;
        // Patches speak of the form the client sees.
        let shown = read::present(&self.target.resource, self.target.version(), &old);
        let schema = Schema::new(&self.target.version().schema, &self.target.registry.definitions);
        let patched = patch::apply(patch, &schema, self.target, shown)?;
        let name = self.target.name.as_deref().unwrap_or("");
        if meta(&patched, "name") != name {
            let cause = Cause::invalid("metadata.name", &patched["metadata"]["name"], "field is immutable");
            let resource = &self.target.resource;
            return Err(ApiError::invalid(&resource.group, &resource.kind, name, vec![cause]));
        }
        let mut patched = accept(self.target, patched)?;
        let warnings = self.clean(&mut patched)?;
        self.replace(txn, &old, patched, warnings)
    }

    fn apply(
        &self,
        txn: &mut Txn<'_>,
        old: Option<Value>,
        sent: &Value,
        force: patch::Force,
    ) -> Result<Written, ApiError> {
        let (resource, version) = (&self.target.resource, self.target.version());
        let mut config = sent.clone();
        let warnings = self.clean(&mut config)?;
        let Some(old) = old else {
            if self.target.part == Part::Status {
                return Err(self.target.not_found());
            }
            if !meta(&config, "uid").is_empty() || !meta(&config, "resourceVersion").is_empty() {
                return Err(self.target.not_found());
            }
            lifecycle::check_namespace(txn, resource, meta(&config, "namespace"), meta(&config, "name"))?;
            let mut object = config.clone();
            lifecycle::before_create(resource, version, &mut object);
            self.schema().default(&mut object);
            self.check(None, &object)?;
            managed::applied_new(&self.schema(), &self.manager, &self.owned(&config), &mut object);
            return Ok(Written {
                status: StatusCode::CREATED,
                object: txn.put(self.target.key(), object),
                warnings,
            });
        };
        let merged = managed::apply(&self.schema(), &self.manager, &old, &self.owned(&config), force)?;
        let mut written = self.replace_with(txn, &old, merged, Attribution::Done)?;
        written.warnings = warnings;
        Ok(written)
    }

    /// The part of an applied object this endpoint may own.
    fn owned(&self, config: &Value) -> Value {
        let mut config = config.clone();
        match self.target.part {
            Part::Status => {
                map_mut(&mut config).retain(|field, _| matches!(field.as_str(), "apiVersion" | "kind" | "status"));
            }
            Part::Main if self.target.version().has_status => {
                map_mut(&mut config).remove("status");
            }
            Part::Main => {}
        }
        config
    }

    fn replace(&self, txn: &mut Txn<'_>, old: &Value, new: Value, warnings: Vec<String>) -> Result<Written, ApiError> {
        let mut written = self.replace_with(txn, old, new, Attribution::Update)?;
        written.warnings = warnings;
        Ok(written)
    }

    fn replace_with(
        &self,
        txn: &mut Txn<'_>,
        old: &Value,
        mut new: Value,
        attribution: Attribution,
    ) -> Result<Written, ApiError> {
        let (resource, version) = (&self.target.resource, self.target.version());
        let name = meta(old, "name");
        let sent = meta(&new, "resourceVersion");
        if !sent.is_empty() && sent != "0" && sent != meta(old, "resourceVersion") {
            return Err(ApiError::modified(&resource.group, &resource.plural, name));
        }
        let uid = meta(&new, "uid");
        if !uid.is_empty() && uid != meta(old, "uid") {
            let why = format!(
                "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
                meta(old, "uid")
            );
            return Err(ApiError::conflict(&resource.group, &resource.plural, name, &why));
        }
        let mut before = Value::clone(old);
        before["apiVersion"] = new["apiVersion"].clone();
        lifecycle::before_update(resource, version, self.target.part, &before, &mut new);
        self.schema().default(&mut new);
        self.check(Some(old), &new)?;
        if attribution == Attribution::Update {
            managed::update(&self.schema(), &self.manager, Some(old), &mut new);
        }
        if managed::is_same(old, &new) {
            return Ok(Written {
                status: StatusCode::OK,
                object: old.clone(),
                warnings: Vec::new(),
            });
        }
        let key = self.target.key();
        let object = txn.put(key.clone(), new);
        lifecycle::finish_deletion(txn, &key, &object);
        Ok(Written {
            status: StatusCode::OK,
            object,
            warnings: Vec::new(),
        })
    }

    /// Removes fields the schema does not have, or refuses them, as the client asked.
    fn clean(&self, object: &mut Value) -> Result<Vec<String>, ApiError> {
        if self.target.resource.origin == Origin::Builtin && !self.target.resource.is(CRDS) {
            drop_nulls(object);
        } else {
            metadata_mut(object).values_mut().for_each(drop_nulls);
            metadata_mut(object).retain(|_, value| !value.is_null());
        }
        // Kubernetes leaves these out when they are empty.
        metadata_mut(object).retain(|field, value| {
            let is_collection = matches!(
                field.as_str(),
                "labels" | "annotations" | "finalizers" | "ownerReferences"
            );
            let is_empty = value.as_object().is_some_and(Map::is_empty) || value.as_array().is_some_and(Vec::is_empty);
            !(is_collection && is_empty)
        });
        if self.target.resource.origin == Origin::Builtin
            && let Some(why) = validate::undecodable(&self.schema(), object)
        {
            let (kind, version) = (&self.target.resource.kind, &self.target.version().name);
            let message = format!("{kind} in version {version:?} cannot be handled as a {kind}: {why}");
            return Err(ApiError::bad_request(message));
        }
        let unknown = self.schema().prune(object);
        let describe = |path: &String| format!("unknown field {path:?}");
        match self.validation {
            _ if unknown.is_empty() => Ok(Vec::new()),
            FieldValidation::Ignore => Ok(Vec::new()),
            FieldValidation::Warn => Ok(unknown.iter().map(describe).collect()),
            FieldValidation::Strict => {
                let list: Vec<String> = unknown.iter().map(describe).collect();
                let kind = &self.target.resource.kind;
                let version = &self.target.version().name;
                Err(ApiError::bad_request(format!(
                    "{kind} in version {version:?} cannot be handled as a {kind}: strict decoding error: {}",
                    list.join(", ")
                )))
            }
        }
    }

    fn check(&self, old: Option<&Value>, object: &Value) -> Result<(), ApiError> {
        let resource = &self.target.resource;
        let mut causes = validate::metadata(resource, object);
        causes.extend(validate::object(&self.schema(), object));
        causes.extend(validate::builtin(resource, object));
        if old.is_some_and(is_deleting) {
            causes.extend(validate::no_new_finalizers(old, object));
        }
        if causes.is_empty() {
            return Ok(());
        }
        Err(ApiError::invalid(
            &resource.group,
            &resource.kind,
            meta(object, "name"),
            causes,
        ))
    }
}

/// Whether the new object's managed fields are already settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attribution {
    Update,
    Done,
}

fn delete_options(call: &Call) -> Result<Value, ApiError> {
    if call.body.is_empty() {
        Ok(json!({}))
    } else {
        call.object()
    }
}
