//! How long pods wait for the webhook, over TLS, among many caches: while nothing else happens, and while the controller
//! builds thousands of caches. Run by `cargo xtask bench match`, which reads the JSON.
//!
//! Everything is real but the cloud: an API server with its watches, the whole controller, and connections kept open as an
//! API server keeps them. Reviews are sent at fixed times, whether earlier ones were answered or not.

// Printing is this program's purpose; a failure ends it.
#![allow(clippy::print_stdout, clippy::unwrap_used, missing_docs)]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use futures::StreamExt as _;
use futures::future::join_all;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::SendRequest;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use imagecache_apiserver::{ApiServer, Data, Options};
use imagecache_conformance::MemoryProvider;
use imagecache_controller::kubernetes::{self, Settings};
use imagecache_controller::webhook::{self, CertificateSource};
use imagecache_core::{CacheKey, CacheProvider as _, CacheSpec, ImageRef};
use imagecache_k8s_api::{alibaba, crds};
use kube::api::{ListParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

const HOST: &str = "127.0.0.1";
/// What an API server keeps open to one webhook.
const CONNECTIONS: usize = 25;
/// Containers of a pod, as the goal says.
const CONTAINERS: usize = 10;
const REPOSITORIES: usize = 5_000;
const VERSIONS: usize = 50;
/// Images that stand in every cache and pod, as sidecars do.
const SIDECARS: [&str; 3] = ["istio/proxyv2:1.24", "fluent/fluent-bit:3.2", "otel/collector:0.115"];
/// Requests of the storm's author that are under way at once.
const AT_ONCE: usize = 16;
/// Between two listings of all caches. Often enough: clouds list 50 a page and take 20 calls a second, so that 100,000 caches
/// need minutes.
const POLL_INTERVAL: Duration = Duration::from_secs(5);
/// Between two looks of the cloud at its builds.
const BUILD_PAUSE: Duration = Duration::from_millis(100);

struct Scale {
    caches: usize,
    reviews: usize,
    per_second: usize,
    storm: usize,
}

fn main() {
    let number = |flag: &str, default: usize| {
        let mut args = std::env::args().skip_while(|arg| arg != flag);
        args.nth(1).map_or(default, |value| value.parse().unwrap())
    };
    let scale = Scale {
        caches: number("--caches", 100_000),
        reviews: number("--reviews", 20_000),
        per_second: number("--per-second", 1_000),
        storm: number("--storm", 3_000),
    };
    // The controller has its own threads, as in production; this one is the API server's.
    let controller = tokio::runtime::Runtime::new().unwrap();
    let sender = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    sender.block_on(scale.run(&controller));
    controller.shutdown_background();
}

impl Scale {
    async fn run(&self, controller: &tokio::runtime::Runtime) {
        let provider = MemoryProvider::default();
        let mut rng = Rng::with_seed(1);
        for number in 0..self.caches {
            let spec = CacheSpec::new(images(rng.usize(1..=5), &mut rng));
            let key = CacheKey::new(&format!("object-{number}"), &spec);
            provider.ensure(&key, &spec).await.unwrap();
        }
        provider.finish_builds();

        let dir = tempfile::tempdir().unwrap();
        let certificate = certificate(dir.path());
        let address = free_address();
        let settings = Settings {
            webhook: Some(webhook::Settings {
                listen: address,
                certificate: CertificateSource::Dir(dir.path().to_owned()),
            }),
            // The caches of the bench have no objects.
            remove_orphans: false,
            poll_interval: POLL_INTERVAL,
            ..Settings::default()
        };
        let client = controller.spawn(api()).await.unwrap();
        let run = kubernetes::run(
            client.clone(),
            Arc::new(provider.clone()),
            settings,
            std::future::pending(),
        );
        controller.spawn(async move { run.await.unwrap() });

        let mut connections = Vec::new();
        while connections.len() < CONNECTIONS {
            match connect(address, &certificate).await {
                Ok(connection) => connections.push(connection),
                Err(_) => tokio::time::sleep(BUILD_PAUSE).await,
            }
        }
        let pods: Vec<Bytes> = (0..1_000).map(|_| review(&images(CONTAINERS, &mut rng))).collect();
        // The caches are listed, and everything is in memory.
        while self.send(&mut connections, &pods, self.per_second).await.bound == 0 {}

        let calm = self.send(&mut connections, &pods, self.reviews).await;
        calm.print("nothing else happens", self.caches);
        let storm = controller.spawn(storm(client.clone(), provider, self.storm));
        let during = self.send(&mut connections, &pods, self.reviews).await;
        let made: Api<alibaba::ImageCache> = Api::all(client);
        let made = made.list(&ListParams::default()).await.unwrap().items;
        let is_ready =
            |object: &&alibaba::ImageCache| object.status.as_ref().is_some_and(|status| status.phase == "Ready");
        let (ready, made) = (made.iter().filter(is_ready).count(), made.len());
        during.print(&format!("{made} ImageCaches are made, {ready} get Ready"), self.caches);
        storm.abort();
    }

    async fn send(&self, connections: &mut [Connection], pods: &[Bytes], reviews: usize) -> Measured {
        let pause = Duration::from_secs(1) / u32::try_from(self.per_second).unwrap();
        let start = Instant::now();
        let lanes = connections.iter_mut().enumerate().map(|(lane, connection)| async move {
            let mut measured = Measured::default();
            for number in (lane..reviews).step_by(CONNECTIONS) {
                let due = start + pause * u32::try_from(number).unwrap();
                let waited = due > Instant::now();
                tokio::time::sleep_until(due).await;
                // What a timer is late is not the webhook's; what an answer is late is the next review's, too.
                let begun = if waited { Instant::now() } else { due };
                let answer = connection.ask(pods.get(number % pods.len()).unwrap().clone()).await;
                measured.microseconds.push(begun.elapsed().as_micros());
                measured.bound += usize::from(answer["response"]["patch"].is_string());
                assert_eq!(answer["response"]["allowed"], true, "{answer}");
            }
            measured
        });
        let mut all = Measured::default();
        for measured in join_all(lanes).await {
            all.microseconds.extend(measured.microseconds);
            all.bound += measured.bound;
        }
        all.microseconds.sort_unstable();
        all
    }
}

#[derive(Default)]
struct Measured {
    microseconds: Vec<u128>,
    bound: usize,
}

impl Measured {
    fn print(&self, name: &str, caches: usize) {
        let count = self.microseconds.len();
        let at = |permille: usize| {
            self.microseconds
                .get((count * permille / 1_000).min(count - 1))
                .unwrap()
        };
        let line = json!({
            "name": name, "caches": caches, "reviews": count, "bound": self.bound,
            "p50_us": at(500), "p99_us": at(990), "p999_us": at(999), "max_us": at(1_000),
        });
        println!("{line}");
    }
}

/// Makes objects as fast as the API server takes them, and the cloud builds what it is asked for.
async fn storm(client: Client, provider: MemoryProvider, objects: usize) {
    let building = async {
        loop {
            provider.finish_builds();
            tokio::time::sleep(BUILD_PAUSE).await;
        }
    };
    let api: Api<alibaba::ImageCache> = Api::all(client);
    let making = futures::stream::iter(0..objects).for_each_concurrent(AT_ONCE, |number| {
        let api = api.clone();
        async move {
            let spec = serde_json::from_value(json!({ "images": [format!("storm:{number}")] })).unwrap();
            let object = alibaba::ImageCache::new(&format!("storm-{number}"), spec);
            api.create(&PostParams::default(), &object).await.unwrap();
        }
    });
    tokio::join!(building, making);
}

/// So many images that many caches hold, and the sidecars.
fn images(count: usize, rng: &mut Rng) -> Vec<ImageRef> {
    let own = (0..count.saturating_sub(SIDECARS.len()).max(1)).map(|_| {
        let (repository, version) = (rng.usize(0..REPOSITORIES), rng.usize(0..VERSIONS));
        format!("team/app-{repository}:v{version}")
    });
    let mut images: Vec<ImageRef> = own.map(|image| image.parse().unwrap()).collect();
    images.extend(SIDECARS.iter().map(|image| image.parse::<ImageRef>().unwrap()));
    images.sort();
    images.dedup();
    images
}

/// The question about a pod of an ordinary Deployment, as an API server writes it.
fn review(images: &[ImageRef]) -> Bytes {
    let container = |(number, image): (usize, &ImageRef)| {
        json!({
            "name": format!("c{number}"), "image": image.to_string(), "imagePullPolicy": "IfNotPresent",
            "env": (0..8).map(|n| json!({ "name": format!("SETTING_{n}"), "value": "a value of some length" })).collect::<Vec<_>>(),
            "ports": [{ "containerPort": 8080 + number, "protocol": "TCP" }],
            "resources": { "requests": { "cpu": "100m", "memory": "128Mi" }, "limits": { "memory": "256Mi" } },
            "readinessProbe": { "httpGet": { "path": "/ready", "port": 8080, "scheme": "HTTP" }, "periodSeconds": 10 },
            "volumeMounts": [{ "name": "token", "readOnly": true, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount" }],
            "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
        })
    };
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "generateName": "web-7d4b9c6f5-", "namespace": "shop", "labels": { "app": "web", "pod-template-hash": "7d4b9c6f5" },
            "annotations": { "k8s.aliyun.com/eci-auto-imc": "true" },
        },
        "spec": {
            "containers": images.iter().enumerate().map(container).collect::<Vec<_>>(),
            "volumes": [{ "name": "token", "secret": { "secretName": "default-token", "defaultMode": 420 } }],
            "restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler",
            "serviceAccountName": "default", "enableServiceLinks": true,
        },
    });
    let resource = json!({ "group": "", "version": "v1", "resource": "pods" });
    let kind = json!({ "group": "", "version": "v1", "kind": "Pod" });
    let review = json!({
        "kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002", "kind": kind, "resource": resource,
            "requestKind": kind, "requestResource": resource, "namespace": "shop", "operation": "CREATE",
            "userInfo": { "username": "system:serviceaccount:kube-system:replicaset-controller", "groups": ["system:serviceaccounts"] },
            "object": pod, "oldObject": null, "dryRun": false,
            "options": { "kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1" },
        },
    });
    review.to_string().into()
}

struct Connection(SendRequest<Full<Bytes>>);

impl Connection {
    async fn ask(&mut self, review: Bytes) -> Value {
        let request = Request::builder()
            .method(Method::POST)
            .uri("/mutate")
            .header("host", HOST);
        self.0.ready().await.unwrap();
        let answer = self
            .0
            .send_request(request.body(Full::new(review)).unwrap())
            .await
            .unwrap();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        serde_json::from_slice(&body).unwrap()
    }
}

async fn connect(address: SocketAddr, trusted: &CertificateDer<'static>) -> std::io::Result<Connection> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from(HOST).unwrap();
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    Ok(Connection(sender))
}

/// Writes a certificate where the webhook reads it.
fn certificate(dir: &Path) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed([HOST.to_owned()]).unwrap();
    std::fs::write(dir.join("tls.crt"), made.cert.pem()).unwrap();
    std::fs::write(dir.join("tls.key"), made.signing_key.serialize_pem()).unwrap();
    made.cert.der().clone()
}

fn free_address() -> SocketAddr {
    std::net::TcpListener::bind((HOST, 0)).unwrap().local_addr().unwrap()
}

/// A client of an API server in this process.
async fn api() -> Client {
    let server = ApiServer::open(Options {
        data: Data::Memory,
        token: None,
        crds: crds(),
    })
    .unwrap();
    let listener = TcpListener::bind((HOST, 0)).await.unwrap();
    let kubeconfig = Kubeconfig::from_yaml(&server.kubeconfig(listener.local_addr().unwrap())).unwrap();
    tokio::spawn(async move { server.serve(listener, std::future::pending()).await });
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await.unwrap();
    Client::try_from(config).unwrap()
}
