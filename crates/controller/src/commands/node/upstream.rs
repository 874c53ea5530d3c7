//! Registries, asked for the node's mirror whether somebody may have an image.

use futures::FutureExt as _;
use futures::future::BoxFuture;
use imagecache_core::{Digest, ErrorKind, ImageRef, RegistryCredential};
use imagecache_node::{Login, Permission, Upstream};
use imagecache_oci::{HostsConfig, Keyring, Puller, SessionOptions};

/// Asks with the caller's login and nothing else: this machine's own logins would answer for themselves.
#[derive(Debug)]
pub(super) struct Registries(Puller);

impl Registries {
    /// Reaches registries as the local provider does.
    pub(super) fn new(hosts: HostsConfig) -> Self {
        Self(Puller::new(hosts, Keyring::default()))
    }
}

impl Upstream for Registries {
    fn may_read(&self, image: ImageRef, digest: Digest, login: Login) -> BoxFuture<'static, Permission> {
        let credential = RegistryCredential {
            server: image.registry().to_owned(),
            username: login.username,
            password: login.password,
        };
        let session = self.0.session(SessionOptions {
            credentials: vec![credential],
            ..SessionOptions::default()
        });
        async move {
            match session.may_read(&image, &digest).await {
                Ok(()) => Permission::Granted,
                Err(error) => match error.kind() {
                    ErrorKind::NotFound | ErrorKind::Unauthenticated | ErrorKind::PermissionDenied => {
                        Permission::Refused
                    }
                    _ => Permission::Unknown,
                },
            }
        }
        .boxed()
    }
}
