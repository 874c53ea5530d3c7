//! Real TLS connections, as API servers make them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use imagecache_core::Phase;
use rustls::RootCertStore;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

use super::super::certificate::{self, Material};
use super::super::served::Served;
use super::super::thread;
use super::rig::{admission, cache, patch, pod, question};

const HOST: &str = "127.0.0.1";
const PATIENCE: Duration = Duration::from_secs(20);

struct Server {
    address: SocketAddr,
    served: Arc<Served>,
    stop: CancellationToken,
    ended: oneshot::Receiver<()>,
}

/// A server that shows `material`.
fn server(material: &Material) -> Server {
    let listener = std::net::TcpListener::bind((HOST, 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let (served, stop) = (Arc::new(Served::default()), CancellationToken::new());
    served.set(material.certified().unwrap());
    let admission = admission(&[cache(&["nginx:1"], Phase::Ready)]);
    let ended = thread(listener, Arc::clone(&served), admission, stop.clone()).unwrap();
    Server {
        address,
        served,
        stop,
        ended,
    }
}

fn material() -> Material {
    // The clients of these tests judge by the real time.
    certificate::make(&[HOST.to_owned()], jiff::Timestamp::now(), None).unwrap()
}

struct Connection {
    sender: SendRequest<Full<Bytes>>,
    shown: CertificateDer<'static>,
}

/// A connection that trusts the authorities of `material` alone.
async fn connect(server: &Server, material: &Material) -> Result<Connection, std::io::Error> {
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(material.authorities.as_bytes()) {
        roots.add(authority.unwrap()).unwrap();
    }
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(server.address).await?;
    let name = ServerName::try_from(HOST).unwrap();
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    let shown = stream
        .get_ref()
        .1
        .peer_certificates()
        .unwrap()
        .first()
        .unwrap()
        .clone()
        .into_owned();
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    Ok(Connection { sender, shown })
}

impl Connection {
    async fn send(&mut self, method: &str, path: &str, body: Vec<u8>) -> (StatusCode, Vec<u8>) {
        let request = Request::builder().method(method).uri(path).header("host", HOST);
        let request = request.body(Full::from(body)).unwrap();
        let answer = tokio::time::timeout(PATIENCE, self.sender.send_request(request))
            .await
            .unwrap()
            .unwrap();
        let status = answer.status();
        (status, answer.into_body().collect().await.unwrap().to_bytes().to_vec())
    }

    async fn review(&mut self, pod: &Value) -> Value {
        let (status, answer) = self
            .send("POST", "/mutate", question(pod).to_string().into_bytes())
            .await;
        assert_eq!(status, StatusCode::OK);
        serde_json::from_slice::<Value>(&answer).unwrap()["response"].clone()
    }
}

fn asking() -> Value {
    pod(&[("k8s.aliyun.com/eci-image-cache", "true")], &["nginx:1"])
}

#[tokio::test]
async fn reviews_are_answered_and_nothing_else() {
    let material = material();
    let server = server(&material);
    let mut connection = connect(&server, &material).await.unwrap();
    assert_ne!(patch(&connection.review(&asking()).await), json!([]));
    let large = vec![b' '; 9 * 1024 * 1024];
    for (row, method, path, body, expected) in [
        ("no review", "POST", "/mutate", b"{}".to_vec(), StatusCode::BAD_REQUEST),
        (
            "another method",
            "GET",
            "/mutate",
            Vec::new(),
            StatusCode::METHOD_NOT_ALLOWED,
        ),
        ("another path", "POST", "/", Vec::new(), StatusCode::NOT_FOUND),
        ("too large", "POST", "/mutate", large, StatusCode::PAYLOAD_TOO_LARGE),
    ] {
        let mut connection = connect(&server, &material).await.unwrap();
        assert_eq!(connection.send(method, path, body).await.0, expected, "{row}");
    }
    // The largest object that an API server takes.
    let mut pod = asking();
    pod["spec"]["containers"][0]["command"] = json!(["x".repeat(3 * 1024 * 1024)]);
    assert_ne!(patch(&connection.review(&pod).await), json!([]));
}

#[tokio::test]
async fn a_new_certificate_is_shown_and_open_connections_stay() {
    let old = material();
    let server = server(&old);
    let mut before = connect(&server, &old).await.unwrap();
    before.review(&asking()).await;
    let new = certificate::make(&[HOST.to_owned()], jiff::Timestamp::now(), Some(&old)).unwrap();
    server.served.set(new.certified().unwrap());
    let mut after = connect(&server, &new).await.unwrap();
    assert_ne!(after.shown, before.shown);
    after.review(&asking()).await;
    before.review(&asking()).await;
    assert!(
        connect(&server, &old).await.is_err(),
        "who trusts only the old one does not talk to the new one"
    );
}

#[tokio::test]
async fn it_ends_when_it_is_asked_to() {
    let material = material();
    let server = server(&material);
    let mut connection = connect(&server, &material).await.unwrap();
    connection.review(&asking()).await;
    server.stop.cancel();
    tokio::time::timeout(PATIENCE, server.ended).await.unwrap().unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}
