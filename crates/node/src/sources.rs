//! The stores of this node, followed: what they hold is known, and hashed, before a pod needs it.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use imagecache_core::chain;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::catalog::{Candidate, Origin};
use crate::error::{Error, Result};
use crate::labels::Labels;
use crate::layout::numbers_in;
use crate::snapshotter::Snapshotter;
use crate::status::Status;
use crate::supply::Supply;
use crate::volumes::{self, Volume};

/// How often stores are looked at. A look is one `stat` where nothing changed.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long the first look may keep the snapshotter from serving, and how often it is asked whether it is over.
const FIRST_LOOK: Duration = Duration::from_secs(5);
const FIRST_LOOK_POLL: Duration = Duration::from_millis(5);
/// After this time of hashing the stores are looked at again, so that a large volume does not hide a new cache. Whoever needs a
/// layer before has it hashed.
const SLICE: Duration = Duration::from_secs(1);
/// Looks between two that also clean up.
const TIDY_LOOKS: u64 = 60;
/// After this time damaged layers are read again, and after twice as much each time, up to the longest.
const RETRY: Duration = Duration::from_secs(10);
const LONGEST_RETRY: Duration = Duration::from_secs(600);
/// A volume is hashed as a whole then, so that ends after this time, until it changes.
const LONGEST_VOLUME_RETRY: Duration = Duration::from_secs(160);
/// Numbers of mountings of volumes; 0 is for what is no volume.
static MOUNTINGS: AtomicU64 = AtomicU64::new(1);
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

/// Follows the stores of a node: has volumes mounted, indexes read, new layers hashed and mounted.
#[derive(Debug)]
pub struct Follower {
    snapshotter: Arc<Snapshotter>,
    sources: Vec<Source>,
    first: JoinHandle<Following>,
}

impl Follower {
    /// Takes a first look, which mounts volumes and reads what every store holds, and hashes nothing. Returns when it is
    /// over, so that layers are not pulled that a store has, or after five seconds: a device that hangs must not keep
    /// containers from starting.
    pub async fn start(snapshotter: Arc<Snapshotter>, sources: Vec<Source>) -> Self {
        let mut following = Following::new(sources.clone());
        let looking = Arc::clone(&snapshotter);
        let first = tokio::task::spawn_blocking(move || {
            following.begin(&looking);
            following.read(&looking);
            looking.supply().set_read();
            following
        });
        let over = tokio::time::timeout(FIRST_LOOK, async {
            // The result is taken by whoever follows.
            while !first.is_finished() {
                tokio::time::sleep(FIRST_LOOK_POLL).await;
            }
        });
        if over.await.is_err() {
            tracing::warn!("the stores take long to read; serving without what they hold until then");
        }
        Self {
            snapshotter,
            sources,
            first,
        }
    }

    /// Looks at the stores again and again until `shutdown`. What cannot be read is reported once, and looked at again. What
    /// is being hashed then is given up. Whoever knows of a change may `wake` it, so that it looks at once.
    pub async fn follow(self, wake: Arc<Notify>, shutdown: impl Future<Output = ()>) {
        let Self {
            snapshotter,
            sources,
            first: mut work,
        } = self;
        let mut died = false;
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            let done = tokio::select! {
                done = &mut work => done,
                () = &mut shutdown => break,
            };
            let mut following = done.unwrap_or_else(|error| {
                // It said why. What it knew is lost, so everything is looked at anew.
                tracing::error!(%error, "a look at the stores died; trying again");
                snapshotter.supply().catalog.clear();
                died = true;
                Following::new(sources.clone())
            });
            // What a look found is hashed at once.
            if !following.is_busy() || std::mem::take(&mut died) {
                tokio::select! {
                    () = tokio::time::sleep(INTERVAL) => {}
                    () = wake.notified() => {}
                    () = &mut shutdown => break,
                }
            }
            let looking = Arc::clone(&snapshotter);
            work = tokio::task::spawn_blocking(move || {
                following.look(&looking);
                following
            });
        }
        snapshotter.supply().verifier.stop();
    }
}

/// What was seen at the last look.
#[derive(Debug)]
struct Following {
    sources: Vec<Source>,
    seen: Vec<Seen>,
    labels: Labels,
    status: Option<Status>,
    /// Looks that were taken.
    looks: u64,
    /// The catalog is not the one of the last mounting ahead.
    changed: bool,
}

/// One source, as it was seen.
#[derive(Debug, Default)]
struct Seen {
    volume: Option<(Volume, u64)>,
    /// What was complained about.
    complaint: Option<String>,
    /// Devices that have the same label.
    twins: Vec<PathBuf>,
    /// What is being hashed.
    checking: Option<Checking>,
    /// When damaged layers are looked at again, and how long was waited for that.
    retry: Option<(Instant, Duration)>,
}

/// Layers on their way through the verifier.
#[derive(Debug, Default)]
struct Checking {
    /// Those that nobody asked for yet.
    left: Vec<Candidate>,
    sound: usize,
    damaged: usize,
    hashed_bytes: u64,
    spent: Duration,
}

impl Checking {
    fn of(left: Vec<Candidate>) -> Self {
        Self {
            left,
            ..Self::default()
        }
    }

    /// Goes on for a while, or to the end.
    fn advance(&mut self, supply: &Supply) {
        let (begin, hashed) = (Instant::now(), supply.verifier.hashed());
        while let Some(layer) = self.left.pop() {
            match supply.checked(&layer) {
                Some(_) => self.sound += 1,
                None => self.damaged += 1,
            }
            if begin.elapsed() >= SLICE {
                break;
            }
        }
        self.hashed_bytes += supply.verifier.hashed() - hashed;
        self.spent += begin.elapsed();
    }

    /// How much was hashed, in MiB, and in MiB a second.
    fn speed(&self) -> (f64, f64) {
        let mib = self.hashed_bytes as f64 / f64::from(1 << 20);
        let speed = mib / self.spent.as_secs_f64().max(f64::EPSILON);
        (mib.round(), speed.round())
    }
}

impl Following {
    fn new(sources: Vec<Source>) -> Self {
        Self {
            seen: sources.iter().map(|_| Seen::default()).collect(),
            sources,
            labels: Labels::default(),
            status: None,
            looks: 0,
            changed: true,
        }
    }

    /// Takes away the mounts of volumes that an earlier process left: it may have had other sources. Images that are mounted
    /// from them keep them.
    fn begin(&mut self, snapshotter: &Snapshotter) {
        let volumes = snapshotter.layout().volumes();
        for number in numbers_in(&volumes).unwrap_or_default() {
            if let Err(error) = volumes::remove_mount(&volumes.join(number.to_string())) {
                tracing::warn!(number, error = %chain(&error), "the mount of a volume stays");
            }
        }
    }

    /// Looks at every source once, hashes what is new and has it mounted.
    fn look(&mut self, snapshotter: &Snapshotter) {
        self.read(snapshotter);
        for number in 0..self.sources.len() {
            self.check(snapshotter, number);
        }
        self.looks += 1;
        let tidy = self.looks.is_multiple_of(TIDY_LOOKS);
        if (std::mem::take(&mut self.changed) || tidy)
            && let Err(error) = snapshotter.mount_ahead()
        {
            tracing::warn!(error = %chain(&error), "layers cannot be mounted ahead; they are mounted when a pod needs them");
        }
        if tidy {
            self.tidy(snapshotter);
        }
        self.report(snapshotter);
    }

    /// Mounts volumes and reads what every store holds, where something changed.
    fn read(&mut self, snapshotter: &Snapshotter) {
        for (number, source) in self.sources.clone().iter().enumerate() {
            let read = self.read_source(snapshotter, number, source);
            let Some(seen) = self.seen.get_mut(number) else {
                continue;
            };
            match read {
                Ok(None) => seen.complaint = None,
                Ok(Some(layers)) => {
                    seen.complaint = None;
                    seen.checking = Some(Checking::of(layers));
                    self.changed = true;
                }
                Err(error) => {
                    let text = chain(&error);
                    if seen.complaint.as_ref() != Some(&text) {
                        tracing::warn!(store = %source, error = text, "a store cannot be read; it counts as empty");
                        seen.complaint = Some(text);
                        self.changed = true;
                    }
                    seen.checking = None;
                    self.forget(snapshotter, number, source);
                }
            }
        }
    }

    fn read_source(
        &mut self,
        snapshotter: &Snapshotter,
        number: usize,
        source: &Source,
    ) -> Result<Option<Vec<Candidate>>> {
        let catalog = &snapshotter.supply().catalog;
        let device = match source {
            Source::Path(path) if path.is_dir() => return catalog.refresh(path, &Origin::Directory),
            Source::Path(path) => path.clone(),
            Source::Label(label) => self.device_of(number, source, label)?,
        };
        let target = volume_target(snapshotter, number);
        let Some(seen) = self.seen.get_mut(number) else {
            return Ok(None);
        };
        let known = seen.volume.as_ref().map(|(volume, _)| volume);
        let volume = Volume::mount(&device, &target, known)?;
        let mounting = match &seen.volume {
            Some((known, mounting)) if *known == volume => *mounting,
            _ => MOUNTINGS.fetch_add(1, Ordering::Relaxed),
        };
        let mark = volume.mark.clone();
        seen.volume = Some((volume, mounting));
        catalog.refresh(&target, &Origin::Volume { mark, mounting })
    }

    /// The device with this label. Of several the one that is mounted stays.
    fn device_of(&mut self, number: usize, source: &Source, label: &str) -> Result<PathBuf> {
        let devices = self.labels.find(label)?;
        let Some(seen) = self.seen.get_mut(number) else {
            return Err(Error::InvalidArgument(format!("there is no source {number}")));
        };
        let mounted = seen.volume.as_ref().map(|(volume, _)| volume.mark.device());
        let device = devices.iter().find(|device| Some(device.as_path()) == mounted);
        let device = device.or_else(|| devices.first()).cloned().unwrap_or_default();
        if devices.len() > 1 && seen.twins != devices {
            tracing::warn!(store = %source, ?devices, used = %device.display(), "several devices have this label; name the others by path to use them too");
        }
        seen.twins = devices;
        Ok(device)
    }

    /// Nothing of a store that is gone is offered any more. Images of it that are mounted and in use stay.
    fn forget(&mut self, snapshotter: &Snapshotter, number: usize, source: &Source) {
        let catalog = &snapshotter.supply().catalog;
        let target = volume_target(snapshotter, number);
        catalog.forget(&target);
        if let Source::Path(path) = source {
            catalog.forget(path);
        }
        if let Some(seen) = self.seen.get_mut(number)
            && seen.volume.take().is_some()
            && let Err(error) = volumes::remove_mount(&target)
        {
            tracing::warn!(store = %source, error = %chain(&error), "the mount of a volume stays");
        }
    }

    /// Whether something is left to be hashed.
    fn is_busy(&self) -> bool {
        self.seen.iter().any(|seen| seen.checking.is_some())
    }

    /// Hashes what is new in a store, and from time to time what was damaged.
    fn check(&mut self, snapshotter: &Snapshotter, number: usize) {
        let supply = snapshotter.supply();
        let due = |seen: &Seen| seen.checking.is_none() && seen.retry.is_some_and(|(at, _)| at <= Instant::now());
        if self.seen.get(number).is_some_and(due) {
            self.retry(snapshotter, number);
        }
        let Some((source, seen)) = self.sources.get(number).zip(self.seen.get_mut(number)) else {
            return;
        };
        let Some(mut checking) = seen.checking.take() else {
            return;
        };
        checking.advance(supply);
        self.changed = true;
        if !checking.left.is_empty() {
            seen.checking = Some(checking);
            return;
        }
        let (hashed_mib, mib_per_second) = checking.speed();
        let damaged = checking.damaged;
        tracing::info!(
            store = %source,
            layers = checking.sound,
            damaged,
            hashed_mib,
            mib_per_second,
            "layers of this store are ready"
        );
        let wait = seen.retry.map_or(RETRY, |(_, wait)| (wait * 2).min(LONGEST_RETRY));
        let worth = damaged > 0 && (seen.volume.is_none() || wait <= LONGEST_VOLUME_RETRY);
        seen.retry = worth.then(|| (Instant::now() + wait, wait));
    }

    /// Has everything that was found damaged read again. A volume is mounted anew, since the kernel keeps what it read: it may
    /// have been read before all of it was there.
    fn retry(&mut self, snapshotter: &Snapshotter, number: usize) {
        let Some((source, seen)) = self.sources.get(number).cloned().zip(self.seen.get_mut(number)) else {
            return;
        };
        match (&source, &seen.volume) {
            (Source::Path(path), None) => {
                snapshotter.supply().verifier.forget_damage();
                seen.checking = Some(Checking::of(snapshotter.supply().catalog.layers_in(path)));
            }
            // The next look finds a volume that it does not know.
            _ => self.forget(snapshotter, number, &source),
        }
    }

    /// Removes what nobody needs: busy mounts that are idle now, and what is remembered of files that are gone.
    fn tidy(&self, snapshotter: &Snapshotter) {
        if let Err(error) = snapshotter.cleanup() {
            tracing::warn!(error = %chain(&error), "cannot clean up");
        }
        // A store that cannot be read now may come back, and need not be hashed again then.
        if self.seen.iter().all(|seen| seen.complaint.is_none()) {
            snapshotter.supply().prune();
        }
    }

    fn report(&mut self, snapshotter: &Snapshotter) {
        let sources = self.sources.iter().zip(&self.seen);
        let sources = sources.map(|(source, seen)| (source.to_string(), seen.complaint.clone()));
        let status = Status::of(snapshotter, sources);
        if self.status.as_ref() != Some(&status) {
            match status.write(&snapshotter.layout().status()) {
                Ok(()) => self.status = Some(status),
                Err(error) => tracing::warn!(error = %chain(&error), "what this node holds cannot be written down"),
            }
        }
    }
}

fn volume_target(snapshotter: &Snapshotter, number: usize) -> PathBuf {
    snapshotter.layout().volumes().join(number.to_string())
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
