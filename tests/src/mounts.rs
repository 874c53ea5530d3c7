//! Mounts that end with their scope.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::binary::tool;

/// What is mounted below a directory.
pub fn below(dir: &Path) -> Result<Vec<String>> {
    let own = format!("{}/", dir.display());
    let mut paths = mount_points()?;
    paths.retain(|path| path.starts_with(&own));
    Ok(paths)
}

/// Unmounts all of that, as far as possible.
pub fn unmount_below(dir: &Path) {
    for path in below(dir).unwrap_or_default() {
        drop(Mounted::adopt(Path::new(&path)));
    }
}

/// Something mounted on a directory; unmounted when dropped.
#[derive(Debug)]
pub struct Mounted {
    dir: PathBuf,
}

impl Mounted {
    /// Takes over a directory that something was mounted on.
    pub fn adopt(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// `mount ARGS DIR`, as a user types it.
    pub async fn mount(args: &[&str], dir: &Path) -> Result<Self> {
        std::fs::create_dir_all(dir)?;
        let mut all = args.to_vec();
        let text = dir.to_string_lossy();
        all.push(&text);
        tool("mount", &all).await?;
        Ok(Self::adopt(dir))
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let quiet = |args: &[&str]| {
            let mut command = Command::new("umount");
            command
                .args(args)
                .arg(&self.dir)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            command.status().is_ok_and(|status| status.success())
        };
        if is_mounted(&self.dir) && !quiet(&[]) {
            quiet(&["-l"]);
        }
    }
}

/// Whether something is mounted on this very directory.
pub fn is_mounted(dir: &Path) -> bool {
    let dir = dir.to_string_lossy();
    mount_points().unwrap_or_default().iter().any(|path| *path == dir)
}

fn mount_points() -> Result<Vec<String>> {
    let table = std::fs::read_to_string("/proc/self/mounts")?;
    let paths = table.lines().filter_map(|line| line.split(' ').nth(1));
    Ok(paths.map(str::to_owned).collect())
}

/// A small ext4 filesystem in a file, mounted.
pub async fn small_filesystem(dir: &Path, mebibytes: u64) -> Result<Mounted> {
    let file = dir.join("small.ext4");
    let disk = std::fs::File::create(&file)?;
    disk.set_len(mebibytes << 20)?;
    drop(disk);
    tool("mkfs.ext4", &["-q", "-F", "-m", "0", &file.to_string_lossy()]).await?;
    let mounted = Mounted::mount(&["-o", "loop", &file.to_string_lossy()], &dir.join("small")).await?;
    if !is_mounted(mounted.path()) {
        bail!("{} was mounted and is not", mounted.path().display());
    }
    Ok(mounted)
}

/// Free space for an ordinary user, in bytes.
pub fn free_bytes(dir: &Path) -> Result<u64> {
    let stat = rustix::fs::statvfs(dir).with_context(|| format!("cannot look at {}", dir.display()))?;
    Ok(stat.f_bavail * stat.f_frsize)
}
