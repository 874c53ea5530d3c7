//! The in-process registry that scenarios and the demo pull from.

use anyhow::Result;
use imagecache_fakes::registry::{Auth, FakeRegistry};

use crate::image::Layout;

/// Repository that the images are in.
const REPOSITORY: &str = "e2e";

/// A registry on loopback that serves the images of a layout; it ends when dropped.
pub struct Registry {
    inner: FakeRegistry,
    host: String,
}

impl Registry {
    /// Serves a layout to everybody.
    pub async fn serve(layout: &Layout) -> Result<Self> {
        Self::start(layout, Auth::Open).await
    }

    /// Serves a layout to one user.
    pub async fn serve_to(layout: &Layout, user: &str, password: &str) -> Result<Self> {
        Self::start(layout, Auth::Basic(user.into(), password.into())).await
    }

    /// `host:port`.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Reference of one of the layout's images.
    pub fn image(&self, tag: &str) -> String {
        format!("{}/{REPOSITORY}:{tag}", self.host)
    }

    /// The registry itself, to look at what it was asked or to make it misbehave.
    pub fn fake(&self) -> &FakeRegistry {
        &self.inner
    }

    async fn start(layout: &Layout, auth: Auth) -> Result<Self> {
        let inner = FakeRegistry::start_with(auth).await?;
        for (tag, image) in layout.images() {
            inner.push(REPOSITORY, tag, image);
        }
        let host = inner.host();
        Ok(Self { inner, host })
    }
}
