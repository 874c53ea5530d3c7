//! Raw HTTP requests: status codes, reasons and the relevant parts of the answers, ours and a real API server's.

use http::{Method, Request};
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};

use crate::support::{GROUP, Served, widgets};

const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const JSON_PATCH: &str = "application/json-patch+json";
const APPLY: &str = "application/apply-patch+yaml";
const JSON: &str = "application/json";
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

/// A request, the status it must get and the parts of the answer that are compared.
struct Row {
    name: &'static str,
    method: Method,
    path: &'static str,
    content: &'static str,
    body: Value,
    status: u16,
    /// JSON pointers into the answer.
    parts: &'static [&'static str],
}

const ERROR: &[&str] = &[
    "/reason",
    "/message",
    "/details/kind",
    "/details/name",
    "/details/group",
    "/details/causes",
];
/// Not compared: 1.20 takes every list of a custom resource as one value in applies, later versions do not.
const OURS: &[&str] = &["(ours)"];
const REASON: &[&str] = &["/reason", "/details/kind", "/details/name"];

fn row(
    name: &'static str,
    request: &'static str,
    content: &'static str,
    body: Value,
    status: u16,
    parts: &'static [&'static str],
) -> Row {
    let (method, path) = request.split_once(' ').unwrap();
    Row {
        name,
        method: method.parse().unwrap(),
        path,
        content,
        body,
        status,
        parts,
    }
}

/// Paths say `WIDGETS`, `CORE` for the collections in the test namespace.
fn rows() -> Vec<Row> {
    let widget = |name: &str, spec: Value| json!({"apiVersion": format!("{GROUP}/v1"), "kind": "Widget", "metadata": {"name": name}, "spec": spec});
    let map = |name: &str, data: Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data});
    vec![
        row(
            "create",
            "POST WIDGETS",
            JSON,
            widget("a", json!({"size": 1, "labels": {"x": "y"}})),
            201,
            &["/spec", "/metadata/generation", "/status", "/kind", "/apiVersion"],
        ),
        row(
            "create again",
            "POST WIDGETS",
            JSON,
            widget("a", json!({"size": 1})),
            409,
            ERROR,
        ),
        row(
            "missing required",
            "POST WIDGETS",
            JSON,
            widget("b", json!({})),
            422,
            ERROR,
        ),
        row(
            "no spec",
            "POST WIDGETS",
            JSON,
            json!({"apiVersion": format!("{GROUP}/v1"), "kind": "Widget", "metadata": {"name": "b"}}),
            422,
            ERROR,
        ),
        row(
            "below minimum",
            "POST WIDGETS",
            JSON,
            widget("b", json!({"size": 0})),
            422,
            ERROR,
        ),
        row(
            "above maximum",
            "POST WIDGETS",
            JSON,
            widget("b", json!({"size": 101})),
            422,
            ERROR,
        ),
        row(
            "wrong type",
            "POST WIDGETS",
            JSON,
            widget("b", json!({"size": "large"})),
            422,
            ERROR,
        ),
        row(
            "not in enum",
            "POST WIDGETS",
            JSON,
            widget("b", json!({"size": 1, "mode": "warp"})),
            422,
            ERROR,
        ),
        row(
            "pattern",
            "POST WIDGETS",
            JSON,
            widget("b", json!({"size": 1, "name": "A-1"})),
            422,
            ERROR,
        ),
        row(
            "too long",
            "POST WIDGETS",
            JSON,
            widget("b", json!({"size": 1, "name": "abcdefghij"})),
            422,
            REASON,
        ),
        row(
            "too short",
            "POST WIDGETS",
            JSON,
            widget("b", json!({"size": 1, "name": "a"})),
            422,
            ERROR,
        ),
        row(
            "too many items",
            "POST WIDGETS",
            JSON,
            widget("b", json!({"size": 1, "tags": ["a", "b", "c", "d"]})),
            422,
            REASON,
        ),
        row(
            "duplicate in set",
            "POST WIDGETS",
            JSON,
            widget("b", json!({"size": 1, "tags": ["a", "a"]})),
            422,
            ERROR,
        ),
        row(
            "duplicate key",
            "POST WIDGETS",
            JSON,
            widget("b", json!({"size": 1, "parts": [{"id": "x"}, {"id": "x"}]})),
            422,
            ERROR,
        ),
        row(
            "missing key",
            "POST WIDGETS",
            JSON,
            widget("b", json!({"size": 1, "parts": [{"count": 1}]})),
            422,
            REASON,
        ),
        row(
            "null not allowed",
            "POST WIDGETS",
            JSON,
            widget("b", json!({"size": null})),
            422,
            REASON,
        ),
        row(
            "two faults",
            "POST WIDGETS",
            JSON,
            widget("b", json!({"size": 0, "mode": "warp"})),
            422,
            &["/reason"],
        ),
        row(
            "bad name",
            "POST WIDGETS",
            JSON,
            widget("B_", json!({"size": 1})),
            422,
            ERROR,
        ),
        row(
            "bad label",
            "POST WIDGETS",
            JSON,
            json!({"apiVersion": format!("{GROUP}/v1"), "kind": "Widget", "metadata": {"name": "b", "labels": {"k": "no way"}}, "spec": {"size": 1}}),
            422,
            ERROR,
        ),
        row(
            "no name",
            "POST WIDGETS",
            JSON,
            json!({"apiVersion": format!("{GROUP}/v1"), "kind": "Widget", "metadata": {}, "spec": {"size": 1}}),
            422,
            ERROR,
        ),
        row(
            "wrong kind",
            "POST WIDGETS",
            JSON,
            json!({"apiVersion": format!("{GROUP}/v1"), "kind": "Other", "metadata": {"name": "b"}}),
            422,
            ERROR,
        ),
        row(
            "wrong namespace",
            "POST WIDGETS",
            JSON,
            json!({"apiVersion": format!("{GROUP}/v1"), "kind": "Widget", "metadata": {"name": "b", "namespace": "elsewhere"}, "spec": {"size": 1}}),
            400,
            &["/reason", "/message"],
        ),
        row("not JSON", "POST WIDGETS", JSON, json!("text"), 400, &["/reason"]),
        row("media type", "POST WIDGETS", "text/plain", json!({}), 415, &["/reason"]),
        row(
            "pruned",
            "POST WIDGETS",
            JSON,
            widget("p", json!({"size": 1, "zzz": 1, "open": {"any": 1}, "maybe": null})),
            201,
            &["/spec"],
        ),
        row(
            "dry run",
            "POST WIDGETS?dryRun=All",
            JSON,
            widget("dry", json!({"size": 1})),
            201,
            &["/spec"],
        ),
        row("dry run kept nothing", "GET WIDGETS/dry", JSON, Value::Null, 404, ERROR),
        row("get", "GET WIDGETS/a", JSON, Value::Null, 200, &["/spec", "/kind"]),
        row("get missing", "GET WIDGETS/none", JSON, Value::Null, 404, ERROR),
        row(
            "no such resource",
            "GET /apis/test.imagecache.dev/v1/gizmos",
            JSON,
            Value::Null,
            404,
            &[],
        ),
        row(
            "update without revision",
            "PUT WIDGETS/a",
            JSON,
            widget("a", json!({"size": 2})),
            422,
            ERROR,
        ),
        row(
            "update other name",
            "PUT WIDGETS/a",
            JSON,
            widget("b", json!({"size": 2})),
            400,
            &["/reason", "/message"],
        ),
        row(
            "merge patch",
            "PATCH WIDGETS/a",
            MERGE,
            json!({"spec": {"size": 5, "labels": {"x": null, "n": "m"}}}),
            200,
            &["/spec", "/metadata/generation"],
        ),
        row(
            "labels keep generation",
            "PATCH WIDGETS/a",
            MERGE,
            json!({"metadata": {"labels": {"l": "v"}}}),
            200,
            &["/metadata/generation", "/metadata/labels"],
        ),
        row(
            "invalid patch result",
            "PATCH WIDGETS/a",
            MERGE,
            json!({"spec": {"size": 500}}),
            422,
            ERROR,
        ),
        row(
            "stale patch",
            "PATCH WIDGETS/a",
            MERGE,
            json!({"metadata": {"resourceVersion": "1"}, "spec": {"size": 6}}),
            409,
            &["/reason", "/message"],
        ),
        row(
            "json patch",
            "PATCH WIDGETS/a",
            JSON_PATCH,
            json!([{"op": "replace", "path": "/spec/size", "value": 6}]),
            200,
            &["/spec"],
        ),
        row(
            "json patch test fails",
            "PATCH WIDGETS/a",
            JSON_PATCH,
            json!([{"op": "test", "path": "/spec/size", "value": 1}]),
            422,
            &["/reason"],
        ),
        row(
            "strategic on custom",
            "PATCH WIDGETS/a",
            STRATEGIC,
            json!({"spec": {"size": 5}}),
            415,
            &["/reason"],
        ),
        row(
            "patch missing",
            "PATCH WIDGETS/none",
            MERGE,
            json!({"spec": {"size": 5}}),
            404,
            ERROR,
        ),
        row(
            "status ignored on main",
            "PATCH WIDGETS/a",
            MERGE,
            json!({"status": {"phase": "x"}}),
            200,
            &["/status"],
        ),
        row(
            "spec ignored on status",
            "PATCH WIDGETS/a/status",
            MERGE,
            json!({"status": {"phase": "Up"}, "spec": {"size": 9}}),
            200,
            &["/status", "/spec", "/metadata/generation"],
        ),
        row(
            "status alone",
            "GET WIDGETS/a/status",
            JSON,
            Value::Null,
            200,
            &["/status", "/spec"],
        ),
        row(
            "apply without manager",
            "PATCH WIDGETS/s",
            APPLY,
            widget("s", json!({"size": 1})),
            422,
            &["/reason"],
        ),
        row(
            "apply creates",
            "PATCH WIDGETS/s?fieldManager=one",
            APPLY,
            widget(
                "s",
                json!({"size": 1, "tags": ["a"], "parts": [{"id": "x", "count": 1}]}),
            ),
            201,
            &["/spec"],
        ),
        row(
            "apply merges",
            "PATCH WIDGETS/s?fieldManager=two",
            APPLY,
            widget(
                "s",
                json!({"size": 1, "tags": ["b"], "parts": [{"id": "y", "count": 2}, {"id": "x", "note": "n"}], "labels": {"k": "v"}}),
            ),
            200,
            OURS,
        ),
        row(
            "apply conflicts",
            "PATCH WIDGETS/s?fieldManager=two",
            APPLY,
            widget("s", json!({"size": 2})),
            409,
            &["/reason", "/message", "/details/causes"],
        ),
        row(
            "apply conflicts twice",
            "PATCH WIDGETS/s?fieldManager=three",
            APPLY,
            widget(
                "s",
                json!({"size": 2, "labels": {"k": "w"}, "parts": [{"id": "x", "count": 5}]}),
            ),
            409,
            &["/reason"],
        ),
        row(
            "apply forced",
            "PATCH WIDGETS/s?fieldManager=two&force=true",
            APPLY,
            widget("s", json!({"size": 2})),
            200,
            &["/spec"],
        ),
        row(
            "apply drops own",
            "PATCH WIDGETS/s?fieldManager=one",
            APPLY,
            widget("s", json!({})),
            200,
            &["/spec"],
        ),
        row(
            "apply wrong kind",
            "PATCH WIDGETS/s?fieldManager=one",
            APPLY,
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "s"}}),
            400,
            &["/reason"],
        ),
        row(
            "apply status",
            "PATCH WIDGETS/s/status?fieldManager=ctl",
            APPLY,
            json!({"apiVersion": format!("{GROUP}/v1"), "kind": "Widget", "metadata": {"name": "s"}, "status": {"phase": "Up", "conditions": [{"type": "Ready", "status": "True"}]}}),
            200,
            &["/status", "/spec"],
        ),
        row(
            "apply status other",
            "PATCH WIDGETS/s/status?fieldManager=aux",
            APPLY,
            json!({"apiVersion": format!("{GROUP}/v1"), "kind": "Widget", "metadata": {"name": "s"}, "status": {"conditions": [{"type": "Other", "status": "True"}]}}),
            200,
            OURS,
        ),
        row(
            "list by label",
            "GET WIDGETS?labelSelector=l%3Dv",
            JSON,
            Value::Null,
            200,
            &["/items/0/metadata/name", "/items/1", "/kind", "/apiVersion"],
        ),
        row(
            "list by set",
            "GET WIDGETS?labelSelector=l%20in%20(v,w),!m",
            JSON,
            Value::Null,
            200,
            &["/items/0/metadata/name", "/items/1"],
        ),
        row(
            "list by field",
            "GET WIDGETS?fieldSelector=metadata.name%3Dp",
            JSON,
            Value::Null,
            200,
            &["/items/0/metadata/name", "/items/1"],
        ),
        row(
            "bad label selector",
            "GET WIDGETS?labelSelector=a%3D%3D%3Db",
            JSON,
            Value::Null,
            400,
            &["/reason"],
        ),
        row(
            "bad field selector",
            "GET WIDGETS?fieldSelector=spec.size%3D1",
            JSON,
            Value::Null,
            400,
            &["/reason"],
        ),
        row(
            "first page",
            "GET WIDGETS?limit=1",
            JSON,
            Value::Null,
            200,
            &["/items/0/metadata/name", "/items/1", "/metadata/remainingItemCount"],
        ),
        row(
            "bad continue",
            "GET WIDGETS?limit=1&continue=nonsense",
            JSON,
            Value::Null,
            400,
            &["/reason"],
        ),
        row(
            "table",
            "GET WIDGETS/a TABLE",
            JSON,
            Value::Null,
            200,
            &[
                "/kind",
                "/columnDefinitions/0/name",
                "/columnDefinitions/1/name",
                "/columnDefinitions/3/name",
                "/columnDefinitions/3/type",
                "/rows/0/cells/0",
                "/rows/0/cells/1",
                "/rows/0/cells/2",
                "/rows/0/object/kind",
            ],
        ),
        row(
            "delete wrong uid",
            "DELETE WIDGETS/a",
            JSON,
            json!({"preconditions": {"uid": "nope"}}),
            409,
            &["/reason"],
        ),
        row(
            "delete",
            "DELETE WIDGETS/a",
            JSON,
            Value::Null,
            200,
            &["/kind", "/status", "/details/name", "/details/kind", "/details/group"],
        ),
        row("delete missing", "DELETE WIDGETS/a", JSON, Value::Null, 404, ERROR),
        row(
            "delete collection",
            "DELETE WIDGETS",
            JSON,
            Value::Null,
            200,
            &["/kind"],
        ),
        row(
            "configmap",
            "POST CORE/configmaps",
            JSON,
            map("m", json!({"a": "b"})),
            201,
            &["/data", "/metadata/generation"],
        ),
        row(
            "configmap bad key",
            "POST CORE/configmaps",
            JSON,
            map("n", json!({"a b": "c"})),
            422,
            &["/reason"],
        ),
        row(
            "configmap update",
            "PUT CORE/configmaps/m",
            JSON,
            map("m", json!({"a": "c"})),
            200,
            &["/data"],
        ),
        row(
            "strategic",
            "PATCH CORE/configmaps/m",
            STRATEGIC,
            json!({"data": {"d": "e"}, "metadata": {"finalizers": ["x.dev/a"]}}),
            200,
            &["/data", "/metadata/finalizers"],
        ),
        row(
            "strategic finalizer",
            "PATCH CORE/configmaps/m",
            STRATEGIC,
            json!({"metadata": {"finalizers": ["x.dev/b"]}}),
            200,
            &["/data"],
        ),
        row(
            "strategic delete finalizers",
            "PATCH CORE/configmaps/m",
            STRATEGIC,
            json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["x.dev/a", "x.dev/b"]}}),
            200,
            &["/metadata/finalizers"],
        ),
        row(
            "configmap apply",
            "PATCH CORE/configmaps/z?fieldManager=one",
            APPLY,
            map("z", json!({"a": "b"})),
            201,
            &["/data", "/metadata/managedFields/0/fieldsV1"],
        ),
        row(
            "configmap conflict",
            "PATCH CORE/configmaps/z?fieldManager=two",
            APPLY,
            map("z", json!({"a": "c"})),
            409,
            &["/reason", "/message", "/details/causes"],
        ),
        row(
            "secret",
            "POST CORE/secrets",
            JSON,
            json!({"metadata": {"name": "s"}, "stringData": {"k": "v"}, "data": {"b": "YQ=="}}),
            201,
            &["/data", "/stringData", "/type", "/kind"],
        ),
        row(
            "secret bad base64",
            "POST CORE/secrets",
            JSON,
            json!({"metadata": {"name": "t"}, "data": {"b": "%"}}),
            400,
            &["/reason"],
        ),
        row(
            "secret list",
            "GET CORE/secrets?fieldSelector=type%3DOpaque",
            JSON,
            Value::Null,
            200,
            &["/kind", "/items/0/metadata/name", "/items/1"],
        ),
        row(
            "pod",
            "POST CORE/pods",
            JSON,
            json!({"metadata": {"name": "q"}, "spec": {"automountServiceAccountToken": false, "nodeName": "nowhere", "containers": [{"name": "c", "image": "i", "env": [{"name": "A", "value": "1"}]}]}}),
            201,
            &[
                "/spec/restartPolicy",
                "/spec/dnsPolicy",
                "/spec/containers/0/imagePullPolicy",
                "/status/phase",
            ],
        ),
        row(
            "pod without containers",
            "POST CORE/pods",
            JSON,
            json!({"metadata": {"name": "r"}, "spec": {"containers": []}}),
            422,
            &["/reason", "/message"],
        ),
        row(
            "pod image",
            "PATCH CORE/pods/q",
            STRATEGIC,
            json!({"spec": {"containers": [{"name": "c", "image": "j"}]}}),
            200,
            &["/spec/containers/0/image", "/spec/containers/0/env"],
        ),
        row(
            "missing namespace",
            "POST /api/v1/namespaces/not-there/configmaps",
            JSON,
            map("m", json!({})),
            404,
            ERROR,
        ),
        row(
            "lease",
            "POST LEASES",
            JSON,
            json!({"metadata": {"name": "l"}, "spec": {"holderIdentity": "me", "leaseDurationSeconds": 5, "renewTime": "2024-01-01T00:00:00.000000Z"}}),
            201,
            &["/spec"],
        ),
        row(
            "access",
            "POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
            JSON,
            json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}}),
            201,
            &["/kind", "/status/allowed"],
        ),
    ]
}

/// One of its own for each run: a real server may take a while to remove the last one.
fn namespace() -> String {
    format!("apiserver-test-{}", std::process::id())
}

async fn send(client: &Client, row: &Row) -> (u16, Value) {
    let (path, accept) = row.path.strip_suffix(" TABLE").map_or((row.path, JSON), |p| (p, TABLE));
    let namespace = namespace();
    let path = path
        .replace("WIDGETS", &format!("/apis/{GROUP}/v1/namespaces/{namespace}/widgets"))
        .replace(
            "LEASES",
            &format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"),
        )
        .replace("OWN", &format!("/api/v1/namespaces/{namespace}"))
        .replace("CORE", &format!("/api/v1/namespaces/{namespace}"));
    let body = if row.body.is_null() {
        Vec::new()
    } else {
        row.body.to_string().into_bytes()
    };
    let request = Request::builder()
        .method(row.method.clone())
        .uri(path)
        .header("accept", accept);
    let request = if body.is_empty() {
        request
    } else {
        request.header("content-type", row.content)
    };
    let response = client.send(request.body(Body::from(body)).unwrap()).await.unwrap();
    let status = response.status().as_u16();
    let bytes = response.into_body().collect_bytes().await.unwrap();
    (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
}

async fn call(client: &Client, request: &'static str, body: Value) -> (u16, Value) {
    send(client, &row("set up", request, JSON, body, 0, &[])).await
}

/// Makes the namespace; waits until it and the definition are there.
async fn prepare(client: &Client) {
    call(
        client,
        "POST /apis/apiextensions.k8s.io/v1/customresourcedefinitions",
        widgets("widgets", "Widget", "Namespaced"),
    )
    .await;
    call(
        client,
        "POST /api/v1/namespaces",
        json!({"metadata": {"name": namespace()}}),
    )
    .await;
    for _ in 0..200 {
        if call(client, "GET WIDGETS", Value::Null).await.0 == 200 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("the definition was not established");
}

/// Removes values that no two servers share.
fn part(value: &Value, pointer: &str) -> Value {
    let found = value.pointer(pointer).cloned().unwrap_or(Value::Null);
    match found {
        Value::String(text) => match text.split_once(" at 20") {
            Some((before, after)) => format!("{before}{}", after.split_once(": ").map_or("", |(_, rest)| rest)).into(),
            None => text.into(),
        },
        other => other,
    }
}

#[tokio::test]
async fn answers_with_the_right_status() {
    let served = Served::memory().await;
    let client = served.client();
    prepare(&client).await;
    let mut wrong = Vec::new();
    for row in rows() {
        let (status, body) = send(&client, &row).await;
        if status != row.status {
            wrong.push(format!("{}: {status} for {}: {body}", row.name, row.status));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
#[ignore = "needs IMAGECACHE_TEST_KUBECONFIG"]
async fn answers_like_a_real_api_server() {
    let path = std::env::var("IMAGECACHE_TEST_KUBECONFIG").unwrap();
    let config = Kubeconfig::read_from(path).unwrap();
    let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default())
        .await
        .unwrap();
    let real = Client::try_from(config).unwrap();
    let served = Served::memory().await;
    let ours = served.client();
    prepare(&real).await;
    prepare(&ours).await;
    let mut wrong = Vec::new();
    for row in rows().into_iter().filter(|r| r.parts != OURS) {
        let (theirs, ours) = (send(&real, &row).await, send(&ours, &row).await);
        if theirs.0 != ours.0 {
            wrong.push(format!("{}: {} is {} there: {}", row.name, ours.0, theirs.0, theirs.1));
            continue;
        }
        for pointer in row.parts {
            let (theirs, ours) = (part(&theirs.1, pointer), part(&ours.1, pointer));
            if theirs != ours {
                wrong.push(format!("{} {pointer}:\n  ours   {ours}\n  theirs {theirs}", row.name));
            }
        }
    }
    call(&real, "DELETE OWN", Value::Null).await;
    call(
        &real,
        "DELETE /apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.test.imagecache.dev",
        Value::Null,
    )
    .await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn asks_for_the_token() {
    let served = Served::start(imagecache_apiserver::Data::Memory, Some("hush")).await;
    let (status, body) = call(&served.client(), "GET /api/v1/namespaces", Value::Null).await;
    assert_eq!((status, &body["reason"]), (401, &json!("Unauthorized")));
    let config = Kubeconfig::from_yaml(&served.server.kubeconfig(served.addr)).unwrap();
    let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default())
        .await
        .unwrap();
    let client = Client::try_from(config).unwrap();
    assert_eq!(call(&client, "GET /api/v1/namespaces", Value::Null).await.0, 200);
}
