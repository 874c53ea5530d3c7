//! The webhook's certificate: made, read and judged. Pure, but for the randomness of keys.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use imagecache_core::Secret;
use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;

/// How long a certificate is good for.
pub(super) const LIFETIME: Duration = Duration::from_secs(90 * 24 * 60 * 60);
/// A certificate with less than this left is replaced: at two thirds of its life, so that there is a month to notice trouble.
pub(super) const RENEW_BEFORE: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Clocks of the cluster's machines may differ by this much.
const CLOCK_SKEW: Duration = Duration::from_secs(60 * 60);
/// Authorities that clients trust at once: that of the newest certificate, and that of the one before, which other replicas
/// may still show.
const MAX_AUTHORITIES: usize = 2;
/// First line of a PEM certificate.
const CERTIFICATE_BEGIN: &str = "-----BEGIN CERTIFICATE-----";

/// A certificate with its key and with whom to trust, as PEM; what a Secret of type `kubernetes.io/tls` holds.
#[derive(Clone)]
pub(super) struct Material {
    /// The certificate, and those between it and its authority (`tls.crt`).
    pub(super) chain: String,
    /// Its key (`tls.key`).
    pub(super) key: Secret<String>,
    /// Authorities to trust, newest first (`ca.crt`).
    pub(super) authorities: String,
}

/// Never shows the key.
impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Material").finish_non_exhaustive()
    }
}

/// Why a certificate cannot be made or used. Never holds any part of a key.
#[derive(Debug, thiserror::Error)]
pub(super) enum CertificateError {
    /// The generator refused.
    #[error("a certificate cannot be made")]
    Make(#[from] rcgen::Error),
    /// It is not PEM, or holds something else.
    #[error("the {0} is not PEM")]
    Pem(&'static str),
    /// The key is of an unknown kind, or of another certificate.
    #[error("the key and the certificate cannot be used together")]
    Key(#[source] rustls::Error),
}

/// Makes a certificate for `names` (host names or addresses) with an authority of its own, whose key nobody keeps: a new
/// certificate comes with a new authority. Authorities of `before` stay trusted, as many as there may be at once.
///
/// # Errors
///
/// When a name is no host name, or there is no randomness.
pub(super) fn make(names: &[String], now: Timestamp, before: Option<&Material>) -> Result<Material, CertificateError> {
    let mut authority = CertificateParams::new(Vec::new())?;
    // The time in the name makes old and new tell apart for people and for verifiers that look authorities up by name.
    let name = format!("imagecache webhook authority {}", now.as_second());
    authority.distinguished_name.push(DnType::CommonName, name);
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    limit(&mut authority, now);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;

    let mut server = CertificateParams::new(names)?;
    server.distinguished_name.push(DnType::CommonName, "imagecache webhook");
    server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    server.use_authority_key_identifier_extension = true;
    limit(&mut server, now);
    let key = KeyPair::generate()?;
    let certificate = server.signed_by(&key, &authority)?;

    let before = before.map_or("", |before| before.authorities.as_str());
    let authorities = std::iter::once(authority.pem()).chain(certificates(before));
    Ok(Material {
        chain: certificate.pem(),
        key: Secret::new(key.serialize_pem()),
        authorities: authorities.take(MAX_AUTHORITIES).collect(),
    })
}

impl Material {
    /// What a TLS server shows.
    ///
    /// # Errors
    ///
    /// When a part is malformed, or the key is not the certificate's.
    pub(super) fn certified(&self) -> Result<CertifiedKey, CertificateError> {
        let chain = parse(&self.chain).ok_or(CertificateError::Pem("certificate"))?;
        let key = PrivateKeyDer::from_pem_slice(self.key.expose().as_bytes())
            .map_err(|_| CertificateError::Pem("certificate's key"))?;
        CertifiedKey::from_der(chain, key, &ring::default_provider()).map_err(CertificateError::Key)
    }

    /// Whether who trusts only our authorities would accept it under every one of `names` at `at`.
    pub(super) fn is_good(&self, names: &[String], at: Timestamp) -> bool {
        self.certified().is_ok() && self.verify(names, at).is_some()
    }

    fn verify(&self, names: &[String], at: Timestamp) -> Option<()> {
        let mut roots = RootCertStore::empty();
        for authority in parse(&self.authorities)? {
            roots.add(authority).ok()?;
        }
        let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), Arc::new(ring::default_provider()))
            .build()
            .ok()?;
        let chain = parse(&self.chain)?;
        let (certificate, between) = chain.split_first()?;
        let at = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(at.as_second()).ok()?));
        for name in names {
            let name = ServerName::try_from(name.as_str()).ok()?;
            verifier.verify_server_cert(certificate, between, &name, &[], at).ok()?;
        }
        Some(())
    }
}

/// Makes it good from `now` on, for [`LIFETIME`].
fn limit(params: &mut CertificateParams, now: Timestamp) {
    let since_epoch = Duration::from_secs(u64::try_from(now.as_second()).unwrap_or_default());
    let now = rcgen::date_time_ymd(1970, 1, 1) + since_epoch;
    (params.not_before, params.not_after) = (now - CLOCK_SKEW, now + LIFETIME);
}

/// The certificates of a PEM file; `None` when there is none, or something else.
fn parse(pem: &str) -> Option<Vec<CertificateDer<'static>>> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    all.ok().filter(|all| !all.is_empty())
}

/// The PEM blocks of a file of certificates.
fn certificates(pem: &str) -> impl Iterator<Item = String> {
    let blocks = pem.split(CERTIFICATE_BEGIN).skip(1);
    blocks.map(|block| format!("{CERTIFICATE_BEGIN}{block}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    /// Whether every authority in `wanted` is also in `bundle`.
    fn trusts(bundle: &str, wanted: &str) -> bool {
        match (parse(bundle), parse(wanted)) {
            (Some(bundle), Some(wanted)) => wanted.iter().all(|authority| bundle.contains(authority)),
            _ => false,
        }
    }

    fn start() -> Timestamp {
        "2026-01-01T00:00:00Z".parse().unwrap()
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn a_certificate_is_good_for_its_names_and_its_time() {
        let ours = names(&["imagecache-webhook.imagecache-system.svc", "127.0.0.1"]);
        let made = make(&ours, start(), None).unwrap();
        let rows: [(&str, &[&str], i64, bool); 8] = [
            ("now", &["imagecache-webhook.imagecache-system.svc"], 0, true),
            ("an address", &["127.0.0.1"], 0, true),
            (
                "both",
                &["127.0.0.1", "imagecache-webhook.imagecache-system.svc"],
                0,
                true,
            ),
            ("a clock that is slow", &["127.0.0.1"], -3_500, true),
            ("long before", &["127.0.0.1"], -4_000, false),
            ("on the last day", &["127.0.0.1"], 90 * 86_400 - 1, true),
            ("afterwards", &["127.0.0.1"], 90 * 86_400 + 1, false),
            (
                "another name",
                &["127.0.0.1", "imagecache-webhook.elsewhere.svc"],
                0,
                false,
            ),
        ];
        for (row, wanted, seconds, good) in rows {
            let at = start() + jiff::SignedDuration::from_secs(seconds);
            assert_eq!(made.is_good(&names(wanted), at), good, "{row}");
        }
    }

    #[test]
    fn a_renewed_certificate_keeps_the_authority_before_it_and_no_older_one() {
        let ours = names(&["127.0.0.1"]);
        let first = make(&ours, start(), None).unwrap();
        let second = make(&ours, start() + 60 * DAY, Some(&first)).unwrap();
        let third = make(&ours, start() + 120 * DAY, Some(&second)).unwrap();
        assert!(trusts(&second.authorities, &first.authorities));
        assert!(!trusts(&first.authorities, &second.authorities));
        assert_eq!(certificates(&third.authorities).count(), MAX_AUTHORITIES);
        assert!(!trusts(&third.authorities, &first.authorities));
        let old_under_new = Material {
            authorities: second.authorities.clone(),
            ..first.clone()
        };
        assert!(
            old_under_new.is_good(&ours, start()),
            "who trusts the new bundle accepts the old certificate"
        );
        let new_under_old = Material {
            authorities: first.authorities.clone(),
            ..second
        };
        assert!(!new_under_old.is_good(&ours, start() + 60 * DAY));
    }

    #[test]
    fn what_is_broken_is_not_good_and_shows_no_key() {
        let ours = names(&["127.0.0.1"]);
        let (one, other) = (make(&ours, start(), None).unwrap(), make(&ours, start(), None).unwrap());
        let rows = [
            (
                "another's key",
                Material {
                    key: other.key.clone(),
                    ..one.clone()
                },
            ),
            (
                "no key",
                Material {
                    key: Secret::new(String::new()),
                    ..one.clone()
                },
            ),
            (
                "another's authority",
                Material {
                    authorities: other.authorities,
                    ..one.clone()
                },
            ),
            (
                "no authority",
                Material {
                    authorities: String::new(),
                    ..one.clone()
                },
            ),
            (
                "no certificate",
                Material {
                    chain: "garbage".to_owned(),
                    ..one.clone()
                },
            ),
        ];
        for (row, broken) in rows {
            assert!(!broken.is_good(&ours, start()), "{row}");
            let shown = format!("{broken:?} {:?}", broken.certified().err());
            assert!(!shown.contains("PRIVATE") && !shown.contains("BEGIN"), "{row}: {shown}");
        }
    }
}
