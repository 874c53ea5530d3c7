//! What a request to the mirror asks for.

use imagecache_core::{Digest, ImageRef};

/// Query parameter with the registry that the mirror stands for; containerd sends it to every mirror.
const NAMESPACE: &str = "ns";
const PREFIX: &str = "/v2/";

/// A document of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    /// Registry, repository, and the tag or the digest of what is asked for.
    pub(super) image: ImageRef,
    /// From which of a registry's two collections.
    pub(super) kind: Kind,
}

/// The two collections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Manifests and indexes.
    Manifest,
    /// Everything by digest.
    Blob,
}

impl Asked {
    /// Reads a path and a query; `None` for what a mirror does not have.
    pub(super) fn parse(path: &str, query: &str) -> Option<Self> {
        let rest = path.strip_prefix(PREFIX)?;
        let (repository, kind, reference) = [("/manifests/", Kind::Manifest), ("/blobs/", Kind::Blob)]
            .into_iter()
            .find_map(|(separator, kind)| {
                let (repository, reference) = rest.rsplit_once(separator)?;
                Some((repository, kind, reference))
            })?;
        let mut pairs = form_urlencoded::parse(query.as_bytes());
        let (_, registry) = pairs.find(|(name, _)| name == NAMESPACE)?;
        let by_digest = reference.parse::<Digest>().is_ok();
        if kind == Kind::Blob && !by_digest {
            return None;
        }
        let separator = if by_digest { '@' } else { ':' };
        let image = ImageRef::parse(&format!("{registry}/{repository}{separator}{reference}")).ok()?;
        // Nothing may come to mean another registry than the caller named.
        (image.registry() == registry).then_some(Self { image, kind })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    #[test]
    fn requests_are_read_or_not_known() {
        let digest = format!("/v2/a/b/manifests/{DIGEST}");
        let blob = format!("/v2/library/nginx/blobs/{DIGEST}");
        for (path, query, expected) in [
            (
                "/v2/a/b/manifests/1.0",
                "ns=r.io",
                Some(("r.io/a/b:1.0".to_owned(), Kind::Manifest)),
            ),
            (
                &digest,
                "ns=127.0.0.1%3A5000",
                Some((format!("127.0.0.1:5000/a/b@{DIGEST}"), Kind::Manifest)),
            ),
            (
                &blob,
                "x=y&ns=docker.io",
                Some((format!("docker.io/library/nginx@{DIGEST}"), Kind::Blob)),
            ),
            (
                "/v2/a/manifests/manifests/x",
                "ns=r.io",
                Some(("r.io/a/manifests:x".to_owned(), Kind::Manifest)),
            ),
            ("/v2/a/manifests/1", "", None),
            ("/v2/a/manifests/1", "ns=", None),
            ("/v2/a/manifests/1", "ns=../x", None),
            ("/v2/a/manifests/1", "ns=nohost", None),
            ("/v2/../a/manifests/1", "ns=r.io", None),
            ("/v2/a/blobs/1", "ns=r.io", None),
            ("/v2/a/manifests/sha256:zz", "ns=r.io", None),
            ("/v2/a/tags/list", "ns=r.io", None),
            ("/v2/_catalog", "ns=r.io", None),
            ("/other", "ns=r.io", None),
        ] {
            let asked = Asked::parse(path, query).map(|asked| (asked.image.to_string(), asked.kind));
            assert_eq!(asked, expected, "{path}?{query}");
        }
    }
}
