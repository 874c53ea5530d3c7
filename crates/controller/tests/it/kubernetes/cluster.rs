//! API servers to test against, and a controller that runs on them.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use imagecache_apiserver::{ApiServer, Data, Options};
use imagecache_conformance::MemoryProvider;
use imagecache_controller::kubernetes::{self, Settings};
use imagecache_k8s_api::crds;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, ResourceExt as _};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Names the kubeconfig of a cluster that tests may use.
pub const KUBECONFIG_VARIABLE: &str = "IMAGECACHE_TEST_KUBECONFIG";
/// Longer than anything takes, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at a condition.
const GLANCE: Duration = Duration::from_millis(20);

/// A client of an API server in this process.
pub async fn in_process(definitions: Vec<CustomResourceDefinition>) -> Client {
    let server = ApiServer::open(Options {
        data: Data::Memory,
        token: None,
        crds: definitions,
    })
    .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let kubeconfig = server.kubeconfig(listener.local_addr().unwrap());
    tokio::spawn(async move { server.serve(listener, std::future::pending()).await });
    client(Kubeconfig::from_yaml(&kubeconfig).unwrap()).await
}

/// A client of the cluster that the environment names, with our definitions installed.
pub async fn real() -> Client {
    let path = std::env::var(KUBECONFIG_VARIABLE).expect("IMAGECACHE_TEST_KUBECONFIG names a kubeconfig");
    let client = client(Kubeconfig::read_from(path).unwrap()).await;
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    for definition in crds() {
        let params = PatchParams::apply("imagecache-tests").force();
        api.patch(&definition.name_any(), &params, &Patch::Apply(&definition))
            .await
            .unwrap();
    }
    for definition in crds() {
        let name = definition.name_any();
        let spec = definition.spec;
        let kind = GroupVersionKind::gvk(&spec.group, &spec.versions[0].name, &spec.names.kind);
        let kind = ApiResource::from_gvk_with_plural(&kind, &spec.names.plural);
        let objects: Api<DynamicObject> = Api::all_with(client.clone(), &kind);
        // A definition that is established is served a moment later.
        until(&format!("{name} to be served"), || async {
            let listed = objects.list(&ListParams::default().limit(1)).await;
            listed.map(drop).map_err(|error| error.to_string())
        })
        .await;
    }
    client
}

async fn client(kubeconfig: Kubeconfig) -> Client {
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .unwrap();
    Client::try_from(config).unwrap()
}

/// A controller that runs until it is stopped.
pub struct Running {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), kubernetes::Error>>,
}

impl Running {
    pub fn start(client: &Client, provider: &MemoryProvider) -> Self {
        Self::with(client, provider, Settings::default())
    }

    /// With other settings than the defaults.
    pub fn with(client: &Client, provider: &MemoryProvider, settings: Settings) -> Self {
        // `RUST_LOG=debug` shows what the controller does in a test that fails.
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        let _ = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_test_writer()
            .try_init();
        let (stop, stopped) = oneshot::channel();
        let settings = Settings {
            poll_interval: Duration::from_millis(50),
            ..settings
        };
        let provider = Arc::new(provider.clone());
        let run = kubernetes::run(client.clone(), provider, settings, async {
            let _ = stopped.await;
        });
        Self {
            stop,
            task: tokio::spawn(run),
        }
    }

    /// Stops it and waits until it has.
    pub async fn stop(self) {
        self.stop.send(()).unwrap();
        tokio::time::timeout(PATIENCE, self.task)
            .await
            .expect("it stops soon")
            .unwrap()
            .unwrap();
    }
}

/// Waits until `look` gives something; `what` is told when it does not.
pub async fn until<T, F: Future<Output = Result<T, String>>>(what: &str, mut look: impl FnMut() -> F) -> T {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        match look().await {
            Ok(found) => return found,
            Err(last) if tokio::time::Instant::now() > deadline => panic!("{what}: {last}"),
            Err(_) => tokio::time::sleep(GLANCE).await,
        }
    }
}
