//! STS and the metadata service, as small as they can be: they hand out numbered keys and check whom they hand them to. And a
//! TKE without caches that notes who signed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use hmac::{Hmac, KeyInit as _, Mac as _};
use imagecache_core::Clock;
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate, matchers};

/// A role that may be assumed.
pub const ROLE: &str = "qcs::cam::uin/100000000001:roleName/cache";
/// The role of the instance.
pub const INSTANCE_ROLE: &str = "node-role";
/// The token that STS takes.
pub const OIDC_TOKEN: &str = "header.payload.signature-1";
/// The identity provider that STS knows.
pub const PROVIDER: &str = "cls-0123abcd";
pub const REGION: &str = "ap-guangzhou";
pub const DESCRIBE: &str = "DescribeImageCaches";

const ROLES: &str = "/latest/meta-data/cam/security-credentials/";
const START: i64 = 1_800_000_000;
/// Seconds that an issued key lives.
pub const LIFETIME: i64 = 7200;

/// A key that the cloud knows.
#[derive(Clone, Debug, PartialEq)]
pub struct Key {
    pub id: String,
    pub secret: String,
    pub token: Option<String>,
}

impl Key {
    /// The key of that name, temporary or not.
    pub fn named(name: &str, temporary: bool) -> Self {
        Self {
            id: format!("AKID{name}"),
            secret: format!("secretOf{name}"),
            token: temporary.then(|| format!("tokenOf{name}")),
        }
    }
}

/// What the services are told to do for every call of one action.
#[derive(Clone, Debug)]
pub enum Answer {
    /// An error inside a 200.
    Refuse(&'static str, String),
    /// Another status, and this body.
    Status(u16, String),
}

#[derive(Default)]
struct State {
    calls: BTreeMap<String, usize>,
    answers: BTreeMap<String, Answer>,
    keys: BTreeMap<String, Key>,
    /// What STS was asked.
    bodies: Vec<Value>,
    /// Whose signature TKE saw last.
    signer: Option<Key>,
    oidc_token: String,
    /// When issued keys end, by id.
    ends: BTreeMap<String, i64>,
    issued: usize,
}

/// The cloud around a machine.
#[derive(Clone)]
pub struct Cloud {
    server: Arc<MockServer>,
    state: Arc<Mutex<State>>,
    now: Arc<AtomicI64>,
}

impl Cloud {
    pub async fn start() -> Self {
        let cloud = Self {
            server: Arc::new(MockServer::start().await),
            state: Arc::new(Mutex::new(State {
                oidc_token: OIDC_TOKEN.to_owned(),
                ..State::default()
            })),
            now: Arc::new(AtomicI64::new(START)),
        };
        let (state, now) = (Arc::clone(&cloud.state), Arc::clone(&cloud.now));
        Mock::given(matchers::any())
            .respond_with(Services { state, now })
            .mount(&cloud.server)
            .await;
        cloud
    }

    pub fn endpoint(&self) -> String {
        self.server.uri()
    }

    /// Makes a key known, so that it can sign.
    pub fn add(&self, key: &Key) {
        let mut state = self.state.lock().unwrap();
        state.keys.insert(key.id.clone(), key.clone());
    }

    pub fn answer(&self, action: &str, answer: Answer) {
        let mut state = self.state.lock().unwrap();
        state.answers.insert(action.to_owned(), answer);
    }

    pub fn set_oidc_token(&self, token: &str) {
        token.clone_into(&mut self.state.lock().unwrap().oidc_token);
    }

    pub fn calls(&self, action: &str) -> usize {
        self.state.lock().unwrap().calls.get(action).copied().unwrap_or(0)
    }

    /// Whose signature TKE saw last.
    pub fn signer(&self) -> Option<Key> {
        self.state.lock().unwrap().signer.clone()
    }

    /// What STS was last asked.
    pub fn last_body(&self) -> Value {
        self.state.lock().unwrap().bodies.last().cloned().unwrap_or_default()
    }

    /// Everything that must not be shown.
    pub fn secrets(&self) -> Vec<String> {
        let state = self.state.lock().unwrap();
        let of = |key: &Key| [Some(key.secret.clone()), key.token.clone()];
        let keys = state.keys.values().flat_map(of).flatten();
        keys.chain([state.oidc_token.clone()]).collect()
    }

    pub fn clock(&self) -> Clock {
        let now = Arc::clone(&self.now);
        Arc::new(move || Timestamp::from_second(now.load(Ordering::SeqCst)).unwrap())
    }

    pub fn advance(&self, seconds: i64) {
        self.now.fetch_add(seconds, Ordering::SeqCst);
    }
}

struct Services {
    state: Arc<Mutex<State>>,
    now: Arc<AtomicI64>,
}

impl Respond for Services {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        let mut state = self.state.lock().unwrap();
        let now = self.now.load(Ordering::SeqCst);
        let path = request.url.path();
        let action = match (path.strip_prefix(ROLES), header(request, "x-tc-action")) {
            (Some(""), _) => "roles",
            (Some(_), _) => "role",
            (None, action) => action,
        };
        *state.calls.entry(action.to_owned()).or_default() += 1;
        match state.answers.get(action) {
            Some(Answer::Refuse(code, message)) => return refuse(code, message),
            Some(Answer::Status(status, body)) => {
                return ResponseTemplate::new(*status).set_body_string(body.clone());
            }
            None => {}
        }
        match action {
            "roles" => ResponseTemplate::new(200).set_body_string(format!("{INSTANCE_ROLE}\n")),
            "role" if path.ends_with(INSTANCE_ROLE) => {
                let (mut document, ends) = state.issue(now);
                document["Code"] = json!("Success");
                document["ExpiredTime"] = json!(ends);
                ResponseTemplate::new(200).set_body_json(document)
            }
            "AssumeRole" | "AssumeRoleWithWebIdentity" => match state.check(request, action, now) {
                Ok(body) => {
                    state.bodies.push(body);
                    let (credentials, ends) = state.issue(now);
                    let response = json!({"Credentials": credentials, "ExpiredTime": ends, "RequestId": "r"});
                    ResponseTemplate::new(200).set_body_json(json!({"Response": response}))
                }
                Err((code, message)) => refuse(code, &message),
            },
            DESCRIBE => match state.check_signature(request, "tke", now) {
                Ok(key) => {
                    state.signer = Some(key);
                    let response = json!({"TotalCount": 0, "ImageCaches": [], "RequestId": "r"});
                    ResponseTemplate::new(200).set_body_json(json!({"Response": response}))
                }
                Err((code, message)) => refuse(code, &message),
            },
            _ => ResponseTemplate::new(404),
        }
    }
}

impl State {
    /// A new temporary key and when it ends.
    fn issue(&mut self, now: i64) -> (Value, i64) {
        self.issued += 1;
        let key = Key::named(&format!("Issued{}", self.issued), true);
        let document = json!({"TmpSecretId": key.id, "TmpSecretKey": key.secret, "Token": key.token});
        let ends = now + LIFETIME;
        self.ends.insert(key.id.clone(), ends);
        self.keys.insert(key.id.clone(), key);
        (document, ends)
    }

    /// The parameters of a call by somebody who may make it.
    fn check(&self, request: &Request, action: &str, now: i64) -> Result<Value, (&'static str, String)> {
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        let wrong = |what: &str| ("InvalidParameter", what.to_owned());
        if header(request, "x-tc-version") != "2018-08-13" || header(request, "x-tc-region") != REGION {
            return Err(wrong("version or region"));
        }
        if header(request, "x-tc-timestamp") != now.to_string() || header(request, "content-type").is_empty() {
            return Err(wrong("time or content type"));
        }
        if body["RoleArn"] != ROLE {
            return Err(("ResourceNotFound.RoleNotFound", "no such role".to_owned()));
        }
        if action == "AssumeRole" {
            self.check_signature(request, "sts", now)?;
        } else if header(request, "authorization") != "SKIP" || body["ProviderId"] != PROVIDER {
            return Err(wrong("not unsigned, or another provider"));
        } else if body["WebIdentityToken"] != self.oidc_token.as_str() {
            let token = body["WebIdentityToken"].as_str().unwrap_or_default();
            return Err((
                "InvalidParameter.WebIdentityTokenError",
                format!("the token {token} is bad"),
            ));
        }
        Ok(body)
    }

    /// Whose signature it is.
    fn check_signature(&self, request: &Request, service: &str, now: i64) -> Result<Key, (&'static str, String)> {
        let authorization = header(request, "authorization");
        let field = |name: &str| {
            let (_, rest) = authorization.split_once(&format!("{name}=")).unwrap_or_default();
            rest.split([',', ' ']).next().unwrap_or_default().to_owned()
        };
        let (credential, signed, signature) = (field("Credential"), field("SignedHeaders"), field("Signature"));
        let (id, scope) = credential.split_once('/').unwrap_or_default();
        let key = self
            .keys
            .get(id)
            .ok_or(("AuthFailure.SecretIdNotFound", "no such id".to_owned()))?;
        if header(request, "x-tc-token") != key.token.as_deref().unwrap_or_default() {
            return Err(("AuthFailure.TokenFailure", "the token is wrong".to_owned()));
        }
        if self.ends.get(id).is_some_and(|ends| now >= *ends) {
            return Err(("AuthFailure.TokenFailure", "the token has ended".to_owned()));
        }
        let headers: String = signed
            .split(';')
            .map(|name| format!("{name}:{}\n", header(request, name).to_lowercase()))
            .collect();
        let payload = hex::encode(Sha256::digest(&request.body));
        let canonical = format!("POST\n/\n\n{headers}\n{signed}\n{payload}");
        let date = Timestamp::from_second(now).unwrap().strftime("%Y-%m-%d").to_string();
        let digest = hex::encode(Sha256::digest(canonical));
        let to_sign = format!("TC3-HMAC-SHA256\n{now}\n{date}/{service}/tc3_request\n{digest}");
        let start = format!("TC3{}", key.secret).into_bytes();
        let derived = [date.as_str(), service, "tc3_request"].into_iter().fold(start, hmac);
        let expected = hex::encode(hmac(derived, &to_sign));
        if scope != format!("{date}/{service}/tc3_request") || signature != expected {
            // As careless as a service can be.
            let message = format!("expected {expected} by {}", key.secret);
            return Err(("AuthFailure.SignatureFailure", message));
        }
        Ok(key.clone())
    }
}

fn hmac(key: Vec<u8>, text: &str) -> Vec<u8> {
    let mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
    mac.chain_update(text).finalize().into_bytes().to_vec()
}

fn header<'a>(request: &'a Request, name: &str) -> &'a str {
    let value = request.headers.get(name);
    value.and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn refuse(code: &str, message: &str) -> ResponseTemplate {
    let error = json!({"Code": code, "Message": message});
    ResponseTemplate::new(200).set_body_json(json!({"Response": {"Error": error, "RequestId": "r"}}))
}

/// An endpoint at which nobody listens.
pub async fn nobody() -> String {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}
