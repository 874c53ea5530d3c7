//! A server that answers from a script, a protocol that anyone can read, and a clock that stands still.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use imagecache_cloud_http::{
    Answer, Client, ClientConfig, Credential, CredentialError, CredentialSource, Credentials, Effect, Protocol,
    Refusal, RefusalClass, Signing,
};
use imagecache_core::{BoxError, Clock, Secret};
use jiff::Timestamp;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// Secret of every credential in these tests.
pub const SECRET: &str = "hunter2-the-secret-key";
/// Its token.
pub const TOKEN: &str = "hunter2-the-token";
/// A secret among a call's parameters.
pub const PARAMETER: &str = "hunter2-the-registry-password";

/// What the server does with one request.
#[derive(Clone, Debug)]
pub enum Reply {
    /// An answer with these headers.
    Answer(u16, Vec<(&'static str, String)>, String),
    /// A body that ends in the middle.
    Cut,
    /// The connection is closed without an answer.
    Close,
    /// Nothing at all.
    Silence,
    /// A body announced to be this long.
    Announced(u64),
    /// A body that never ends.
    Endless,
}

/// A success.
pub fn ok() -> Reply {
    Reply::Answer(200, Vec::new(), "fine".to_owned())
}

/// A refusal of a class by its name in [`TestProtocol`].
pub fn refusal(class: &str) -> Reply {
    Reply::Answer(400, Vec::new(), class.to_owned())
}

/// A refusal with headers.
pub fn refusal_with(class: &str, headers: &[(&'static str, &str)]) -> Reply {
    let headers = headers
        .iter()
        .map(|(name, value)| (*name, (*value).to_owned()))
        .collect();
    Reply::Answer(400, headers, class.to_owned())
}

/// A request that arrived.
#[derive(Clone, Debug)]
pub struct Received {
    pub at: Instant,
    pub line: String,
    pub headers: BTreeMap<String, String>,
}

/// Answers from a script; a request that is not in it is closed and counted all the same.
pub struct Server {
    pub address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
    connections: Arc<Mutex<usize>>,
}

impl Server {
    pub async fn start(script: Vec<Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            received: Arc::default(),
            connections: Arc::default(),
        };
        let script = Arc::new(Mutex::new(VecDeque::from(script)));
        let (received, connections) = (Arc::clone(&server.received), Arc::clone(&server.connections));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                *connections.lock().unwrap() += 1;
                tokio::spawn(serve(stream, Arc::clone(&script), Arc::clone(&received)));
            }
        });
        server
    }

    pub fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    pub fn connections(&self) -> usize {
        *self.connections.lock().unwrap()
    }

    /// What a header was in each request.
    pub fn header(&self, name: &str) -> Vec<String> {
        let value = |received: &Received| received.headers.get(name).cloned().unwrap_or_default();
        self.received().iter().map(value).collect()
    }
}

/// `None` when the connection is to be closed.
async fn serve(
    stream: TcpStream,
    script: Arc<Mutex<VecDeque<Reply>>>,
    received: Arc<Mutex<Vec<Received>>>,
) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await.ok()? == 0 {
                return None;
            }
            match line.trim_end() {
                "" => break,
                line => lines.push(line.to_owned()),
            }
        }
        let mut lines = lines.into_iter();
        let line = lines.next()?;
        let headers: BTreeMap<String, String> = lines
            .filter_map(|line| {
                line.split_once(": ")
                    .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            })
            .collect();
        let length = headers
            .get("content-length")
            .map_or(0, |length| length.parse().unwrap());
        stream.read_exact(&mut vec![0; length]).await.ok()?;
        received.lock().unwrap().push(Received {
            at: Instant::now(),
            line,
            headers,
        });
        let reply = script.lock().unwrap().pop_front()?;
        match reply {
            Reply::Answer(status, headers, body) => {
                let headers: String = headers
                    .iter()
                    .map(|(name, value)| format!("{name}: {value}\r\n"))
                    .collect();
                let length = body.len();
                let text = format!("HTTP/1.1 {status} Word\r\ncontent-length: {length}\r\n{headers}\r\n{body}");
                stream.write_all(text.as_bytes()).await.ok()?;
            }
            Reply::Cut => {
                let text = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf";
                stream.write_all(text.as_bytes()).await.ok()?;
                return None;
            }
            Reply::Close => return None,
            Reply::Silence => std::future::pending().await,
            Reply::Announced(length) => {
                let text = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
                stream.write_all(text.as_bytes()).await.ok()?;
                std::future::pending().await
            }
            Reply::Endless => {
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.ok()?;
                loop {
                    stream.write_all(&[b'x'; 65_536]).await.ok()?;
                }
            }
        }
    }
}

/// A call that says itself what happens when it is sent twice.
#[derive(Clone, Copy, Debug)]
pub struct TestCall {
    pub action: &'static str,
    pub effect: Effect,
}

/// The usual call.
pub const LIST: TestCall = TestCall {
    action: "ListThings",
    effect: Effect::Repeatable,
};
/// A call that must not be done twice.
pub const CREATE: TestCall = TestCall {
    action: "CreateThing",
    effect: Effect::Once,
};

/// Everything in plain sight: the signature is the nonce and the time, the answer's body is the class of the refusal.
#[derive(Debug)]
pub struct TestProtocol {
    pub endpoint: String,
}

impl Protocol for TestProtocol {
    type Call = TestCall;

    fn action(call: &TestCall) -> &'static str {
        call.action
    }

    fn effect(call: &TestCall) -> Effect {
        call.effect
    }

    fn request(&self, call: &TestCall, signing: &Signing<'_>) -> Result<http::Request<Bytes>, BoxError> {
        let credential = signing.credential;
        let token = credential.token.as_ref().map_or("", |token| token.expose().as_str());
        let request = http::Request::post(format!(
            "{}/?Action={}&Password={PARAMETER}",
            self.endpoint, call.action
        ))
        .header("x-nonce", signing.nonce)
        .header("x-time", signing.at.to_string())
        .header("x-id", &credential.id)
        .header("x-secret", credential.secret.expose())
        .header("x-token", token)
        .body(Bytes::new())?;
        Ok(request)
    }

    fn check(&self, _: &TestCall, answer: &Answer) -> Result<(), Refusal> {
        let text = std::str::from_utf8(&answer.body).unwrap();
        let class = match text.split(':').next().unwrap() {
            "throttled" => RefusalClass::Throttled,
            "unavailable" => RefusalClass::Unavailable,
            "conflict" => RefusalClass::Conflict,
            "nonce" => RefusalClass::NonceUsed,
            "clock" => RefusalClass::ClockSkew,
            "credential" => RefusalClass::Credential,
            "nonsense" => RefusalClass::Undecodable,
            "final" => RefusalClass::Final,
            _ => return Ok(()),
        };
        let own = answer.headers.get("x-retry-after-ms");
        Err(Refusal {
            class,
            code: "Code".to_owned(),
            message: text.to_owned(),
            request_id: Some("request-1".to_owned()),
            retry_after: own.map(|value| Duration::from_millis(value.to_str().unwrap().parse().unwrap())),
        })
    }
}

/// The moment at which the tests' clocks stand.
pub fn start() -> Timestamp {
    "2026-01-02T03:04:05Z".parse().unwrap()
}

/// A clock that shows what was set.
#[derive(Clone)]
pub struct TestClock(Arc<Mutex<Timestamp>>);

impl TestClock {
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(start())))
    }

    pub fn set(&self, now: Timestamp) {
        *self.0.lock().unwrap() = now;
    }

    pub fn clock(&self) -> Clock {
        let now = Arc::clone(&self.0);
        Arc::new(move || *now.lock().unwrap())
    }
}

/// A credential with this id.
pub fn credential(id: &str, expires_at: Option<Timestamp>) -> Credential {
    Credential {
        id: id.to_owned(),
        secret: Secret::new(SECRET.to_owned()),
        token: Some(Secret::new(TOKEN.to_owned())),
        expires_at,
    }
}

/// What a source's next load brings.
pub type Load = Result<Option<Credential>, CredentialError>;

/// Loads from a script, the last of it for ever after; counts, and waits for the gate.
#[derive(Clone, Debug)]
pub struct TestSource {
    name: &'static str,
    make: fn(usize) -> Load,
    loads: Arc<Mutex<usize>>,
    pub gate: Arc<tokio::sync::Semaphore>,
}

impl TestSource {
    /// A source whose n-th load (from 1) brings what `make` says.
    pub fn new(name: &'static str, make: fn(usize) -> Load) -> Self {
        Self {
            name,
            make,
            loads: Arc::default(),
            gate: Arc::new(tokio::sync::Semaphore::new(1)),
        }
    }

    pub fn loads(&self) -> usize {
        *self.loads.lock().unwrap()
    }
}

#[async_trait]
impl CredentialSource for TestSource {
    fn name(&self) -> String {
        self.name.to_owned()
    }

    async fn load(&self) -> Load {
        let number = {
            let mut loads = self.loads.lock().unwrap();
            *loads += 1;
            *loads
        };
        let _pass = self.gate.acquire().await.unwrap();
        (self.make)(number)
    }
}

/// A source whose credentials are `id-1`, `id-2`, …
pub fn numbered() -> TestSource {
    TestSource::new("numbered", |number| Ok(Some(credential(&format!("id-{number}"), None))))
}

/// Limits that keep tests short.
pub fn config() -> ClientConfig {
    ClientConfig {
        attempt_timeout: Duration::from_secs(5),
        ..ClientConfig::default()
    }
}

/// A client of `endpoint` with everything given.
pub fn client_with(
    endpoint: String,
    config: ClientConfig,
    source: TestSource,
    clock: &TestClock,
) -> Client<TestProtocol> {
    let credentials = Credentials::new(vec![Box::new(source)], clock.clock());
    Client::new(TestProtocol { endpoint }, Arc::new(credentials), config, clock.clock())
}

/// A client of `server` with these limits.
pub fn client(server: &Server, config: ClientConfig) -> Client<TestProtocol> {
    client_with(
        format!("http://{}", server.address),
        config,
        numbered(),
        &TestClock::new(),
    )
}
