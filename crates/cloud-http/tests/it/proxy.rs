//! Proxies of the environment, in a process of its own: the environment belongs to the whole process.

use std::process::Stdio;
use std::sync::Arc;

use imagecache_cloud_http::{Client, Credentials};

use crate::support::{LIST, Server, TestClock, TestProtocol, config, numbered, ok};

/// Tells the child where to call.
const ENDPOINT: &str = "IMAGECACHE_TEST_ENDPOINT";

#[tokio::test]
async fn are_used_except_for_this_machine() {
    for (name, loopback, through_proxy) in [("another host", false, 1), ("this machine", true, 0)] {
        let proxy = Server::start(vec![ok()]).await;
        let server = Server::start(vec![ok()]).await;
        let endpoint = if loopback {
            format!("http://{}", server.address)
        } else {
            "http://cloud.invalid".to_owned()
        };
        let output = tokio::process::Command::new(std::env::current_exe().unwrap())
            .args(["proxy::child", "--exact", "--ignored", "--nocapture"])
            .env("HTTP_PROXY", format!("http://{}", proxy.address))
            .env("http_proxy", format!("http://{}", proxy.address))
            .env_remove("NO_PROXY")
            .env_remove("no_proxy")
            .env_remove("REQUEST_METHOD")
            .env(ENDPOINT, endpoint)
            .stdin(Stdio::null())
            .output()
            .await
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("1 passed"), "{name}: {text}");
        assert_eq!(proxy.received().len(), through_proxy, "{name}");
        assert_eq!(server.received().len(), 1 - through_proxy, "{name}");
    }
}

#[tokio::test]
#[ignore = "needs the environment that `are_used_except_for_this_machine` starts it with"]
async fn child() {
    let clock = TestClock::new().clock();
    let credentials = Credentials::new(vec![Box::new(numbered())], Arc::clone(&clock));
    let protocol = TestProtocol {
        endpoint: std::env::var(ENDPOINT).unwrap(),
    };
    let client = Client::new(protocol, Arc::new(credentials), config(), clock);
    client.call(&LIST).await.unwrap();
}
