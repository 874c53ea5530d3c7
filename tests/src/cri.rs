//! What kubelet says to containerd: `runtime.v1`, as far as scenarios need it.

use std::path::Path;

use anyhow::{Context as _, Result};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::UnixStream;
use tonic::body::Body;
use tonic::client::Grpc;
use tonic_prost::ProstCodec;

const IMAGES: &str = "/runtime.v1.ImageService/";
const RUNTIME: &str = "/runtime.v1.RuntimeService/";

#[derive(Clone, PartialEq, prost::Message)]
struct ImageSpec {
    #[prost(string, tag = "1")]
    image: String,
}

/// Of `PullImageRequest` and `RemoveImageRequest` what we need; only the first has `auth`.
#[derive(Clone, PartialEq, prost::Message)]
struct ImageRequest {
    #[prost(message, optional, tag = "1")]
    image: Option<ImageSpec>,
    #[prost(message, optional, tag = "2")]
    auth: Option<AuthConfig>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct AuthConfig {
    #[prost(string, tag = "1")]
    username: String,
    #[prost(string, tag = "2")]
    password: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PullImageResponse {
    #[prost(string, tag = "1")]
    image_ref: String,
}

/// `RemovePodSandboxRequest` and `StopPodSandboxRequest`.
#[derive(Clone, PartialEq, prost::Message)]
struct SandboxRequest {
    #[prost(string, tag = "1")]
    id: String,
}

/// `PodSandbox`, without what is not needed.
#[derive(Clone, PartialEq, prost::Message)]
struct Sandbox {
    #[prost(string, tag = "1")]
    id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ListSandboxesResponse {
    #[prost(message, repeated, tag = "1")]
    items: Vec<Sandbox>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Nothing {}

/// Pulls an image as kubelet does. containerd takes registries on loopback for plain HTTP.
pub async fn pull(socket: &Path, image: &str) -> Result<String> {
    let answer: PullImageResponse = call(socket, IMAGES, "PullImage", request(image)).await?;
    Ok(answer.image_ref)
}

/// Pulls an image with a user name and a password, as kubelet does for a pod with a pull secret.
pub async fn pull_as(socket: &Path, image: &str, username: &str, password: &str) -> Result<String> {
    let request = ImageRequest {
        auth: Some(AuthConfig {
            username: username.to_owned(),
            password: password.to_owned(),
        }),
        ..request(image)
    };
    let answer: PullImageResponse = call(socket, IMAGES, "PullImage", request).await?;
    Ok(answer.image_ref)
}

/// Removes an image as kubelet does.
pub async fn remove(socket: &Path, image: &str) -> Result<()> {
    let _answer: Nothing = call(socket, IMAGES, "RemoveImage", request(image)).await?;
    Ok(())
}

/// Removes every pod's sandbox and containers, which kubelet does when it gets round to it.
pub async fn remove_sandboxes(socket: &Path) -> Result<()> {
    let list: ListSandboxesResponse = call(socket, RUNTIME, "ListPodSandbox", Nothing {}).await?;
    for Sandbox { id } in list.items {
        for method in ["StopPodSandbox", "RemovePodSandbox"] {
            let _answer: Nothing = call(socket, RUNTIME, method, SandboxRequest { id: id.clone() }).await?;
        }
    }
    Ok(())
}

fn request(image: &str) -> ImageRequest {
    ImageRequest {
        image: Some(ImageSpec {
            image: image.to_owned(),
        }),
        auth: None,
    }
}

async fn call<Request, Answer>(socket: &Path, service: &str, method: &str, request: Request) -> Result<Answer>
where
    Request: prost::Message + 'static,
    Answer: prost::Message + Default + 'static,
{
    let stream = UnixStream::connect(socket).await?;
    let (sender, connection) = http2::handshake::<_, _, Body>(TokioExecutor::new(), TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let channel = tower::service_fn(move |request| {
        let mut sender = sender.clone();
        async move { sender.send_request(request).await }
    });
    let origin = http::Uri::from_static("http://localhost");
    let mut client = Grpc::with_origin(channel, origin);
    client.ready().await?;
    let path = format!("{service}{method}").parse()?;
    let answer = client
        .unary(tonic::Request::new(request), path, ProstCodec::default())
        .await;
    connection.abort();
    let answer = answer.map_err(|status| anyhow::anyhow!("{}", status.message()));
    Ok(answer
        .with_context(|| format!("containerd refused {method}"))?
        .into_inner())
}
