//! Resolving an image reference against a registry and its mirrors.

use std::sync::Arc;

use imagecache_core::{Digest, Error, ErrorKind, ImageRef, Platform, Result};
use reqwest::header::CONTENT_TYPE;

use crate::endpoint::{self, Endpoint};
use crate::error::{fail, is_wrong_digest, wrong_digest};
use crate::hash::{Hasher, verify};
use crate::image::{Blob, ResolvedImage};
use crate::manifest::{self, Descriptor, Document};
use crate::media_type::ACCEPT_MANIFESTS;
use crate::resolve::{self, Parts};
use crate::session::{Origin, Shared};
use crate::transport::{Ask, Bounded, Trust};

/// Largest manifest or index; registries refuse to store larger ones.
pub(crate) const MAX_MANIFEST_BYTES: usize = 4 * 1024 * 1024;
/// Largest image config; histories grow long, but not that long.
pub(crate) const MAX_CONFIG_BYTES: usize = 8 * 1024 * 1024;
/// Header in which a registry names the digest of a manifest.
const CONTENT_DIGEST: &str = "docker-content-digest";

/// What is wanted: a tag's manifest, or content by digest.
#[derive(Clone, Copy)]
struct Wanted<'a> {
    kind: &'static str,
    reference: &'a str,
    digest: Option<&'a Digest>,
    cap: usize,
    what: &'a str,
}

pub(crate) async fn resolve(shared: &Arc<Shared>, image: &ImageRef, platform: &Platform) -> Result<ResolvedImage> {
    // hosts.toml files are small; the rest is in memory.
    let endpoints = endpoint::endpoints(image, &shared.hosts, &shared.overrides, &shared.limits)?;
    let name = format!("image `{image}`");
    let top = Wanted {
        kind: "manifests",
        reference: &image.identifier(),
        digest: image.digest(),
        cap: MAX_MANIFEST_BYTES,
        what: &name,
    };
    let mut blob = fetch(shared, &endpoints, top).await?;
    let mut index = None;
    for depth in 0..=resolve::MAX_INDEX_DEPTH {
        let what = if depth == 0 {
            name.clone()
        } else {
            format!("manifest {} of {name}", blob.digest)
        };
        let entries = match manifest::parse_document(&blob.bytes, Some(&blob.media_type), &what)? {
            Document::Manifest(manifest) => {
                let what = format!("config of {name}");
                let config = by_digest(shared, &endpoints, "blobs", &manifest.config, MAX_CONFIG_BYTES, &what).await?;
                let parts = Parts {
                    reference: image.clone(),
                    index,
                    blob,
                    manifest,
                    config,
                };
                return resolve::finish(parts, platform, Arc::new(Origin::Registry(endpoints)));
            }
            Document::Index(entries) => entries,
        };
        let chosen = crate::select::select(&entries, platform, &name)?.descriptor.clone();
        let what = format!("manifest {} of {name}", chosen.digest);
        let next = by_digest(shared, &endpoints, "manifests", &chosen, MAX_MANIFEST_BYTES, &what).await?;
        // Users know the outermost index's digest.
        index.get_or_insert(std::mem::replace(&mut blob, next));
    }
    Err(fail(
        ErrorKind::Unsupported,
        "resolve",
        format!("{name} nests indexes too deeply"),
    ))
}

async fn by_digest(
    shared: &Shared,
    endpoints: &[Endpoint],
    kind: &'static str,
    descriptor: &Descriptor,
    cap: usize,
    what: &str,
) -> Result<Blob> {
    let reference = descriptor.digest.to_string();
    let wanted = Wanted {
        kind,
        reference: &reference,
        digest: Some(&descriptor.digest),
        cap,
        what,
    };
    let mut blob = fetch(shared, endpoints, wanted).await?;
    if !descriptor.media_type.is_empty() {
        blob.media_type.clone_from(&descriptor.media_type);
    }
    Ok(blob)
}

/// Asks one endpoint after the other. The error is the last one's, the registry's own.
async fn fetch(shared: &Shared, endpoints: &[Endpoint], wanted: Wanted<'_>) -> Result<Blob> {
    let mut last = None;
    for endpoint in endpoints {
        let may = endpoint.resolves || (wanted.digest.is_some() && endpoint.pulls);
        if !may {
            continue;
        }
        let fetched = match fetch_from(shared, endpoint, wanted).await {
            // A damaged transfer is worth one more; a lying registry is not worth a third.
            Err(error) if is_wrong_digest(&error) => fetch_from(shared, endpoint, wanted).await,
            other => other,
        };
        match fetched {
            Ok(blob) => return Ok(blob),
            Err(error) => {
                tracing::debug!(
                    host = endpoint.host,
                    error = &error as &dyn std::error::Error,
                    "endpoint failed"
                );
                last = Some(error);
            }
        }
    }
    let none = || {
        fail(
            ErrorKind::InvalidSpec,
            "resolve",
            format!("no registry is configured that may serve {}", wanted.what),
        )
    };
    Err(last.unwrap_or_else(none))
}

async fn fetch_from(shared: &Shared, endpoint: &Endpoint, wanted: Wanted<'_>) -> Result<Blob> {
    let client = shared.clients.get(&endpoint.tls)?;
    let ask = Ask {
        client: &client,
        auth: &shared.auth,
        endpoint,
        method: reqwest::Method::GET,
        url: endpoint.url(wanted.kind, wanted.reference),
        accept: (wanted.kind == "manifests").then_some(ACCEPT_MANIFESTS),
        from: 0,
        trust: if wanted.digest.is_some() {
            Trust::Digest
        } else {
            Trust::Server
        },
        bounded: Bounded {
            what: wanted.what,
            operation: "resolve",
            retry: &shared.retry,
        },
    };
    let (headers, bytes) = ask.bytes(wanted.cap).await?;
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let digest = match wanted.digest {
        Some(digest) => {
            verify(&bytes, digest, "resolve", wanted.what)?;
            digest.clone()
        }
        None => tag_digest(&bytes, text(CONTENT_DIGEST), wanted.what)?,
    };
    let media_type = text(CONTENT_TYPE.as_str()).unwrap_or_default();
    let media_type = media_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    Ok(Blob {
        digest,
        media_type,
        bytes: bytes.into(),
    })
}

/// The digest of a tag's manifest, checked against what the registry itself says.
fn tag_digest(bytes: &[u8], header: Option<&str>, what: &str) -> Result<Digest, Error> {
    let Some(said) = header.and_then(|text| text.trim().parse::<Digest>().ok()) else {
        return Ok(Digest::sha256_of(bytes));
    };
    let mut hasher = Hasher::like(&said);
    hasher.update(bytes);
    let found = hasher.finish()?;
    if found == said {
        Ok(found)
    } else {
        Err(wrong_digest("resolve", what, &said, &found))
    }
}
