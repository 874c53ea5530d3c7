//! HTTP clients with our own TLS settings: `ring`, the system's roots, private CAs, or no verification at all.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use imagecache_core::{Error, ErrorKind};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::error::fail;

/// Time to reach a host, name resolution and TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Idle connections are closed after this long; most load balancers drop them after 60 s.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(50);
/// HTTP/2 receive window of one stream: bandwidth times delay of a fast, far registry.
const HTTP2_STREAM_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
/// HTTP/2 receive window of one connection, shared by its streams.
const HTTP2_CONNECTION_WINDOW_BYTES: u32 = 8 * 1024 * 1024;

/// What makes two TLS configurations different.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct TlsSettings {
    /// PEM files to trust besides the system's roots.
    pub(crate) ca: Vec<PathBuf>,
    /// Accept any certificate.
    pub(crate) skip_verify: bool,
    /// Ignore the environment's proxies: a loopback host is never behind one.
    pub(crate) direct: bool,
}

/// One HTTP client for each TLS configuration, made when first needed; each keeps its own connections.
#[derive(Debug, Default)]
pub(crate) struct Clients(Mutex<HashMap<TlsSettings, reqwest::Client>>);

impl Clients {
    /// The client for `settings`.
    pub(crate) fn get(&self, settings: &TlsSettings) -> Result<reqwest::Client, Error> {
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = made.get(settings) {
            return Ok(client.clone());
        }
        let client = build(settings)?;
        made.insert(settings.clone(), client.clone());
        Ok(client)
    }
}

fn build(settings: &TlsSettings) -> Result<reqwest::Client, Error> {
    let builder = if settings.direct {
        reqwest::Client::builder().no_proxy()
    } else {
        reqwest::Client::builder()
    };
    builder
        .tls_backend_preconfigured(tls_config(settings)?)
        .user_agent(concat!("imagecache/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(POOL_IDLE_TIMEOUT)
        .http2_initial_stream_window_size(HTTP2_STREAM_WINDOW_BYTES)
        .http2_initial_connection_window_size(HTTP2_CONNECTION_WINDOW_BYTES)
        .tcp_nodelay(true)
        // Redirects are followed by hand, so that credentials never travel to another host.
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .build()
        .map_err(|error| fail(ErrorKind::Internal, "connect", "HTTP client cannot be made").with_source(error))
}

fn tls_config(settings: &TlsSettings) -> Result<rustls::ClientConfig, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| fail(ErrorKind::Internal, "connect", "TLS cannot be set up").with_source(error))?;
    let mut config = if settings.skip_verify {
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AcceptAny(provider)))
            .with_no_client_auth()
    } else {
        builder.with_root_certificates(roots(settings)?).with_no_client_auth()
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn roots(settings: &TlsSettings) -> Result<RootCertStore, Error> {
    let mut store = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    for error in &native.errors {
        tracing::debug!(
            error = error as &dyn std::error::Error,
            "a system certificate was skipped"
        );
    }
    // A minimal container has no roots at all; plain HTTP and private CAs still work there.
    store.add_parsable_certificates(native.certs);
    for path in &settings.ca {
        let bad = |error: imagecache_core::BoxError| {
            let message = format!("certificate authority file `{}` cannot be read", path.display());
            fail(ErrorKind::InvalidSpec, "connect", message).with_source(error)
        };
        let mut found = 0;
        for certificate in CertificateDer::pem_file_iter(path).map_err(|error| bad(error.into()))? {
            let certificate = certificate.map_err(|error| bad(error.into()))?;
            store.add(certificate).map_err(|error| bad(error.into()))?;
            found += 1;
        }
        if found == 0 {
            return Err(bad("it holds no PEM certificate".into()));
        }
    }
    Ok(store)
}

/// Accepts every certificate, but still wants a valid handshake signature by it.
#[derive(Debug)]
struct AcceptAny(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptAny {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
