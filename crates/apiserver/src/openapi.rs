//! OpenAPI documents: v2 as JSON and protobuf, v3 as an index and one document per group and version.

use http::Response;

use crate::call::Call;
use crate::negotiate::Body;
use crate::registry::Registry;
use crate::status::ApiError;

pub(crate) fn answer(_registry: &Registry, _call: &Call) -> Result<Response<Body>, ApiError> {
    Err(ApiError::no_route())
}
