//! The entry points: a [`Puller`] for the process, a [`Session`] for one request's credentials.

use std::path::PathBuf;
use std::sync::Arc;

use imagecache_core::{ErrorKind, Platform, RegistryCredential, Result};

use crate::archive::{self, FilePart};
use crate::auth::Authenticator;
use crate::blob_reader::BlobReader;
use crate::download::Download;
use crate::endpoint::{ConnectionLimits, Endpoint, HostOverrides};
use crate::error::fail;
use crate::hosts_config::HostsConfig;
use crate::image::ResolvedImage;
use crate::keyring::Keyring;
use crate::retry::RetryPolicy;
use crate::source::ImageSource;
use crate::stream::{Expected, LayerOptions, LayerStream};
use crate::tls::Clients;
use crate::{layout, registry};

/// Reaches registries for the whole process: connections, their limits, and configuration. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Puller {
    hosts: Arc<HostsConfig>,
    retry: RetryPolicy,
    keyring: Keyring,
    clients: Arc<Clients>,
    limits: Arc<ConnectionLimits>,
}

/// What one request brings along.
#[derive(Clone, Debug, Default)]
pub struct SessionOptions {
    /// Credentials, preferred over those of the [`Puller`].
    pub credentials: Vec<RegistryCredential>,
    /// Registry hosts to reach over plain HTTP.
    pub plain_http_registries: Vec<String>,
    /// Registry hosts whose certificate is not checked.
    pub insecure_registries: Vec<String>,
}

/// One request's view of registries: its credentials and the tokens they gave. Cheap to clone; one request's tokens are
/// never used for another.
#[derive(Clone, Debug)]
pub struct Session(pub(crate) Arc<Shared>);

/// What the parts of a session share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) hosts: Arc<HostsConfig>,
    pub(crate) overrides: HostOverrides,
    pub(crate) retry: RetryPolicy,
    pub(crate) auth: Authenticator,
    pub(crate) clients: Arc<Clients>,
    pub(crate) limits: Arc<ConnectionLimits>,
}

/// Where a resolved image's layers are read from.
#[derive(Debug)]
pub(crate) enum Origin {
    Registry(Vec<Endpoint>),
    /// The directory with `blobs/`.
    Layout(PathBuf),
    /// One part of a file for each layer.
    Archive(Vec<FilePart>),
}

impl Puller {
    /// A puller that knows `hosts` and, for every session, the logins in `keyring`.
    pub fn new(hosts: HostsConfig, keyring: Keyring) -> Self {
        Self {
            hosts: Arc::new(hosts),
            retry: RetryPolicy::default(),
            keyring,
            clients: Arc::default(),
            limits: Arc::default(),
        }
    }

    /// The same with other timeouts and numbers of attempts.
    #[must_use]
    pub fn with_retry(self, retry: RetryPolicy) -> Self {
        Self { retry, ..self }
    }

    /// Starts a request's session.
    pub fn session(&self, options: SessionOptions) -> Session {
        let keyring = Keyring::from_credentials(&options.credentials).or(self.keyring.clone());
        Session(Arc::new(Shared {
            hosts: Arc::clone(&self.hosts),
            overrides: HostOverrides {
                plain_http: options.plain_http_registries,
                insecure: options.insecure_registries,
            },
            retry: self.retry.clone(),
            auth: Authenticator::new(keyring),
            clients: Arc::clone(&self.clients),
            limits: Arc::clone(&self.limits),
        }))
    }
}

impl Session {
    /// Finds out what `source` is for `platform` and checks it: index, manifest and config with their digests, every
    /// layer readable by us.
    ///
    /// Errors: `NotFound` (image or platform), `Unauthenticated`, `PermissionDenied`, `RateLimited`, `Unavailable`,
    /// `Unsupported` (formats), `InvalidSpec` (names, configuration), `Internal` (content that cannot be true).
    pub async fn resolve(&self, source: &ImageSource, platform: &Platform) -> Result<ResolvedImage> {
        let platform = platform.normalized();
        match source {
            ImageSource::Registry(reference) => registry::resolve(&self.0, reference, &platform).await,
            ImageSource::OciLayout { path, tag } => {
                let (path, tag) = (path.clone(), tag.clone());
                blocking(move || layout::resolve(&path, tag.as_deref(), &platform)).await
            }
            ImageSource::DockerArchive { path, reference } => {
                let (path, reference) = (path.clone(), reference.clone());
                blocking(move || archive::resolve(&path, reference.as_deref(), &platform)).await
            }
        }
    }

    /// Opens layer number `index` (from 0, lowest first) of an image.
    ///
    /// The download starts at once, as a task of the current Tokio runtime; the stream itself is read on a blocking
    /// thread. An open stream holds one of its host's connections until it was read or dropped, so read what you open side
    /// by side, not one after the other. Errors: `Internal` when there is no such layer or no runtime; everything else comes out of the stream.
    pub fn open_layer(&self, image: &ResolvedImage, index: usize, options: LayerOptions) -> Result<LayerStream> {
        let number = index + 1;
        let layer = image.layers.get(index).ok_or_else(|| {
            fail(
                ErrorKind::Internal,
                "layer",
                format!("`{}` has no layer {number}", image.reference),
            )
        })?;
        let what = format!("layer {number} of `{}`", image.reference);
        let mut expected = Expected {
            what: what.clone(),
            blob: Some(layer.digest.clone()),
            size: layer.size,
            diff_id: layer.diff_id.clone(),
        };
        if layer.digest == layer.diff_id {
            // Uncompressed: the reader's hash of the tar is the blob's hash.
            expected.blob = None;
        }
        match image.origin.as_ref() {
            Origin::Registry(endpoints) => {
                let runtime = tokio::runtime::Handle::try_current().map_err(|error| {
                    fail(ErrorKind::Internal, "layer", "no runtime to download on").with_source(error)
                })?;
                let download = Download {
                    shared: Arc::clone(&self.0),
                    endpoints: endpoints.iter().filter(|endpoint| endpoint.pulls).cloned().collect(),
                    what,
                    digest: layer.digest.clone(),
                    size: layer.size,
                };
                let (pieces, task) = download.start(&runtime);
                LayerStream::start(BlobReader::download(pieces), expected, options, Some(task))
            }
            Origin::Layout(path) => {
                let blob = layout::open_blob(path, &layer.digest, &what)?;
                LayerStream::start(blob, expected, options, None)
            }
            Origin::Archive(parts) => {
                let part = parts
                    .get(index)
                    .ok_or_else(|| fail(ErrorKind::Internal, "layer", "layer has no place"))?;
                LayerStream::start(part.open(&what)?, expected, options, None)
            }
        }
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(fail(ErrorKind::Internal, "resolve", "reading stopped").with_source(error)))
}
