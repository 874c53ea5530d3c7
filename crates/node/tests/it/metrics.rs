//! What Prometheus and the kubelet read, over a real socket.

use std::net::SocketAddr;
use std::sync::Arc;

use imagecache_node::{
    Follower, Labels, MirrorOutcome, PrepareOutcome, Snapshotter, Source, listen_metrics, serve_metrics,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::until;

async fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test]
async fn metrics_say_what_the_snapshotter_does() {
    let root = tempfile::tempdir().unwrap();
    let snapshotter = Arc::new(Snapshotter::open(root.path()).unwrap());
    snapshotter.prepare("one", None, Labels::new()).unwrap();
    let gone = root.path().join("no \"store\"");
    let sources = vec![Source::Path(gone)];
    let follower = Follower::start(Arc::clone(&snapshotter), sources).await;
    tokio::spawn(follower.follow(Arc::default(), std::future::pending()));
    let metrics = snapshotter.metrics();
    metrics.prepared(PrepareOutcome::Cached);
    metrics.prepared(PrepareOutcome::Cached);
    metrics.mirrored(MirrorOutcome::Unknown);
    metrics.called("Prepare", std::time::Duration::from_millis(50));
    metrics.called("/no/such/method", std::time::Duration::from_secs(1));
    until("the first look at the sources", || {
        root.path().join("status.json").exists()
    })
    .await;
    let listener = listen_metrics("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(serve_metrics(Arc::clone(&snapshotter), listener, async {
        let _ = stopped.await;
    }));
    let text = get(address, "/metrics").await;
    assert!(
        text.starts_with("HTTP/1.1 200") && text.contains("version=0.0.4"),
        "{text}"
    );
    for line in [
        "imagecache_node_prepares_total{outcome=\"cached\"} 2",
        "imagecache_node_mirror_answers_total{outcome=\"unknown\"} 1",
        "imagecache_node_call_seconds_bucket{method=\"Prepare\",le=\"0.01\"} 0",
        "imagecache_node_call_seconds_bucket{method=\"Prepare\",le=\"0.1\"} 1",
        "imagecache_node_call_seconds_bucket{method=\"Prepare\",le=\"+Inf\"} 1",
        "imagecache_node_call_seconds_sum{method=\"Prepare\"} 0.050000",
        "imagecache_node_call_seconds_count{method=\"Prepare\"} 1",
        "imagecache_node_snapshots 1",
        "imagecache_node_mounted_images 0",
        "imagecache_node_damaged_images 0",
        "imagecache_node_hashed_bytes_total 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is missing in:\n{text}");
    }
    assert!(!text.contains("/no/such"), "a caller made a label");
    let up = text
        .lines()
        .find(|line| line.starts_with("imagecache_node_source_up"))
        .unwrap();
    assert!(up.contains("no \\\"store\\\"") && up.ends_with(" 0"), "{up}");
    assert!(get(address, "/healthz").await.starts_with("HTTP/1.1 200"));
    assert!(get(address, "/other").await.starts_with("HTTP/1.1 404"));
    stop.send(()).unwrap();
    serving.await.unwrap();
    assert!(TcpStream::connect(address).await.is_err(), "it still listens");
}
