//! Looking into a directory store from outside.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::image::digest;

/// What must be the same in two stores that hold the same caches: the layer images, the patches and their records.
const SHARED: &[&str] = &["layers", "patches"];

/// Where a store keeps what is not finished.
const UNFINISHED: &str = "tmp";

/// Every file below a directory, with its digest; no directory, no files.
pub fn files(dir: &Path) -> Result<BTreeMap<PathBuf, String>> {
    let mut found = BTreeMap::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(next) = dirs.pop() {
        if !next.exists() {
            continue;
        }
        for entry in std::fs::read_dir(&next).with_context(|| format!("cannot list {}", next.display()))? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                dirs.push(entry.path());
            } else {
                let path = entry.path();
                let bytes = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
                found.insert(path.strip_prefix(dir)?.to_owned(), digest(&bytes));
            }
        }
    }
    Ok(found)
}

/// The layer images of a store.
pub fn layer_images(store: &Path) -> Result<Vec<PathBuf>> {
    let layers = store.join("layers");
    let names = files(&layers)?
        .into_keys()
        .filter(|path| path.extension().is_some_and(|ending| ending == "erofs"));
    Ok(names.map(|name| layers.join(name)).collect())
}

/// Fails if a store holds anything that `reference`, built without interruption, does not, or lacks something of it.
pub fn same_content(store: &Path, reference: &Path) -> Result<()> {
    for part in SHARED {
        let (ours, theirs) = (files(&store.join(part))?, files(&reference.join(part))?);
        for (path, digest) in &ours {
            if theirs.get(path) != Some(digest) {
                bail!(
                    "{part}/{} is left over or differs from an uninterrupted build",
                    path.display()
                );
            }
        }
        if let Some(path) = theirs.keys().find(|path| !ours.contains_key(*path)) {
            bail!("{part}/{} is missing", path.display());
        }
    }
    nothing_unfinished(store)
}

/// Fails if a store holds half-written files.
pub fn nothing_unfinished(store: &Path) -> Result<()> {
    match files(&store.join(UNFINISHED))?.keys().next() {
        Some(path) => bail!("{UNFINISHED}/{} was left over", path.display()),
        None => Ok(()),
    }
}
