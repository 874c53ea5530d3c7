//! What this node holds, for people and programs: `status.json` in the root directory, replaced whenever it changes.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::snapshotter::Snapshotter;

/// What a node holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The stores that are followed.
    pub stores: Vec<StoreStatus>,
    /// Images whose layers can be mounted.
    pub images: usize,
    /// Layers that can be mounted, each counted once for every chain that ends with it.
    pub layers: usize,
    /// Images that are damaged; their layers are pulled.
    pub damaged: Vec<DamagedImage>,
}

/// One store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreStatus {
    /// As it was given.
    pub source: String,
    /// Why it cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// A damaged image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DamagedImage {
    /// The file.
    pub file: String,
    /// How it shows.
    pub reason: String,
}

impl Status {
    /// The status now.
    pub(crate) fn of(snapshotter: &Snapshotter, stores: impl Iterator<Item = (String, Option<String>)>) -> Self {
        let (images, layers) = snapshotter.supply().catalog.size();
        let damaged = snapshotter.supply().damage().into_iter();
        Self {
            stores: stores
                .map(|(source, problem)| StoreStatus { source, problem })
                .collect(),
            images,
            layers,
            damaged: damaged
                .map(|(file, reason)| DamagedImage {
                    file: file.display().to_string(),
                    reason,
                })
                .collect(),
        }
    }

    /// Reads what [`Status::write`] wrote; `None` when nothing did.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>> {
        match fs::read(path) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("read", path, error)),
        }
    }

    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let new = path.with_extension("new");
        let json = serde_json::to_vec_pretty(self).unwrap_or_default();
        fs::write(&new, json).map_err(|error| Error::io("write", &new, error))?;
        fs::rename(&new, path).map_err(|error| Error::io("replace", path, error))
    }
}
