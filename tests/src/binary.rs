//! Running `imagecache` as a user does.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tokio::process::{Child, Command};

/// Longer than any command of a scenario takes, even unoptimised and on a busy machine.
const LIMIT: Duration = Duration::from_secs(240);

/// Output that one command left.
#[derive(Debug)]
pub struct Output {
    /// Exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// What it printed as result.
    pub stdout: String,
    /// What it logged.
    pub stderr: String,
}

/// Variables that would lead a command to somebody's account or cluster.
const FOREIGN: [&str; 7] = [
    "AWS_",
    "IMAGECACHE_",
    "ALIBABA_CLOUD_",
    "TENCENTCLOUD_",
    "TKE_",
    "KUBECONFIG",
    "DOCKER_CONFIG",
];

/// The binary with a store and a home directory of its own.
#[derive(Clone, Debug)]
pub struct Binary {
    path: PathBuf,
    store: PathBuf,
    home: PathBuf,
    /// Flags before those of a command.
    flags: Vec<String>,
    environment: Vec<(String, String)>,
}

impl Binary {
    /// The binary at `path`, keeping its caches in `store`.
    pub fn new(path: &Path, store: &Path, home: &Path) -> Self {
        Self {
            path: path.to_owned(),
            store: store.to_owned(),
            home: home.to_owned(),
            flags: vec!["--provider".to_owned(), "local".to_owned()],
            environment: Vec::new(),
        }
    }

    /// The same binary with a configuration file, and nothing said of the provider but what that says.
    #[must_use]
    pub fn with_config(mut self, file: &Path) -> Self {
        self.flags = vec!["--config".to_owned(), file.to_string_lossy().into_owned()];
        self
    }

    /// The same binary with more in its environment.
    #[must_use]
    pub fn with_environment(mut self, variables: impl IntoIterator<Item = (&'static str, String)>) -> Self {
        let owned = variables.into_iter().map(|(name, value)| (name.to_owned(), value));
        self.environment.extend(owned);
        self
    }

    /// The directory store.
    pub fn store(&self) -> &Path {
        &self.store
    }

    /// A command with nothing of the caller's configuration in it; killed when dropped.
    pub fn command<S: AsRef<OsStr>>(&self, args: &[S]) -> Command {
        let mut command = Command::new(&self.path);
        for (name, _) in std::env::vars_os() {
            if FOREIGN.iter().any(|start| name.to_string_lossy().starts_with(start)) {
                command.env_remove(name);
            }
        }
        command
            .args(&self.flags)
            .args(args)
            .env("IMAGECACHE_LOCAL__STORE__PATH", &self.store)
            .env("HOME", &self.home)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Runs a command to its end, whatever that is.
    pub async fn output<S: AsRef<OsStr>>(&self, args: &[S]) -> Result<Output> {
        let shown = shown(args);
        let output = tokio::time::timeout(LIMIT, self.command(args).output())
            .await
            .with_context(|| format!("imagecache {shown} did not end within {LIMIT:?}"))?
            .with_context(|| format!("cannot start {}", self.path.display()))?;
        Ok(Output {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Runs a command that must succeed; returns its stdout without the last line end.
    pub async fn run<S: AsRef<OsStr>>(&self, args: &[S]) -> Result<String> {
        let output = self.output(args).await?;
        if output.code != Some(0) {
            bail!(
                "imagecache {} exited with {:?}: {}",
                shown(args),
                output.code,
                output.stderr.trim()
            );
        }
        Ok(output.stdout.trim_end().to_owned())
    }

    /// Runs a command that must fail; returns what it said on stderr.
    pub async fn fails<S: AsRef<OsStr>>(&self, args: &[S]) -> Result<String> {
        let output = self.output(args).await?;
        match output.code {
            Some(0) => bail!(
                "imagecache {} succeeded and should have failed: {}",
                shown(args),
                output.stdout
            ),
            Some(_) => Ok(output.stderr.trim_end().to_owned()),
            None => bail!("imagecache {} was killed: {}", shown(args), output.stderr),
        }
    }

    /// Runs a command and reads its result as JSON.
    pub async fn json<S: AsRef<OsStr>>(&self, args: &[S]) -> Result<Value> {
        let mut all: Vec<&OsStr> = vec![OsStr::new("-o"), OsStr::new("json")];
        all.extend(args.iter().map(AsRef::as_ref));
        let text = self.run(&all).await?;
        serde_json::from_str(&text).with_context(|| format!("imagecache {} did not print JSON: {text}", shown(args)))
    }

    /// Starts a command, its output going to a file.
    pub fn spawn<S: AsRef<OsStr>>(&self, args: &[S], log: &Path) -> Result<Child> {
        start(&mut self.command(args), log)
    }

    /// Builds a cache of one image and returns its id.
    pub async fn create(&self, image: &str) -> Result<String> {
        self.run(&["create", "--wait", image]).await
    }

    /// Re-reads everything that the store holds.
    pub async fn verify(&self) -> Result<()> {
        self.run(&["verify"]).await.map(|_| ())
    }
}

/// Starts a command with its output appended to a log file.
pub fn start(command: &mut Command, log: &Path) -> Result<Child> {
    let file = std::fs::File::options()
        .create(true)
        .append(true)
        .open(log)
        .with_context(|| format!("cannot write {}", log.display()))?;
    command
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .kill_on_drop(true);
    command
        .spawn()
        .with_context(|| format!("cannot start {:?}", command.as_std().get_program()))
}

/// Runs another program to its end; its stdout, or an error with its stderr.
pub async fn tool<S: AsRef<OsStr>>(program: &str, args: &[S]) -> Result<String> {
    tool_with(program, args, []).await
}

/// The same with more in its environment.
pub async fn tool_with<S: AsRef<OsStr>>(
    program: &str,
    args: &[S],
    environment: impl IntoIterator<Item = (&'static str, String)>,
) -> Result<String> {
    let mut command = Command::new(program);
    command.envs(environment);
    let output = tokio::time::timeout(
        LIMIT,
        command.args(args).stdin(Stdio::null()).kill_on_drop(true).output(),
    )
    .await
    .with_context(|| format!("{program} {} did not end within {LIMIT:?}", shown(args)))?
    .with_context(|| format!("cannot start {program}"))?;
    if !output.status.success() {
        bail!(
            "{program} {} failed: {}",
            shown(args),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn shown<S: AsRef<OsStr>>(args: &[S]) -> String {
    args.iter()
        .map(|arg| arg.as_ref().to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}
