//! `imagecache node` behind a containerd of our own, used as kubelet uses it.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::process::Child;

use crate::binary::{Binary, tool};
use crate::containerd::Containerd;
use crate::containers::KUBELET;
use crate::context::Context;
use crate::image::digest;
use crate::mounts::{self, Mounted};
use crate::plane::free_port;
use crate::store;
use crate::wait;

/// How long the snapshotter may take to start, or to see a new cache.
const LIMIT: Duration = Duration::from_secs(20);
/// The image of sandboxes where there are no pods.
const NO_SANDBOX: &str = "localhost/none";

/// containerd with our snapshotter; both end when dropped.
pub struct Node {
    binary: Binary,
    /// Where the snapshotter keeps everything, and its log.
    pub dir: PathBuf,
    source: PathBuf,
    /// Port of the mirror on loopback.
    pub mirror: u16,
    child: Child,
    /// Its client.
    pub containerd: Containerd,
}

impl Node {
    /// Starts both over the binary's store.
    pub async fn start(context: &Context) -> Result<Self> {
        Self::start_with(context, &context.dir.join("store")).await
    }

    /// Starts with another source of layers than the binary's store.
    pub async fn start_with(context: &Context, source: &Path) -> Result<Self> {
        Self::start_for_pods(context, source, NO_SANDBOX).await
    }

    /// Starts so that kubelet can use it, with an image for the sandboxes of pods.
    pub async fn start_for_pods(context: &Context, source: &Path, sandbox_image: &str) -> Result<Self> {
        let dir = context.subdir("node")?;
        let binary = context.binary();
        let containerd = Containerd::with_snapshotter(&context.subdir("containerd")?, sandbox_image).await?;
        let mirror = free_port()?;
        let child = spawn(&binary, &dir, &containerd.snapshotter_socket(), source, mirror).await?;
        Ok(Self {
            binary,
            dir,
            source: source.to_owned(),
            mirror,
            child,
            containerd,
        })
    }

    /// Kills the snapshotter and starts it again.
    pub async fn restart(&mut self) -> Result<()> {
        self.kill().await?;
        self.launch().await
    }

    /// Starts the snapshotter again after [`Self::kill`].
    pub async fn launch(&mut self) -> Result<()> {
        self.child = spawn(
            &self.binary,
            &self.dir,
            &self.containerd.snapshotter_socket(),
            &self.source,
            self.mirror,
        )
        .await?;
        Ok(())
    }

    /// Kills the snapshotter.
    pub async fn kill(&mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }

    /// Has containerd ask the mirror where a registry does not answer. The registry comes first, so that tags mean what it
    /// says as long as it says something.
    pub fn mirrors(&self, host: &str) -> Result<()> {
        let hosts = format!(
            "server = \"http://{host}\"\n\
             [host.\"http://{host}\"]\n  capabilities = [\"pull\", \"resolve\"]\n\
             [host.\"http://127.0.0.1:{}\"]\n  capabilities = [\"pull\", \"resolve\"]\n",
            self.mirror
        );
        self.containerd.reach(host, &hosts)
    }

    /// Waits until the snapshotter knows so many layers.
    pub async fn knows(&self, layers: usize) -> Result<()> {
        let log = self.dir.join("node.log");
        let wanted = format!("layers={layers} ");
        wait::until("the snapshotter to see the cache", LIMIT, async || {
            let text = fs::read_to_string(&log)?;
            let seen = text
                .lines()
                .rev()
                .find(|line| line.contains("are ready"))
                .unwrap_or_default();
            Ok(if seen.contains(&wanted) {
                Ok(())
            } else {
                Err(seen.to_owned())
            })
        })
        .await
    }

    /// A root filesystem as our snapshotter gives it; `ctr images mount` would ask the default one.
    pub async fn mount(&self, layers: &[Vec<u8>], dir: &Path) -> Result<Mounted> {
        self.mount_chain(layers.iter().map(|tar| digest(tar)), dir).await
    }

    /// The same of an image that was pulled.
    pub async fn mount_image(&self, image: &str, dir: &Path) -> Result<Mounted> {
        self.mount_chain(self.containerd.diff_ids(KUBELET, image).await?, dir)
            .await
    }

    async fn mount_chain(&self, diff_ids: impl IntoIterator<Item = String>, dir: &Path) -> Result<Mounted> {
        let chain_id = chain_id(diff_ids);
        fs::create_dir_all(dir)?;
        let (key, target) = (digest(dir.as_os_str().as_bytes()), dir.to_string_lossy());
        let snapshots = ["snapshots", "--snapshotter", "imagecache"];
        let run = async |args: &[&str]| self.containerd.kubelets(&[&snapshots, args].concat()).await;
        let mut attempt = 0;
        let script = wait::until("a view that containerd does not collect at once", LIMIT, async || {
            attempt += 1;
            let key = format!("{key}-{attempt}");
            run(&["view", &key, &chain_id]).await?;
            Ok(run(&["mounts", &target, &key]).await.map_err(|error| error.to_string()))
        })
        .await?;
        tool("sh", &["-c", &script]).await?;
        Ok(Mounted::adopt(dir))
    }

    /// [`Containerd::script`].
    pub async fn script(&self, image: &str, name: &str, script: &str) -> Result<String> {
        self.containerd.script(image, name, script).await
    }

    /// [`Containerd::script_again`].
    pub async fn script_again(&self, image: &str, name: &str, script: &str) -> Result<String> {
        self.containerd.script_again(LIMIT, image, name, script).await
    }

    /// Images that are mounted.
    pub fn mounts(&self) -> Result<Vec<String>> {
        self.mounts_below("s")
    }

    /// What is mounted below a directory of the snapshotter's root.
    pub fn mounts_below(&self, directory: &str) -> Result<Vec<String>> {
        mounts::below(&self.dir.join("root").join(directory))
    }

    /// Fails unless every image of the store, which holds one cache, is mounted exactly once.
    pub fn has_each_image_mounted_once(&self) -> Result<()> {
        let images = self.stored()?;
        let mounts = self.mounts()?;
        ensure!(mounts.len() == images, "{images} images and these mounts: {mounts:?}");
        Ok(())
    }

    /// How many images the store holds.
    fn stored(&self) -> Result<usize> {
        let files = store::files(self.binary.store())?;
        let images = files
            .keys()
            .filter(|path| path.extension().is_some_and(|extension| extension == "erofs"));
        let parts = images.filter(|path| path.starts_with("layers") || path.starts_with("patches"));
        Ok(parts.count())
    }

    /// Everything that the snapshotter keeps, apart from its book and marks, and from images that are mounted because a cache
    /// has them.
    fn kept(&self) -> Result<Vec<String>> {
        let mounts = self.mounts()?;
        let is_mounted = |name: &str| mounts.iter().any(|path| path.ends_with(&format!("/{name}")));
        let mut names = Vec::new();
        for directory in ["s", "images", "trash"] {
            for entry in fs::read_dir(self.dir.join("root").join(directory))? {
                let name = entry?.file_name().to_string_lossy().into_owned();
                if directory == "trash" || !is_mounted(&name) {
                    names.push(format!("{directory}/{name}"));
                }
            }
        }
        Ok(names)
    }

    /// Removes an image as kubelet does and waits until nothing of it is left but what its cache has.
    pub async fn forget(&self, image: &str) -> Result<()> {
        self.containerd.remove(image).await?;
        // containerd collects in the background; this asks it to do so now.
        wait::until("everything of the image to be gone", LIMIT, async || {
            let mut left = self.kept()?;
            if self.mounts()?.len() > self.stored()? {
                left.extend(self.mounts()?);
            }
            Ok(if left.is_empty() { Ok(()) } else { Err(left.join(" ")) })
        })
        .await
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let containers = self.containerd.quietly(&["-n", KUBELET, "task", "ls", "-q"]);
        for name in containers.lines() {
            self.containerd
                .quietly(&["-n", KUBELET, "task", "delete", "--force", name]);
        }
        // A snapshotter leaves its mounts to the containers that run.
        for directory in ["s", "volumes"] {
            mounts::unmount_below(&self.dir.join("root").join(directory));
        }
    }
}

/// Starts the snapshotter over a source of layers and waits for its socket.
pub async fn spawn(binary: &Binary, dir: &Path, socket: &Path, source: &Path, mirror: u16) -> Result<Child> {
    let root = dir.join("root");
    let mirror = format!("127.0.0.1:{mirror}");
    let arguments = [
        "node",
        "--root",
        &root.to_string_lossy(),
        "--socket",
        &socket.to_string_lossy(),
        "--source",
        &source.to_string_lossy(),
        "--mirror",
        &mirror,
        "--no-kubernetes",
    ]
    .map(str::to_owned);
    let _old = fs::remove_file(socket);
    let child = binary.spawn(&arguments, &dir.join("node.log"))?;
    wait::until("the snapshotter's socket", LIMIT, async || {
        Ok(if socket.exists() {
            Ok(())
        } else {
            Err(fs::read_to_string(dir.join("node.log"))?)
        })
    })
    .await?;
    Ok(child)
}

/// What containerd calls a stack of layers.
fn chain_id(diff_ids: impl IntoIterator<Item = String>) -> String {
    diff_ids
        .into_iter()
        .reduce(|below, diff_id| digest(format!("{below} {diff_id}").as_bytes()))
        .unwrap_or_default()
}
