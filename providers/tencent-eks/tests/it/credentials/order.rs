//! Which source is taken, and when one is passed over.

use std::time::{Duration, Instant};

use imagecache_core::chain;

use super::cloud::{Answer, Key};
use super::machine::{Machine, Prepare};

#[tokio::test]
async fn the_order_is_the_vendors() {
    let mut machine = Machine::new().await;
    let key = |name: &str| Key::named(name, false);
    machine.var("MY_ID", key("reference").id);
    machine.var("MY_KEY", key("reference").secret);
    machine.set("secret_id_env", "MY_ID");
    machine.set("secret_key_env", "MY_KEY");
    machine.environment_key(&key("environment"));
    for name in ["reference", "environment", "profile"] {
        machine.cloud.add(&key(name));
    }
    machine.shared(&format!(
        "secret_id = {}\nsecret_key = {}",
        key("profile").id,
        key("profile").secret
    ));
    machine.oidc();

    let steps: [(&str, Option<&str>, Prepare); 5] = [
        ("reference", None, |machine| {
            machine.set("secret_id_env", serde_json::Value::Null);
            machine.set("secret_key_env", serde_json::Value::Null);
        }),
        ("environment", None, |machine| {
            machine.environment.remove("TENCENTCLOUD_SECRET_ID");
            machine.environment.remove("TENCENTCLOUD_SECRET_KEY");
        }),
        ("profile", None, |machine| {
            std::fs::remove_file(machine.home.path().join(".tencentcloud/credentials")).unwrap();
        }),
        ("instance", Some("role"), |machine| {
            machine.cloud.answer("roles", Answer::Status(404, String::new()));
        }),
        ("oidc", Some("AssumeRoleWithWebIdentity"), |machine| {
            machine.environment.remove("TKE_PROVIDER_ID");
            machine.environment.remove("TKE_WEB_IDENTITY_TOKEN_FILE");
        }),
    ];
    for (name, action, remove) in steps {
        let before = action.map(|action| machine.cloud.calls(action));
        let found = machine.signer().await;
        let found = found.unwrap_or_else(|error| panic!("{name}: {}", chain(&error)));
        match (action, before) {
            (Some(action), Some(before)) => assert_eq!(machine.cloud.calls(action), before + 1, "{name}"),
            _ => assert_eq!(found, key(name)),
        }
        remove(&mut machine);
    }
    let error = machine.error("nothing left").await;
    for part in [
        "no credential found",
        "TENCENTCLOUD_SECRET_ID",
        ".tencentcloud/credentials` or `/etc/tencentcloud/credentials`",
        "CVM instance",
        "TKE",
    ] {
        assert!(error.contains(part), "{error}");
    }
}

#[tokio::test]
async fn no_instance_is_no_error_and_no_wait() {
    let mut machine = Machine::without_metadata().await;
    machine.oidc();
    machine.signer().await.unwrap();
    // Somebody listens and never answers, as behind a firewall.
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    machine.set(
        "metadata_endpoint",
        format!("http://{}", listener.local_addr().unwrap()),
    );
    let started = Instant::now();
    machine.signer().await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

#[tokio::test]
async fn one_named_source_is_the_only_one() {
    for source in ["environment", "profile", "oidc"] {
        let mut machine = Machine::new().await;
        machine.set("source", source);
        let error = machine.error(source).await;
        assert!(error.contains("no credential found"), "{source}: {error}");
        assert_eq!(machine.cloud.calls("roles"), 0, "{source}");
    }
}
