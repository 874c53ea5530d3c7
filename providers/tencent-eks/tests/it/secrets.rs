//! No secret in anything that is shown: errors, states, `Debug` texts, traces at the finest level.

use std::sync::Mutex;
use std::time::Duration;

use imagecache_core::{CacheProvider as _, RegistryCredential, Secret, chain};
use imagecache_fakes::tke::Fault;
use imagecache_tencent_eks::{Environment, TencentProvider};
use serde_json::{Value, json};
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::support::{Cloud, DEADLINE, LAG, config, key, spec};

/// Hard characters too: as JSON, it is another text.
const PASSWORD: &str = "hunter2 p@ss\"w\\rd+%é";

#[tokio::test]
async fn no_secret_is_written() {
    let trace = tempfile::NamedTempFile::new().unwrap();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(Mutex::new(trace.reopen().unwrap()))
        .with_ansi(false)
        .finish();
    // For the whole process: whether a line is written at all is decided once for all threads, so that one for this thread alone
    // would miss what other tests met first.
    subscriber.init();

    let cloud = Cloud::start().await;
    let temporary = cloud.fake.issue_key(Duration::from_secs(24 * 3600));
    let environment = Environment::from_iter([
        ("TENCENTCLOUD_SECRET_ID", temporary.id.as_str()),
        ("TENCENTCLOUD_SECRET_KEY", temporary.secret.as_str()),
        ("TENCENTCLOUD_TOKEN", temporary.token.as_str()),
    ]);
    let config = config(cloud.fake.region(), &cloud.fake.endpoint(), json!({}));
    let mut shown = vec![format!("{config:?} {}", serde_json::to_string(&config).unwrap())];
    let provider = TencentProvider::with_environment(config, None, cloud.clock(), &environment).unwrap();
    let mut spec = spec();
    spec.credentials = vec![RegistryCredential {
        server: "registry.example.com".to_owned(),
        username: "u".to_owned(),
        password: Secret::new(PASSWORD.to_owned()),
    }];
    let key = key(&spec);

    // A service that repeats what it was sent, in the clear and as JSON.
    let quoted = Value::from(PASSWORD).to_string();
    let echo = |code: &str| Fault::Refuse {
        status: 200,
        code: code.to_owned(),
        message: format!("bad: {PASSWORD} {quoted} {} {}", temporary.secret, temporary.token),
    };
    for fault in [
        echo("InvalidParameter.Password"),
        echo("AuthFailure.SignatureFailure"),
        echo("SomethingNew"),
        Fault::WrongJson,
        Fault::CutBody,
    ] {
        cloud.fake.inject("CreateImageCache", fault, 1);
        match provider.ensure(&key, &spec).await {
            Ok(state) => shown.push(format!("{state:?} {}", serde_json::to_string(&state).unwrap())),
            Err(error) => shown.push(format!("{error:?} {error} {}", chain(&error))),
        }
        cloud.fake.advance(LAG);
        provider.delete(&key).await.unwrap();
    }
    provider.ensure(&key, &spec).await.unwrap();
    cloud.fake.advance(DEADLINE + Duration::from_secs(1));
    shown.push(format!("{:?}", provider.ensure(&key, &spec).await.unwrap()));
    let listed = provider.list().await.unwrap();
    shown.push(format!("{listed:?} {provider:?} {spec:?} {environment:?}"));
    let trace = std::fs::read_to_string(trace.path()).unwrap();
    assert!(trace.contains("CreateImageCache"), "the trace holds something");
    shown.push(trace);

    let mut secrets = cloud.fake.secrets();
    assert!(
        secrets.iter().any(|secret| secret == PASSWORD),
        "the service got the password"
    );
    secrets.push(quoted.trim_matches('"').to_owned());
    for text in &shown {
        for secret in &secrets {
            assert!(!text.contains(secret.as_str()), "`{secret}` is shown in: {text}");
        }
    }
}
