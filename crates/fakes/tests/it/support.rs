//! A client with a signer of its own, written from the definition in the documentation.

use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use imagecache_fakes::eci::{FakeEci, StsKey};
use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::sync::atomic::{AtomicU64, Ordering};

pub const ECI: &str = "2018-08-08";
pub const VPC: &str = "2016-04-28";
pub const STS: &str = "2015-04-01";

const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
static NONCES: AtomicU64 = AtomicU64::new(0);

/// Parameters of a call.
pub type Pairs<'a> = &'a [(&'a str, &'a str)];

/// An answer that came.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub retry_after: Option<String>,
    pub date: String,
    pub body: Value,
}

impl Answer {
    pub fn text(&self, pointer: &str) -> String {
        let value = self.body.pointer(pointer);
        value
            .and_then(Value::as_str)
            .unwrap_or_else(|| panic!("no {pointer} in {}", self.body))
            .to_owned()
    }

    pub fn code(&self) -> &str {
        self.body.get("Code").and_then(Value::as_str).unwrap_or("")
    }

    pub fn ok(self) -> Self {
        assert_eq!(self.status, 200, "{}", self.body);
        self
    }
}

/// Signs and sends.
pub struct Caller {
    pub http: reqwest::Client,
    pub endpoint: String,
    pub id: String,
    pub secret: String,
    pub token: Option<String>,
}

pub fn http() -> reqwest::Client {
    // Another test of this binary may have been first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5));
    builder.build().unwrap()
}

impl Caller {
    pub fn new(fake: &FakeEci) -> Self {
        let (id, secret) = fake.access_key();
        Self {
            http: http(),
            endpoint: fake.endpoint(),
            id: id.to_owned(),
            secret: secret.to_owned(),
            token: None,
        }
    }

    pub fn with_key(fake: &FakeEci, key: &StsKey) -> Self {
        Self {
            id: key.id.clone(),
            secret: key.secret.clone(),
            token: Some(key.token.clone()),
            ..Self::new(fake)
        }
    }

    pub fn request(&self, version: &str, action: &str, pairs: Pairs<'_>, at: Timestamp) -> reqwest::RequestBuilder {
        let encode = |text: &str| utf8_percent_encode(text, KEPT).to_string();
        let mut sorted = pairs.to_vec();
        sorted.sort_unstable();
        let query: Vec<String> = sorted
            .iter()
            .map(|(name, value)| format!("{}={}", encode(name), encode(value)))
            .collect();
        let query = query.join("&");
        let empty = hex::encode(Sha256::digest(b""));
        let mut headers = vec![
            ("host", self.endpoint.trim_start_matches("http://").to_owned()),
            ("x-acs-action", action.to_owned()),
            ("x-acs-content-sha256", empty.clone()),
            ("x-acs-date", at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()),
        ];
        if let Some(token) = &self.token {
            headers.push(("x-acs-security-token", token.clone()));
        }
        let nonce = format!("{}-{}", std::process::id(), NONCES.fetch_add(1, Ordering::Relaxed));
        headers.push(("x-acs-signature-nonce", nonce));
        headers.push(("x-acs-version", version.to_owned()));
        headers.sort_unstable();
        let lines: String = headers
            .iter()
            .map(|(name, value)| format!("{name}:{value}\n"))
            .collect();
        let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
        let names = names.join(";");
        let canonical = format!("POST\n/\n{query}\n{lines}\n{names}\n{empty}");
        let mut mac = Hmac::<Sha256>::new_from_slice(self.secret.as_bytes()).unwrap();
        mac.update(format!("ACS3-HMAC-SHA256\n{}", hex::encode(Sha256::digest(canonical))).as_bytes());
        let signature = hex::encode(mac.finalize().into_bytes());
        let authorization = format!(
            "ACS3-HMAC-SHA256 Credential={},SignedHeaders={names},Signature={signature}",
            self.id
        );
        let mut request = self.http.post(format!("{}/?{query}", self.endpoint));
        for (name, value) in headers {
            if name != "host" {
                request = request.header(name, value);
            }
        }
        request.header("authorization", authorization)
    }

    pub async fn at(&self, version: &str, action: &str, pairs: Pairs<'_>, at: Timestamp) -> Answer {
        self.send(self.request(version, action, pairs, at)).await.unwrap()
    }

    pub async fn send(&self, request: reqwest::RequestBuilder) -> Result<Answer, reqwest::Error> {
        let response = request.send().await?;
        let header = |name: &str| {
            response
                .headers()
                .get(name)
                .map(|value| value.to_str().unwrap().to_owned())
        };
        let (status, retry_after, date) = (
            response.status().as_u16(),
            header("x-acs-retry-after"),
            header("date").unwrap(),
        );
        let text = response.bytes().await?;
        let body = serde_json::from_slice(&text).unwrap_or(Value::Null);
        Ok(Answer {
            status,
            retry_after,
            date,
            body,
        })
    }

    pub async fn try_eci(&self, action: &str, pairs: Pairs<'_>) -> Result<Answer, reqwest::Error> {
        let mut all = vec![("RegionId", "cn-hangzhou")];
        all.extend(pairs);
        self.send(self.request(ECI, action, &all, Timestamp::now())).await
    }

    pub async fn eci(&self, action: &str, pairs: Pairs<'_>) -> Answer {
        self.try_eci(action, pairs).await.unwrap()
    }

    pub async fn vpc(&self, action: &str, pairs: Pairs<'_>) -> Answer {
        let mut all = vec![("RegionId", "cn-hangzhou")];
        all.extend(pairs);
        self.at(VPC, action, &all, Timestamp::now()).await
    }

    pub async fn create(&self, name: &str, more: Pairs<'_>) -> Answer {
        let mut all = vec![("ImageCacheName", name), ("Image.1", "nginx:1.27")];
        all.extend(more);
        self.eci("CreateImageCache", &all).await
    }

    /// The only cache with this id.
    pub async fn one(&self, id: &str) -> Value {
        let answer = self.eci("DescribeImageCaches", &[("ImageCacheId", id)]).await.ok();
        answer.body.pointer("/ImageCaches/0").cloned().unwrap_or(Value::Null)
    }
}
