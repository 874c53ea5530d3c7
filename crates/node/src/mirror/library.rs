//! Finding a document in the stores' OCI layouts.

use std::sync::Arc;

use imagecache_blocks::{DirectoryStore, Store as _, StoredImage, stored_images};
use imagecache_core::{Digest, ImageRef, chain};
use serde::Deserialize;

use super::request::{Asked, Kind};
use crate::catalog::{INDEX, OpenStore};
use crate::error::Result;

/// Media type of an index that does not say its own; Docker's always do.
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Of everything that is asked for as a blob.
const BLOB: &str = "application/octet-stream";

/// A document whose bytes were just compared with its digest.
pub(super) struct Document {
    pub(super) image: ImageRef,
    pub(super) digest: Digest,
    pub(super) media_type: String,
    pub(super) bytes: Vec<u8>,
    /// The manifest that it belongs to: what a registry can be asked about.
    pub(super) manifest: Digest,
    /// Whether its registry gives it to anyone.
    pub(super) public: bool,
}

/// What the stores have.
pub(super) enum Lookup {
    Found(Box<Document>),
    Unknown {
        /// Whether the repository has an image that anyone may have.
        public: bool,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    media_type: Option<String>,
    config: Option<Config>,
}

#[derive(Deserialize)]
struct Config {
    digest: Digest,
}

/// Looks in one store after the other. Blocks.
pub(super) fn find(stores: &[Arc<OpenStore>], asked: &Asked) -> Lookup {
    let mut repository_is_public = false;
    for store in stores {
        let found = images_of(&store.store, &asked.image).and_then(|images| {
            repository_is_public |= images.iter().any(|image| image.public);
            find_in(&store.store, &images, asked)
        });
        match found {
            Ok(Some(document)) => return Lookup::Found(Box::new(document)),
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(image = %asked.image, error = %chain(&error), "a store cannot be read for the mirror");
            }
        }
    }
    Lookup::Unknown {
        public: repository_is_public,
    }
}

/// The store's images of the same repository; public ones first, so that one that is kept both ways is.
fn images_of(store: &DirectoryStore, wanted: &ImageRef) -> Result<Vec<StoredImage>> {
    let mut images = stored_images(&store.top_file(INDEX)?)?;
    images.retain(|image| {
        image.reference.registry() == wanted.registry() && image.reference.repository() == wanted.repository()
    });
    images.sort_by_key(|image| !image.public);
    Ok(images)
}

fn find_in(store: &DirectoryStore, images: &[StoredImage], asked: &Asked) -> Result<Option<Document>> {
    let Some(digest) = asked.image.digest() else {
        return by_tag(store, images, &asked.image);
    };
    for image in images {
        if *digest == image.manifest || Some(digest) == image.index.as_ref() {
            let document = document(store, image, digest)?;
            return Ok(document.map(|document| match asked.kind {
                Kind::Manifest => document,
                Kind::Blob => Document {
                    media_type: BLOB.to_owned(),
                    ..document
                },
            }));
        }
        if asked.kind == Kind::Blob && config_of(store, image)?.as_ref() == Some(digest) {
            let bytes = store.blob(digest)?;
            return Ok(bytes.map(|bytes| Document {
                image: image.reference.clone(),
                digest: digest.clone(),
                media_type: BLOB.to_owned(),
                bytes,
                manifest: image.manifest.clone(),
                public: image.public,
            }));
        }
    }
    Ok(None)
}

/// What a tag means: the multi-platform index where there is one, since its digest is what pods and containerd know the image by.
fn by_tag(store: &DirectoryStore, images: &[StoredImage], wanted: &ImageRef) -> Result<Option<Document>> {
    // One that was cached by digest says nothing about the tag beside it.
    let named = images
        .iter()
        .filter(|image| image.reference.digest().is_none() && image.reference.tag() == wanted.tag());
    let named: Vec<&StoredImage> = named.collect();
    let Some(image) = newest(store, &named) else {
        return Ok(None);
    };
    document(store, image, image.index.as_ref().unwrap_or(&image.manifest))
}

/// The one that was cached last, of several that a tag meant at different times.
fn newest<'a>(store: &DirectoryStore, images: &[&'a StoredImage]) -> Option<&'a StoredImage> {
    let first = *images.first()?;
    if images.iter().all(|image| image.manifest == first.manifest) {
        return Some(first);
    }
    let records = store.cache_ids().into_iter().flatten();
    let mut ready: Vec<_> = records
        .filter_map(|id| store.record(&id).ok().flatten())
        .filter(imagecache_blocks::CacheRecord::is_ready)
        .collect();
    ready.sort_by_key(|record| std::cmp::Reverse(record.state.created_at));
    let built = ready.iter().flat_map(|record| &record.images);
    let mut matching = built.filter_map(|record| {
        images
            .iter()
            .find(|image| image.reference == record.reference && image.manifest == record.manifest)
    });
    Some(matching.next().copied().unwrap_or(first))
}

fn document(store: &DirectoryStore, image: &StoredImage, digest: &Digest) -> Result<Option<Document>> {
    let Some(bytes) = store.blob(digest)? else {
        return Ok(None);
    };
    let media_type = if *digest == image.manifest {
        image.media_type.clone()
    } else {
        let head: Option<Head> = serde_json::from_slice(&bytes).ok();
        head.and_then(|head| head.media_type)
            .unwrap_or_else(|| OCI_INDEX.to_owned())
    };
    Ok(Some(Document {
        image: image.reference.clone(),
        digest: digest.clone(),
        media_type,
        bytes,
        manifest: image.manifest.clone(),
        public: image.public,
    }))
}

fn config_of(store: &DirectoryStore, image: &StoredImage) -> Result<Option<Digest>> {
    let manifest = store.blob(&image.manifest)?;
    let head = manifest.and_then(|bytes| serde_json::from_slice::<Head>(&bytes).ok());
    Ok(head.and_then(|head| head.config).map(|config| config.digest))
}
