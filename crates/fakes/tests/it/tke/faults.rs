//! What goes wrong when a test wants it to.

use std::collections::BTreeSet;
use std::time::Duration;

use imagecache_fakes::tke::{FakeTke, Fault};
use jiff::Timestamp;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::support::{Caller, TKE, wanted};

const CREATE: &str = "CreateImageCache";
/// Longer than any answer takes that comes at all.
const PATIENCE: Duration = Duration::from_millis(500);

#[tokio::test]
async fn answers_go_wrong_before_or_after_the_effect() {
    let rows = [
        (Fault::ServerErrorBefore, Some(503), 0),
        (Fault::ServerErrorAfter, Some(500), 1),
        (Fault::CutBody, None, 1),
        (Fault::WrongJson, Some(200), 1),
    ];
    for (fault, status, made) in rows {
        let fake = FakeTke::start().await;
        let caller = Caller::new(&fake);
        fake.inject(CREATE, fault.clone(), 1);
        let answer = caller.try_tke(CREATE, wanted("a", json!({}))).await;
        assert_eq!(answer.as_ref().ok().map(|answer| answer.status), status, "{fault:?}");
        assert_eq!(fake.creations(), made, "{fault:?}");
        let made_known = answer.is_ok_and(|answer| answer.response()["ImageCacheId"].is_string());
        assert!(!made_known, "{fault:?}");
        caller.create("b").await;
        assert_eq!((fake.creations(), fake.calls(CREATE)), (made + 1, 2), "{fault:?}");
    }
}

#[tokio::test]
async fn no_answer_comes_before_or_after_the_effect() {
    for (fault, made) in [(Fault::NoAnswer, 1), (Fault::NoAnswerBefore, 0)] {
        let fake = FakeTke::start().await;
        let caller = Caller::new(&fake);
        fake.inject(CREATE, fault.clone(), 1);
        let waiting = caller.clone();
        let mut call = tokio::spawn(async move { waiting.try_tke(CREATE, wanted("a", json!({}))).await });
        while fake.calls(CREATE) == 0 {
            tokio::task::yield_now().await;
        }
        let answer = timeout(PATIENCE, &mut call).await;
        assert!(answer.is_err(), "{fault:?}: {answer:?}");
        call.abort();
        assert_eq!((fake.creations(), fake.calls(CREATE)), (made, 1), "{fault:?}");
        caller.create("b").await;
    }
}

#[tokio::test]
async fn any_code_can_be_answered() {
    let fake = FakeTke::start().await;
    let caller = Caller::new(&fake);
    let codes = [
        (200, "InternalError.CamNoAuth"),
        (200, "InternalError.QuotaMaxNodLimit"),
        (200, "InternalError.Param"),
        (400, "InvalidParameter"),
    ];
    for (status, code) in codes {
        let fault = Fault::Refuse {
            status,
            code: code.to_owned(),
            message: "text varies".to_owned(),
        };
        fake.inject(CREATE, fault, 1);
    }
    for (status, code) in codes {
        let answer = caller.tke(CREATE, wanted("a", json!({}))).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code));
        assert_eq!(fake.rejected(code), 1);
    }
    assert_eq!(fake.creations(), 0);
    fake.inject("DescribeImageCaches", Fault::WrongJson, 3);
    caller.create("a").await;
    fake.heal();
    caller.describe(json!({})).await;
}

#[tokio::test]
async fn too_many_calls_are_throttled_in_every_published_way() {
    let fake = FakeTke::start().await;
    let caller = Caller::new(&fake);
    fake.inject("DescribeImageCaches", Fault::Throttled { retry_after_ms: None }, 4);
    let mut codes = BTreeSet::new();
    for _ in 0..4 {
        codes.insert(caller.tke("DescribeImageCaches", json!({})).await.code());
    }
    let published = [
        "",
        ".GlobalRegionUinLimitExceeded",
        ".IPLimitExceeded",
        ".UinLimitExceeded",
    ];
    let published = published.map(|kind| format!("RequestLimitExceeded{kind}"));
    assert!(codes.iter().eq(&published), "{codes:?}");

    // The rate is that of each action, in any second.
    fake.set_rate(Some(5));
    let mut refused = 0;
    let mut calls = 0;
    while refused == 0 {
        let before = tokio::time::Instant::now();
        let mut fitted = 0;
        for _ in 0..10 {
            let code = caller.tke("DescribeImageCaches", json!({})).await.code();
            calls += 1;
            match code.as_str() {
                "" => fitted += 1,
                code => {
                    assert!(code.starts_with("RequestLimitExceeded"), "{code}");
                    refused += 1;
                }
            }
        }
        if before.elapsed() < Duration::from_secs(1) {
            assert_eq!((fitted, refused), (5, 5));
        }
        assert!(calls < 1_000);
    }
    caller.create("another action has a rate of its own").await;
    fake.age(Duration::from_secs(1));
    caller.describe(json!({})).await;
}

#[tokio::test]
async fn content_types_cannot_be_trusted() {
    let fake = FakeTke::start().await;
    let caller = Caller::new(&fake);
    let mut types = BTreeSet::new();
    for _ in 0..8 {
        let answer = caller.tke("DescribeImageCaches", json!({})).await;
        answer.ok();
        types.insert(answer.content_type);
    }
    assert!(types.contains("application/json") && types.len() == 4, "{types:?}");
}

#[tokio::test]
async fn connections_stay_open_until_they_are_told_to_close() {
    let fake = FakeTke::start().await;
    fake.set_rate(None);
    let caller = Caller::new(&fake);
    let headers = caller.headers(TKE, "DescribeImageCaches", b"{}", Timestamp::now());
    let lines: String = headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    let request = format!("POST / HTTP/1.1\r\ncontent-length: 2\r\n{lines}\r\n{{}}");
    let mut connections = 0;
    let mut answers = 0;
    while answers < 2_500 {
        let mut stream = BufReader::new(TcpStream::connect(&caller.address).await.unwrap());
        connections += 1;
        let mut closes = false;
        while !closes && answers < 2_500 {
            stream.write_all(request.as_bytes()).await.unwrap();
            let (mut length, mut line) = (0, String::new());
            while stream.read_line(&mut line).await.unwrap() > 2 {
                closes |= line == "connection: close\r\n";
                length = line
                    .strip_prefix("content-length: ")
                    .map_or(length, |text| text.trim().parse().unwrap());
                line.clear();
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).await.unwrap();
            assert!(String::from_utf8(body).unwrap().contains("TotalCount"));
            answers += 1;
        }
    }
    assert_eq!((connections, fake.calls("DescribeImageCaches")), (2, 2_500));
}
