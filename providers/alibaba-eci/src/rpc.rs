//! Typed calls: sends an [`RpcCall`] and decodes its answer.

use imagecache_cloud_http::Client;
use serde::de::DeserializeOwned;

use crate::error::ApiError;
use crate::protocol::{Acs3, RpcCall};

/// Sends `call` and decodes the answer, which [`Acs3`] found to be a success.
pub(crate) async fn call<T: DeserializeOwned>(client: &Client<Acs3>, call: &RpcCall) -> Result<T, ApiError> {
    let answer = client.call(call).await?;
    serde_json::from_slice(&answer.body).map_err(|error| ApiError::Unexpected {
        action: call.action,
        // The error's own text repeats values, and some answers hold secrets.
        line: error.line(),
        column: error.column(),
    })
}
