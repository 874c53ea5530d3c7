//! The `kube` client: create, read, update, watch, apply, finalizers, conflicts, restart.

use futures::{StreamExt, TryStreamExt, pin_mut};
use imagecache_apiserver::{ApiServer, Data, Options};
use k8s_openapi::api::core::v1::{ConfigMap, Event, Namespace, Secret};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{
    ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams,
};
use kube::core::GroupVersionKind;
use kube::runtime::events::{Event as RecorderEvent, EventType, Recorder, Reporter};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Error, Resource, ResourceExt};
use serde_json::{Value, json};

use crate::support::{GROUP, Served, definition};

fn widgets(client: Client) -> Api<DynamicObject> {
    let kind = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(GROUP, "v1", "Widget"), "widgets");
    Api::namespaced_with(client, "default", &kind)
}

fn widget(name: &str, spec: Value) -> DynamicObject {
    let object =
        json!({"apiVersion": format!("{GROUP}/v1"), "kind": "Widget", "metadata": {"name": name}, "spec": spec});
    serde_json::from_value(object).unwrap()
}

fn code(error: Error) -> (u16, String) {
    match error {
        Error::Api(status) => (status.code, status.reason),
        other => panic!("not an API error: {other}"),
    }
}

#[tokio::test]
async fn creates_reads_updates_and_deletes() {
    let served = Served::memory().await;
    let api = widgets(served.client());
    let made = api
        .create(&PostParams::default(), &widget("a", json!({"size": 3})))
        .await
        .unwrap();
    assert_eq!(made.data["spec"], json!({"size": 3, "mode": "fast"}));
    assert_eq!(made.metadata.generation, Some(1));
    let again = api
        .create(&PostParams::default(), &widget("a", json!({"size": 3})))
        .await
        .unwrap_err();
    assert_eq!(code(again), (409, "AlreadyExists".to_owned()));

    let mut changed = made.clone();
    changed.data["spec"]["size"] = 4.into();
    changed.data["status"] = json!({"phase": "ignored"});
    let changed = api.replace("a", &PostParams::default(), &changed).await.unwrap();
    assert_eq!(
        (changed.metadata.generation, changed.data.get("status")),
        (Some(2), None)
    );
    let stale = api.replace("a", &PostParams::default(), &made).await.unwrap_err();
    assert_eq!(code(stale), (409, "Conflict".to_owned()));

    let status = json!({"status": {"phase": "Ready"}, "spec": {"size": 99}});
    let status = api
        .patch_status("a", &PatchParams::default(), &Patch::Merge(status))
        .await
        .unwrap();
    assert_eq!(
        (status.metadata.generation, &status.data["spec"]["size"]),
        (Some(2), &json!(4))
    );
    assert_eq!(status.data["status"]["phase"], "Ready");

    assert_eq!(api.list(&ListParams::default()).await.unwrap().items.len(), 1);
    api.delete("a", &DeleteParams::default()).await.unwrap();
    assert_eq!(code(api.get("a").await.unwrap_err()), (404, "NotFound".to_owned()));
}

#[tokio::test]
async fn watches_from_a_revision_with_selectors() {
    let served = Served::memory().await;
    let api: Api<ConfigMap> = Api::namespaced(served.client(), "default");
    let start = api
        .list(&ListParams::default())
        .await
        .unwrap()
        .metadata
        .resource_version
        .unwrap();
    let params = WatchParams::default().labels("on=yes").timeout(20);
    let stream = api.watch(&params, &start).await.unwrap();
    pin_mut!(stream);
    let map = |labels: Value| serde_json::from_value(json!({"metadata": {"name": "m", "labels": labels}})).unwrap();
    api.create(&PostParams::default(), &map(json!({}))).await.unwrap();
    for labels in [
        json!({"on": "yes"}),
        json!({"on": "yes", "b": "c"}),
        json!({"on": null}),
    ] {
        let patch = Patch::Merge(json!({"metadata": {"labels": labels}}));
        api.patch("m", &PatchParams::default(), &patch).await.unwrap();
    }
    let mut kinds = Vec::new();
    while let Some(event) = stream.try_next().await.unwrap() {
        kinds.push(match event {
            WatchEvent::Added(_) => "added",
            WatchEvent::Modified(_) => "modified",
            WatchEvent::Deleted(_) => "deleted",
            WatchEvent::Bookmark(_) => "bookmark",
            WatchEvent::Error(e) => panic!("{e:?}"),
        });
        if kinds.len() == 3 {
            break;
        }
    }
    assert_eq!(kinds, ["added", "modified", "deleted"]);
}

#[tokio::test]
async fn runs_the_watcher_in_both_modes() {
    for config in [watcher::Config::default(), watcher::Config::default().streaming_lists()] {
        let served = Served::memory().await;
        let api = widgets(served.client());
        api.create(&PostParams::default(), &widget("one", json!({"size": 1})))
            .await
            .unwrap();
        let stream = watcher(api.clone(), config.clone()).applied_objects();
        pin_mut!(stream);
        assert_eq!(stream.next().await.unwrap().unwrap().name_any(), "one", "{config:?}");
        api.create(&PostParams::default(), &widget("two", json!({"size": 1})))
            .await
            .unwrap();
        assert_eq!(stream.next().await.unwrap().unwrap().name_any(), "two", "{config:?}");
    }
}

#[tokio::test]
async fn keeps_objects_until_their_finalizers_are_gone() {
    let served = Served::memory().await;
    let api = widgets(served.client());
    let mut object = widget("f", json!({"size": 1}));
    object.metadata.finalizers = Some(vec![format!("{GROUP}/hold")]);
    api.create(&PostParams::default(), &object).await.unwrap();
    let deleted = api.delete("f", &DeleteParams::default()).await.unwrap();
    assert!(deleted.left().unwrap().metadata.deletion_timestamp.is_some());
    let more = json!([{"op": "add", "path": "/metadata/finalizers/-", "value": format!("{GROUP}/more")}]);
    let more = Patch::Json::<()>(serde_json::from_value(more).unwrap());
    let refused = api.patch("f", &PatchParams::default(), &more).await.unwrap_err();
    assert_eq!(code(refused), (422, "Invalid".to_owned()));
    let none = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    api.patch("f", &PatchParams::default(), &none).await.unwrap();
    assert!(api.get_opt("f").await.unwrap().is_none());
}

#[tokio::test]
async fn applies_for_several_managers() {
    let served = Served::memory().await;
    let api = widgets(served.client());
    let config = |spec: Value| {
        Patch::Apply(
            json!({"apiVersion": format!("{GROUP}/v1"), "kind": "Widget", "metadata": {"name": "s"}, "spec": spec}),
        )
    };
    let (one, two) = (PatchParams::apply("one"), PatchParams::apply("two"));
    let first = json!({"size": 1, "parts": [{"id": "a", "count": 1}], "tags": ["x"], "labels": {"k": "v"}});
    api.patch("s", &one, &config(first)).await.unwrap();
    let second = json!({"parts": [{"id": "b", "count": 2}], "tags": ["y"], "size": 1});
    let both = api.patch("s", &two, &config(second)).await.unwrap();
    assert_eq!(
        both.data["spec"]["parts"],
        json!([{"id": "a", "count": 1}, {"id": "b", "count": 2}])
    );
    assert_eq!(both.data["spec"]["tags"], json!(["x", "y"]));

    let conflict = api.patch("s", &two, &config(json!({"size": 2}))).await.unwrap_err();
    let Error::Api(status) = conflict else {
        panic!("{conflict}")
    };
    assert_eq!(
        status.message,
        "Apply failed with 1 conflict: conflict with \"one\": .spec.size"
    );
    let forced = api
        .patch("s", &two.clone().force(), &config(json!({"size": 2})))
        .await
        .unwrap();
    assert_eq!(
        forced.data["spec"]["parts"],
        json!([{"id": "a", "count": 1}]),
        "what only two set is gone"
    );
    assert_eq!(forced.data["spec"]["size"], 2);

    let same = api.patch("s", &two, &config(json!({"size": 2}))).await.unwrap();
    assert_eq!(
        same.resource_version(),
        forced.resource_version(),
        "applying the same again writes nothing"
    );
    let gone = api.patch("s", &one, &config(json!({"tags": ["x"]}))).await.unwrap();
    assert_eq!(gone.data["spec"], json!({"size": 2, "mode": "fast", "tags": ["x"]}));

    let status = json!({"apiVersion": format!("{GROUP}/v1"), "kind": "Widget", "status": {"phase": "Ready"}});
    let status = api
        .patch_status("s", &PatchParams::apply("ctl"), &Patch::Apply(status))
        .await
        .unwrap();
    assert_eq!(status.data["status"], json!({"phase": "Ready"}));
    assert_eq!(status.data["spec"], gone.data["spec"]);
}

#[tokio::test]
async fn survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let data = Data::Dir(dir.path().join("state"));
    let served = Served::start(data.clone(), None).await;
    let second = ApiServer::open(Options {
        data: data.clone(),
        token: None,
        crds: Vec::new(),
    });
    assert!(second.unwrap_err().to_string().contains("in use by another process"));
    let made = widgets(served.client())
        .create(&PostParams::default(), &widget("kept", json!({"size": 7})))
        .await
        .unwrap();
    let Served { .. } = &served;
    let server = served.server.clone();
    served.stop().await;
    drop(server);
    let served = Served::start(data, None).await;
    let kept = widgets(served.client()).get("kept").await.unwrap();
    assert_eq!(
        (kept.resource_version(), kept.uid()),
        (made.resource_version(), made.uid())
    );
    let next = widgets(served.client())
        .create(&PostParams::default(), &widget("next", json!({"size": 7})))
        .await
        .unwrap();
    let number = |o: &DynamicObject| o.resource_version().unwrap().parse::<u64>().unwrap();
    assert!(number(&next) > number(&made));
}

#[tokio::test]
async fn serves_definitions_as_they_come_and_go() {
    let served = Served::memory().await;
    let client = served.client();
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    crds.create(&PostParams::default(), &definition("gadgets", "Gadget", "Cluster"))
        .await
        .unwrap();
    let kind = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(GROUP, "v1", "Gadget"), "gadgets");
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &kind);
    let object = json!({"apiVersion": format!("{GROUP}/v1"), "kind": "Gadget", "metadata": {"generateName": "g-"}, "spec": {"size": 1}});
    let made = api
        .create(&PostParams::default(), &serde_json::from_value(object).unwrap())
        .await
        .unwrap();
    assert_eq!(made.name_any().len(), "g-".len() + 5);
    crds.delete(&format!("gadgets.{GROUP}"), &DeleteParams::default())
        .await
        .unwrap();
    assert_eq!(code(api.list(&ListParams::default()).await.unwrap_err()).0, 404);
}

#[tokio::test]
async fn empties_a_deleted_namespace() {
    let served = Served::memory().await;
    let client = served.client();
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let secrets: Api<Secret> = Api::namespaced(client, "box");
    let secret: Secret = serde_json::from_value(json!({"metadata": {"name": "s"}, "stringData": {"k": "v"}})).unwrap();
    assert_eq!(
        code(secrets.create(&PostParams::default(), &secret).await.unwrap_err()).0,
        404
    );
    let namespace = serde_json::from_value(json!({"metadata": {"name": "box"}})).unwrap();
    namespaces.create(&PostParams::default(), &namespace).await.unwrap();
    let made = secrets.create(&PostParams::default(), &secret).await.unwrap();
    assert_eq!(made.data.unwrap()["k"].0, b"v");
    namespaces.delete("box", &DeleteParams::default()).await.unwrap();
    assert!(namespaces.get_opt("box").await.unwrap().is_none());
    assert!(secrets.list(&ListParams::default()).await.unwrap().items.is_empty());
}

#[tokio::test]
async fn shows_recorded_events_in_both_groups() {
    let served = Served::memory().await;
    let client = served.client();
    let object = widgets(client.clone())
        .create(&PostParams::default(), &widget("e", json!({"size": 1})))
        .await
        .unwrap();
    let kind = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(GROUP, "v1", "Widget"), "widgets");
    let recorder = Recorder::new(client.clone(), Reporter::from("tester"));
    let event = RecorderEvent {
        type_: EventType::Warning,
        reason: "Broken".to_owned(),
        note: Some("it does not spin".to_owned()),
        action: "Spinning".to_owned(),
        secondary: None,
    };
    for _ in 0..2 {
        recorder.publish(&event, &object.object_ref(&kind)).await.unwrap();
    }
    let events: Api<Event> = Api::namespaced(client, "default");
    let fields = "involvedObject.kind=Widget,involvedObject.name=e";
    let found = events.list(&ListParams::default().fields(fields)).await.unwrap().items;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].message.as_deref(), Some("it does not spin"));
    assert_eq!(found[0].series.as_ref().and_then(|s| s.count), Some(2));
    let none = events
        .list(&ListParams::default().fields("involvedObject.name=other"))
        .await
        .unwrap();
    assert!(none.items.is_empty());
}
