//! The contract's harness over a fake of a cloud.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use imagecache_core::{CacheProvider, ImageRef};

use super::{DEADLINE, FakedCloud, OWNER};
use crate::{Fault, Harness};

/// A registry password.
pub const PASSWORD: &str = "hunter2-in-a-spec";

/// Drives the provider of a faked cloud.
pub struct CloudHarness<C> {
    cloud: C,
    provider: Mutex<Arc<dyn CacheProvider>>,
    outage: AtomicBool,
}

impl<C: FakedCloud> CloudHarness<C> {
    /// A harness over `cloud`, with one provider.
    pub async fn new(cloud: C) -> Self {
        let provider = Mutex::new(cloud.open_as(Some(OWNER)).await);
        Self {
            cloud,
            provider,
            outage: AtomicBool::new(false),
        }
    }
}

#[async_trait]
impl<C: FakedCloud> Harness for CloudHarness<C> {
    fn provider(&self) -> Arc<dyn CacheProvider> {
        Arc::clone(&self.provider.lock().expect("no test panics while it holds the lock"))
    }

    async fn restart(&self) -> Arc<dyn CacheProvider> {
        let provider = self.cloud.open_as(Some(OWNER)).await;
        *self.provider.lock().expect("no test panics while it holds the lock") = provider;
        self.provider()
    }

    fn image(&self, n: usize) -> ImageRef {
        let text = format!("registry.example.com/image:{n}");
        text.parse().expect("a reference")
    }

    async fn finish_builds(&self) {
        self.cloud.finish_builds();
        // A build in an outage hangs until its deadline has passed.
        if self.outage.swap(false, Ordering::SeqCst) {
            self.cloud.advance(DEADLINE + Duration::from_secs(1));
        }
    }

    fn inject(&self, fault: Fault) {
        match fault {
            Fault::ImageMissing => {
                let message = "Failed to pull image \"registry.example.com/image:0\": manifest unknown";
                self.cloud.fail_next_build(message);
            }
            Fault::Outage => {
                self.outage.store(true, Ordering::SeqCst);
                self.cloud.hang_next_build();
            }
        }
    }

    fn builds_started(&self) -> usize {
        self.cloud.creations()
    }

    fn advance(&self, by: Duration) {
        self.cloud.advance(by);
    }

    fn secrets(&self) -> Vec<String> {
        let mut secrets = self.cloud.secrets();
        secrets.push(PASSWORD.to_owned());
        secrets
    }
}
