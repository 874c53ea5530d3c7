//! Raw HTTP requests: status codes, reasons and the relevant parts of the answers, ours and a real API server's.

use http::Request;
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};

mod first_rows;
mod later_rows;
mod row;

use row::{JSON, OURS, Row, TABLE, row};

use crate::support::{GROUP, Served, widgets};

/// The whole conversation, in order.
fn rows() -> Vec<Row> {
    let mut rows = first_rows::first_rows();
    rows.extend(later_rows::later_rows());
    rows
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
