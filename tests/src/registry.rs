//! The in-process registry that scenarios and the demo pull from.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use imagecache_fakes::registry::{Auth, FakeRegistry};

use crate::image::Images;

/// Repository that the images are in.
const REPOSITORY: &str = "e2e";

/// A registry on loopback; it ends when dropped.
pub struct Registry {
    inner: FakeRegistry,
    host: String,
    /// Digests of the layers of all images, as they are fetched.
    layers: BTreeSet<String>,
}

impl Registry {
    /// Serves images of these layers to everybody.
    pub async fn of<L: AsRef<[Vec<u8>]>>(images: &[(&str, L)]) -> Result<Self> {
        Self::serve(&Images::of(images)).await
    }

    /// Serves images to everybody.
    pub async fn serve(images: &Images) -> Result<Self> {
        Self::start(images, Auth::Open).await
    }

    /// Serves images to one user.
    pub async fn serve_to(images: &Images, user: &str, password: &str) -> Result<Self> {
        Self::start(images, Auth::Basic(user.into(), password.into())).await
    }

    /// `host:port`.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Reference of one of the images.
    pub fn image(&self, tag: &str) -> String {
        format!("{}/{REPOSITORY}:{tag}", self.host)
    }

    /// The registry itself, to look at what it was asked or to make it misbehave.
    pub fn fake(&self) -> &FakeRegistry {
        &self.inner
    }

    /// How often it was asked for anything.
    pub fn requests(&self) -> usize {
        self.inner.requests().len()
    }

    /// How many layers were fetched, from its `since`th request on.
    pub fn layers_fetched(&self, since: usize) -> usize {
        let requests = self.inner.requests();
        let asked = requests.iter().skip(since).filter(|request| request.method == "GET");
        asked
            .filter(|request| self.layers.iter().any(|digest| request.path.ends_with(digest.as_str())))
            .count()
    }

    /// Fails if any layer was fetched, from its `since`th request on: a cache holds them all.
    pub fn fetched_no_layer(&self, since: usize) -> Result<()> {
        let fetched = self.layers_fetched(since);
        ensure!(
            fetched == 0,
            "{fetched} layers were fetched although a cache holds them"
        );
        Ok(())
    }

    async fn start(images: &Images, auth: Auth) -> Result<Self> {
        let inner = FakeRegistry::start_with(auth).await?;
        let mut layers = BTreeSet::new();
        for (tag, image) in images.iter() {
            inner.push(REPOSITORY, tag, image);
            layers.extend(image.layers.iter().map(|layer| layer.blob.digest.clone()));
        }
        let host = inner.host();
        Ok(Self { inner, host, layers })
    }
}
