//! One object, its scripted API server and a provider.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Method;
use imagecache_conformance::MemoryProvider;
use imagecache_core::cost::Tariff;
use imagecache_core::{CacheProvider, CacheState, Failure};
use imagecache_k8s_api::alibaba::{ImageCache, Profile};
use jiff::Timestamp;
use kube::runtime::controller::Action;
use serde_json::{Value, json};
use tokio::sync::mpsc::unbounded_channel;
use tokio::time::Instant;

use crate::cost_config::CostConfig;

use super::super::context::{Context, PassError, Shared};
use super::super::events::Publisher;
use super::super::memo::Memos;
use super::super::profile::{ProfileSources, Profiles};
use super::super::reconcile;
use super::super::secrets::PullSecretPolicy;
use super::super::states::States;
use super::script::Script;

pub(super) const UID: &str = "5c8aa1cc-7d0f-4f0a-9a0a-0f6f0b8c2f11";
pub(super) const STATUS: &str = "/apis/eci.alibabacloud.com/v1/imagecaches/web/status";
pub(super) const EVENTS: &str = "/api/v1/namespaces/default/events";
/// When the memory provider's clock starts.
const START: &str = "2026-01-01T00:00:00Z";

/// A controller without its loops: every pass is called by the test.
pub(super) struct Rig {
    pub(super) script: Script,
    pub(super) provider: MemoryProvider,
    pub(super) object: Arc<Mutex<Value>>,
    context: Context<ImageCache>,
    clock: Arc<Mutex<Timestamp>>,
}

impl Rig {
    pub(super) fn new(images: Value) -> Self {
        let provider = MemoryProvider::default();
        Self::with(images, provider.clone(), Arc::new(provider))
    }

    /// With `acting` in the place of `provider`.
    pub(super) fn with(images: Value, provider: MemoryProvider, acting: Arc<dyn CacheProvider>) -> Self {
        let script = Script::default();
        let clock = Arc::new(Mutex::new(START.parse().unwrap()));
        let object = json!({
            "apiVersion": "eci.alibabacloud.com/v1", "kind": "ImageCache",
            "metadata": { "name": "web", "uid": UID, "generation": 1, "resourceVersion": "1" },
            "spec": { "images": images },
        });
        let context = context(&script, acting, &clock);
        Self {
            script,
            provider,
            object: Arc::new(Mutex::new(object)),
            context,
            clock,
        }
    }

    /// The cluster's profile, or why it cannot be read.
    pub(super) fn profile(&mut self, profile: Result<Profile, Failure>) {
        let sources = ProfileSources {
            eci_profile: true,
            ..ProfileSources::default()
        };
        let profiles = Profiles::new(sources);
        profiles.know(profile);
        Arc::get_mut(&mut self.context.shared).unwrap().profiles = Arc::new(profiles);
    }

    /// The cluster's profile was not read yet.
    pub(super) fn unread_profiles(&mut self) -> Arc<Profiles> {
        let profiles = Arc::new(Profiles::new(ProfileSources {
            eci_profile: true,
            ..ProfileSources::default()
        }));
        Arc::get_mut(&mut self.context.shared).unwrap().profiles = Arc::clone(&profiles);
        profiles
    }

    /// Statuses tell what caches cost by `config`'s prices for Alibaba ECI.
    pub(super) fn show_costs(&mut self, config: &CostConfig) {
        Arc::get_mut(&mut self.context.shared).unwrap().cost = config.hints(Tariff::AlibabaEci).unwrap();
    }

    /// What all passes share.
    pub(super) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.context.shared)
    }

    /// The controller stops and starts: nothing but the object and the provider is left.
    pub(super) fn restart(&mut self) {
        self.context = context(&self.script, Arc::clone(&self.context.shared.provider), &self.clock);
    }

    /// What one poll interval does.
    pub(super) async fn poll(&self) {
        let started = Instant::now();
        let listed = self.context.shared.provider.list().await.unwrap();
        // A listing that starts in the same instant as something else is not newer.
        tokio::time::advance(Duration::from_millis(1)).await;
        self.context
            .shared
            .states
            .listed(listed, started + Duration::from_millis(1));
    }

    /// Lists, then makes one pass over the object as it is now.
    pub(super) async fn pass(&self, when: &str) -> Action {
        self.poll().await;
        self.pass_only(when).await
    }

    /// Makes one pass without a new listing.
    pub(super) async fn pass_only(&self, when: &str) -> Action {
        let object = self.parsed();
        let action = reconcile::apply(&self.context, &object)
            .await
            .unwrap_or_else(|error| panic!("{when}: {error:?}"));
        self.script.assert_done(when);
        action
    }

    pub(super) async fn failing_pass(&self) -> PassError {
        self.poll().await;
        reconcile::apply(&self.context, &self.parsed())
            .await
            .expect_err("the pass must fail")
    }

    pub(super) async fn cleanup(&self) -> Result<Action, PassError> {
        self.poll().await;
        reconcile::cleanup(&self.context, &self.parsed()).await
    }

    fn parsed(&self) -> ImageCache {
        serde_json::from_value(self.object.lock().unwrap().clone()).unwrap()
    }

    /// The user changes the spec.
    pub(super) fn edit(&self, spec: Value) {
        let mut object = self.object.lock().unwrap();
        object["spec"] = spec;
        let generation = object["metadata"]["generation"].as_i64().unwrap();
        object["metadata"]["generation"] = json!(generation + 1);
        bump(&mut object);
    }

    /// The next call writes a status, which `check` looks at and which the object then has.
    pub(super) fn expect_status(&self, check: impl FnOnce(&Value) + Send + 'static) {
        let object = Arc::clone(&self.object);
        self.script.expect(Method::PATCH, STATUS, move |body| {
            check(&body["status"]);
            assert_eq!(body["metadata"]["uid"], UID, "a status is for one object only");
            let mut object = object.lock().unwrap();
            object["status"] = body["status"].clone();
            bump(&mut object);
            (200, object.clone())
        });
    }

    /// The next call writes a status with this phase.
    pub(super) fn expect_phase(&self, phase: &'static str) {
        self.expect_status(move |status| assert_eq!(status["phase"], phase, "{status}"));
    }

    /// The next call publishes an event with this reason, whose note has `part`.
    pub(super) fn expect_event(&self, type_: &'static str, reason: &'static str, part: &'static str) {
        self.script.expect(Method::POST, EVENTS, move |body| {
            assert_eq!(
                (&body["type"], &body["reason"]),
                (&json!(type_), &json!(reason)),
                "{body}"
            );
            let note = body["message"].as_str().unwrap();
            assert!(note.contains(part), "`{note}` lacks `{part}`");
            assert_eq!(body["involvedObject"]["uid"], UID);
            (201, body.clone())
        });
    }

    /// The next call counts an event that happened again.
    pub(super) fn expect_series(&self) {
        self.script.expect(Method::PATCH, format!("{EVENTS}/*"), |body| {
            assert!(body["count"].as_i64().unwrap() >= 2, "{body}");
            (
                200,
                json!({ "apiVersion": "v1", "kind": "Event", "metadata": { "name": "e" }, "involvedObject": {} }),
            )
        });
    }

    /// The status that the object has now.
    pub(super) fn status(&self) -> Value {
        self.object.lock().unwrap()["status"].clone()
    }

    /// The caches that the provider keeps.
    pub(super) async fn caches(&self) -> Vec<CacheState> {
        self.provider.list().await.unwrap()
    }

    /// Moves every clock.
    pub(super) async fn advance(&self, by: Duration) {
        tokio::time::advance(by).await;
        self.provider.advance(by);
        let mut clock = self.clock.lock().unwrap();
        *clock = clock.checked_add(by).unwrap();
    }

    /// From nothing to Ready.
    pub(super) async fn build(&self) {
        self.expect_phase("Pending");
        self.expect_phase("Pending");
        self.pass("the first pass").await;
        self.provider.finish_builds();
        self.expect_phase("Ready");
        self.expect_event("Normal", "Ready", "imc-");
        self.pass("it is ready").await;
    }
}

fn context(script: &Script, provider: Arc<dyn CacheProvider>, clock: &Arc<Mutex<Timestamp>>) -> Context<ImageCache> {
    let clock = Arc::clone(clock);
    let shared = Shared {
        client: script.client(),
        provider,
        states: States::default(),
        catalog: Arc::default(),
        pull_secrets: PullSecretPolicy::default(),
        profiles: Arc::new(Profiles::new(ProfileSources::default())),
        cost: None,
        publisher: Publisher::default(),
        metrics: Arc::default(),
        clock: Arc::new(move || *clock.lock().unwrap()),
    };
    let (wake, _) = unbounded_channel();
    Context {
        shared: Arc::new(shared),
        memos: Memos::default(),
        wake,
    }
}

fn bump(object: &mut Value) {
    let version: u64 = object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
    object["metadata"]["resourceVersion"] = json!((version + 1).to_string());
}
