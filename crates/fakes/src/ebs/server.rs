//! The HTTP side: which call a request is, its faults, and answers that break as told.

use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;

use super::account::Account;
use super::contents::{Contents, Digest};
use super::ec2::Form;
use super::fault::Fault;
use super::refusal::Refusal;
use super::verify::Service;
use super::write::Put;
use super::{BLOCK_BYTES, REGION, ec2, read, write};
use crate::cloud::{Delivery, Received, Reply};
use crate::registry::lock;

/// No body is larger: a block is the largest.
const MOST_BODY_BYTES: usize = 2 * BLOCK_BYTES;
/// What was written before an error is only sent if the connection gets time to.
const CUT_DELAY: Duration = Duration::from_millis(20);
const BASE64_OF_NOTHING: &str = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Cloud {
    account: Mutex<Account>,
    pub(crate) contents: Contents,
}

impl Cloud {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            account: Mutex::new(Account::new()),
            contents: Contents::new()?,
        })
    }

    pub(crate) fn account(&self) -> MutexGuard<'_, Account> {
        lock(&self.account)
    }
}

/// Serves until dropped.
pub(crate) async fn serve(listener: TcpListener, cloud: Arc<Cloud>) {
    // In a set that dies with this task, so that a dropped cloud really is gone.
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        let cloud = Arc::clone(&cloud);
        let _ = socket.set_nodelay(true);
        connections.spawn(async move {
            let service = service_fn(move |request| answer(request, Arc::clone(&cloud)));
            // A broken connection is what some faults are for.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(socket), service)
                .await;
        });
        while connections.try_join_next().is_some() {}
    }
}

/// The calls, with what their paths name.
enum Call {
    Start,
    Put(String, String),
    Complete(String),
    List(String),
    ListChanged(String),
    Get(String, String),
    Ec2,
}

impl Call {
    fn of(method: &str, path: &str) -> Option<Self> {
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        let owned = |text: &str| text.to_owned();
        Some(match (method, parts.as_slice()) {
            ("POST", [""]) => Self::Ec2,
            ("POST", ["snapshots"]) => Self::Start,
            ("POST", ["snapshots", "completion", id]) => Self::Complete(owned(id)),
            ("PUT", ["snapshots", id, "blocks", index]) => Self::Put(owned(id), owned(index)),
            ("GET", ["snapshots", id, "blocks"]) => Self::List(owned(id)),
            ("GET", ["snapshots", id, "changedblocks"]) => Self::ListChanged(owned(id)),
            ("GET", ["snapshots", id, "blocks", index]) => Self::Get(owned(id), owned(index)),
            _ => return None,
        })
    }

    fn action(&self) -> &'static str {
        match self {
            Self::Start => "StartSnapshot",
            Self::Put(..) => "PutSnapshotBlock",
            Self::Complete(_) => "CompleteSnapshot",
            Self::List(_) => "ListSnapshotBlocks",
            Self::ListChanged(_) => "ListChangedBlocks",
            Self::Get(..) => "GetSnapshotBlock",
            Self::Ec2 => "EC2",
        }
    }

    /// The snapshot whose own rate counts.
    fn snapshot(&self) -> Option<&str> {
        match self {
            Self::Put(id, _) | Self::Get(id, _) => Some(id),
            _ => None,
        }
    }
}

/// Answers, or ends the connection.
async fn answer(request: hyper::Request<Incoming>, cloud: Arc<Cloud>) -> io::Result<Response<Body>> {
    let (parts, body) = request.into_parts();
    let headers = parts.headers.iter().map(|(name, value)| {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        (name.as_str().to_owned(), value)
    });
    let (method, path) = (parts.method.as_str(), parts.uri.path());
    let query = parts.uri.query().unwrap_or_default();
    let mut received = Received::new(method, path, query, headers.collect(), Vec::new());
    let call = Call::of(method, path);
    let mut fault = match &call {
        Some(Call::Ec2) | None => None,
        Some(call) => cloud.account().arrive(call.action()),
    };
    if fault == Some(Fault::Reset) {
        // With bytes that nobody read, the kernel resets the connection.
        return Err(io::Error::other("told to reset"));
    }
    let body = Limited::new(body, MOST_BODY_BYTES)
        .collect()
        .await
        .map_err(io::Error::other)?
        .to_bytes();
    let (body, payload) = hash(body).await?;
    let form = Form::parse(if matches!(call, Some(Call::Ec2)) { &body } else { b"" });
    let mut action = call.as_ref().map_or("unknown", Call::action);
    if let Some(Call::Ec2) = call {
        action = form.action();
        fault = cloud.account().arrive(action);
        if fault == Some(Fault::Reset) {
            return Err(io::Error::other("told to reset"));
        }
    }
    if fault == Some(Fault::NoAnswer) {
        return std::future::pending().await;
    }
    if !matches!(call, Some(Call::Put(..))) {
        received.body = body.to_vec();
    }
    let service = if matches!(call, Some(Call::Ec2)) {
        Service::Ec2
    } else {
        Service::Ebs
    };
    let told = Told { action, fault, service };
    let mut acknowledged = None;
    let result = match call {
        None => Err(Refusal::new(
            404,
            "UnknownOperationException",
            None,
            "there is no such operation",
        )),
        Some(call) => {
            perform(
                &cloud,
                &call,
                &received,
                (&body, payload),
                &form,
                &told,
                &mut acknowledged,
            )
            .await
        }
    };
    let reply = match result {
        Ok(reply) => reply,
        Err(refusal) => {
            let mut account = cloud.account();
            account.reject(&refusal);
            match service {
                Service::Ebs => refusal.json(),
                Service::Ec2 => {
                    let id = account.mint.uuid();
                    refusal.xml(&id)
                }
            }
        }
    };
    let reply = told.spoil(reply)?;
    if let (Some(put), true) = (acknowledged, told.leaves_whole()) {
        put.acknowledge(&mut cloud.account());
    }
    Ok(respond(reply, &cloud))
}

/// Hashes a body, a large one where it holds up nobody.
async fn hash(body: Bytes) -> io::Result<(Bytes, Digest)> {
    if body.len() < BLOCK_BYTES {
        let digest = Sha256::digest(&body).into();
        return Ok((body, digest));
    }
    let hashed = tokio::task::spawn_blocking(move || {
        let digest = Sha256::digest(&body).into();
        (body, digest)
    });
    hashed.await.map_err(io::Error::other)
}

/// What was planned for a call.
struct Told<'a> {
    action: &'a str,
    fault: Option<Fault>,
    service: Service,
}

impl Told<'_> {
    /// What becomes of an answer after all was done.
    fn spoil(&self, mut reply: Reply) -> io::Result<Reply> {
        match &self.fault {
            Some(Fault::LostAnswer) => return Err(io::Error::other("told to lose the answer")),
            Some(Fault::ServerErrorAfter) => {
                let refusal = Fault::ServerError(500).refusal(self.service == Service::Ec2);
                return Ok(refusal.map_or(reply, |refusal| refusal.json()));
            }
            Some(Fault::CutBody) => reply.delivery = Delivery::Cut,
            Some(Fault::WrongChecksum) => {
                for (name, value) in &mut reply.headers {
                    if *name == "x-amz-checksum" {
                        BASE64_OF_NOTHING.clone_into(value);
                    }
                }
            }
            Some(Fault::WrongBytes) => {
                if let Some(last) = reply.body.last_mut() {
                    *last ^= 1;
                }
            }
            Some(Fault::ServerError(status)) if *status > 500 => {
                reply.content_type = "text/html";
                reply.headers.clear();
                reply.body = format!("<html><body><h1>{status}</h1></body></html>").into_bytes();
            }
            _ => {}
        }
        Ok(reply)
    }

    /// Whether the client gets the answer that was meant for it.
    fn leaves_whole(&self) -> bool {
        matches!(self.fault, None | Some(Fault::Slow(_) | Fault::WrongBytes))
    }
}

async fn perform(
    cloud: &Arc<Cloud>,
    call: &Call,
    received: &Received,
    (body, payload): (&Bytes, Digest),
    form: &Form,
    told: &Told<'_>,
    acknowledged: &mut Option<Put>,
) -> Result<Reply, Refusal> {
    let latency = {
        let mut account = cloud.account();
        let clocks = (Timestamp::now(), account.now());
        account
            .verifier
            .verify(received, &payload, (told.service, REGION), clocks)?;
        if let Some(refusal) = told
            .fault
            .as_ref()
            .and_then(|fault| fault.refusal(told.service == Service::Ec2))
        {
            return Err(refusal);
        }
        account.admit(told.action, call.snapshot())?;
        account.rules.latency.get(told.action).copied().unwrap_or_default()
    };
    let slow = match told.fault {
        Some(Fault::Slow(by)) => by,
        _ => Duration::ZERO,
    };
    if !(latency + slow).is_zero() {
        tokio::time::sleep(latency + slow).await;
    }
    match call {
        Call::Start => write::start(&mut cloud.account(), received),
        Call::Complete(id) => write::complete(&mut cloud.account(), received, id),
        Call::List(id) => read::list(&mut cloud.account(), received, id),
        Call::ListChanged(id) => read::list_changed(&mut cloud.account(), received, id),
        Call::Ec2 => ec2::answer(&mut cloud.account(), form),
        Call::Put(id, index) => {
            let put = Put::check(received, id, index, payload, body.len())?;
            put.admit(&mut cloud.account())?;
            let (content, kept) = (body.clone(), Arc::clone(cloud));
            let kept = tokio::task::spawn_blocking(move || kept.contents.keep(&payload, &content));
            flatten(kept.await)?;
            let reply = put.commit(&mut cloud.account())?;
            *acknowledged = Some(put);
            Ok(reply)
        }
        Call::Get(id, index) => {
            let digest = read::find(&mut cloud.account(), received, id, index)?;
            let kept = Arc::clone(cloud);
            let bytes = tokio::task::spawn_blocking(move || kept.contents.read(&digest));
            Ok(read::deliver(&digest, flatten(bytes.await)?))
        }
    }
}

/// What went wrong in the fake itself is the service's fault.
fn flatten<T>(result: Result<io::Result<T>, tokio::task::JoinError>) -> Result<T, Refusal> {
    let failed = |message: String| Refusal::new(500, "InternalServerException", None, message);
    let result = result.map_err(|error| failed(error.to_string()))?;
    result.map_err(|error| failed(error.to_string()))
}

fn respond(reply: Reply, cloud: &Cloud) -> Response<Body> {
    let length = reply.body.len();
    let body = Bytes::from(reply.body);
    let body = match reply.delivery {
        Delivery::Whole => Full::new(body)
            .map_err(|never: Infallible| match never {})
            .boxed_unsync(),
        Delivery::Cut | Delivery::Never => {
            let half = stream::iter([Ok(Frame::data(body.slice(..length / 2)))]);
            let end = stream::once(async {
                tokio::time::sleep(CUT_DELAY).await;
                Err(io::Error::other("told to break"))
            });
            StreamBody::new(half.chain(end)).boxed_unsync()
        }
    };
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or_default();
    let id = cloud.account().mint.uuid();
    let headers = response.headers_mut();
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(reply.content_type));
    let more = reply.headers.iter().map(|(name, value)| (*name, value.as_str()));
    for (name, value) in more.chain([("x-amzn-requestid", id.as_str())]) {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    response
}
