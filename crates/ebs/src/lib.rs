//! Volumes as snapshots in AWS EBS, written and read through the EBS direct APIs: no instance, no volume, no mount.
//!
//! [`EbsStore`] is a [`SnapshotStore`]. A volume is sent block by block, as changes to the snapshot of the cache's previous
//! volume where there is one. A journal beside the cache record remembers what EBS acknowledged, so that a killed upload
//! goes on where it was. Nothing is Ready before EBS says `completed`, and EBS says so only when the checksum over all blocks is
//! the one that was computed here.

mod ahead;
mod calls;
mod checksum;
mod collect;
mod config;
mod connection;
mod ec2;
mod journal;
mod pace;
mod publish;
mod read_back;
mod retry;
mod session;
mod tags;
mod trouble;
mod upload;
mod wanted;

use std::sync::Arc;

use aws_config::SdkConfig;
use imagecache_blocks::{
    BlockVisitor, Collected, DirectoryStore, Error, FinishedVolume, PartFeed, Published, Result, SnapshotManifest,
    SnapshotStore, UnfinishedVolume, UploadWatch,
};
use imagecache_core::ErrorKind;
use tokio::runtime::Handle;

use calls::Calls;
pub use config::EbsConfig;
use connection::Connection;
use publish::Publication;
use session::Session;
use tags::Purpose;

/// Keeps volumes as EBS snapshots. Its calls must be made on a blocking thread of a tokio runtime.
#[derive(Debug)]
pub struct EbsStore {
    calls: Arc<Calls>,
}

impl EbsStore {
    /// A store with this configuration. Nothing is called before it is needed.
    pub fn new(config: EbsConfig) -> Self {
        Self::connected(config, None)
    }

    /// A store at this endpoint, with this region and key, whatever the environment says.
    pub fn at_endpoint(config: EbsConfig, endpoint: &str, region: &str, (key_id, secret): (&str, &str)) -> Self {
        Self::connected(config, Some(connection::fixed(endpoint, region, key_id, secret)))
    }

    fn connected(config: EbsConfig, sdk: Option<SdkConfig>) -> Self {
        let connection = Connection::new(config.clone(), sdk);
        Self {
            calls: Arc::new(Calls::new(config, connection)),
        }
    }

    /// Waits for calls on the runtime of this thread.
    fn wait<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
        let handle = Handle::try_current().map_err(|error| Error::Service {
            kind: ErrorKind::Internal,
            message: format!("EBS cannot be called from here: {error}"),
        })?;
        handle.block_on(work)
    }
}

impl SnapshotStore for EbsStore {
    fn send_ahead(&self, volume: &UnfinishedVolume<'_>, feed: &dyn PartFeed, watch: &dyn UploadWatch) -> Result<()> {
        let owner = volume.store.identity()?;
        let session = Session {
            calls: &self.calls,
            store: volume.store,
            purpose: Purpose {
                owner: &owner,
                cache: volume.cache,
                key: volume.key,
                index: volume.index,
                manifest: None,
            },
            previous: volume.previous,
            watch,
        };
        Self::wait(ahead::send_ahead(&session, feed))
    }

    fn publish(&self, volume: &FinishedVolume<'_>, watch: &dyn UploadWatch) -> Result<Option<Published>> {
        let owner = volume.store.identity()?;
        let publication = Publication {
            session: Session {
                calls: &self.calls,
                store: volume.store,
                purpose: Purpose {
                    owner: &owner,
                    cache: volume.cache,
                    key: volume.key,
                    index: &volume.manifest.index,
                    manifest: Some(&volume.manifest.id),
                },
                previous: volume.previous,
                watch,
            },
            manifest: volume.manifest,
        };
        Self::wait(publication.run()).map(Some)
    }

    fn read_back(
        &self,
        store: &DirectoryStore,
        manifest: &SnapshotManifest,
        published: Option<&Published>,
        visitor: &dyn BlockVisitor,
    ) -> Result<()> {
        match published {
            Some(published) => Self::wait(read_back::read_back(&self.calls, &published.id, manifest, visitor)),
            // It was made before snapshots were kept in EBS.
            None => store.read_back(store, manifest, None, visitor),
        }
    }

    fn collect(&self, store: &DirectoryStore) -> Result<Collected> {
        let owner = store.identity()?;
        Self::wait(collect::collect(&self.calls, &owner, store))
    }
}
