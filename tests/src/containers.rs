//! Containers over our snapshotter, in the namespace of what kubelet pulls; kubelet itself has no part in them.

use std::time::Duration;

use anyhow::Result;

use crate::containerd::Containerd;
use crate::wait;

/// Namespace of what kubelet pulls.
pub const KUBELET: &str = "k8s.io";

impl Containerd {
    /// Runs `ctr` in kubelet's namespace; its stdout.
    pub async fn kubelets(&self, args: &[&str]) -> Result<String> {
        self.ctr(&[&["-n", KUBELET], args].concat()).await
    }

    /// Runs a shell script in a new container and gives its output.
    pub async fn script(&self, image: &str, name: &str, script: &str) -> Result<String> {
        let run = ["run", "--rm", "--snapshotter", "imagecache", image, name];
        self.kubelets(&[&run[..], &["/bin/sh", "-c", script]].concat()).await
    }

    /// The same once containerd has found the snapshotter again, which it tries every few seconds, for `limit`.
    pub async fn script_again(&self, limit: Duration, image: &str, name: &str, script: &str) -> Result<String> {
        let mut attempt = 0;
        wait::until("a container to start", limit, async || {
            attempt += 1;
            let name = format!("{name}-{attempt}");
            Ok(self
                .script(image, &name, script)
                .await
                .map_err(|error| error.to_string()))
        })
        .await
    }

    /// Starts a container that does nothing, for others to look into.
    pub async fn idle(&self, image: &str, name: &str) -> Result<()> {
        let run = ["run", "--detach", "--snapshotter", "imagecache", image, name];
        self.kubelets(&[&run[..], &["/bin/sleep", "1000000"]].concat()).await?;
        Ok(())
    }

    /// Runs a program in a container; what it printed.
    pub async fn exec(&self, name: &str, command: &[&str]) -> Result<String> {
        let exec = ["task", "exec", "--exec-id", "look", name];
        self.kubelets(&[&exec[..], command].concat()).await
    }

    /// Ends a container.
    pub async fn end(&self, name: &str) -> Result<()> {
        self.kubelets(&["task", "delete", "--force", name]).await?;
        self.kubelets(&["containers", "delete", name]).await?;
        Ok(())
    }
}
