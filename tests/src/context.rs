//! What a scenario is given: the binary, a directory of its own, and what this machine and the caller offer.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use crate::binary::Binary;

/// How the names of cluster-wide objects begin.
pub const NAME_PREFIX: &str = "e2e-";

/// Options common to all scenarios of a run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The `imagecache` under test.
    pub binary: PathBuf,
    /// A real cluster; without it, scenarios start `imagecache standalone`.
    pub kubeconfig: Option<PathBuf>,
    /// Whether the cluster has a node that is Ready.
    pub node: bool,
    /// A registry with the big images, as `host:port`.
    pub registry: Option<String>,
    /// `kubectl`, where there is one.
    pub kubectl: Option<PathBuf>,
    /// `kubelet`, where there is one.
    pub kubelet: Option<PathBuf>,
    /// How often a scenario that kills builds does so.
    pub rounds: u32,
    /// Caches of the scenario that has many.
    pub caches: usize,
}

/// One scenario's surroundings.
#[derive(Clone, Debug)]
pub struct Context {
    /// Options of the run.
    pub options: Options,
    /// A directory of this scenario's own; kept if it fails.
    pub dir: PathBuf,
    /// A word that makes the names of cluster-wide objects this scenario's own.
    pub unique: String,
}

impl Context {
    /// The binary over a store in this scenario's directory.
    pub fn binary(&self) -> Binary {
        self.binary_over(&self.dir.join("store"))
    }

    /// The binary over a store elsewhere.
    pub fn binary_over(&self, store: &Path) -> Binary {
        Binary::new(&self.options.binary, store, &self.dir)
    }

    /// A shipped configuration file with some lines changed, each `(shipped, wanted)`, in this scenario's directory.
    pub fn changed_config(&self, shipped_file: &Path, changes: &[(&str, &str)]) -> Result<PathBuf> {
        let mut text = std::fs::read_to_string(shipped_file)?;
        for (shipped, wanted) in changes {
            ensure!(text.contains(shipped), "the shipped configuration has no `{shipped}`");
            text = text.replace(shipped, wanted);
        }
        let name = shipped_file.file_name().context("a configuration file without name")?;
        let file = self.dir.join(name);
        std::fs::write(&file, text)?;
        Ok(file)
    }

    /// The big registry; scenarios that use it say so in their needs.
    pub fn registry(&self) -> Result<&str> {
        self.options.registry.as_deref().context("no registry was given")
    }

    /// `kubectl`; scenarios that use it say so in their needs.
    pub fn kubectl(&self) -> Result<&Path> {
        self.options.kubectl.as_deref().context("kubectl was not found")
    }

    /// A name for a cluster-wide object.
    pub fn name(&self, word: &str) -> String {
        format!("{NAME_PREFIX}{word}-{}", self.unique)
    }

    /// A new directory below this scenario's own.
    pub fn subdir(&self, name: &str) -> Result<PathBuf> {
        let dir = self.dir.join(name);
        std::fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        Ok(dir)
    }
}
