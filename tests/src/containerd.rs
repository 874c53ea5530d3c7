//! A containerd of our own, as the reference for what an image's root filesystem is, and as the client of our snapshotter.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::binary::{start, tool};
use crate::cri;
use crate::mounts::Mounted;
use crate::wait;

/// How long containerd may take to answer.
const START_LIMIT: Duration = Duration::from_secs(20);
/// Name of the configuration file.
const CONFIG: &str = "config.toml";
/// Name of our snapshotter's socket.
const SNAPSHOTTER_SOCKET: &str = "node.sock";

/// A network that nothing joins.
const NETWORK: &str = r#"{"cniVersion": "0.4.0", "name": "none", "plugins": [{"type": "loopback"}]}"#;
/// Directory with how registries are reached.
const HOSTS: &str = "certs.d";

/// A running containerd with an empty root; killed when dropped.
pub struct Containerd {
    child: Child,
    dir: PathBuf,
    socket: PathBuf,
    /// Holds the sockets and the state: a socket's path may have 104 bytes at the most, and `dir` may lie deep.
    run: TempDir,
}

impl Containerd {
    /// Starts containerd with everything it keeps, and its log, in `dir`.
    pub async fn start(dir: &Path) -> Result<Self> {
        Self::with_config(dir, 2, |_| {
            "disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n".to_owned()
        })
        .await
    }

    /// Starts containerd as kubelet wants it, with our snapshotter behind [`Self::snapshotter_socket`], and an image for the
    /// sandboxes of pods.
    pub async fn with_snapshotter(dir: &Path, sandbox_image: &str) -> Result<Self> {
        // kubelet waits for a network, though pods of the host's network use none.
        let networks = dir.join("networks");
        std::fs::create_dir_all(&networks)?;
        std::fs::write(networks.join("10-none.conflist"), NETWORK)?;
        let (version, config): (u32, Config) = if major().await? < 2 {
            (2, config_1)
        } else {
            (3, config_2)
        };
        Self::with_config(dir, version, |run| {
            config(
                &run.join(SNAPSHOTTER_SOCKET),
                sandbox_image,
                &networks,
                &run.join(HOSTS),
            )
        })
        .await
    }

    /// Kills containerd; containers run on.
    pub async fn kill(&mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }

    /// Starts it again after [`Self::kill`].
    pub async fn launch(&mut self) -> Result<()> {
        self.child = run(&self.dir, &self.socket).await?;
        Ok(())
    }

    /// Where kubelet reaches it.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Where our snapshotter must listen.
    pub fn snapshotter_socket(&self) -> PathBuf {
        self.run.path().join(SNAPSHOTTER_SOCKET)
    }

    /// Kills containerd and starts it again; containers run on.
    pub async fn restart(&mut self) -> Result<()> {
        self.kill().await?;
        self.launch().await
    }

    /// Pulls an image over plain HTTP and mounts its root filesystem, an overlay, on `dir`.
    pub async fn mount(&self, image: &str, dir: &Path) -> Result<Mounted> {
        self.ctr(&["images", "pull", "--plain-http", "--snapshotter", "overlayfs", image])
            .await?;
        std::fs::create_dir_all(dir)?;
        let target = dir.to_string_lossy();
        self.ctr(&["images", "mount", "--snapshotter", "overlayfs", image, &target])
            .await?;
        Ok(Mounted::adopt(dir))
    }

    /// Pulls an image as kubelet does.
    pub async fn pull(&self, image: &str) -> Result<()> {
        cri::pull(&self.socket, image).await.map(|_id| ())
    }

    /// Pulls an image as kubelet does for a pod with a pull secret.
    pub async fn pull_as(&self, image: &str, username: &str, password: &str) -> Result<()> {
        cri::pull_as(&self.socket, image, username, password)
            .await
            .map(|_id| ())
    }

    /// Says how a registry is reached: the content of its `hosts.toml`. It is read at every pull.
    pub fn reach(&self, registry: &str, hosts: &str) -> Result<()> {
        // Names of directories have no colon.
        let name = match registry.rsplit_once(':') {
            Some((host, port)) => format!("{host}_{port}_"),
            None => registry.to_owned(),
        };
        let dir = self.run.path().join(HOSTS).join(name);
        std::fs::create_dir_all(&dir)?;
        Ok(std::fs::write(dir.join("hosts.toml"), hosts)?)
    }

    /// Removes an image as kubelet does.
    pub async fn remove(&self, image: &str) -> Result<()> {
        cri::remove(&self.socket, image).await
    }

    /// Digests of the layers of an image that was pulled, unpacked, lowest first.
    pub async fn diff_ids(&self, namespace: &str, image: &str) -> Result<Vec<String>> {
        let blob = async |digest: &str| -> Result<Value> {
            let text = self.ctr(&["-n", namespace, "content", "get", digest]).await?;
            Ok(serde_json::from_str(&text)?)
        };
        let list = self
            .ctr(&["-n", namespace, "images", "ls", &format!("name=={image}")])
            .await?;
        let digest = list.split_whitespace().find(|word| word.starts_with("sha256:"));
        let manifest = blob(digest.with_context(|| format!("{image} was not pulled"))?).await?;
        let config = blob(manifest["config"]["digest"].as_str().context("no config")?).await?;
        let diff_ids = config["rootfs"]["diff_ids"].as_array().context("no diff_ids")?;
        Ok(diff_ids.iter().filter_map(Value::as_str).map(str::to_owned).collect())
    }

    /// Runs `ctr`; its stdout.
    pub async fn ctr(&self, args: &[&str]) -> Result<String> {
        ctr(&self.socket, args).await
    }

    /// Runs `ctr` where nothing can be waited for, and whatever comes of it.
    pub fn quietly(&self, args: &[&str]) -> String {
        let mut command = std::process::Command::new("ctr");
        command.arg("--address").arg(&self.socket).args(args);
        let output = command.output().map(|output| output.stdout).unwrap_or_default();
        String::from_utf8_lossy(&output).into_owned()
    }

    async fn with_config(dir: &Path, version: u32, more: impl FnOnce(&Path) -> String) -> Result<Self> {
        let own = tempfile::Builder::new().prefix("containerd-").tempdir_in("/tmp")?;
        let socket = own.path().join("containerd.sock");
        let text = format!(
            "version = {version}\nroot = {root:?}\nstate = {state:?}\n{more}[grpc]\n  address = {socket:?}\n",
            root = dir.join("root"),
            state = own.path().join("state"),
            more = more(own.path()),
        );
        std::fs::write(dir.join(CONFIG), text)?;
        let child = run(dir, &socket).await?;
        Ok(Self {
            child,
            dir: dir.to_owned(),
            socket,
            run: own,
        })
    }
}

/// Writes the tables of a configuration: the snapshotter's socket, the image of sandboxes, the directories of networks and of
/// registries' hosts.
type Config = fn(&Path, &str, &Path, &Path) -> String;

/// The first number of containerd's version.
async fn major() -> Result<u32> {
    let said = tool("containerd", &["--version"]).await?;
    let version = said.split_whitespace().nth(2).unwrap_or_default();
    let major = version.trim_start_matches('v').split('.').next().unwrap_or_default();
    major.parse().with_context(|| format!("containerd says it is {said}"))
}

/// What docs/node.md tells users of 1.6 and 1.7 to write, and what the scenarios' pods need.
fn config_1(socket: &Path, sandbox_image: &str, networks: &Path, hosts: &Path) -> String {
    format!(
        "[proxy_plugins.imagecache]\n  type = \"snapshot\"\n  address = {socket:?}\n\
         [plugins.\"io.containerd.grpc.v1.cri\"]\n  stream_server_port = \"0\"\n  \
         sandbox_image = {sandbox_image:?}\n  restrict_oom_score_adj = true\n\
         [plugins.\"io.containerd.grpc.v1.cri\".containerd]\n  snapshotter = \"imagecache\"\n  \
         disable_snapshot_annotations = false\n\
         [plugins.\"io.containerd.grpc.v1.cri\".cni]\n  conf_dir = {networks:?}\n\
         [plugins.\"io.containerd.grpc.v1.cri\".registry]\n  config_path = {hosts:?}\n"
    )
}

/// The same for 2.x.
fn config_2(socket: &Path, sandbox_image: &str, networks: &Path, hosts: &Path) -> String {
    format!(
        "[proxy_plugins.imagecache]\n  type = \"snapshot\"\n  address = {socket:?}\n\
         [proxy_plugins.imagecache.exports]\n  enable_remote_snapshot_annotations = \"true\"\n\
         [plugins.'io.containerd.cri.v1.images']\n  snapshotter = \"imagecache\"\n  \
         disable_snapshot_annotations = false\n\
         [plugins.'io.containerd.cri.v1.images'.pinned_images]\n  sandbox = {sandbox_image:?}\n\
         [plugins.'io.containerd.cri.v1.images'.registry]\n  config_path = {hosts:?}\n\
         [plugins.'io.containerd.cri.v1.runtime']\n  restrict_oom_score_adj = true\n\
         [plugins.'io.containerd.cri.v1.runtime'.cni]\n  conf_dir = {networks:?}\n\
         [plugins.'io.containerd.grpc.v1.cri']\n  stream_server_port = \"0\"\n\
         [[plugins.'io.containerd.transfer.v1.local'.unpack_config]]\n  platform = \"linux\"\n  \
         snapshotter = \"imagecache\"\n\
         [[plugins.'io.containerd.transfer.v1.local'.unpack_config]]\n  platform = \"linux\"\n  \
         snapshotter = \"overlayfs\"\n"
    )
}

/// Starts containerd and waits until it answers.
async fn run(dir: &Path, socket: &Path) -> Result<Child> {
    let mut command = Command::new("containerd");
    let log = dir.join("containerd.log");
    let mut child = start(command.arg("--config").arg(dir.join(CONFIG)), &log)?;
    wait::until("containerd to answer", START_LIMIT, async || {
        if let Some(status) = child.try_wait()? {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            bail!(
                "containerd ended with {status}: {}",
                text.lines().last().unwrap_or_default()
            );
        }
        Ok(ctr(socket, &["version"]).await.map_err(|error| error.to_string()))
    })
    .await?;
    Ok(child)
}

async fn ctr(socket: &Path, args: &[&str]) -> Result<String> {
    let socket = socket.to_string_lossy();
    let mut all = vec!["--address", &*socket];
    all.extend_from_slice(args);
    tool("ctr", &all).await
}
