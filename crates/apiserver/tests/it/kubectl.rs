//! The real `kubectl` (from `$KUBECTL` or the path) against the server: every verb a person uses.

use std::path::Path;
use std::process::{Output, Stdio};

use serde_json::json;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::support::{GROUP, Served, widgets};

struct Kubectl {
    served: Served,
    home: TempDir,
}

impl Kubectl {
    async fn start() -> Self {
        let served = Served::memory().await;
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("kubeconfig"), served.server.kubeconfig(served.addr)).unwrap();
        Self { served, home }
    }

    async fn output(&self, args: &[&str], input: &str) -> Output {
        let program = std::env::var("KUBECTL").unwrap_or_else(|_| "kubectl".to_owned());
        let mut command = Command::new(program);
        command
            .args(args)
            .env("KUBECONFIG", self.home.path().join("kubeconfig"))
            .env("HOME", self.home.path());
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).await.unwrap();
        drop(stdin);
        child.wait_with_output().await.unwrap()
    }

    async fn ok(&self, args: &[&str], input: &str) -> String {
        let output = self.output(args, input).await;
        let (out, err) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        assert!(output.status.success(), "kubectl {args:?}: {err}{out}");
        format!("{out}{err}")
    }

    async fn fails(&self, args: &[&str], input: &str) -> String {
        let output = self.output(args, input).await;
        assert!(!output.status.success(), "kubectl {args:?} succeeded");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }
}

fn widget(name: &str, size: i64) -> String {
    format!("apiVersion: {GROUP}/v1\nkind: Widget\nmetadata:\n  name: {name}\nspec:\n  size: {size}\n")
}

fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no {part:?} in:\n{text}");
    }
}

#[tokio::test]
#[ignore = "needs kubectl"]
async fn custom_resources() {
    let kubectl = Kubectl::start().await;
    has(&kubectl.ok(&["apply", "-f", "-"], &widget("a", 3)).await, &["created"]);
    has(
        &kubectl.ok(&["apply", "-f", "-"], &widget("a", 4)).await,
        &["configured"],
    );
    has(
        &kubectl.ok(&["apply", "-f", "-"], &widget("a", 4)).await,
        &["unchanged"],
    );
    has(&kubectl.ok(&["create", "-f", "-"], &widget("b", 1)).await, &["created"]);
    has(
        &kubectl.ok(&["get", "widgets"], "").await,
        &["NAME", "SIZE", "PHASE", "AGE", "a", "4"],
    );
    has(&kubectl.ok(&["get", "wix", "-A"], "").await, &["NAMESPACE", "default"]);
    has(
        &kubectl.ok(&["get", "widget", "a", "-o", "yaml"], "").await,
        &["size: 4", "mode: fast", "generation: 2"],
    );
    has(
        &kubectl
            .ok(&["get", "widget", "a", "-o", "jsonpath={.spec.size}"], "")
            .await,
        &["4"],
    );
    has(
        &kubectl.ok(&["describe", "widget", "a"], "").await,
        &["Name:", "Size:", "Events:"],
    );
    has(
        &kubectl.ok(&["explain", "widget.spec.size"], "").await,
        &["How large it is.", "<integer>"],
    );
    has(&kubectl.ok(&["label", "widget", "a", "x=y"], "").await, &["labeled"]);
    has(
        &kubectl.ok(&["annotate", "widget", "a", "n=m"], "").await,
        &["annotate"],
    );
    has(
        &kubectl
            .ok(
                &["patch", "widget", "a", "--type=merge", "-p", r#"{"spec":{"size":9}}"#],
                "",
            )
            .await,
        &["patched"],
    );
    has(
        &kubectl.ok(&["get", "widget", "-l", "x=y", "-o", "name"], "").await,
        &["a"],
    );
    let diff = kubectl.output(&["diff", "-f", "-"], &widget("a", 10)).await;
    assert_eq!(diff.status.code(), Some(1), "{}", String::from_utf8_lossy(&diff.stderr));
    has(&String::from_utf8_lossy(&diff.stdout), &["-  size: 9", "+  size: 10"]);
    has(
        &kubectl.fails(&["create", "-f", "-"], &widget("c", 0)).await,
        &["is invalid", "greater than or equal to 1"],
    );
    let unknown = format!("{}  bogus: 1\n", widget("c", 1));
    has(&kubectl.fails(&["create", "-f", "-"], &unknown).await, &["bogus"]);
    let server_side = ["apply", "--server-side", "-f", "-"];
    has(
        &kubectl.ok(&server_side, &widget("s", 3)).await,
        &["serverside-applied"],
    );
    has(
        &kubectl.ok(&["delete", "widget", "a", "b", "s"], "").await,
        &["deleted"],
    );
    has(&kubectl.ok(&["get", "widgets"], "").await, &["No resources found"]);
}

#[tokio::test]
#[ignore = "needs kubectl"]
async fn waits_for_conditions_and_deletion() {
    let kubectl = Kubectl::start().await;
    kubectl.ok(&["create", "-f", "-"], &widget("w", 3)).await;
    let ready = async {
        let body = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}}).to_string();
        let url = kubectl
            .served
            .url(&format!("/apis/{GROUP}/v1/namespaces/default/widgets/w/status"));
        let request = http::Request::patch(url).header("content-type", "application/merge-patch+json");
        kubectl
            .served
            .client()
            .send(request.body(body.into_bytes().into()).unwrap())
            .await
            .unwrap();
    };
    let args = ["wait", "widget/w", "--for=condition=Ready", "--timeout=20s"];
    let (waited, ()) = tokio::join!(kubectl.ok(&args, ""), ready);
    has(&waited, &["condition met"]);
    let wait = ["wait", "widget/w", "--for=delete", "--timeout=20s"];
    // If the deletion is first, `wait` has nothing to wait for, which 1.20 calls an error: only the end is compared.
    let delete = ["delete", "widget", "w", "--wait=false"];
    let (_, deleted) = tokio::join!(kubectl.output(&wait, ""), kubectl.ok(&delete, ""));
    has(&deleted, &["deleted"]);
    has(&kubectl.fails(&["get", "widget", "w"], "").await, &["NotFound"]);
}

#[tokio::test]
#[ignore = "needs kubectl"]
async fn built_in_resources() {
    let kubectl = Kubectl::start().await;
    has(&kubectl.ok(&["create", "namespace", "n"], "").await, &["created"]);
    has(
        &kubectl.ok(&["get", "ns"], "").await,
        &["NAME", "STATUS", "n", "Active"],
    );
    let secret = [
        "create",
        "secret",
        "docker-registry",
        "r",
        "--docker-username=u",
        "--docker-password=p",
        "-n",
        "n",
    ];
    has(&kubectl.ok(&secret, "").await, &["created"]);
    has(
        &kubectl.ok(&["get", "secrets", "-n", "n"], "").await,
        &["TYPE", "DATA", "kubernetes.io/dockerconfigjson", "1"],
    );
    has(
        &kubectl.ok(&["describe", "secret", "r", "-n", "n"], "").await,
        &[".dockerconfigjson:"],
    );
    has(
        &kubectl
            .ok(&["create", "configmap", "c", "--from-literal=k=v"], "")
            .await,
        &["created"],
    );
    has(&kubectl.ok(&["describe", "configmap", "c"], "").await, &["k:", "v"]);
    has(&kubectl.ok(&["run", "p", "--image=busybox"], "").await, &["created"]);
    has(&kubectl.ok(&["get", "pods"], "").await, &["READY", "0/1", "Pending"]);
    has(
        &kubectl.ok(&["set", "image", "pod/p", "p=busybox:2"], "").await,
        &["updated"],
    );
    has(&kubectl.ok(&["describe", "pod", "p"], "").await, &["busybox:2"]);
    has(&kubectl.ok(&["delete", "pod", "p"], "").await, &["deleted"]);
    has(
        &kubectl.ok(&["api-resources"], "").await,
        &["widgets", "secrets", "leases", "customresourcedefinitions"],
    );
    has(&kubectl.ok(&["explain", "pod.spec.containers"], "").await, &["image"]);
    has(&kubectl.ok(&["auth", "can-i", "get", "pods"], "").await, &["yes"]);
    has(&kubectl.ok(&["version"], "").await, &["Server Version"]);
    has(&kubectl.ok(&["get", "events"], "").await, &["No resources found"]);
    has(&kubectl.ok(&["delete", "ns", "n"], "").await, &["deleted"]);
}

#[tokio::test]
#[ignore = "needs kubectl"]
async fn definitions_and_files() {
    let kubectl = Kubectl::start().await;
    let file = kubectl.home.path().join("crd.json");
    write_json(&file, &widgets("gadgets", "Gadget", "Cluster"));
    let file = file.to_str().unwrap();
    has(&kubectl.ok(&["apply", "-f", file], "").await, &["created"]);
    has(&kubectl.ok(&["apply", "-f", file], "").await, &["unchanged"]);
    let args = [
        "wait",
        "crd/gadgets.test.imagecache.dev",
        "--for=condition=Established",
        "--timeout=10s",
    ];
    has(&kubectl.ok(&args, "").await, &["condition met"]);
    has(
        &kubectl.ok(&["get", "crd"], "").await,
        &["gadgets.test.imagecache.dev", "CREATED AT"],
    );
    let gadget = format!("apiVersion: {GROUP}/v1\nkind: Gadget\nmetadata: {{name: g}}\nspec: {{size: 2}}\n");
    has(&kubectl.ok(&["apply", "-f", "-"], &gadget).await, &["created"]);
    has(&kubectl.ok(&["get", "gadgets"], "").await, &["SIZE", "g", "2"]);
    has(&kubectl.ok(&["delete", "-f", file], "").await, &["deleted"]);
    has(&kubectl.fails(&["get", "gadgets"], "").await, &["resource"]);
}

fn write_json(path: &Path, value: &serde_json::Value) {
    std::fs::write(path, value.to_string()).unwrap();
}
