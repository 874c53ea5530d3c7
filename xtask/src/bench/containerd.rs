//! A containerd of our own, with its own empty root, for one cold pull.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::bench::measure::{self, Sample};

/// How long containerd may take to answer.
const START_LIMIT: Duration = Duration::from_secs(20);

/// A running containerd; stopped, and its root removed, when dropped.
pub struct Containerd {
    child: Child,
    dir: PathBuf,
    socket: PathBuf,
}

impl Containerd {
    /// Starts containerd with an empty root in `dir`, which must not exist yet.
    pub fn start(dir: &Path) -> Result<Self> {
        std::fs::create_dir_all(dir)?;
        let socket = dir.join("containerd.sock");
        let config = dir.join("config.toml");
        let text = format!(
            "version = 2\nroot = {root:?}\nstate = {state:?}\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\n  address = {socket:?}\n",
            root = dir.join("root"),
            state = dir.join("state"),
        );
        std::fs::write(&config, text)?;
        let log = std::fs::File::create(dir.join("log"))?;
        let child = Command::new("containerd")
            .arg("--config")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start containerd")?;
        let containerd = Self {
            child,
            dir: dir.to_owned(),
            socket,
        };
        let start = Instant::now();
        while !containerd
            .ctr()
            .arg("version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()?
            .success()
        {
            if start.elapsed() > START_LIMIT {
                bail!("containerd does not answer; see {}", dir.join("log").display());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(containerd)
    }

    /// Pulls and unpacks one image, as a node does.
    pub fn pull(&self, image: &str) -> Result<Sample> {
        measure::run(
            self.ctr()
                .args(["images", "pull", "--plain-http", "--snapshotter", "overlayfs", image]),
        )
    }

    fn ctr(&self) -> Command {
        let mut command = Command::new("ctr");
        command.arg("--address").arg(&self.socket);
        command
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}
