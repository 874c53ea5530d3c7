//! The certificate that the server shows, which may change at any time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::crypto::ring;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// The only protocol that is spoken.
const HTTP_1: &[u8] = b"http/1.1";

/// Shown to every client from its next handshake on; open connections stay. While there is none, handshakes fail.
#[derive(Debug, Default)]
pub(super) struct Served {
    shown: RwLock<Option<Arc<CertifiedKey>>>,
    forbidden: AtomicBool,
}

impl Served {
    /// From now on this one is shown.
    pub(super) fn set(&self, key: CertifiedKey) {
        *self.shown.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(key));
    }

    /// There is none for want of permission, as was told.
    pub(super) fn forbidden(&self) {
        self.forbidden.store(true, Ordering::Release);
    }

    /// Whether one is shown, or waiting brings none.
    pub(super) fn is_settled(&self) -> bool {
        self.forbidden.load(Ordering::Acquire) || self.get().is_some()
    }

    pub(super) fn get(&self) -> Option<Arc<CertifiedKey>> {
        self.shown.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ResolvesServerCert for Served {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.get()
    }
}

/// What a server needs to show them.
///
/// # Errors
///
/// When the TLS library is not able to.
pub(super) fn tls_config(served: Arc<Served>) -> Result<rustls::ServerConfig, rustls::Error> {
    let mut config = rustls::ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(served);
    config.alpn_protocols = vec![HTTP_1.to_vec()];
    Ok(config)
}
