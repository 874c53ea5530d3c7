//! The provider `alibaba-eci` against a fake of the cloud that checks every signature.

pub mod command_line;
pub mod crash;
pub mod lifecycle;
pub mod many;
pub mod options;
pub mod ownership;
pub mod secrets;
pub mod trouble;

use serde_json::{Value, json};

/// What most scenarios ask for; the cloud pulls, so nothing has to be there.
pub fn spec(image: &str) -> Value {
    json!({ "images": [image], "imageCacheSize": 25, "retentionDays": 7 })
}
