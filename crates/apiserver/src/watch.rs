//! Watches: a stream of changes from a revision on, with bookmarks, selectors and initial events.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use http::{Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::call::Call;
use crate::negotiate::{Body, Form, View, respond};
use crate::read::watched;
use crate::routes::Target;
use crate::selector::Selector;
use crate::server::Server;
use crate::status::ApiError;
use crate::store::{Change, Packed};

/// Time between bookmarks, as in Kubernetes.
const BOOKMARK: Duration = Duration::from_secs(60);
/// Length of a watch whose client names none; Kubernetes ends them after 30 to 60 minutes.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(45 * 60);

struct Watch {
    server: Arc<Server>,
    target: Target,
    form: Form,
    selector: Selector,
    revision: u64,
    bookmarks: bool,
    /// A bookmark that ends the initial events is owed once they are out.
    end_of_initial: bool,
    ready: VecDeque<Value>,
    is_first: bool,
    next_bookmark: Instant,
    deadline: Instant,
    committed: tokio::sync::watch::Receiver<u64>,
    stopping: tokio::sync::watch::Receiver<bool>,
    done: bool,
}

/// Starts a watch; the answer's body goes on until the timeout, the client or the server ends it.
pub(crate) fn start(server: Arc<Server>, target: Target, call: &Call, form: Form) -> Result<Response<Body>, ApiError> {
    let resource = &target.resource;
    let selector = Selector::parse(resource, call.param("labelSelector"), call.param("fieldSelector"))?;
    let selector = match &target.name {
        Some(name) => Selector::parse(resource, None, Some(&format!("metadata.name={name}")))?,
        None => selector,
    };
    let initial = call.flag("sendInitialEvents")?;
    if initial && call.param("resourceVersionMatch") != Some("NotOlderThan") {
        return Err(ApiError::invalid(
            "meta.k8s.io",
            "ListOptions",
            "",
            vec![crate::status::Cause::forbidden(
                "resourceVersionMatch",
                "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            )],
        ));
    }
    let asked = call.number("resourceVersion")?.unwrap_or(0);
    let committed = server.store.subscribe();
    let now = Instant::now();
    let timeout = call
        .number("timeoutSeconds")?
        .filter(|t| *t > 0)
        .map_or(DEFAULT_TIMEOUT, Duration::from_secs);
    let mut watch = Watch {
        stopping: server.stopping(),
        bookmarks: call.flag("allowWatchBookmarks")?,
        server,
        target,
        form,
        selector,
        revision: asked,
        end_of_initial: false,
        ready: VecDeque::new(),
        is_first: true,
        next_bookmark: now + BOOKMARK,
        deadline: now + timeout,
        committed,
        done: false,
    };
    if asked == 0 || initial {
        watch.send_initial(initial);
    } else if asked > watch.server.store.current_revision() {
        return Err(ApiError::timeout("Too large resource version"));
    }
    let stream = futures::stream::unfold(watch, |mut watch| async move {
        let event = watch.next().await?;
        let mut line = event.to_string();
        line.push('\n');
        Some((Ok::<_, std::io::Error>(Frame::data(Bytes::from(line))), watch))
    });
    Ok(respond(StatusCode::OK, "application/json", body(stream)))
}

fn body(stream: impl Stream<Item = Result<Frame<Bytes>, std::io::Error>> + Send + 'static) -> Body {
    StreamBody::new(stream).boxed_unsync()
}

impl Watch {
    fn send_initial(&mut self, with_end: bool) {
        let target = &self.target;
        let (revision, objects) = self
            .server
            .store
            .list(&target.resource.storage, target.namespace.as_deref());
        self.revision = revision;
        for object in objects.values().map(Packed::open) {
            if !self.selector.matches(&object) {
                continue;
            }
            let event = json!({"type": "ADDED", "object": watched(target, self.form, &object, self.is_first)});
            self.is_first = false;
            self.ready.push_back(event);
        }
        self.end_of_initial = with_end && self.bookmarks;
    }

    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            if self.done {
                return None;
            }
            if std::mem::take(&mut self.end_of_initial) {
                return Some(self.bookmark(&json!({"k8s.io/initial-events-end": "true"})));
            }
            self.committed.mark_unchanged();
            match self.server.store.changes(&self.target.resource.storage, self.revision) {
                Ok((revision, changes)) => {
                    self.revision = revision;
                    let events: Vec<Value> = changes.iter().filter_map(|c| self.event(c)).collect();
                    self.ready.extend(events);
                }
                Err(error) => {
                    self.done = true;
                    return Some(json!({"type": "ERROR", "object": error.to_value()}));
                }
            }
            if !self.ready.is_empty() {
                continue;
            }
            let wake = if self.bookmarks {
                self.deadline.min(self.next_bookmark)
            } else {
                self.deadline
            };
            let is_time = tokio::select! {
                changed = self.committed.changed() => changed.is_err(),
                stopped = self.stopping.wait_for(|stopping| *stopping) => return stopped.ok().and(None),
                () = tokio::time::sleep_until(wake) => true,
            };
            if is_time && Instant::now() >= self.deadline {
                return None;
            }
            if is_time {
                self.next_bookmark = Instant::now() + BOOKMARK;
                return Some(self.bookmark(&Value::Null));
            }
        }
    }

    /// What this watcher is told of a change: objects enter and leave its selector.
    fn event(&mut self, change: &Change) -> Option<Value> {
        if self
            .target
            .namespace
            .as_ref()
            .is_some_and(|n| *n != change.key.namespace)
        {
            return None;
        }
        let object = change.object.open();
        let was = change
            .before
            .as_ref()
            .is_some_and(|before| self.selector == Selector::default() || self.selector.matches(&before.open()));
        let is = !change.deleted && self.selector.matches(&object);
        let kind = match (was, is) {
            (false, true) => "ADDED",
            (true, true) => "MODIFIED",
            (true, false) => "DELETED",
            (false, false) => return None,
        };
        let object = watched(&self.target, self.form, &object, self.is_first);
        self.is_first = false;
        Some(json!({"type": kind, "object": object}))
    }

    fn bookmark(&self, annotations: &Value) -> Value {
        let (resource, version) = (&self.target.resource, self.target.version());
        let mut object = json!({
            "kind": resource.kind, "apiVersion": resource.api_version(&version.name),
            "metadata": {"resourceVersion": self.revision.to_string(), "creationTimestamp": null},
        });
        if !annotations.is_null() {
            object["metadata"]["annotations"] = annotations.clone();
        }
        match self.form.view {
            View::Object => {}
            View::Partial => {
                object["kind"] = "PartialObjectMetadata".into();
                object["apiVersion"] = "meta.k8s.io/v1".into();
            }
            View::Table => {
                object = crate::table::table(
                    Value::Null,
                    vec![json!({"cells": [], "object": object})],
                    &json!({"resourceVersion": self.revision.to_string()}),
                );
            }
        }
        json!({"type": "BOOKMARK", "object": object})
    }
}
