//! A client with a signer of its own, written from the definition in the documentation, on a bare socket.

use std::io;

use hmac::{Hmac, KeyInit, Mac};
use imagecache_fakes::tke::{FakeTke, StsKey};
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub const TKE: (&str, &str) = ("tke", "2018-05-25");
pub const STS: (&str, &str) = ("sts", "2018-08-13");
pub const BOTH: &[&str] = &["content-type", "host"];
pub const ALL: &[&str] = &["content-type", "host", "x-tc-action"];

pub type Headers = Vec<(String, String)>;

/// The steps of a signature.
pub struct Signature {
    pub canonical: String,
    pub to_sign: String,
    pub authorization: String,
}

/// What is signed, and with what.
pub struct Unsigned<'a> {
    pub method: &'a str,
    pub query: &'a str,
    pub body: &'a [u8],
    pub service: &'a str,
    pub seconds: i64,
}

pub fn sign(key: (&str, &str), request: &Unsigned<'_>, headers: &[(String, String)], names: &[&str]) -> Signature {
    let hash = |bytes: &[u8]| hex::encode(Sha256::digest(bytes));
    let mac = |key: &[u8], text: &str| {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
        mac.update(text.as_bytes());
        mac.finalize().into_bytes().to_vec()
    };
    let value = |name: &str| &headers.iter().find(|(found, _)| found == name).unwrap().1;
    let lines: String = names
        .iter()
        .map(|name| format!("{name}:{}\n", value(name).trim().to_lowercase()))
        .collect();
    let canonical = [
        request.method,
        "/",
        request.query,
        &lines,
        &names.join(";"),
        &hash(request.body),
    ]
    .join("\n");
    let date = Timestamp::from_second(request.seconds)
        .unwrap()
        .strftime("%F")
        .to_string();
    let scope = format!("{date}/{}/tc3_request", request.service);
    let to_sign = format!(
        "TC3-HMAC-SHA256\n{}\n{scope}\n{}",
        request.seconds,
        hash(canonical.as_bytes())
    );
    let secret = ["tc3_request", request.service, &date]
        .into_iter()
        .rfold(format!("TC3{}", key.1).into_bytes(), |key, part| mac(&key, part));
    let signature = hex::encode(mac(&secret, &to_sign));
    let names = names.join(";");
    let authorization = format!(
        "TC3-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
        key.0
    );
    Signature {
        canonical,
        to_sign,
        authorization,
    }
}

/// An answer that came.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub content_type: String,
    pub date: String,
    pub text: String,
}

impl Answer {
    /// What is in the envelope.
    pub fn response(&self) -> Value {
        let body: Value = serde_json::from_str(&self.text).unwrap_or_default();
        body.get("Response").cloned().unwrap_or_default()
    }

    pub fn code(&self) -> String {
        let response = self.response();
        assert!(response["RequestId"].is_string(), "{self:?}");
        response["Error"]["Code"].as_str().unwrap_or("").to_owned()
    }

    /// The fields of a success.
    pub fn ok(&self) -> Value {
        assert_eq!((self.status, self.code().as_str()), (200, ""), "{self:?}");
        self.response()
    }
}

/// Signs and sends.
#[derive(Clone)]
pub struct Caller {
    pub address: String,
    pub id: String,
    pub secret: String,
    pub token: Option<String>,
    pub signed: &'static [&'static str],
}

impl Caller {
    pub fn new(fake: &FakeTke) -> Self {
        let (id, secret) = fake.access_key();
        Self {
            address: fake.endpoint().replace("http://", ""),
            id: id.to_owned(),
            secret: secret.to_owned(),
            token: None,
            signed: ALL,
        }
    }

    pub fn with_key(fake: &FakeTke, key: &StsKey) -> Self {
        Self {
            id: key.id.clone(),
            secret: key.secret.clone(),
            token: Some(key.token.clone()),
            ..Self::new(fake)
        }
    }

    /// The headers of a signed POST.
    pub fn headers(&self, api: (&str, &str), action: &str, body: &[u8], at: Timestamp) -> Headers {
        self.signed_headers(("POST", ""), "application/json", api, action, body, at)
    }

    pub fn signed_headers(
        &self,
        (method, query): (&str, &str),
        content_type: &str,
        (service, version): (&str, &str),
        action: &str,
        body: &[u8],
        at: Timestamp,
    ) -> Headers {
        let seconds = at.as_second();
        let mut headers: Headers = [
            ("content-type", content_type),
            ("host", &self.address),
            ("x-tc-action", action),
            ("x-tc-version", version),
            ("x-tc-region", "ap-guangzhou"),
            ("x-tc-timestamp", &seconds.to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec();
        let request = Unsigned {
            method,
            query,
            body,
            service,
            seconds,
        };
        let signature = sign((&self.id, &self.secret), &request, &headers, self.signed);
        headers.push(("authorization".to_owned(), signature.authorization));
        headers.extend(self.token.clone().map(|token| ("x-tc-token".to_owned(), token)));
        headers
    }

    /// One request on a connection of its own; an error when no whole answer comes.
    pub async fn send(&self, target: &str, headers: &[(String, String)], body: &[u8]) -> io::Result<Answer> {
        let mut stream = TcpStream::connect(&self.address).await?;
        let mut head = format!(
            "{target} HTTP/1.1\r\nconnection: close\r\ncontent-length: {}\r\n",
            body.len()
        );
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        stream.write_all(&[head.as_bytes(), body].concat()).await?;
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await?;
        let all = String::from_utf8(all).unwrap();
        let (head, text) = all.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
        let header = |wanted: &str| {
            let mut lines = head.lines().filter_map(|line| line.split_once(": "));
            let found = lines.find(|(name, _)| name.eq_ignore_ascii_case(wanted));
            found.map(|(_, value)| value.to_owned()).unwrap_or_default()
        };
        if header("content-length").parse() != Ok(text.len()) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(Answer {
            status: head.get(9..12).unwrap().parse().unwrap(),
            content_type: header("content-type"),
            date: header("date"),
            text: text.to_owned(),
        })
    }

    pub async fn post(&self, headers: &[(String, String)], body: &[u8]) -> Answer {
        self.send("POST /", headers, body).await.unwrap()
    }

    pub async fn try_tke(&self, action: &str, parameters: Value) -> io::Result<Answer> {
        let body = parameters.to_string().into_bytes();
        let headers = self.headers(TKE, action, &body, Timestamp::now());
        self.send("POST /", &headers, &body).await
    }

    pub async fn tke(&self, action: &str, parameters: Value) -> Answer {
        self.try_tke(action, parameters).await.unwrap()
    }

    pub async fn sts(&self, action: &str, parameters: Value) -> Answer {
        let body = parameters.to_string().into_bytes();
        let headers = self.headers(STS, action, &body, Timestamp::now());
        self.post(&headers, &body).await
    }

    /// Makes a cache of nginx; its id.
    pub async fn create(&self, name: &str) -> String {
        self.create_with(name, json!({})).await
    }

    pub async fn create_with(&self, name: &str, more: Value) -> String {
        let fields = self.tke("CreateImageCache", wanted(name, more)).await.ok();
        fields["ImageCacheId"].as_str().unwrap().to_owned()
    }

    pub async fn describe(&self, parameters: Value) -> Value {
        self.tke("DescribeImageCaches", parameters).await.ok()
    }

    /// The only cache with this id.
    pub async fn one(&self, id: &str) -> Value {
        let found = self.describe(json!({"ImageCacheIds": [id]})).await;
        found["ImageCaches"].get(0).cloned().unwrap_or_default()
    }

    /// The ids found, in the order of the answer.
    pub async fn ids(&self, parameters: Value) -> Vec<String> {
        let found = self.describe(parameters).await;
        let caches = found["ImageCaches"].as_array().unwrap().iter();
        caches
            .map(|cache| cache["ImageCacheId"].as_str().unwrap().to_owned())
            .collect()
    }
}

/// What a cache of nginx needs, and more.
pub fn wanted(name: &str, more: Value) -> Value {
    let mut all = json!({
        "Images": ["nginx:1.27"],
        "VpcId": "vpc-508ctkfb",
        "SubnetId": "subnet-8ah75lo8",
        "ImageCacheName": name,
    });
    for (name, value) in more.as_object().unwrap() {
        all[name] = value.clone();
    }
    all
}
