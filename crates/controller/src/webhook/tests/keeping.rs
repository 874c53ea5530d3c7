//! The certificate is made once, shared, renewed in time, and trusted before it is shown.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use imagecache_core::chain;
use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};

use super::super::keeper::Keeper;
use super::super::registration::Registration;
use super::super::served::Served;
use super::api::{Api, CONFIGURATION, SECRET};
use super::rig::now;

const MANIFEST: &str = include_str!("../../../../../config/deploy/base/webhook.yaml");
const SECRETS: &str = "/api/v1/namespaces/imagecache-system/secrets";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

struct Rig {
    api: Api,
    clock: Arc<Mutex<Timestamp>>,
}

impl Rig {
    /// With the manifests installed.
    fn new() -> Self {
        let rig = Self {
            api: Api::default(),
            clock: Arc::new(Mutex::new(now())),
        };
        rig.api
            .put(CONFIGURATION, Some(serde_yaml_ng::from_str(MANIFEST).unwrap()));
        rig
    }

    fn keeper(&self, registration: Registration) -> Keeper {
        let clock = Arc::clone(&self.clock);
        Keeper {
            client: self.api.client(),
            namespace: "imagecache-system".to_owned(),
            names: vec!["imagecache-webhook.imagecache-system.svc".to_owned()],
            registration,
            served: Arc::new(Served::default()),
            clock: Arc::new(move || *clock.lock().unwrap()),
            shown: None,
        }
    }

    fn advance(&self, by: Duration) {
        let mut clock = self.clock.lock().unwrap();
        *clock += by;
    }

    /// A part of the Secret.
    fn kept(&self, key: &str) -> String {
        let secret = self.api.get(SECRET).unwrap();
        String::from_utf8(STANDARD.decode(secret["data"][key].as_str().unwrap()).unwrap()).unwrap()
    }

    /// Whom the API server trusts.
    fn trusted(&self) -> String {
        let configuration = self.api.get(CONFIGURATION).unwrap();
        let bundle = configuration["webhooks"][0]["clientConfig"]["caBundle"]
            .as_str()
            .unwrap_or_default();
        String::from_utf8(STANDARD.decode(bundle).unwrap()).unwrap()
    }
}

/// The certificate that a server of `keeper` would show now.
fn shown(keeper: &Keeper) -> Option<CertificateDer<'static>> {
    keeper
        .served
        .get()
        .map(|key| key.end_entity_cert().unwrap().clone().into_owned())
}

fn first(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

/// Looks until a look writes nothing and changes nothing.
async fn settle(rig: &Rig, keeper: &mut Keeper) {
    for _ in 0..5 {
        let before = shown(keeper);
        keeper.look().await.unwrap();
        if rig.api.writes().is_empty() && before.is_some() && shown(keeper) == before {
            return;
        }
    }
    panic!("it does not come to rest");
}

#[tokio::test]
async fn the_first_start_makes_keeps_registers_and_shows_a_certificate() {
    let rig = Rig::new();
    let mut keeper = rig.keeper(Registration::Installed);
    assert_eq!(keeper.look().await.unwrap().again, Duration::ZERO);
    assert_eq!(rig.api.writes(), [format!("POST {SECRETS}")]);
    let look = keeper.look().await.unwrap();
    assert_eq!(rig.api.writes(), [format!("PATCH {CONFIGURATION}")]);
    assert!(!look.missing);
    assert_eq!(rig.api.get(SECRET).unwrap()["type"], "kubernetes.io/tls");
    assert_eq!(rig.trusted(), rig.kept("ca.crt"));
    assert_eq!(shown(&keeper), Some(first(&rig.kept("tls.crt"))));
    settle(&rig, &mut keeper).await;
    assert!(keeper.served.is_settled());
}

#[tokio::test]
async fn replicas_share_one_certificate() {
    let rig = Rig::new();
    let (mut one, mut other) = (rig.keeper(Registration::Installed), rig.keeper(Registration::Installed));
    let (first_look, second_look) = tokio::join!(one.look(), other.look());
    first_look.unwrap();
    second_look.unwrap();
    settle(&rig, &mut one).await;
    settle(&rig, &mut other).await;
    assert_eq!(shown(&one), shown(&other));
    assert_eq!(shown(&one), Some(first(&rig.kept("tls.crt"))));

    rig.advance(61 * DAY);
    let (first_look, second_look) = tokio::join!(one.look(), other.look());
    first_look.unwrap();
    second_look.unwrap();
    settle(&rig, &mut one).await;
    settle(&rig, &mut other).await;
    assert_eq!(shown(&one), shown(&other), "also when both renew it at once");
}

#[tokio::test]
async fn a_renewed_certificate_is_trusted_before_it_is_shown() {
    let rig = Rig::new();
    let mut keeper = rig.keeper(Registration::Installed);
    settle(&rig, &mut keeper).await;
    let (old, old_authority) = (shown(&keeper), rig.kept("ca.crt"));
    rig.advance(59 * DAY);
    settle(&rig, &mut keeper).await;
    assert_eq!(shown(&keeper), old, "before two thirds of its life nothing happens");

    rig.advance(2 * DAY);
    keeper.look().await.unwrap();
    assert_eq!(rig.api.writes(), [format!("PUT {SECRET}")]);
    let look = keeper.look().await.unwrap();
    assert_eq!(rig.api.writes(), [format!("PATCH {CONFIGURATION}")]);
    assert!(
        rig.trusted().ends_with(&old_authority),
        "who still shows the old one is trusted"
    );
    assert_eq!(shown(&keeper), old, "the API server gets a moment to hear of it");
    assert!(look.again < Duration::from_secs(60) && !look.again.is_zero());
    keeper.look().await.unwrap();
    assert_eq!(shown(&keeper), Some(first(&rig.kept("tls.crt"))));
    assert_ne!(shown(&keeper), old);
}

#[tokio::test]
async fn what_others_undo_is_done_again() {
    let rig = Rig::new();
    let mut keeper = rig.keeper(Registration::Installed);
    settle(&rig, &mut keeper).await;
    let certificate = shown(&keeper);

    rig.api
        .put(CONFIGURATION, Some(serde_yaml_ng::from_str(MANIFEST).unwrap()));
    keeper.look().await.unwrap();
    assert_eq!(rig.trusted(), rig.kept("ca.crt"), "a cleared caBundle");
    assert_eq!(shown(&keeper), certificate);

    let authority = rig.trusted();
    for (row, broken) in [
        ("deleted", None),
        (
            "emptied",
            Some(
                json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "imagecache-webhook-tls" }, "data": {} }),
            ),
        ),
    ] {
        rig.api.put(SECRET, broken);
        settle(&rig, &mut keeper).await;
        assert_eq!(shown(&keeper), Some(first(&rig.kept("tls.crt"))), "{row}");
        assert_eq!(rig.trusted(), rig.kept("ca.crt"), "{row}");
    }
    assert_ne!(rig.trusted(), authority);
    assert_eq!(
        rig.trusted().matches("BEGIN").count(),
        2,
        "the newest authority and the one before"
    );
}

#[tokio::test]
async fn without_the_manifests_the_certificate_is_ready_all_the_same() {
    let rig = Rig::new();
    rig.api.put(CONFIGURATION, None);
    let mut keeper = rig.keeper(Registration::Installed);
    settle(&rig, &mut keeper).await;
    assert!(keeper.look().await.unwrap().missing);
    assert!(shown(&keeper).is_some());
}

#[tokio::test]
async fn a_controller_outside_registers_itself() {
    let rig = Rig::new();
    rig.api.put(CONFIGURATION, None);
    let url = "https://10.0.0.1:8443/mutate";
    let mut keeper = rig.keeper(Registration::AtUrl(url.to_owned()));
    settle(&rig, &mut keeper).await;
    let hook = |api: &Api| -> Value { api.get(CONFIGURATION).unwrap()["webhooks"][0].clone() };
    assert_eq!(hook(&rig.api)["clientConfig"]["url"], url);
    assert_eq!(hook(&rig.api)["clientConfig"].get("service"), None);
    assert_eq!(hook(&rig.api)["failurePolicy"], "Ignore");
    assert_eq!(rig.trusted(), rig.kept("ca.crt"));

    // What an older version left, with a field that only the API server knows.
    let mut older = rig.api.get(CONFIGURATION).unwrap();
    older["webhooks"][0]["rules"][0]["operations"] = json!(["CREATE", "UPDATE"]);
    older["webhooks"][0]["timeoutSeconds"] = json!(10);
    older["metadata"]["annotations"] = json!({ "note": "somebody's" });
    rig.api.put(CONFIGURATION, Some(older));
    settle(&rig, &mut keeper).await;
    assert_eq!(hook(&rig.api)["rules"][0]["operations"], json!(["CREATE"]));
    assert_eq!(hook(&rig.api)["timeoutSeconds"], 2);
    let kept = rig.api.get(CONFIGURATION).unwrap();
    assert_eq!(kept["metadata"]["annotations"]["note"], "somebody's");

    let elsewhere = "https://10.0.0.2:8443/mutate";
    let mut moved = rig.keeper(Registration::AtUrl(elsewhere.to_owned()));
    settle(&rig, &mut moved).await;
    assert_eq!(hook(&rig.api)["clientConfig"]["url"], elsewhere);
}

#[tokio::test]
async fn what_may_not_be_done_is_not_waited_for() {
    for (row, forbidden, settled) in [
        ("nothing is shown yet", None, false),
        ("the Secret may not be read", Some(SECRET), true),
    ] {
        let rig = Rig::new();
        if let Some(path) = forbidden {
            rig.api.forbid(path);
        }
        let keeper = rig.keeper(Registration::Installed);
        let served = Arc::clone(&keeper.served);
        assert!(!served.is_settled(), "{row}");
        if settled {
            let keeping = tokio::spawn(keeper.keep());
            while !served.is_settled() {
                tokio::task::yield_now().await;
            }
            keeping.abort();
            assert!(served.get().is_none(), "{row}");
        }
    }
}

#[tokio::test]
async fn a_missing_permission_is_named() {
    for path in [SECRET, CONFIGURATION] {
        let rig = Rig::new();
        let mut keeper = rig.keeper(Registration::Installed);
        settle(&rig, &mut keeper).await;
        rig.api.forbid(path);
        let error = keeper.look().await.unwrap_err();
        assert!(chain(error.as_ref()).contains(&format!("cannot GET {path}")), "{error}");
        assert!(shown(&keeper).is_some(), "what is shown stays");
    }
}
