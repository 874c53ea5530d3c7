//! What happens when something is wrong: one clear message, the right delay, nothing lost.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Method;
use imagecache_conformance::{Fault, MemoryProvider};
use imagecache_core::{CacheProvider as _, Capabilities, Error, ErrorKind, MockCacheProvider};
use kube::runtime::controller::Action;
use serde_json::{Value, json};

use super::super::context::PassError;
use super::rig::Rig;
use super::script::failure;

const SECRET: &str = "/api/v1/namespaces/default/secrets/login";
const PASSWORD: &str = "hunter2-do-not-print";

/// A provider that does what `memory` does, except that `ensure` and `delete` fail while `fault` holds an error.
fn failing(memory: &MemoryProvider, fault: &Arc<Mutex<Option<ErrorKind>>>) -> MockCacheProvider {
    let mut mock = MockCacheProvider::new();
    let error = |fault: &Mutex<Option<ErrorKind>>, operation| {
        fault
            .lock()
            .unwrap()
            .map(|kind| Error::new(kind, "mock", operation, "the cloud says no"))
    };
    mock.expect_name().return_const("mock");
    mock.expect_capabilities().return_const(Capabilities {
        platform_choice: true,
        registry_transport: true,
        builds_in_process: true,
        build_options: false,
        marks_owner: false,
    });
    let (inner, flag) = (memory.clone(), Arc::clone(fault));
    mock.expect_ensure()
        .returning(move |key, spec| match error(&flag, "ensure") {
            Some(error) => Err(error),
            None => futures::executor::block_on(inner.ensure(key, spec)),
        });
    let (inner, flag) = (memory.clone(), Arc::clone(fault));
    mock.expect_delete().returning(move |key| match error(&flag, "delete") {
        Some(error) => Err(error),
        None => futures::executor::block_on(inner.delete(key)),
    });
    let inner = memory.clone();
    mock.expect_list()
        .returning(move || futures::executor::block_on(inner.list()));
    mock
}

fn rig_with_faults(images: Value) -> (Rig, Arc<Mutex<Option<ErrorKind>>>) {
    let memory = MemoryProvider::default();
    let fault = Arc::new(Mutex::new(None));
    let mock = failing(&memory, &fault);
    (Rig::with(images, memory, Arc::new(mock)), fault)
}

fn ready_condition(status: &Value) -> Value {
    let conditions = status["conditions"].as_array().unwrap();
    conditions
        .iter()
        .find(|condition| condition["type"] == "Ready")
        .unwrap()
        .clone()
}

#[tokio::test(start_paused = true)]
async fn a_wrong_spec_is_told_once_and_not_tried_again() {
    let rig = Rig::new(json!(["Not An Image!"]));
    rig.expect_status(|status| {
        assert_eq!(
            (&status["phase"], &status["reason"]),
            (&json!("Failed"), &json!("InvalidSpec"))
        );
        let condition = ready_condition(status);
        assert_eq!(condition["status"], "False");
        assert_eq!(condition["message"], status["message"]);
        assert_eq!(status["events"].as_array().unwrap().len(), 1);
        assert!(status["message"].as_str().unwrap().contains("spec.images[0]"));
    });
    rig.expect_event("Warning", "InvalidSpec", "Not An Image!");
    assert_eq!(rig.pass("a bad reference").await, Action::await_change());
    rig.advance(Duration::from_secs(100_000)).await;
    assert_eq!(rig.pass("much later").await, Action::await_change());
    assert_eq!(rig.provider.builds_started(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_wrong_edit_leaves_the_old_cache_serving() {
    let rig = Rig::new(json!(["nginx"]));
    rig.build().await;
    let id = rig.status()["imageCacheId"].clone();
    rig.edit(json!({ "images": ["UPPER"] }));
    rig.expect_status(move |status| {
        assert_eq!(
            (&status["phase"], &status["imageCacheId"]),
            (&json!("UpdateFailed"), &id)
        );
    });
    rig.expect_event("Warning", "InvalidSpec", "UPPER");
    rig.pass("a bad edit").await;
    assert_eq!(rig.caches().await.len(), 1);
    rig.edit(json!({ "images": ["nginx"] }));
    rig.expect_phase("Ready");
    rig.expect_event("Normal", "Updated", "");
    rig.pass("taken back").await;
}

#[tokio::test(start_paused = true)]
async fn a_missing_secret_is_told_and_looked_for_again() {
    let rig = Rig::new(json!(["nginx"]));
    rig.edit(json!({ "images": ["nginx"], "imagePullSecrets": ["default:login"] }));
    rig.expect_phase("Pending");
    rig.script.expect(Method::GET, SECRET, |_| failure(404, "not found"));
    rig.expect_status(|status| {
        assert_eq!(
            (&status["phase"], &status["reason"]),
            (&json!("Failed"), &json!("NotFound"))
        );
    });
    rig.expect_event("Warning", "NotFound", "pull secret `default/login` does not exist");
    let action = rig.pass("no secret").await;
    assert_ne!(action, Action::await_change());
    rig.pass("woken by our own write").await;
    rig.advance(Duration::from_secs(29)).await;
    rig.pass("not yet").await;

    rig.advance(Duration::from_secs(2)).await;
    rig.script.expect(Method::GET, SECRET, |_| {
        use base64::Engine as _;
        let config = json!({ "auths": { "r.example": { "username": "u", "password": PASSWORD } } });
        let data = base64::engine::general_purpose::STANDARD.encode(config.to_string());
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "login", "namespace": "default" },
            "type": "kubernetes.io/dockerconfigjson", "data": { ".dockerconfigjson": data },
        });
        (200, secret)
    });
    rig.expect_status(|status| {
        assert_eq!(status["phase"], "Pending");
        assert!(status["reason"].is_null());
    });
    rig.pass("the secret is there").await;
    assert_eq!(rig.provider.builds_started(), 1);
    let sent = rig.script.everything_sent();
    assert!(!sent.contains(PASSWORD), "{sent}");
}

#[tokio::test(start_paused = true)]
async fn malformed_secrets_are_told_without_their_content() {
    for (name, type_, key, value, part) in [
        (
            "not json",
            "kubernetes.io/dockerconfigjson",
            ".dockerconfigjson",
            PASSWORD,
            "default/login",
        ),
        ("opaque", "Opaque", "password", PASSWORD, "type Opaque"),
    ] {
        let rig = Rig::new(json!(["nginx"]));
        rig.edit(json!({ "images": ["nginx"], "imagePullSecrets": ["default:login"] }));
        rig.expect_phase("Pending");
        rig.script.expect(Method::GET, SECRET, move |_| {
            use base64::Engine as _;
            let data = base64::engine::general_purpose::STANDARD.encode(value);
            let secret = json!({
                "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "login" },
                "type": type_, "data": { key: data },
            });
            (200, secret)
        });
        rig.expect_phase("Failed");
        rig.expect_event("Warning", "Unauthenticated", part);
        rig.pass(name).await;
        assert!(!rig.script.everything_sent().contains(PASSWORD), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn each_kind_of_error_waits_as_the_table_says() {
    for (kind, phase, seconds) in [
        (ErrorKind::Unsupported, "Failed", None),
        (ErrorKind::PermissionDenied, "Failed", Some(30)),
        (ErrorKind::QuotaExceeded, "Failed", Some(5)),
        (ErrorKind::RateLimited, "Pending", Some(5)),
        (ErrorKind::Unavailable, "Pending", Some(5)),
    ] {
        let (rig, fault) = rig_with_faults(json!(["nginx"]));
        *fault.lock().unwrap() = Some(kind);
        rig.expect_phase("Pending");
        rig.expect_phase(phase);
        rig.expect_event("Warning", kind.reason(), "the cloud says no");
        rig.pass(kind.as_str()).await;
        *fault.lock().unwrap() = None;
        let wait = seconds.unwrap_or(100_000);
        rig.advance(Duration::from_secs(wait - 1)).await;
        rig.pass(kind.as_str()).await;
        assert_eq!(rig.provider.builds_started(), 0, "{kind:?}: too soon");
        rig.advance(Duration::from_secs(1)).await;
        if seconds.is_some() {
            rig.expect_phase("Pending");
        }
        rig.pass(kind.as_str()).await;
        assert_eq!(
            rig.provider.builds_started(),
            usize::from(seconds.is_some()),
            "{kind:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_stalled_build_goes_on_at_once_then_ever_more_seldom() {
    let rig = Rig::new(json!(["nginx"]));
    rig.expect_phase("Pending");
    rig.expect_phase("Pending");
    rig.pass("the first pass").await;
    rig.provider.inject(Fault::Outage);
    rig.provider.finish_builds();
    // It goes on within the pass that sees it, so users see no trouble yet; only the event of the provider is new.
    rig.advance(Duration::from_secs(1)).await;
    rig.expect_phase("Pending");
    rig.pass("stalled once").await;
    for wait in [5, 10, 20] {
        rig.provider.inject(Fault::Outage);
        rig.provider.finish_builds();
        rig.expect_status(|status| {
            assert_eq!(
                (&status["phase"], &status["reason"]),
                (&json!("Pending"), &json!("Unavailable"))
            );
        });
        if wait == 5 {
            rig.expect_event("Warning", "Unavailable", "does not answer");
        } else {
            rig.expect_series();
        }
        let action = rig.pass("stalled again").await;
        assert_ne!(action, Action::await_change());
        rig.advance(Duration::from_secs(wait - 1)).await;
        rig.pass("not yet").await;
        rig.advance(Duration::from_secs(1)).await;
        rig.expect_phase("Pending");
        rig.pass("going on").await;
    }
    rig.provider.finish_builds();
    rig.expect_phase("Ready");
    rig.expect_event("Normal", "Ready", "");
    rig.pass("the registry is back").await;
    assert_eq!(rig.provider.builds_started(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_failed_build_is_reconsidered_seldom_when_the_cause_lies_elsewhere() {
    let (rig, _) = rig_with_faults(json!(["nginx"]));
    rig.expect_phase("Pending");
    rig.expect_phase("Pending");
    rig.pass("the first pass").await;
    rig.provider.inject(Fault::ImageMissing);
    rig.provider.finish_builds();
    rig.expect_status(|status| {
        assert_eq!(
            (&status["phase"], &status["reason"]),
            (&json!("Failed"), &json!("NotFound"))
        );
    });
    rig.expect_event("Warning", "NotFound", "nginx");
    rig.pass("no such image").await;
    rig.advance(Duration::from_secs(299)).await;
    rig.pass("not yet").await;
    assert_eq!(rig.provider.builds_started(), 1);
    rig.advance(Duration::from_secs(2)).await;
    rig.expect_phase("Pending");
    rig.pass("another try").await;
    assert_eq!(rig.provider.builds_started(), 2);
    rig.provider.finish_builds();
    rig.expect_phase("Ready");
    rig.expect_event("Normal", "Ready", "");
    rig.pass("somebody pushed it").await;
}

#[tokio::test(start_paused = true)]
async fn a_failed_cache_that_is_forgotten_keeps_its_message() {
    let rig = Rig::new(json!(["nginx"]));
    rig.expect_phase("Pending");
    rig.expect_phase("Pending");
    rig.pass("the first pass").await;
    rig.provider.inject(Fault::ImageMissing);
    rig.provider.finish_builds();
    rig.expect_phase("Failed");
    rig.expect_event("Warning", "NotFound", "nginx");
    rig.pass("no such image").await;
    rig.advance(Duration::from_secs(25 * 60 * 60)).await;
    assert!(rig.caches().await.is_empty());
    rig.pass("a day later").await;
    assert_eq!(rig.status()["phase"], "Failed");
    assert_eq!(rig.provider.builds_started(), 1, "a cloud's build costs money");
}

#[tokio::test(start_paused = true)]
async fn a_refused_write_builds_nothing_that_is_not_written_down() {
    let rig = Rig::new(json!(["nginx"]));
    rig.script
        .expect(Method::PATCH, super::rig::STATUS, |_| failure(500, "etcd is down"));
    let error = rig.failing_pass().await;
    assert!(matches!(error, PassError::Api(_)), "{error:?}");
    assert_eq!(rig.provider.builds_started(), 0);
    rig.build().await;
    assert_eq!(rig.provider.builds_started(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_cache_that_cannot_be_removed_keeps_its_object() {
    let (rig, fault) = rig_with_faults(json!(["nginx"]));
    rig.build().await;
    *fault.lock().unwrap() = Some(ErrorKind::Unavailable);
    rig.expect_event("Normal", "Deleting", "");
    rig.expect_event("Warning", "Unavailable", "the cloud says no");
    let error = rig.cleanup().await.expect_err("the finalizer must stay");
    assert!(matches!(error, PassError::Cleanup(_)), "{error:?}");
    *fault.lock().unwrap() = None;
    rig.expect_series();
    rig.cleanup().await.unwrap();
    rig.script.assert_done("deleted");
    assert!(rig.caches().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_old_cache_that_cannot_be_removed_is_not_forgotten() {
    let (rig, fault) = rig_with_faults(json!(["nginx"]));
    rig.build().await;
    rig.edit(json!({ "images": ["redis"] }));
    rig.expect_phase("Updating");
    rig.expect_event("Normal", "Updating", "");
    rig.pass("the spec changed").await;
    rig.provider.finish_builds();
    *fault.lock().unwrap() = Some(ErrorKind::Unavailable);
    rig.expect_phase("Ready");
    rig.expect_event("Normal", "Updated", "");
    rig.expect_event("Warning", "Unavailable", "the cloud says no");
    let action = rig.pass("the old one stays").await;
    assert_eq!(action, Action::requeue(Duration::from_secs(5)));
    assert_eq!(rig.caches().await.len(), 2);
    *fault.lock().unwrap() = None;
    rig.expect_status(|status| assert!(status["otherCacheKeys"].is_null()));
    rig.pass("now it goes").await;
    assert_eq!(rig.caches().await.len(), 1);
}
