//! What the kubelet and Prometheus are told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use imagecache_k8s_api::alibaba::Profile;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::super::health::{self, Health};
use super::rig::Rig;

async fn ask(address: std::net::SocketAddr, line: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("{line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn readiness_says_what_is_missing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let certified = Arc::new(AtomicBool::new(false));
    let health = Arc::new(Health::new(Some({
        let certified = Arc::clone(&certified);
        Box::new(move || certified.load(Ordering::Relaxed))
    })));
    let mut rig = Rig::new(serde_json::json!(["nginx"]));
    let profiles = rig.unread_profiles();
    let shared = rig.shared();
    let serving = tokio::spawn({
        let health = Arc::clone(&health);
        async move { health::serve(listener, &health, &shared).await }
    });
    let expect = async |line: &str, code: &str, part: &str| {
        let answer = ask(address, line).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {code}")), "{line}: {answer}");
        assert!(answer.contains(part), "{line}: {answer}");
    };
    expect("GET /healthz", "200", "ok").await;
    expect("GET /readyz", "503", "no ImageCache resource").await;
    health.watching();
    expect("GET /readyz", "503", "provider").await;
    health.listed();
    expect("GET /readyz", "503", "profiles").await;
    profiles.know(Ok(Profile::default()));
    expect("GET /readyz", "503", "certificate").await;
    certified.store(true, Ordering::Relaxed);
    expect("GET /readyz", "200", "ok").await;
    expect("GET /metrics", "200", "# TYPE imagecache_caches gauge").await;
    expect("GET /else", "404", "/metrics").await;
    expect("POST /healthz", "405", "GET").await;
    serving.abort();
}
