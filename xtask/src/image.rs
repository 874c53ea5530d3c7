//! The container image of the controller, assembled without a container engine.
//!
//! `Dockerfile` is for those who have an engine. This makes the equivalent with umoci and skopeo, from the release binary
//! and the shared libraries that it asks for, so that the deployment can be tried where there is neither engine nor network.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use clap::Args;

use crate::programs::BINARY;
use crate::workspace::{self, Profile};
use crate::{packages, shell};

/// Where the binary is in the image; `Dockerfile` has the same.
const IN_IMAGE: &str = "/usr/local/bin/imagecache";

/// Certificate authorities of the host, which TLS to registries is checked with.
const CA_BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Options of `image`.
#[derive(Args)]
pub struct ImageArgs {
    /// Where to push it, such as 127.0.0.1:5000/imagecache/controller:dev
    #[arg(long)]
    push: Option<String>,
    /// Push over plain HTTP
    #[arg(long)]
    plain_http: bool,
    /// Put this binary in instead of building one
    #[arg(long)]
    binary: Option<PathBuf>,
}

/// Builds the image into `target/image` (an OCI layout, tag `controller`) and pushes it if asked to.
pub fn run(args: &ImageArgs) -> Result<()> {
    packages::require(packages::IMAGE)?;
    let binary = match &args.binary {
        Some(path) => path.clone(),
        None => workspace::build(BINARY, Profile::Release)?,
    };
    let target = workspace::target_dir()?;
    std::fs::create_dir_all(&target)?;
    let layout = target.join("image");
    if layout.exists() {
        std::fs::remove_dir_all(&layout)?;
    }
    let work = tempfile::tempdir_in(&target)?;
    let (tagged, bundle) = (format!("{}:controller", layout.display()), work.path().join("bundle"));
    let umoci = |args: &[&str]| shell::capture(Command::new("umoci").args(args)).map(|_| ());
    umoci(&["init", "--layout", &layout.to_string_lossy()])?;
    umoci(&["new", "--image", &tagged])?;
    umoci(&["unpack", "--rootless", "--image", &tagged, &bundle.to_string_lossy()])?;
    fill(&bundle.join("rootfs"), &binary)?;
    umoci(&["repack", "--image", &tagged, &bundle.to_string_lossy()])?;
    umoci(&[
        "config",
        "--image",
        &tagged,
        "--config.entrypoint",
        IN_IMAGE,
        "--config.cmd",
        "controller",
    ])?;
    println!("image: {tagged}");
    if let Some(reference) = &args.push {
        let mut copy = Command::new("skopeo");
        copy.args(["copy", "--quiet"]);
        if args.plain_http {
            copy.arg("--dest-tls-verify=false");
        }
        shell::run(copy.arg(format!("oci:{tagged}")).arg(format!("docker://{reference}")))?;
        println!("image: pushed {reference}");
    }
    Ok(())
}

/// The root filesystem: the binary, its libraries, certificate authorities, and an empty `/tmp`.
fn fill(rootfs: &Path, binary: &Path) -> Result<()> {
    copy(binary, rootfs, Path::new(IN_IMAGE))?;
    for library in libraries(binary)? {
        copy(&library, rootfs, &library)?;
    }
    if Path::new(CA_BUNDLE).exists() {
        copy(Path::new(CA_BUNDLE), rootfs, Path::new(CA_BUNDLE))?;
    }
    std::fs::create_dir_all(rootfs.join("tmp"))?;
    std::fs::create_dir_all(rootfs.join("etc"))?;
    std::fs::write(rootfs.join("etc/passwd"), "root:x:0:0:root:/:/sbin/nologin\n")?;
    Ok(())
}

fn copy(from: &Path, rootfs: &Path, to: &Path) -> Result<()> {
    let to = rootfs.join(to.strip_prefix("/").unwrap_or(to));
    if let Some(dir) = to.parent() {
        std::fs::create_dir_all(dir)?;
    }
    std::fs::copy(from, &to).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    Ok(())
}

/// The shared libraries and the loader that `ldd` names.
fn libraries(binary: &Path) -> Result<Vec<PathBuf>> {
    let listed = shell::capture(Command::new("ldd").arg(binary))?;
    Ok(listed
        .split_whitespace()
        .filter(|word| word.starts_with('/'))
        .map(PathBuf::from)
        .collect())
}
