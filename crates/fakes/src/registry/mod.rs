//! A registry (distribution API version 2, pull only) over a real TCP listener, with faults on demand.

mod auth;
mod fault;
mod server;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use serde_json::Value;
use tokio::net::TcpListener;

pub use auth::Auth;
pub use fault::{Fault, FaultKind};

use crate::image::{Blob, Image, OCI_INDEX, digest_of, index};

/// A running registry. Dropping it closes the listener.
#[derive(Debug)]
pub struct FakeRegistry {
    address: SocketAddr,
    state: Arc<State>,
    task: tokio::task::JoinHandle<()>,
}

/// One request as it arrived.
#[derive(Clone, Debug)]
pub struct Request {
    /// `GET`, `HEAD`, `POST`.
    pub method: String,
    /// Path without query.
    pub path: String,
    /// Query, without the question mark.
    pub query: String,
    /// `Range` header.
    pub range: Option<String>,
    /// `Authorization` header.
    pub authorization: Option<String>,
    /// Status of the answer.
    pub status: u16,
}

/// What the registry knows and remembers.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) auth: Auth,
    pub(crate) blobs: Mutex<HashMap<String, Bytes>>,
    /// By repository and tag or digest: media type and content.
    pub(crate) manifests: Mutex<HashMap<(String, String), (String, Bytes)>>,
    pub(crate) faults: Mutex<Vec<Fault>>,
    pub(crate) requests: Mutex<Vec<Request>>,
    /// Tokens given out, and how many requests each is still good for.
    pub(crate) tokens: Mutex<HashMap<String, u64>>,
}

impl FakeRegistry {
    /// Starts an empty registry that anybody may read, on a free loopback port.
    pub async fn start() -> std::io::Result<Self> {
        Self::start_with(Auth::Open).await
    }

    /// Starts an empty registry that wants to be logged in to.
    pub async fn start_with(auth: Auth) -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let state = Arc::new(State {
            auth,
            ..State::default()
        });
        let task = tokio::spawn(server::serve(listener, Arc::clone(&state)));
        Ok(Self { address, state, task })
    }

    /// Host and port, as an image reference starts.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// `http://host:port`
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Stores an image under `repository:tag`; returns its reference.
    pub fn push(&self, repository: &str, tag: &str, image: &Image) -> String {
        for blob in image.blobs() {
            self.push_blob(blob);
        }
        self.push_manifest(repository, tag, &image.manifest)
    }

    /// Stores an index of `images` under `repository:tag`; returns its reference.
    pub fn push_index(&self, repository: &str, tag: &str, images: &[&Image]) -> String {
        for image in images {
            let own_digest = image.manifest.digest.clone();
            self.push(repository, &own_digest, image);
        }
        self.push_manifest(repository, tag, &index(images))
    }

    /// Stores a manifest under its digest and `tag`; returns its reference.
    pub fn push_manifest(&self, repository: &str, tag: &str, manifest: &Blob) -> String {
        let mut manifests = lock(&self.state.manifests);
        for reference in [tag, &manifest.digest] {
            let value = (manifest.media_type.clone(), manifest.bytes.clone());
            manifests.insert((repository.to_owned(), reference.to_owned()), value);
        }
        format!("{}/{repository}:{tag}", self.host())
    }

    /// Stores a blob.
    pub fn push_blob(&self, blob: &Blob) {
        lock(&self.state.blobs).insert(blob.digest.clone(), blob.bytes.clone());
    }

    /// Stores every tagged image of an OCI layout directory in `repository`; returns the references.
    pub fn push_layout(&self, repository: &str, directory: &Path) -> std::io::Result<Vec<String>> {
        let top: Value = serde_json::from_slice(&std::fs::read(directory.join("index.json"))?)?;
        for entry in std::fs::read_dir(directory.join("blobs/sha256"))? {
            let bytes = Bytes::from(std::fs::read(entry?.path())?);
            let digest = digest_of(&bytes);
            // A document of an image may be asked for as a manifest or as a blob.
            if let Ok(document) = serde_json::from_slice::<Value>(&bytes)
                && (document.get("layers").is_some() || document.get("manifests").is_some())
            {
                let media_type = document.get("mediaType").and_then(Value::as_str).unwrap_or_else(|| {
                    if document.get("layers").is_some() {
                        crate::image::OCI_MANIFEST
                    } else {
                        OCI_INDEX
                    }
                });
                let manifest = Blob::new(bytes.clone(), media_type);
                self.push_manifest(repository, &digest, &manifest);
            }
            lock(&self.state.blobs).insert(digest, bytes);
        }
        let mut references = Vec::new();
        for entry in top.get("manifests").and_then(Value::as_array).into_iter().flatten() {
            let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
            let digest = text(entry.get("digest"));
            let tag = text(entry.pointer("/annotations/org.opencontainers.image.ref.name"));
            if let (Some(digest), Some(tag)) = (digest, tag) {
                let mut manifests = lock(&self.state.manifests);
                if let Some(found) = manifests.get(&(repository.to_owned(), digest)).cloned() {
                    manifests.insert((repository.to_owned(), tag.clone()), found);
                    references.push(format!("{}/{repository}:{tag}", self.host()));
                }
            }
        }
        Ok(references)
    }

    /// Adds a fault; the first that fits a request is applied.
    pub fn inject(&self, fault: Fault) {
        lock(&self.state.faults).push(fault);
    }

    /// Ends all faults.
    pub fn heal(&self) {
        lock(&self.state.faults).clear();
    }

    /// Makes every token that was given out invalid.
    pub fn expire_tokens(&self) {
        lock(&self.state.tokens).clear();
    }

    /// All requests so far, in the order of their answers.
    pub fn requests(&self) -> Vec<Request> {
        lock(&self.state.requests).clone()
    }

    /// How many requests had `part` in their path.
    pub fn count(&self, part: &str) -> usize {
        self.requests()
            .iter()
            .filter(|request| request.path.contains(part))
            .count()
    }
}

impl Drop for FakeRegistry {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A lock whose holder cannot leave half a change behind.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
