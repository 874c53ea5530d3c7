//! Errors of the API as the caller of the provider sees them.

use imagecache_cloud_http::{Meaning, Vendor};

use crate::{NAME, code};

/// What can go wrong with a call.
pub(crate) type ApiError = imagecache_cloud_http::ApiError<Alibaba>;

/// The cloud whose errors they are.
#[derive(Debug)]
pub(crate) struct Alibaba;

impl Vendor for Alibaba {
    const NAME: &'static str = NAME;

    fn meaning(code: &str, message: &str) -> Option<Meaning> {
        code::known(code, message)
    }
}
