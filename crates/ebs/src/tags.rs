//! What a snapshot says of itself.

use std::collections::BTreeMap;

use imagecache_blocks::SnapshotId;
use imagecache_core::{CacheId, CacheKey, Digest, ImageRef};

/// Whose snapshot it is: the store's identity.
pub(crate) const OWNER: &str = "imagecache.dev/owner";
/// The token it was started with. A journal that names it claims the snapshot.
pub(crate) const UPLOAD: &str = "imagecache.dev/upload";
/// The snapshot that it was made on top of. EC2 does not tell.
pub(crate) const PARENT: &str = "imagecache.dev/parent";
const MANAGED_BY: &str = "imagecache.dev/managed-by";
const MANAGER: &str = "imagecache";
const CACHE: &str = "imagecache.dev/cache";
const KEY: &str = "imagecache.dev/key";
/// Which images it holds.
const INDEX: &str = "imagecache.dev/index";
/// Which volume exactly, when that was known at the start.
const MANIFEST: &str = "imagecache.dev/manifest";
const NAME: &str = "Name";
/// Longest description and tag value (EBS direct APIs).
const MOST_CHARS: usize = 255;

/// What a snapshot is for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Purpose<'a> {
    pub(crate) owner: &'a str,
    pub(crate) cache: &'a CacheId,
    pub(crate) key: &'a CacheKey,
    pub(crate) index: &'a Digest,
    pub(crate) manifest: Option<&'a SnapshotId>,
}

/// Every tag; those of the configuration cannot take the place of ours.
pub(crate) fn tags(
    purpose: &Purpose<'_>,
    token: &str,
    parent: Option<&str>,
    configured: &BTreeMap<String, String>,
) -> Vec<(String, String)> {
    let index = purpose.index.to_string();
    let own = [
        (MANAGED_BY, MANAGER),
        (OWNER, purpose.owner),
        (UPLOAD, token),
        (CACHE, purpose.cache.as_str()),
        (KEY, purpose.key.as_str()),
        (INDEX, index.as_str()),
    ];
    let mut all = configured.clone();
    all.entry(NAME.to_owned())
        .or_insert_with(|| format!("{MANAGER} {}", purpose.cache));
    all.extend(own.map(|(key, value)| (key.to_owned(), value.to_owned())));
    all.extend(
        purpose
            .manifest
            .map(|manifest| (MANIFEST.to_owned(), manifest.to_string())),
    );
    all.extend(parent.map(|parent| (PARENT.to_owned(), parent.to_owned())));
    all.into_iter().collect()
}

/// The images, as many as there is room for.
pub(crate) fn description(cache: &CacheId, images: &[ImageRef]) -> String {
    let images: Vec<String> = images.iter().map(ToString::to_string).collect();
    let text = format!("{MANAGER} {cache}: {}", images.join(" "));
    text.chars()
        .filter(|char| char.is_ascii_graphic() || *char == ' ')
        .take(MOST_CHARS)
        .collect()
}
