//! What a node holds, short enough for an annotation.

use imagecache_blocks::stored_images;
use serde::Serialize;

use crate::catalog::INDEX;
use crate::layout::Layout;
use crate::snapshotter::Snapshotter;
use crate::status::{Status, StoreStatus};

/// Most bytes of all names in a list. All annotations of an object share 256 KiB, and every change of a node's goes to everyone
/// who watches nodes.
const MAX_LIST_BYTES: usize = 8 * 1024;

/// What a node holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeReport {
    /// Images that the stores hold, sorted; as many as fit.
    pub images: Vec<String>,
    /// How many there are.
    pub image_count: usize,
    /// Layers that can be mounted instead of being pulled.
    pub layers: usize,
    /// Files of layer images that are damaged; as many as fit.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub damaged: Vec<String>,
    /// How many there are.
    pub damaged_count: usize,
    /// Where layers are looked for.
    pub sources: Vec<StoreStatus>,
}

impl NodeReport {
    /// The report now. Reads indexes of stores; blocks.
    pub fn of(snapshotter: &Snapshotter) -> Self {
        let supply = snapshotter.supply();
        let mut images: Vec<String> = Vec::new();
        for store in supply.catalog.stores() {
            // One that cannot be read is among the sources, with its problem.
            let index = store.store.top_file(INDEX).and_then(|bytes| stored_images(&bytes));
            images.extend(index.into_iter().flatten().map(|image| image.reference.to_string()));
        }
        images.sort();
        images.dedup();
        let damaged: Vec<String> = supply
            .damage()
            .into_iter()
            .map(|(file, _)| file.display().to_string())
            .collect();
        let status = Status::read(&Layout::status_below(snapshotter.layout().root()));
        let (_, layers) = supply.catalog.size();
        Self {
            image_count: images.len(),
            images: fitting(images),
            layers,
            damaged_count: damaged.len(),
            damaged: fitting(damaged),
            sources: status.ok().flatten().unwrap_or_default().stores,
        }
    }
}

/// The first names of a list that fit.
fn fitting(names: Vec<String>) -> Vec<String> {
    let mut left = MAX_LIST_BYTES;
    let fits = |name: &String| match left.checked_sub(name.len()) {
        Some(rest) => {
            left = rest;
            true
        }
        None => false,
    };
    names.into_iter().take_while(fits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_of_any_store_fits_into_an_annotation() {
        let names: Vec<String> = (0..10_000)
            .map(|number| format!("registry.example.com/image:{number:04}"))
            .collect();
        let kept = fitting(names.clone());
        let bytes: usize = kept.iter().map(String::len).sum();
        assert!(bytes <= MAX_LIST_BYTES && bytes > MAX_LIST_BYTES / 2, "{bytes}");
        assert_eq!(kept, names[..kept.len()]);
    }
}
