//! The cluster's ConfigMaps, followed live.

use std::collections::BTreeMap;

use imagecache_conformance::MemoryProvider;
use imagecache_controller::kubernetes::{ProfileSources, Settings};
use k8s_openapi::api::core::v1::{ConfigMap, Event, Namespace};
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;

use super::cluster::{Running, in_process, until};

const MALFORMED: &str = r#"[{ "name": "", "effect": {} }, { "name": "fine" }]"#;

async fn write(client: &Client, selectors: &str, note: &str) {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let params = PatchParams::apply("tests").force();
    let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "kube-system" } });
    namespaces
        .patch("kube-system", &params, &Patch::Apply(&namespace))
        .await
        .unwrap();
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), "kube-system");
    let data: BTreeMap<_, _> = [("selectors", selectors), ("note", note)].into();
    let map = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "eci-profile" }, "data": data });
    api.patch("eci-profile", &params, &Patch::Apply(&map)).await.unwrap();
}

/// Waits until there are `count` events about the profile, and gives their notes.
async fn events(client: &Client, count: usize) -> Vec<String> {
    let api: Api<Event> = Api::namespaced(client.clone(), "kube-system");
    until("events about the profile", || async {
        let events = api.list(&ListParams::default()).await.unwrap().items;
        let about = events.iter().filter(|event| {
            event.involved_object.name.as_deref() == Some("eci-profile")
                && event.reason.as_deref() == Some("InvalidProfile")
                && event.type_.as_deref() == Some("Warning")
        });
        let notes: Vec<String> = about.filter_map(|event| event.message.clone()).collect();
        if notes.len() == count {
            Ok(notes)
        } else {
            Err(format!("{notes:?}"))
        }
    })
    .await
}

#[tokio::test]
async fn a_malformed_selector_is_told_once_for_each_change_also_across_restarts() {
    let client = in_process(imagecache_k8s_api::crds()).await;
    let settings = || Settings {
        profiles: ProfileSources {
            eci_profile: true,
            eks_config: true,
        },
        ..Settings::default()
    };
    write(&client, MALFORMED, "first").await;
    let running = Running::with(&client, &MemoryProvider::default(), settings());
    let notes = events(&client, 1).await;
    assert!(
        notes[0].contains("selectors[0]") && notes[0].contains("name"),
        "{notes:?}"
    );
    write(&client, MALFORMED, "second").await;
    events(&client, 2).await;
    running.stop().await;

    // A restart reads it again. It has told what it found before it reads the next change, so three are all there are.
    let running = Running::with(&client, &MemoryProvider::default(), settings());
    write(&client, MALFORMED, "third").await;
    events(&client, 3).await;
    write(&client, "[]", "mended").await;
    write(&client, "no array", "fourth").await;
    let notes = events(&client, 4).await;
    assert!(notes.iter().any(|note| note.contains("JSON array")), "{notes:?}");
    running.stop().await;
}
