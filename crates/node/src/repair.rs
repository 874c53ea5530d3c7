//! Having a damaged part of a store fetched again by whoever builds its caches.

use imagecache_blocks::{DirectoryStore, Error as BlocksError, Part};
use imagecache_core::chain;

use crate::catalog::{OpenStore, Origin};
use crate::error::Error;
use crate::file_state::FileState;

/// Has the store remove a part whose image file does not have its digests.
pub(crate) fn repair(store: &OpenStore, part: &Part, inode: Option<u64>) {
    if store.origin != Origin::Directory {
        return;
    }
    match DirectoryStore::open(store.store.root()).and_then(|store| store.quarantine(part, inode)) {
        Ok(Some(caches)) => {
            let caches: Vec<String> = caches.iter().map(ToString::to_string).collect();
            tracing::warn!(%part, caches = caches.join(" "), "a damaged layer image was removed; its caches are built again");
        }
        Ok(None) => tracing::info!(%part, "a damaged layer image is being replaced"),
        // A store that only its owner can write to, such as one of another machine.
        Err(error) => {
            tracing::warn!(%part, error = %chain(&error), "a damaged layer image stays; have its caches deleted and made again");
        }
    }
}

/// The same when the store itself said so: its file is missing or has another length. A record that cannot be read may be one
/// of a newer program, so that part stays.
pub(crate) fn repair_after(store: &OpenStore, part: &Part, error: &Error) {
    let file = store.file(part);
    if matches!(error, Error::Blocks(BlocksError::Damaged { path, .. }) if *path == file) {
        repair(store, part, FileState::at(&file).ok().map(FileState::inode));
    }
}
