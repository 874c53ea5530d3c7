//! Deleting one object, or a collection of them.

use http::StatusCode;
use serde_json::{Value, json};

use crate::lifecycle::{self, Deleted};
use crate::object::{at, meta};
use crate::read;
use crate::registry::NAMESPACES;
use crate::selector::Selector;
use crate::status::ApiError;
use crate::store::Txn;
use crate::write::{Done, Write, Written};

impl Write<'_> {
    /// Deletes one object, if the options' preconditions hold.
    pub(crate) fn delete(&self, txn: &mut Txn<'_>, options: &Value) -> Result<Done, ApiError> {
        let key = self.target.key();
        let resource = &self.target.resource;
        let object = txn.get(&key).ok_or_else(|| self.target.not_found())?;
        for (field, label, changed) in [
            ("uid", "UID", "deleted and then recreated"),
            ("resourceVersion", "ResourceVersion", "modified"),
        ] {
            let wanted = at(options, &["preconditions", field]).and_then(Value::as_str);
            let found = meta(&object, field);
            if let Some(wanted) = wanted.filter(|w| *w != found) {
                let why = format!(
                    "the {label} in the precondition ({wanted}) does not match the {label} in record ({found}). \
                     The object might have been {changed}"
                );
                return Err(ApiError::conflict(&resource.group, &resource.plural, &key.name, &why));
            }
        }
        if resource.is(NAMESPACES) && matches!(key.name.as_str(), "default" | "kube-system" | "kube-public") {
            let why = "this namespace may not be deleted";
            return Err(ApiError::forbidden(&resource.group, &resource.plural, &key.name, why));
        }
        let shows_object = resource.is(NAMESPACES) || (resource.group.is_empty() && resource.plural == "pods");
        match lifecycle::delete(txn, &key, &object).ok_or_else(|| self.target.not_found())? {
            Deleted::Marked(object) => Ok(Done::Object(Written {
                status: StatusCode::OK,
                object,
                warnings: vec![],
            })),
            Deleted::Gone(object) if shows_object => Ok(Done::Object(Written {
                status: StatusCode::OK,
                object,
                warnings: vec![],
            })),
            Deleted::Gone(object) => {
                let mut details = json!({"name": key.name, "kind": resource.plural, "uid": meta(&object, "uid")});
                if !resource.group.is_empty() {
                    details["group"] = resource.group.clone().into();
                }
                Ok(Done::Value(json!({
                    "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details,
                })))
            }
        }
    }

    /// Deletes every object of the collection that the selector matches.
    pub(crate) fn delete_collection(&self, txn: &mut Txn<'_>, selector: &Selector) -> Done {
        let (resource, version) = (&self.target.resource, self.target.version());
        let objects = txn.list(&resource.storage, self.target.namespace.as_deref());
        let mut items = Vec::new();
        let objects = objects.into_iter().map(|(key, object)| (key, object.open()));
        for (key, object) in objects.filter(|(_, object)| selector.matches(object)) {
            if let Some(Deleted::Gone(last) | Deleted::Marked(last)) = lifecycle::delete(txn, &key, &object) {
                items.push(read::present(resource, version, &last));
            }
        }
        Done::Value(json!({
            "kind": resource.list_kind, "apiVersion": self.target.api_version(), "metadata": {}, "items": items,
        }))
    }
}
