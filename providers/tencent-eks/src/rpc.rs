//! Typed calls: sends an [`RpcCall`] and decodes its answer.

use imagecache_cloud_http::{Client, decode};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::error::ApiError;
use crate::protocol::{RpcCall, Tc3};

/// What every answer is wrapped in.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Envelope<T> {
    response: T,
}

/// Sends `call` and decodes the answer, which [`Tc3`] found to be a success.
pub(crate) async fn call<T: DeserializeOwned>(client: &Client<Tc3>, call: &RpcCall) -> Result<T, ApiError> {
    let answer = client.call(call).await?;
    let envelope: Envelope<T> = decode(call.action, &answer)?;
    Ok(envelope.response)
}
