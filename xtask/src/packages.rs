//! Debian packages that tests and measurements use.

use std::process::Command;

use anyhow::{Result, bail};

use crate::shell;

/// A program and the Debian package that brings it.
pub struct Tool {
    /// Program looked for on the `PATH`.
    pub program: &'static str,
    /// Debian package.
    pub package: &'static str,
}

const fn tool(program: &'static str, package: &'static str) -> Tool {
    Tool { program, package }
}

/// What the tests and the end-to-end scenarios use, besides what every Debian has.
pub const TESTS: &[Tool] = &[
    tool("fsck.erofs", "erofs-utils"),
    tool("umoci", "umoci"),
    tool("skopeo", "skopeo"),
    tool("containerd", "containerd"),
    tool("setfattr", "attr"),
    tool("setfacl", "acl"),
    tool("docker-registry", "docker-registry"),
    tool("openssl", "openssl"),
    tool("mkfs.ext4", "e2fsprogs"),
    tool("mount", "mount"),
    tool("curl", "curl"),
    tool("fincore", "util-linux-extra"),
];

/// What `bench` compares with.
pub const BENCH: &[Tool] = &[
    tool("containerd", "containerd"),
    tool("skopeo", "skopeo"),
    tool("igzip", "isal"),
    tool("zstd", "zstd"),
    tool("openssl", "openssl"),
];

/// What `image` assembles with.
pub const IMAGE: &[Tool] = &[tool("umoci", "umoci"), tool("skopeo", "skopeo")];

/// Installs what is missing where that is possible (root on Debian). Returns what is still missing.
pub fn install(tools: &'static [Tool]) -> Result<Vec<&'static Tool>> {
    let missing = || tools.iter().filter(|tool| !present(tool.program)).collect::<Vec<_>>();
    let wanted = missing();
    if wanted.is_empty() || !shell::is_root() || !shell::has("apt-get") {
        return Ok(wanted);
    }
    let apt = || {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    shell::run(apt().args(["update", "-q", "-q"]))?;
    // Without -q -q -q the log of a CI run is mostly this; errors still show.
    shell::run(
        apt()
            .args(["install", "-y", "-q", "-q", "--no-install-recommends"])
            .args(wanted.iter().map(|tool| tool.package))
            .stdout(std::process::Stdio::null()),
    )?;
    Ok(missing())
}

/// As [`install`], for work that cannot be done without.
pub fn require(tools: &'static [Tool]) -> Result<()> {
    let missing = install(tools)?;
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<_> = missing.iter().map(|tool| tool.package).collect();
    bail!(
        "missing Debian packages: install them with `apt-get install {}`",
        packages.join(" ")
    )
}

/// Whether a program is installed; those of `sbin` are found too, though a user's `PATH` may lack it.
pub fn present(program: &str) -> bool {
    shell::has(program)
        || ["/usr/sbin", "/sbin"]
            .iter()
            .any(|dir| std::path::Path::new(dir).join(program).is_file())
}
