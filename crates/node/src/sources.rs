//! The stores of this node, followed: what they hold is known, and hashed, before a pod needs it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use imagecache_core::chain;
use tokio::sync::Notify;

use crate::error::{Error, Result};
use crate::snapshotter::Snapshotter;
use crate::status::Status;
use crate::verify::Memory;
use crate::volumes::{self, Volume};

/// How often stores are looked at. A look is one `stat` where nothing changed.
const INTERVAL: Duration = Duration::from_secs(1);
/// How a volume is named by its label.
const LABEL_PREFIX: &str = "LABEL=";

/// Where layers may be. It may appear later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A store directory, or a block device or file that holds a volume.
    Path(PathBuf),
    /// A block device that holds a volume with this label.
    Label(String),
}

impl FromStr for Source {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.strip_prefix(LABEL_PREFIX) {
            Some("") => Err(Error::InvalidArgument(format!("`{text}` names no label"))),
            Some(label) => Ok(Self::Label(label.to_owned())),
            None => Ok(Self::Path(text.into())),
        }
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Path(path) => path.display().fmt(f),
            Self::Label(label) => write!(f, "{LABEL_PREFIX}{label}"),
        }
    }
}

/// Follows the sources until `shutdown`. What cannot be read is reported once, and looked at again. Whoever knows of a change
/// may `wake` it, so that it looks at once.
pub async fn follow(
    snapshotter: Arc<Snapshotter>,
    sources: Vec<Source>,
    wake: Arc<Notify>,
    shutdown: impl Future<Output = ()>,
) {
    let mut shutdown = std::pin::pin!(shutdown);
    let mut following = Following::new(sources);
    loop {
        let snapshotter = Arc::clone(&snapshotter);
        let work = tokio::task::spawn_blocking(move || {
            following.look(&snapshotter);
            following
        });
        tokio::select! {
            done = work => match done {
                Ok(done) => following = done,
                // It died, and said so; the snapshots go on with what is known.
                Err(_) => return,
            },
            () = &mut shutdown => return,
        }
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            () = wake.notified() => {}
            () = &mut shutdown => return,
        }
    }
}

/// What was seen at the last look.
#[derive(Debug)]
struct Following {
    sources: Vec<Source>,
    volumes: BTreeMap<usize, Volume>,
    /// What was complained about, by source.
    complaints: BTreeMap<usize, String>,
    status: Option<Status>,
}

impl Following {
    fn new(sources: Vec<Source>) -> Self {
        Self {
            sources,
            volumes: BTreeMap::new(),
            complaints: BTreeMap::new(),
            status: None,
        }
    }

    /// Looks at every source once, and hashes what is new.
    fn look(&mut self, snapshotter: &Snapshotter) {
        for number in 0..self.sources.len() {
            let Some(source) = self.sources.get(number).cloned() else {
                continue;
            };
            match self.look_at(snapshotter, number, &source) {
                Ok(()) => {
                    self.complaints.remove(&number);
                }
                Err(error) => {
                    let text = chain(&error);
                    if self.complaints.get(&number) != Some(&text) {
                        tracing::warn!(store = %source, error = text, "a store cannot be read; it counts as empty");
                        self.complaints.insert(number, text);
                    }
                }
            }
        }
        let status = Status::of(
            snapshotter,
            self.sources
                .iter()
                .zip(0..)
                .map(|(source, number)| (source.to_string(), self.complaints.get(&number).cloned())),
        );
        if self.status.as_ref() != Some(&status) {
            match status.write(&snapshotter.layout().status()) {
                Ok(()) => self.status = Some(status),
                Err(error) => tracing::warn!(error = %chain(&error), "what this node holds cannot be written down"),
            }
        }
    }

    fn look_at(&mut self, snapshotter: &Snapshotter, number: usize, source: &Source) -> Result<()> {
        let (directory, memory) = match source {
            Source::Path(path) if path.is_dir() => (path.clone(), Memory::Kept),
            Source::Path(path) => (self.volume(snapshotter, number, path)?, Memory::Process),
            Source::Label(label) => {
                let device = volumes::find_label(label)?;
                (self.volume(snapshotter, number, &device)?, Memory::Process)
            }
        };
        let supply = snapshotter.supply();
        let Some(layers) = supply.catalog.refresh(&directory, memory)? else {
            return Ok(());
        };
        let sound = layers.iter().filter(|layer| supply.is_sound(layer)).count();
        let damaged = layers.len() - sound;
        tracing::info!(store = %source, layers = sound, damaged, "layers of this store are ready");
        Ok(())
    }

    /// Where the volume on a device or in a file is mounted.
    fn volume(&mut self, snapshotter: &Snapshotter, number: usize, device: &std::path::Path) -> Result<PathBuf> {
        let target = snapshotter.layout().volumes().join(number.to_string());
        let mounted = Volume::mount(device, &target, self.volumes.get(&number))?;
        self.volumes.insert(number, mounted);
        Ok(target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_paths_or_labels() {
        for text in ["/var/lib/imagecache", "/dev/vdb", "LABEL=imagecache", "label"] {
            assert_eq!(text.parse::<Source>().unwrap().to_string(), text);
        }
        assert_eq!("LABEL=x".parse::<Source>().unwrap(), Source::Label("x".to_owned()));
        assert!("LABEL=".parse::<Source>().is_err());
    }
}
