//! No secret in anything that is shown: errors, states, `Debug` texts, traces at the finest level.

use std::sync::Mutex;
use std::time::Duration;

use imagecache_core::{CacheProvider as _, CacheSpec, RegistryCredential, Secret, chain};
use imagecache_fakes::eci::Fault;
use serde_json::json;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::support::{Cloud, DEADLINE, OWNER, key, spec};

/// Hard characters too: encoded, it is another text.
const PASSWORD: &str = "hunter2 p@ss/w0rd+%é";

fn secret_spec() -> CacheSpec {
    CacheSpec {
        credentials: vec![RegistryCredential {
            server: "registry.example.com".to_owned(),
            username: "u".to_owned(),
            password: Secret::new(PASSWORD.to_owned()),
        }],
        ..spec()
    }
}

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
    let token_key = cloud.fake.issue_key(Duration::from_secs(3600));
    let environment = imagecache_alibaba_eci::Environment::from_iter([
        ("ALIBABA_CLOUD_ACCESS_KEY_ID", token_key.id.as_str()),
        ("ALIBABA_CLOUD_ACCESS_KEY_SECRET", token_key.secret.as_str()),
        ("ALIBABA_CLOUD_SECURITY_TOKEN", token_key.token.as_str()),
    ]);
    let config = cloud.config(json!({}));
    let mut shown = vec![format!("{config:?} {}", serde_json::to_string(&config).unwrap())];
    let provider = imagecache_alibaba_eci::AlibabaProvider::with_environment(
        config,
        Some(OWNER.to_owned()),
        cloud.clock(),
        &environment,
    )
    .unwrap();
    let (spec, key) = (secret_spec(), key(&spec()));

    // A service that repeats what it was sent, in the clear and encoded.
    let encoded = "hunter2%20p%40ss%2Fw0rd%2B%25%C3%A9";
    let echo = |code: &str| Fault::Refuse {
        status: 400,
        code: code.to_owned(),
        message: format!("bad: {PASSWORD} {encoded} {} {}", token_key.secret, token_key.token),
    };
    for fault in [
        echo("InvalidParameter.Password"),
        echo("SignatureDoesNotMatch"),
        Fault::NoAnswerBefore,
        Fault::WrongJson,
        Fault::CutBody,
        Fault::ServerErrorBefore,
    ] {
        cloud.fake.inject("CreateImageCache", fault, 1);
        match provider.ensure(&key, &spec).await {
            Ok(state) => shown.push(format!("{state:?} {}", serde_json::to_string(&state).unwrap())),
            Err(error) => shown.push(format!("{error:?} {error} {}", chain(&error))),
        }
        provider.delete(&key).await.unwrap();
    }
    provider.ensure(&key, &spec).await.unwrap();
    cloud.fake.advance(DEADLINE + Duration::from_secs(1));
    shown.push(format!("{:?}", provider.ensure(&key, &spec).await));
    shown.push(format!(
        "{:?} {provider:?} {spec:?} {environment:?}",
        provider.list().await
    ));
    let trace = std::fs::read_to_string(trace.path()).unwrap();
    assert!(trace.contains("CreateImageCache"), "the trace holds something");
    shown.push(trace);

    let mut secrets = cloud.fake.secrets();
    assert!(
        secrets.iter().any(|secret| secret == PASSWORD),
        "the service got the password"
    );
    secrets.extend([PASSWORD.to_owned(), encoded.to_owned(), encoded.replace("%20", "+")]);
    secrets.push("ImageRegistryCredential.1.Password=".to_owned());
    for text in &shown {
        for secret in &secrets {
            assert!(!text.contains(secret.as_str()), "`{secret}` is shown in: {text}");
        }
    }
}
