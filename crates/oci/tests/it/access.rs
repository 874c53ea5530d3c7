//! Who may have an image: asked of the registry itself, and "no" whenever it is not sure.

use imagecache_core::{ErrorKind, RegistryCredential, Secret};
use imagecache_fakes::registry::{Auth, FakeRegistry, Fault, FaultKind};
use imagecache_oci::{HostsConfig, ImageSource, Keyring, Puller, Session, SessionOptions};

use crate::support::{amd64, one_layer_image, puller, quick_retry, resolve, session};

const PASSWORD: &str = "hunter2";

fn session_with(server: &str, password: &str) -> Session {
    puller().session(SessionOptions {
        credentials: vec![RegistryCredential {
            server: server.to_owned(),
            username: "u".to_owned(),
            password: Secret::new(password.to_owned()),
        }],
        ..SessionOptions::default()
    })
}

fn configured(toml: &str) -> Session {
    let hosts: HostsConfig = toml::from_str(toml).unwrap();
    Puller::new(hosts, Keyring::default())
        .with_retry(quick_retry())
        .session(SessionOptions::default())
}

#[tokio::test]
async fn an_image_is_public_when_anyone_gets_it() {
    let image = one_layer_image();
    for (name, auth, expected) in [
        ("open", Auth::Open, true),
        ("anonymous token", Auth::anonymous_token(), true),
        ("basic", Auth::Basic("u".to_owned(), PASSWORD.to_owned()), false),
        ("password for a token", Auth::token_for("u", PASSWORD), false),
    ] {
        let registry = FakeRegistry::start_with(auth).await.unwrap();
        let reference = registry.push("a/b", "1", &image);
        // With a login that is needed or not, and without where that is enough.
        let session = session_with(&registry.host(), PASSWORD);
        let resolved = match resolve(&session, &reference).await {
            Ok(resolved) => resolved,
            // A token server may refuse a login that it does not know; then nobody has one.
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{name}");
                resolve(&self::session(), &reference).await.unwrap()
            }
        };
        assert_eq!(session.is_public(&resolved).await, expected, "{name}");
    }
}

#[tokio::test]
async fn an_image_that_nothing_was_needed_for_is_public_without_a_question() {
    let registry = FakeRegistry::start().await.unwrap();
    let reference = registry.push("a/b", "1", &one_layer_image());
    let resolved = resolve(&session(), &reference).await.unwrap();
    let before = registry.requests().len();
    assert!(session().is_public(&resolved).await);
    assert_eq!(registry.requests().len(), before);
}

#[tokio::test]
async fn what_a_mirror_a_header_or_a_file_gave_is_asked_for_again() {
    let image = one_layer_image();
    let private = FakeRegistry::start_with(Auth::Basic("u".to_owned(), PASSWORD.to_owned()))
        .await
        .unwrap();
    let open = FakeRegistry::start().await.unwrap();
    let reference = private.push("a", "1", &image);
    open.push("a", "1", &image);
    let mirrored = configured(&format!(
        "[host.\"{}\"]\nmirrors = [{{ url = \"{}\" }}]",
        private.host(),
        open.url()
    ));
    let resolved = resolve(&mirrored, &reference).await.unwrap();
    assert!(
        !mirrored.is_public(&resolved).await,
        "only the mirror gives it to anyone"
    );
    // "u:hunter2"
    let headed = configured(&format!(
        "[host.\"{}\"]\nheaders = {{ Authorization = \"Basic dTpodW50ZXIy\" }}",
        private.host()
    ));
    let resolved = resolve(&headed, &reference).await.unwrap();
    assert!(!headed.is_public(&resolved).await, "only the header opened it");
    let directory = tempfile::tempdir().unwrap();
    imagecache_fakes::image::write_layout(directory.path(), &[("x", &image)]).unwrap();
    let source = ImageSource::OciLayout {
        path: directory.path().to_owned(),
        tag: None,
    };
    let resolved = session().resolve(&source, &amd64()).await.unwrap();
    assert!(!session().is_public(&resolved).await, "no registry was asked");
}

#[tokio::test]
async fn a_registry_that_does_not_answer_makes_nothing_public() {
    let registry = FakeRegistry::start().await.unwrap();
    let reference = registry.push("a/b", "1", &one_layer_image());
    let session = session_with(&registry.host(), PASSWORD);
    let resolved = resolve(&session, &reference).await.unwrap();
    registry.inject(Fault::on("/manifests/", FaultKind::Status(503)));
    assert!(!session.is_public(&resolved).await);
}

#[tokio::test]
async fn the_registry_says_who_may_read() {
    let registry = FakeRegistry::start_with(Auth::Basic("u".to_owned(), PASSWORD.to_owned()))
        .await
        .unwrap();
    let reference = registry.push("a/b", "1", &one_layer_image());
    let known = session_with(&registry.host(), PASSWORD);
    let resolved = resolve(&known, &reference).await.unwrap();
    known.may_read(&resolved.reference, resolved.digest()).await.unwrap();
    assert_eq!(registry.requests().last().unwrap().method, "HEAD", "nothing is fetched");
    for (name, session) in [
        ("nobody", session()),
        ("a stranger", session_with(&registry.host(), "wrong")),
    ] {
        let error = session
            .may_read(&resolved.reference, resolved.digest())
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{name}");
    }
    registry.inject(Fault::on("/manifests/", FaultKind::Status(503)));
    let error = known
        .may_read(&resolved.reference, resolved.digest())
        .await
        .unwrap_err();
    assert!(error.kind().is_transient(), "{error}");
}
