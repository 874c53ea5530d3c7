//! A containerd of our own, as the reference for what an image's root filesystem is.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
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
}

impl Containerd {
    /// Starts containerd with everything it keeps in `dir`.
    pub async fn start(dir: &Path) -> Result<Self> {
        let socket = dir.join("containerd.sock");
        let config = dir.join("config.toml");
        let text = format!(
            "version = 2\nroot = {root:?}\nstate = {state:?}\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
             [grpc]\n  address = {socket:?}\n",
            root = dir.join("root"),
            state = dir.join("state"),
        );
        std::fs::write(&config, text)?;
        let mut command = Command::new("containerd");
        let child = start(command.arg("--config").arg(&config), &dir.join("containerd.log"))?;
        let containerd = Self { _child: child, socket };
        wait::until("containerd to answer", START_LIMIT, async || {
            Ok(containerd.ctr(&["version"]).await.map_err(|error| error.to_string()))
        })
        .await?;
        Ok(containerd)
    }

    /// Pulls an image over plain HTTP and mounts its root filesystem, an overlay, on `dir`.
    pub async fn mount(&self, image: &str, dir: &Path) -> Result<Mounted> {
        self.ctr(&["images", "pull", "--plain-http", "--snapshotter", "overlayfs", image])
            .await?;
        std::fs::create_dir_all(dir)?;
        self.ctr(&[
            "images",
            "mount",
            "--snapshotter",
            "overlayfs",
            image,
            &dir.to_string_lossy(),
        ])
        .await?;
        Ok(Mounted::adopt(dir))
    }

    async fn ctr(&self, args: &[&str]) -> Result<String> {
        let socket = self.socket.to_string_lossy();
        let mut all = vec!["--address", &*socket];
        all.extend_from_slice(args);
        tool("ctr", &all).await
    }
}
