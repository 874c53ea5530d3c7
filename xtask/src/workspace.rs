//! What cargo knows about this workspace.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::shell;

/// One package of the workspace.
pub struct Member {
    /// Package name.
    pub name: String,
    /// Directory of its `Cargo.toml`.
    pub dir: PathBuf,
    /// Dependencies on other packages, in the order of its manifest.
    pub dependencies: Vec<Edge>,
}

/// A dependency as the manifest declares it.
pub struct Edge {
    /// Name of the package depended on.
    pub to: String,
    /// Where it is declared.
    pub kind: Kind,
}

/// The manifest table that a dependency stands in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `[dependencies]` or `[build-dependencies]`.
    Normal,
    /// `[dev-dependencies]`.
    Dev,
}

/// Root of the workspace.
pub fn root() -> &'static Path {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest)
}

/// `cargo` in the workspace root, the same one that started us.
///
/// What `cargo run` tells this program about its own package is not passed on: build scripts that look at such variables would run
/// again whenever somebody changes between `cargo` and `cargo xtask`, and everything upon them would be compiled again.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    for (name, _) in std::env::vars_os() {
        if OF_ONE_PACKAGE
            .iter()
            .any(|prefix| name.to_string_lossy().starts_with(prefix))
        {
            command.env_remove(name);
        }
    }
    command
}

/// How variables begin that `cargo` sets for one package.
const OF_ONE_PACKAGE: [&str; 2] = ["CARGO_PKG_", "CARGO_MANIFEST_"];

/// The workspace's packages, by name.
pub fn members() -> Result<Vec<Member>> {
    let metadata = metadata()?;
    let text = |value: &Value, key: &str| {
        value[key]
            .as_str()
            .map(str::to_owned)
            .with_context(|| format!("cargo metadata: no {key} in {value}"))
    };
    let packages = metadata["packages"].as_array().context("cargo metadata: no packages")?;
    let mut members = Vec::new();
    for package in packages {
        let manifest = PathBuf::from(text(package, "manifest_path")?);
        let mut dependencies = Vec::new();
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let kind = if dependency["kind"] == "dev" {
                Kind::Dev
            } else {
                Kind::Normal
            };
            dependencies.push(Edge {
                to: text(dependency, "name")?,
                kind,
            });
        }
        let dir = manifest.parent().context("a manifest without a directory")?.to_owned();
        members.push(Member {
            name: text(package, "name")?,
            dir,
            dependencies,
        });
    }
    members.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(members)
}

/// Where cargo puts what it builds.
pub fn target_dir() -> Result<PathBuf> {
    Ok(metadata()?["target_directory"]
        .as_str()
        .context("cargo metadata: no target_directory")?
        .into())
}

/// Builds one binary and returns its path.
///
/// The whole workspace is selected, not the binary's package: so the features of its dependencies are those of every other
/// build here, and nothing is compiled twice. For the same reason a development build has the features that tests ask for.
pub fn build(bin: &str, profile: Profile) -> Result<PathBuf> {
    let mut command = cargo();
    command.args([
        "build",
        "--quiet",
        "--locked",
        "--workspace",
        "--bin",
        bin,
        "--profile",
        profile.name(),
    ]);
    command.args(profile.features());
    shell::run(&mut command)?;
    Ok(target_dir()?.join(profile.directory()).join(bin))
}

/// A cargo profile.
#[derive(Clone, Copy)]
pub enum Profile {
    /// Quick to build.
    Dev,
    /// What users run.
    Release,
}

impl Profile {
    fn name(self) -> &'static str {
        match self {
            Self::Dev => "dev",
            Self::Release => "release",
        }
    }

    /// Flags that give every build of this profile the same features.
    pub fn features(self) -> &'static [&'static str] {
        match self {
            Self::Dev => &["--features", "imagecache-core/mock,imagecache-cloud-http/test-util"],
            Self::Release => &[],
        }
    }

    fn directory(self) -> &'static str {
        match self {
            Self::Dev => "debug",
            Self::Release => "release",
        }
    }
}

fn metadata() -> Result<Value> {
    let json = shell::capture(cargo().args(["metadata", "--format-version", "1", "--no-deps"]))?;
    serde_json::from_str(&json).context("cargo metadata printed what is not JSON")
}
