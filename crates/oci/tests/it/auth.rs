//! Logging in, in every way that registries ask for; and never telling a secret.

use imagecache_core::{ErrorKind, RegistryCredential, Secret};
use imagecache_fakes::registry::{Auth, FakeRegistry, Fault, FaultKind};
use imagecache_oci::{HostsConfig, Keyring, Puller, Session, SessionOptions};

use crate::support::{chain, one_layer_image, pull, puller, quick_retry, read_layer, resolve, session};

const PASSWORD: &str = "hunter2";

fn session_with(server: &str, username: &str, password: &str) -> Session {
    let credential = RegistryCredential {
        server: server.to_owned(),
        username: username.to_owned(),
        password: Secret::new(password.to_owned()),
    };
    puller().session(SessionOptions {
        credentials: vec![credential],
        ..SessionOptions::default()
    })
}

fn bearer_with_identity() -> Auth {
    Auth::Bearer {
        login: None,
        identity: Some(PASSWORD.to_owned()),
        uses: u64::MAX,
        realm: None,
    }
}

#[tokio::test]
async fn every_way_to_log_in() {
    let image = one_layer_image();
    for (name, auth, username) in [
        ("anonymous token", Auth::anonymous_token(), None),
        ("basic", Auth::Basic("u".to_owned(), PASSWORD.to_owned()), Some("u")),
        ("password for a token", Auth::token_for("u", PASSWORD), Some("u")),
        ("identity token", bearer_with_identity(), Some("<token>")),
    ] {
        let registry = FakeRegistry::start_with(auth).await.unwrap();
        let reference = registry.push("a/b", "1", &image);
        let session = username.map_or_else(session, |username| session_with(&registry.host(), username, PASSWORD));
        assert_eq!(pull(&session, &reference).await.unwrap(), image.layers[0].tar, "{name}");
        assert!(
            registry.count("/token") <= 1,
            "{name}: {} tokens",
            registry.count("/token")
        );
    }
}

#[tokio::test]
async fn short_lived_tokens_are_renewed_as_often_as_needed() {
    let image = one_layer_image();
    let auth = Auth::Bearer {
        login: None,
        identity: None,
        uses: 1,
        realm: None,
    };
    let registry = FakeRegistry::start_with(auth).await.unwrap();
    let reference = registry.push("a", "1", &image);
    assert_eq!(pull(&session(), &reference).await.unwrap(), image.layers[0].tar);
}

#[tokio::test]
async fn wrong_and_missing_credentials_have_one_clear_error() {
    let image = one_layer_image();
    for (name, auth, password, word) in [
        (
            "basic without",
            Auth::Basic("u".into(), "right".into()),
            None,
            "none were given",
        ),
        (
            "basic wrong",
            Auth::Basic("u".into(), "right".into()),
            Some(PASSWORD),
            "refuses the credentials",
        ),
        (
            "token without",
            Auth::token_for("u", "right"),
            None,
            "no anonymous access",
        ),
        (
            "token wrong",
            Auth::token_for("u", "right"),
            Some(PASSWORD),
            "refuses the credentials",
        ),
    ] {
        let registry = FakeRegistry::start_with(auth).await.unwrap();
        let reference = registry.push("a", "1", &image);
        let session = password.map_or_else(session, |password| session_with(&registry.host(), "u", password));
        let error = pull(&session, &reference).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{name}: {error}");
        assert!(
            error.message().contains(word) && error.message().contains("/a:1"),
            "{name}: {error}"
        );
        let text = chain(&error);
        assert!(
            !text.contains(PASSWORD) && !text.contains("dTpodW50ZXIy"),
            "{name}: {text}"
        );
        assert!(
            registry.requests().len() <= 4,
            "{name}: {} requests",
            registry.requests().len()
        );
    }
}

#[tokio::test]
async fn credentials_of_another_registry_are_not_sent() {
    let registry = FakeRegistry::start_with(Auth::Basic("u".into(), PASSWORD.into()))
        .await
        .unwrap();
    let reference = registry.push("a", "1", &one_layer_image());
    pull(&session_with("registry.example.com", "u", PASSWORD), &reference)
        .await
        .unwrap_err();
    assert!(
        registry
            .requests()
            .iter()
            .all(|request| request.authorization.is_none())
    );
}

#[tokio::test]
async fn a_malformed_token_answer_is_refused_without_repeating_it() {
    let registry = FakeRegistry::start_with(Auth::anonymous_token()).await.unwrap();
    let reference = registry.push("a", "1", &one_layer_image());
    for body in ["{\"token\":12345678}", "{}", "secret-text"] {
        registry.heal();
        registry.inject(Fault::on(
            "/token",
            FaultKind::Replace("application/json".into(), body.into()),
        ));
        let error = resolve(&session(), &reference).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{body}");
        assert!(
            !chain(&error).contains("12345678") && !chain(&error).contains("secret-text"),
            "{body}"
        );
    }
}

#[tokio::test]
async fn a_docker_config_is_used_and_sessions_do_not_share_tokens() {
    let registry = FakeRegistry::start_with(Auth::token_for("u", PASSWORD)).await.unwrap();
    let image = one_layer_image();
    let reference = registry.push("team/app", "1", &image);
    let json = format!(
        r#"{{"auths":{{"http://{}/team":{{"username":"u","password":"{PASSWORD}"}}}}}}"#,
        registry.host()
    );
    let keyring = Keyring::from_docker_config_json(json.as_bytes(), "config").unwrap();
    let with = Puller::new(HostsConfig::default(), keyring).with_retry(quick_retry());
    let session = with.session(SessionOptions::default());
    let resolved = resolve(&session, &reference).await.unwrap();
    read_layer(&session, &resolved, 0).await.unwrap();
    assert_eq!(registry.count("/token"), 1);
    let error = resolve(&puller().session(SessionOptions::default()), &reference)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
}
