//! A small Kubernetes API server for standalone mode and tests.
//!
//! It serves namespaces, secrets, configmaps, pods (stored, not run), service accounts, events, leases and whatever
//! CustomResourceDefinitions define, over plain HTTP, to `kubectl` and `kube`. It runs no controllers but what a
//! client needs to notice: definitions become established, deleting a namespace removes its content.
//!
//! Limits: no authorisation (one optional bearer token is all), no admission, no conversion between the versions of a
//! custom resource beyond `apiVersion`, a bounded watch history that starts anew with the process.

mod apply;
mod builtins;
mod call;
mod crd;
mod delete;
mod discovery;
mod events;
mod fieldset;
mod jsonpath;
mod lifecycle;
mod managed;
mod negotiate;
mod object;
mod openapi;
mod patch;
mod proto;
mod protobuf;
mod read;
mod registry;
mod routes;
mod schema;
mod selector;
mod server;
mod status;
mod store;
mod strategic;
mod table;
mod typed;
mod validate;
mod watch;
mod write;

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use tokio::net::TcpListener;

/// Where the objects are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    /// Nowhere: they end with the process.
    Memory,
    /// In a database in this directory, made if absent. One process at a time.
    Dir(PathBuf),
}

/// A bearer token; never printed.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// Wraps the token.
    #[must_use]
    pub fn new(token: impl Into<String>) -> Self {
        Self(token.into())
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// How to open an [`ApiServer`].
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the objects are kept.
    pub data: Data,
    /// What every request must carry, if set. Without it only loopback addresses are served.
    pub token: Option<Token>,
    /// Definitions created or brought up to date before the first request.
    pub crds: Vec<CustomResourceDefinition>,
}

/// Why the server cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory cannot be made or used.
    #[error("cannot use {path}")]
    Directory {
        /// The directory, or the file in it.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another process has the database open.
    #[error("{path} is in use by another process; stop it or choose another data directory")]
    InUse {
        /// The database file.
        path: PathBuf,
    },
    /// The database cannot be read.
    #[error("cannot open the database {path}")]
    Database {
        /// The database file.
        path: PathBuf,
        /// What the database said.
        source: Box<redb::Error>,
    },
    /// A preinstalled definition is refused.
    #[error("cannot install the resource definition {name}: {message}")]
    Definition {
        /// Its name.
        name: String,
        /// Why.
        message: String,
    },
}

/// Why the server stopped serving.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Anyone could connect, and nothing would ask who they are.
    #[error("refusing to serve on {addr}: it is not a loopback address and no token is set")]
    NotLoopback {
        /// The address of the listener.
        addr: SocketAddr,
    },
    /// The listener failed.
    #[error("cannot accept connections")]
    Accept {
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

/// The server: the objects and the way to serve them. Clones share the objects.
#[derive(Debug, Clone)]
pub struct ApiServer {
    inner: Arc<server::Server>,
}

impl ApiServer {
    /// Opens the data and installs the definitions. Reads the disk: call it off the runtime if that matters.
    ///
    /// # Errors
    /// If the data cannot be opened or a definition is not valid.
    pub fn open(options: Options) -> Result<Self, OpenError> {
        let store = match &options.data {
            Data::Memory => store::Store::in_memory(),
            Data::Dir(dir) => store::Store::open(dir)?,
        };
        let server = server::Server::new(store, options.token);
        lifecycle::bootstrap(&server, options.crds)?;
        Ok(Self {
            inner: Arc::new(server),
        })
    }

    /// Serves until `shutdown` resolves; open watches are ended then.
    ///
    /// # Errors
    /// If the listener is not on a loopback address and there is no token, or if it fails.
    pub async fn serve(
        &self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<(), ServeError> {
        server::serve(Arc::clone(&self.inner), listener, shutdown).await
    }

    /// A kubeconfig for this server listening at `addr`. It holds the token in clear: write it for its owner only.
    #[must_use]
    pub fn kubeconfig(&self, addr: SocketAddr) -> String {
        server::kubeconfig(addr, self.inner.token())
    }
}
