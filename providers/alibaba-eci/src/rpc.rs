//! Typed calls: sends an [`RpcCall`] and decodes its answer.

use imagecache_cloud_http::{Client, decode};
use serde::de::DeserializeOwned;

use crate::error::ApiError;
use crate::protocol::{Acs3, RpcCall};

/// Sends `call` and decodes the answer, which [`Acs3`] found to be a success.
pub(crate) async fn call<T: DeserializeOwned>(client: &Client<Acs3>, call: &RpcCall) -> Result<T, ApiError> {
    let answer = client.call(call).await?;
    decode(call.action, &answer)
}
