//! A certificate that somebody else makes, such as cert-manager, and that is mounted as files.

use std::path::{Path, PathBuf};
use std::time::Duration;

use imagecache_core::{BoxError, Secret, chain};
use tracing::{info, warn};

use super::certificate::Material;
use super::served::Served;

/// Between two looks at the files. The kubelet brings a changed Secret within a minute or two.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);
/// The files, named as the keys of a Secret of type `kubernetes.io/tls`.
const CHAIN: &str = "tls.crt";
const KEY: &str = "tls.key";

/// Serves what is in `dir` and follows its changes, until it is dropped. Files that cannot be used change nothing.
pub(super) async fn follow(dir: &Path, served: &Served) {
    let mut seen: Option<(String, Secret<String>)> = None;
    let mut told: Option<String> = None;
    loop {
        match read(dir.to_owned()).await {
            Ok(material) => {
                let found = (material.chain.clone(), material.key.clone());
                if seen.as_ref() != Some(&found) {
                    match material.certified() {
                        Ok(key) => {
                            served.set(key);
                            info!(dir = %dir.display(), "the webhook's certificate was read");
                            seen = Some(found);
                            told = None;
                        }
                        Err(error) => tell(&mut told, dir, chain(&error)),
                    }
                }
            }
            Err(error) => tell(&mut told, dir, error.to_string()),
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

async fn read(dir: PathBuf) -> Result<Material, BoxError> {
    let text = async |name: &str| -> Result<String, BoxError> {
        let read = tokio::fs::read_to_string(dir.join(name)).await;
        read.map_err(|error| format!("`{name}` cannot be read: {error}").into())
    };
    Ok(Material {
        chain: text(CHAIN).await?,
        key: Secret::new(text(KEY).await?),
        authorities: String::new(),
    })
}

/// Logs a problem unless it is the one that was logged last.
fn tell(told: &mut Option<String>, dir: &Path, problem: String) {
    if told.as_ref() != Some(&problem) {
        warn!(dir = %dir.display(), problem, "the webhook's certificate cannot be used, pods start without it meanwhile");
        *told = Some(problem);
    }
}
