//! A containerd of our own, as the reference for what an image's root filesystem is.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::binary::{start, tool};
use crate::mounts::Mounted;
use crate::wait;

/// How long containerd may take to answer.
const START_LIMIT: Duration = Duration::from_secs(20);

/// A running containerd with an empty root; killed when dropped.
pub struct Containerd {
    _child: Child,
    socket: PathBuf,
    /// Holds the socket and the state: a socket's path may have 104 bytes at the most, and `dir` may lie deep.
    _run: TempDir,
}

impl Containerd {
    /// Starts containerd with everything it keeps, and its log, in `dir`.
    pub async fn start(dir: &Path) -> Result<Self> {
        let run = tempfile::Builder::new().prefix("containerd-").tempdir_in("/tmp")?;
        let socket = run.path().join("containerd.sock");
        let config = dir.join("config.toml");
        let text = format!(
            "version = 2\nroot = {root:?}\nstate = {state:?}\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
             [grpc]\n  address = {socket:?}\n",
            root = dir.join("root"),
            state = run.path().join("state"),
        );
        std::fs::write(&config, text)?;
        let mut command = Command::new("containerd");
        let log = dir.join("containerd.log");
        let mut child = start(command.arg("--config").arg(&config), &log)?;
        wait::until("containerd to answer", START_LIMIT, async || {
            if let Some(status) = child.try_wait()? {
                let text = std::fs::read_to_string(&log).unwrap_or_default();
                bail!(
                    "containerd ended with {status}: {}",
                    text.lines().last().unwrap_or_default()
                );
            }
            Ok(ctr(&socket, &["version"]).await.map_err(|error| error.to_string()))
        })
        .await?;
        Ok(Self {
            _child: child,
            socket,
            _run: run,
        })
    }

    /// Pulls an image over plain HTTP and mounts its root filesystem, an overlay, on `dir`.
    pub async fn mount(&self, image: &str, dir: &Path) -> Result<Mounted> {
        ctr(
            &self.socket,
            &["images", "pull", "--plain-http", "--snapshotter", "overlayfs", image],
        )
        .await?;
        std::fs::create_dir_all(dir)?;
        let target = dir.to_string_lossy();
        ctr(
            &self.socket,
            &["images", "mount", "--snapshotter", "overlayfs", image, &target],
        )
        .await?;
        Ok(Mounted::adopt(dir))
    }
}

async fn ctr(socket: &Path, args: &[&str]) -> Result<String> {
    let socket = socket.to_string_lossy();
    let mut all = vec!["--address", &*socket];
    all.extend_from_slice(args);
    tool("ctr", &all).await
}
