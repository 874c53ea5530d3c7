//! What goes over the wire, and answers that are too long.

use std::time::Duration;

use bytes::Bytes;
use imagecache_cloud_http::{CallProblem, ExchangeError, RefusalClass, Route, exchange, http_client};
use tokio::net::TcpListener;

use crate::support::{CREATE, LIST, Reply, Server, client, config, ok};

#[tokio::test]
async fn an_empty_post_has_a_length_a_host_and_our_name() {
    let server = Server::start(vec![ok(), ok()]).await;
    let client = client(&server, config());
    assert_eq!(client.call(&CREATE).await.unwrap().body, "fine");
    client.call(&LIST).await.unwrap();
    assert_eq!(server.connections(), 1, "connections are reused");
    let received = &server.received()[0];
    let header = |name: &str| received.headers.get(name).map(String::as_str);
    assert!(
        received.line.starts_with("POST /?Action=CreateThing&"),
        "{}",
        received.line
    );
    assert_eq!(header("content-length"), Some("0"));
    assert_eq!(header("host"), Some(server.address.to_string().as_str()));
    assert!(header("user-agent").unwrap().starts_with("imagecache/"));
}

#[tokio::test]
async fn an_answer_that_is_too_long_is_not_read_and_not_asked_for_again() {
    for reply in [Reply::Announced(9 * 1024 * 1024), Reply::Endless] {
        let server = Server::start(vec![reply.clone(), ok()]).await;
        let error = client(&server, config()).call(&LIST).await.unwrap_err();
        assert_eq!(error.attempts, 1, "{reply:?}");
        let CallProblem::Refused(refusal) = error.problem else {
            panic!("{reply:?}: {error:?}")
        };
        assert_eq!(refusal.class, RefusalClass::Undecodable, "{reply:?}");
    }
}

#[tokio::test]
async fn an_exchange_without_a_call_for_sources() {
    let http = http_client(Route::Direct).unwrap();
    let limit = Duration::from_millis(200);
    let server = Server::start(vec![ok(), Reply::Silence]).await;
    let request = || {
        http::Request::get(format!("http://{}/role", server.address))
            .body(Bytes::new())
            .unwrap()
    };
    assert_eq!(exchange(&http, request(), limit).await.unwrap().body, "fine");
    let error = exchange(&http, request(), limit).await.unwrap_err();
    assert!(matches!(error, ExchangeError::NoAnswer(_)), "{error:?}");
    let request = http::Request::get("/no-host").body(Bytes::new()).unwrap();
    let error = exchange(&http, request, limit).await.unwrap_err();
    assert!(matches!(error, ExchangeError::Request(_)), "{error:?}");
}

#[tokio::test]
async fn a_handshake_that_fails_means_not_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let request = http::Request::get(format!("https://{}/", listener.local_addr().unwrap()))
        .body(Bytes::new())
        .unwrap();
    let hang_up = async { drop(listener.accept().await.unwrap()) };
    let http = http_client(Route::Direct).unwrap();
    let (outcome, ()) = tokio::join!(exchange(&http, request, Duration::from_secs(5)), hang_up);
    let error = outcome.unwrap_err();
    assert!(matches!(error, ExchangeError::NotSent(_)), "{error:?}");
}
