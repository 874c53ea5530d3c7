//! What a StartSnapshot asks for, and whether it may.

use std::collections::BTreeSet;

use serde_json::Value;

use super::refusal::Refusal;

/// GiB of the largest volume.
const MOST_GIB: u64 = 65_536;
const MOST_TAGS: usize = 50;
const MOST_TAG_KEY: usize = 127;
const MOST_TAG_VALUE: usize = 255;
const MOST_TEXT: usize = 255;
/// Minutes after which a snapshot that nobody writes to is given up, unless said otherwise.
const DEFAULT_TIMEOUT: u64 = 60;
const TIMEOUTS: std::ops::RangeInclusive<u64> = 10..=4_320;

/// The key of an encrypted snapshot that names none.
const DEFAULT_KMS_KEY: &str = "arn:aws:kms:eu-central-1:123456789012:key/aws-ebs";

/// The parameters; two calls with the same client token must have the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Start {
    pub(crate) gib: u64,
    pub(crate) parent: Option<String>,
    pub(crate) tags: Vec<(String, String)>,
    pub(crate) description: Option<String>,
    pub(crate) client_token: Option<String>,
    pub(crate) encrypted: bool,
    pub(crate) kms_key: Option<String>,
    pub(crate) timeout_minutes: u64,
}

impl Start {
    /// The key that blocks are encrypted with, if they are.
    pub(crate) fn used_key(&self) -> Option<&str> {
        self.encrypted
            .then(|| self.kms_key.as_deref().unwrap_or(DEFAULT_KMS_KEY))
    }

    /// Reads and checks all that can be checked without knowing other snapshots.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, Refusal> {
        let document: Value = serde_json::from_slice(body)
            .map_err(|_| Refusal::new(400, "SerializationException", None, "the body is not JSON"))?;
        let text = |name: &str| match document.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.chars().count() <= MOST_TEXT => Ok(Some(text.clone())),
            Some(_) => Err(Refusal::parameter(format!(
                "{name} must be a text of at most {MOST_TEXT} characters"
            ))),
        };
        let number = |name: &str| match document.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => value
                .as_u64()
                .map(Some)
                .ok_or_else(|| Refusal::parameter(format!("{name} must be a positive whole number"))),
        };
        let flag = match document.get("Encrypted") {
            None | Some(Value::Null) => None,
            Some(Value::Bool(flag)) => Some(*flag),
            Some(_) => return Err(Refusal::parameter("Encrypted must be true or false")),
        };
        let start = Self {
            gib: number("VolumeSize")?.unwrap_or_default(),
            parent: text("ParentSnapshotId")?,
            tags: tags(document.get("Tags"))?,
            description: text("Description")?,
            client_token: text("ClientToken")?,
            encrypted: flag.unwrap_or_default(),
            kms_key: text("KmsKeyArn")?,
            timeout_minutes: number("Timeout")?.unwrap_or(DEFAULT_TIMEOUT),
        };
        start.check(flag.is_some())?;
        Ok(start)
    }

    fn check(&self, encryption_is_given: bool) -> Result<(), Refusal> {
        if !(1..=MOST_GIB).contains(&self.gib) {
            let message = format!("VolumeSize must be from 1 to {MOST_GIB}, and is {}", self.gib);
            return Err(Refusal::invalid("INVALID_VOLUME_SIZE", message));
        }
        if self.parent.is_some() && (encryption_is_given || self.kms_key.is_some()) {
            let message = "ParentSnapshotId cannot be given with Encrypted or KmsKeyArn";
            return Err(Refusal::parameter(message));
        }
        if self.kms_key.is_some() && !self.encrypted {
            return Err(Refusal::parameter("KmsKeyArn needs Encrypted to be true"));
        }
        if !TIMEOUTS.contains(&self.timeout_minutes) {
            let message = format!(
                "Timeout must be from {} to {} minutes",
                TIMEOUTS.start(),
                TIMEOUTS.end()
            );
            return Err(Refusal::parameter(message));
        }
        let plain = |token: &String| !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
        if !self.client_token.as_ref().is_none_or(plain) {
            return Err(Refusal::parameter("ClientToken must be ASCII without spaces"));
        }
        Ok(())
    }
}

fn tags(list: Option<&Value>) -> Result<Vec<(String, String)>, Refusal> {
    let refused = |message: &str| Refusal::invalid("INVALID_TAG", message);
    let list = match list {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(list) => list.as_array().ok_or_else(|| refused("Tags must be a list"))?,
    };
    if list.len() > MOST_TAGS {
        return Err(refused(&format!("a snapshot has at most {MOST_TAGS} tags")));
    }
    let mut tags = Vec::new();
    for tag in list {
        let text = |name: &str| tag.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (key, value) = (text("Key"), text("Value"));
        if !(1..=MOST_TAG_KEY).contains(&key.chars().count()) || key.starts_with("aws:") {
            return Err(refused(&format!(
                "the key of a tag must have 1 to {MOST_TAG_KEY} characters and not start with 'aws:', not {key:?}"
            )));
        }
        if value.chars().count() > MOST_TAG_VALUE {
            return Err(refused(&format!(
                "the value of tag {key:?} has more than {MOST_TAG_VALUE} characters"
            )));
        }
        tags.push((key, value));
    }
    let keys: BTreeSet<&String> = tags.iter().map(|(key, _)| key).collect();
    match keys.len() == tags.len() {
        true => Ok(tags),
        false => Err(refused("a tag is given twice")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn reason(body: Value) -> Option<String> {
        match Start::parse(body.to_string().as_bytes()) {
            Ok(_) => None,
            Err(refusal) => Some(refusal.reason.unwrap_or(refusal.code)),
        }
    }

    #[test]
    fn what_the_service_refuses_is_refused() {
        let tag = |key: &str, value: &str| json!({ "VolumeSize": 1, "Tags": [{ "Key": key, "Value": value }] });
        let many = |count: usize| {
            let tags: Vec<Value> = (0..count)
                .map(|n| json!({ "Key": n.to_string(), "Value": "" }))
                .collect();
            json!({ "VolumeSize": 1, "Tags": tags })
        };
        let with = |name: &str, value: Value| json!({ "VolumeSize": 1, name: value });
        let parent = |name: &str, value: Value| json!({ "VolumeSize": 1, "ParentSnapshotId": "snap-1", name: value });
        let (size, parameter, of_tag) = ("INVALID_VOLUME_SIZE", "INVALID_PARAMETER_VALUE", "INVALID_TAG");
        for (name, body, expected) in [
            ("the least", json!({ "VolumeSize": 1 }), None),
            ("the largest", json!({ "VolumeSize": 65_536 }), None),
            ("no size", json!({}), Some(size)),
            ("nothing", json!({ "VolumeSize": 0 }), Some(size)),
            ("too large", json!({ "VolumeSize": 65_537 }), Some(size)),
            ("a size in words", json!({ "VolumeSize": "1" }), Some(parameter)),
            (
                "parent and encryption",
                parent("Encrypted", json!(true)),
                Some(parameter),
            ),
            (
                "parent and no encryption",
                parent("Encrypted", json!(false)),
                Some(parameter),
            ),
            (
                "parent and key",
                parent("KmsKeyArn", json!("arn:aws:kms:k")),
                Some(parameter),
            ),
            ("parent alone", parent("Description", json!("text")), None),
            (
                "key without encryption",
                with("KmsKeyArn", json!("arn:aws:kms:k")),
                Some(parameter),
            ),
            ("shortest timeout", with("Timeout", json!(10)), None),
            ("timeout too short", with("Timeout", json!(9)), Some(parameter)),
            ("timeout too long", with("Timeout", json!(4_321)), Some(parameter)),
            ("description", with("Description", json!("d".repeat(255))), None),
            (
                "long description",
                with("Description", json!("d".repeat(256))),
                Some(parameter),
            ),
            ("token with a space", with("ClientToken", json!("a b")), Some(parameter)),
            (
                "long token",
                with("ClientToken", json!("t".repeat(256))),
                Some(parameter),
            ),
            ("fifty tags", many(50), None),
            ("a tag too many", many(51), Some(of_tag)),
            ("longest tag", tag(&"k".repeat(127), &"v".repeat(255)), None),
            ("long key", tag(&"k".repeat(128), ""), Some(of_tag)),
            ("long value", tag("k", &"v".repeat(256)), Some(of_tag)),
            ("no key", tag("", "v"), Some(of_tag)),
            ("a key of the service", tag("aws:k", "v"), Some(of_tag)),
            (
                "one key twice",
                with(
                    "Tags",
                    json!([{ "Key": "k", "Value": "a" }, { "Key": "k", "Value": "b" }]),
                ),
                Some(of_tag),
            ),
        ] {
            assert_eq!(reason(body).as_deref(), expected, "{name}");
        }
    }
}
