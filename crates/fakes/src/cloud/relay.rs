//! A relay in front of the mock server: it can cut an answer in the middle, and swallow one.
//!
//! It also starts a new mock server now and then: wiremock keeps a copy of every request it ever matched.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate};

use super::{Delivery, Reply};

/// How an answer is marked for the relay; never reaches a client.
const MARK: &str = "x-relay-delivery";
/// After so many requests the next connection gets a fresh mock server.
const TURN: usize = 2_000;

/// A cloud behind the relay.
pub(crate) trait Answering: Send + Sync + 'static {
    /// What is answered to a request.
    fn answer(&self, request: &Request) -> Reply;
}

/// A mock server and how much it has remembered.
struct Backend {
    server: MockServer,
    served: Arc<AtomicUsize>,
}

impl Backend {
    async fn start<A: Answering>(cloud: Arc<A>) -> Self {
        let server = MockServer::builder().disable_request_recording().start().await;
        let served = Arc::new(AtomicUsize::new(0));
        let responder = Responder {
            cloud,
            served: Arc::clone(&served),
        };
        let everything = Mock::given(wiremock::matchers::any()).respond_with(responder);
        everything.mount(&server).await;
        Self { server, served }
    }

    fn is_full(&self) -> bool {
        self.served.load(Ordering::Relaxed) >= TURN
    }
}

struct Responder<A> {
    cloud: Arc<A>,
    served: Arc<AtomicUsize>,
}

impl<A: Answering> Respond for Responder<A> {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        let reply = self.cloud.answer(request);
        let mut template = ResponseTemplate::new(reply.status).set_body_raw(reply.body, reply.content_type);
        for (name, value) in reply.headers {
            template = template.insert_header(name, value);
        }
        match reply.delivery {
            Delivery::Whole => {}
            Delivery::Cut => template = template.insert_header(MARK, "cut"),
            Delivery::Never => template = template.insert_header(MARK, "never"),
        }
        if self.served.fetch_add(1, Ordering::Relaxed) + 1 >= TURN {
            template = template.insert_header("connection", "close");
        }
        template
    }
}

/// Serves until dropped.
pub(crate) async fn serve<A: Answering>(listener: TcpListener, cloud: Arc<A>) {
    let mut backend = Arc::new(Backend::start(Arc::clone(&cloud)).await);
    let mut connections = tokio::task::JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((client, _)) = listener.accept().await else {
            continue;
        };
        if backend.is_full() {
            backend = Arc::new(Backend::start(Arc::clone(&cloud)).await);
        }
        connections.spawn(connection(client, Arc::clone(&backend)));
    }
}

async fn connection(client: TcpStream, backend: Arc<Backend>) {
    let address: SocketAddr = *backend.server.address();
    let Ok(server) = TcpStream::connect(address).await else {
        return;
    };
    // One write a message: waiting to fill a packet would only add delay.
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    let mut start = [0; 4];
    let prior_knowledge_http2 = client
        .peek(&mut start)
        .await
        .is_ok_and(|read| start.get(..read) == Some(b"PRI "));
    let (mut client_read, client_write) = client.into_split();
    let (server_read, mut server_write) = server.into_split();
    let requests = async move {
        let _ = tokio::io::copy(&mut client_read, &mut server_write).await;
        let _ = server_write.shutdown().await;
    };
    let answers = async move {
        if prior_knowledge_http2 {
            let (mut from, mut to) = (server_read, client_write);
            let _ = tokio::io::copy(&mut from, &mut to).await;
        } else {
            let _ = answers(server_read, client_write).await;
        }
    };
    // Whichever ends first: an answer that never comes is waited for only as long as the client does.
    tokio::select! {
        () = answers => {}
        () = requests => {}
    }
}

/// Passes answers on, one after the other, looking for marks in their heads.
async fn answers(mut server: OwnedReadHalf, mut client: OwnedWriteHalf) -> std::io::Result<()> {
    let mut buffer: Vec<u8> = Vec::with_capacity(16 * 1024);
    loop {
        let end = loop {
            if let Some(position) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break position + 4;
            }
            if server.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        };
        let head = String::from_utf8_lossy(buffer.get(..end).unwrap_or_default()).into_owned();
        let value = |wanted: &str| {
            head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case(wanted).then(|| value.trim().to_owned())
            })
        };
        let length: usize = value("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
        while buffer.len() < end + length {
            if server.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        }
        match value(MARK).as_deref() {
            Some("never") => std::future::pending::<()>().await,
            Some(_) => {
                let kept: Vec<&str> = head.split("\r\n").filter(|line| !line.starts_with(MARK)).collect();
                client.write_all(kept.join("\r\n").as_bytes()).await?;
                client
                    .write_all(buffer.get(end..end + length / 2).unwrap_or_default())
                    .await?;
                return client.shutdown().await;
            }
            None => client.write_all(buffer.get(..end + length).unwrap_or_default()).await?,
        }
        buffer.drain(..end + length);
    }
}
