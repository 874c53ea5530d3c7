//! What kubelet says to containerd, as far as images go: `runtime.v1.ImageService`.

use std::path::Path;

use anyhow::{Context as _, Result};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::UnixStream;
use tonic::body::Body;
use tonic::client::Grpc;
use tonic_prost::ProstCodec;

/// The service's methods.
const SERVICE: &str = "/runtime.v1.ImageService/";

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

#[derive(Clone, PartialEq, prost::Message)]
struct Nothing {}

/// Pulls an image as kubelet does. containerd takes registries on loopback for plain HTTP.
pub async fn pull(socket: &Path, image: &str) -> Result<String> {
    let answer: PullImageResponse = call(socket, "PullImage", request(image)).await?;
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
    let answer: PullImageResponse = call(socket, "PullImage", request).await?;
    Ok(answer.image_ref)
}

/// Removes an image as kubelet does.
pub async fn remove(socket: &Path, image: &str) -> Result<()> {
    let _answer: Nothing = call(socket, "RemoveImage", request(image)).await?;
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

async fn call<Answer>(socket: &Path, method: &str, request: ImageRequest) -> Result<Answer>
where
    Answer: prost::Message + Default + 'static,
{
    let stream = UnixStream::connect(socket).await?;
    let (sender, connection) = http2::handshake::<_, _, Body>(TokioExecutor::new(), TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let service = tower::service_fn(move |request| {
        let mut sender = sender.clone();
        async move { sender.send_request(request).await }
    });
    let origin = http::Uri::from_static("http://localhost");
    let mut client = Grpc::with_origin(service, origin);
    client.ready().await?;
    let path = format!("{SERVICE}{method}").parse()?;
    let answer = client
        .unary(tonic::Request::new(request), path, ProstCodec::default())
        .await;
    connection.abort();
    let answer = answer.map_err(|status| anyhow::anyhow!("{}", status.message()));
    Ok(answer
        .with_context(|| format!("containerd refused {method}"))?
        .into_inner())
}
