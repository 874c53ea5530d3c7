//! Which source is taken, and when one is passed over.

use std::time::{Duration, Instant};

use imagecache_core::chain;
use serde_json::json;

use super::machine::{Machine, Prepare, safety_net};

#[tokio::test]
async fn the_order_is_the_vendors() {
    let mut machine = Machine::new().await;
    let static_sources = ["reference", "environment", "cli", "shared"];
    let key = |name: &str| (format!("LTAI{name}"), format!("secret-of-{name}"));
    let (id, secret) = key("reference");
    machine.var("MY_ID", id);
    machine.var("MY_SECRET", secret);
    machine.set("access_key_id_env", "MY_ID");
    machine.set("access_key_secret_env", "MY_SECRET");
    let (id, secret) = key("environment");
    machine.var("ALIBABA_CLOUD_ACCESS_KEY_ID", id);
    machine.var("ALIBABA_CLOUD_ACCESS_KEY_SECRET", secret);
    machine.rrsa();
    let (id, secret) = key("cli");
    machine.cli(&json!({"mode": "AK", "access_key_id": id, "access_key_secret": secret}));
    let (id, secret) = key("shared");
    machine.shared(&format!(
        "type = access_key\naccess_key_id = {id}\naccess_key_secret = {secret}"
    ));
    machine.var("ALIBABA_CLOUD_CREDENTIALS_URI", machine.fake.credentials_uri());

    let steps: [(&str, Option<&str>, Prepare); 7] = [
        ("reference", None, |machine| {
            machine.set("access_key_id_env", serde_json::Value::Null);
            machine.set("access_key_secret_env", serde_json::Value::Null);
        }),
        ("environment", None, |machine| {
            machine.environment.remove("ALIBABA_CLOUD_ACCESS_KEY_ID");
            machine.environment.remove("ALIBABA_CLOUD_ACCESS_KEY_SECRET");
        }),
        ("oidc", Some("AssumeRoleWithOIDC"), |machine| {
            machine.environment.remove("ALIBABA_CLOUD_OIDC_TOKEN_FILE");
            machine.environment.remove("ALIBABA_CLOUD_OIDC_PROVIDER_ARN");
        }),
        ("cli", None, |machine| {
            machine.var("ALIBABA_CLOUD_CLI_PROFILE_DISABLED", "true")
        }),
        ("shared", None, |machine| {
            std::fs::remove_file(machine.home.path().join(".alibabacloud/credentials")).unwrap();
        }),
        ("instance", Some("metadata"), |machine| {
            machine.var("ALIBABA_CLOUD_ECS_METADATA_DISABLED", "TRUE")
        }),
        ("uri", Some("credentials-uri"), |machine| {
            machine.environment.remove("ALIBABA_CLOUD_CREDENTIALS_URI");
        }),
    ];
    for (name, action, remove) in steps {
        // Of the written keys only this one works now.
        for source in static_sources {
            machine.fake.remove_access_key(&key(source).0);
        }
        if static_sources.contains(&name) {
            let (id, secret) = key(name);
            machine.fake.add_access_key(&id, &secret);
        }
        let before = action.map(|action| machine.fake.calls(action));
        if let Err(error) = machine.call().await {
            panic!("{name}: {}", chain(&error));
        }
        if let (Some(action), Some(before)) = (action, before) {
            assert!(machine.fake.calls(action) > before, "{name}");
        }
        remove(&mut machine);
    }
    let error = machine.error("nothing left").await;
    for part in ["no credential found", "environment", ".alibabacloud/credentials"] {
        assert!(error.contains(part), "{error}");
    }
}

#[tokio::test]
async fn no_instance_is_no_error_and_no_wait() {
    let mut machine = Machine::without_metadata().await;
    safety_net(&mut machine);
    machine.call().await.unwrap();
    // Somebody listens and never answers, as behind a firewall.
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    machine.set(
        "metadata_endpoint",
        format!("http://{}", listener.local_addr().unwrap()),
    );
    let started = Instant::now();
    machine.call().await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

#[tokio::test]
async fn one_named_source_is_the_only_one() {
    for source in ["environment", "oidc", "cli", "profile"] {
        let mut machine = Machine::new().await;
        safety_net(&mut machine);
        machine.set("source", source);
        let error = machine.error(source).await;
        assert!(error.contains("no credential found"), "{source}: {error}");
        assert_eq!(machine.fake.calls("metadata"), 0, "{source}");
    }
}
