//! From a path and a method to the operation.

use std::sync::Arc;

use http::{Method, Response, StatusCode};
use serde_json::json;

use crate::call::Call;
use crate::negotiate::{Body, full, json, respond};
use crate::registry::{NAMESPACES, Registry, Resource, Version};
use crate::server::Server;
use crate::status::ApiError;
use crate::store::Key;
use crate::table::Include;
use crate::{discovery, negotiate, openapi, read, watch, write};

/// Part of an object a request is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Main,
    Status,
}

/// What a resource request is about.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) resource: Arc<Resource>,
    version: usize,
    /// `None` for all namespaces and for cluster-scoped resources.
    pub(crate) namespace: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) part: Part,
    pub(crate) include_object: Include,
    pub(crate) registry: Arc<Registry>,
}

impl Target {
    pub(crate) fn version(&self) -> &Version {
        &self.resource.versions[self.version]
    }

    pub(crate) fn key(&self) -> Key {
        self.key_of(self.name.as_deref().unwrap_or(""))
    }

    pub(crate) fn key_of(&self, name: &str) -> Key {
        Key::new(&self.resource.storage, self.namespace.as_deref().unwrap_or(""), name)
    }

    pub(crate) fn not_found(&self) -> ApiError {
        ApiError::not_found(
            &self.resource.group,
            &self.resource.plural,
            self.name.as_deref().unwrap_or(""),
        )
    }

    pub(crate) fn api_version(&self) -> String {
        self.resource.api_version(&self.version().name)
    }
}

pub(crate) async fn dispatch(server: Arc<Server>, call: Call) -> Result<Response<Body>, ApiError> {
    let segments: Vec<&str> = call.segments.iter().map(String::as_str).collect();
    match segments.as_slice() {
        ["healthz" | "livez" | "readyz", ..] => Ok(respond(StatusCode::OK, "text/plain; charset=utf-8", full("ok"))),
        ["version"] => Ok(json(StatusCode::OK, &discovery::version())),
        ["openapi", ..] => openapi::answer(&server.registry(), &call),
        [] => Ok(json(
            StatusCode::OK,
            &json!({"paths": ["/api", "/apis", "/healthz", "/openapi/v2", "/version"]}),
        )),
        ["apis", "authorization.k8s.io", ..] => discovery::review(&call),
        ["api"] | ["apis"] | ["api", "v1"] | ["apis", _] | ["apis", _, _] => {
            require(&call, &[Method::GET, Method::HEAD])?;
            discovery::answer(&server.registry(), &call)
        }
        ["api", "v1", rest @ ..] => resource(server, &call, "", "v1", rest).await,
        ["apis", group, version, rest @ ..] => resource(server, &call, group, version, rest).await,
        _ => Err(ApiError::no_route()),
    }
}

pub(crate) fn require(call: &Call, methods: &[Method]) -> Result<(), ApiError> {
    if methods.contains(&call.method) {
        Ok(())
    } else {
        Err(ApiError::method_not_allowed())
    }
}

async fn resource(
    server: Arc<Server>,
    call: &Call,
    group: &str,
    version: &str,
    rest: &[&str],
) -> Result<Response<Body>, ApiError> {
    let target = target(&server, call, group, version, rest)?;
    let form = negotiate::form(call.header(http::header::ACCEPT))?;
    let is_watch = call.flag("watch")?;
    match (&call.method, &target.name, target.part) {
        (&Method::GET, _, Part::Main) if is_watch => watch::start(server, target, call, form),
        (&Method::GET, Some(_), _) => read::get(&server, &target, form),
        (&Method::GET, None, _) => read::list(&server, &target, call, form),
        (&Method::POST | &Method::PUT | &Method::PATCH | &Method::DELETE, ..) => {
            write::start(server, target, call, form).await
        }
        _ => Err(ApiError::method_not_allowed()),
    }
}

fn target(server: &Server, call: &Call, group: &str, version: &str, rest: &[&str]) -> Result<Target, ApiError> {
    let registry = server.registry();
    let (namespace, plural, name, sub) = match rest {
        ["namespaces"] => (None, "namespaces", None, None),
        ["namespaces", name] => (None, "namespaces", Some(*name), None),
        ["namespaces", name, sub @ ("status" | "finalize")] => (None, "namespaces", Some(*name), Some(*sub)),
        ["namespaces", namespace, plural] => (Some(*namespace), *plural, None, None),
        ["namespaces", namespace, plural, name] => (Some(*namespace), *plural, Some(*name), None),
        ["namespaces", namespace, plural, name, sub] => (Some(*namespace), *plural, Some(*name), Some(*sub)),
        [plural] => (None, *plural, None, None),
        [plural, name] => (None, *plural, Some(*name), None),
        [plural, name, sub] => (None, *plural, Some(*name), Some(*sub)),
        _ => return Err(ApiError::no_route()),
    };
    let (resource, version) = registry.find(group, version, plural).ok_or_else(ApiError::no_route)?;
    let part = match sub {
        None => Part::Main,
        Some("status") if resource.versions[version].has_status => Part::Status,
        Some("finalize") if resource.is(NAMESPACES) => Part::Main,
        Some(_) => return Err(ApiError::no_route()),
    };
    let scope_fits = match (resource.is_namespaced(), namespace) {
        (false, Some(_)) => false,
        (true, None) => name.is_none(),
        _ => true,
    };
    if !scope_fits {
        return Err(ApiError::no_route());
    }
    Ok(Target {
        resource,
        version,
        namespace: namespace.map(str::to_owned),
        name: name.map(str::to_owned),
        part,
        include_object: Include::parse(call.param("includeObject")),
        registry,
    })
}
