//! No secret in any log at any level, error or debug text.

use std::io;
use std::sync::{Arc, Mutex};

use crate::support::{
    CREATE, LIST, PARAMETER, Reply, SECRET, Server, TOKEN, TestClock, client, client_with, config, numbered, ok,
    refusal_with,
};

/// Keeps what is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn nothing_secret_is_shown() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    // For the whole process: what the other tests log meanwhile must be free of secrets as well, and a subscriber of one
    // thread misses lines whose place was first passed by another thread.
    tracing::subscriber::set_global_default(subscriber).unwrap();

    let mut texts = Vec::new();
    let echo = format!("final: expected signature of {SECRET} and {TOKEN}");
    for reply in [
        refusal_with(&echo, &[]),
        refusal_with("credential", &[]),
        refusal_with("clock", &[("date", "Fri, 02 Jan 2026 04:04:05 GMT")]),
        Reply::Cut,
        Reply::Close,
    ] {
        let server = Server::start(vec![reply.clone(), reply]).await;
        let client = client(&server, config());
        let error = client.call(&CREATE).await.unwrap_err();
        texts.push(format!(
            "{error} {error:?} {} {client:?}",
            imagecache_core::chain(&error)
        ));
    }
    let nowhere = "http://127.0.0.1:1".to_owned();
    let limits = imagecache_cloud_http::ClientConfig {
        attempts: 1,
        ..config()
    };
    let error = client_with(nowhere, limits.clone(), numbered(), &TestClock::new())
        .call(&LIST)
        .await
        .unwrap_err();
    texts.push(format!("{error:?} {}", imagecache_core::chain(&error)));
    let no_url = "ftp://127.0.0.1:1".to_owned();
    let error = client_with(no_url, limits, numbered(), &TestClock::new())
        .call(&LIST)
        .await
        .unwrap_err();
    texts.push(format!("{error:?} {}", imagecache_core::chain(&error)));
    let server = Server::start(vec![ok()]).await;
    client(&server, config()).call(&CREATE).await.unwrap();

    texts.push(String::from_utf8(log.0.lock().unwrap().clone()).unwrap());
    let logged = texts.last().unwrap();
    for part in [
        "http{action=\"CreateThing\" attempt=1",
        "request_id=\"request-1\"",
        "code=\"Code\"",
        "refused",
        "answered",
        "seconds_behind=3600",
    ] {
        assert!(logged.contains(part), "{part} is not logged: {logged}");
    }
    for text in &texts {
        for secret in [SECRET, TOKEN, PARAMETER] {
            assert!(!text.contains(secret), "{text}");
        }
    }
}
