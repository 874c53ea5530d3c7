//! Reads the protobuf bodies `kubectl` 1.32 and newer sends for the typed objects it creates.
//!
//! Only those kinds, and of them only the fields a client sets; anything else is refused as an unknown media type.
//! Answers are JSON, which these clients take as well. Field numbers are those of Kubernetes' `generated.proto` files.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::status::ApiError;

/// Media type of such bodies.
pub(crate) const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";
const MAGIC: &[u8] = b"k8s\0";

#[derive(Clone, Copy)]
enum Kind {
    Text,
    Texts,
    Number,
    Bool,
    Message(Fields),
    Messages(Fields),
    TextMap,
    BytesMap,
}

type Fields = &'static [(u64, &'static str, Kind)];

const OWNER: Fields = &[
    (1, "kind", Kind::Text),
    (3, "name", Kind::Text),
    (4, "uid", Kind::Text),
    (5, "apiVersion", Kind::Text),
    (6, "controller", Kind::Bool),
    (7, "blockOwnerDeletion", Kind::Bool),
];
const METADATA: Fields = &[
    (1, "name", Kind::Text),
    (2, "generateName", Kind::Text),
    (3, "namespace", Kind::Text),
    (5, "uid", Kind::Text),
    (6, "resourceVersion", Kind::Text),
    (11, "labels", Kind::TextMap),
    (12, "annotations", Kind::TextMap),
    (13, "ownerReferences", Kind::Messages(OWNER)),
    (14, "finalizers", Kind::Texts),
];
const OBJECT_REFERENCE: Fields = &[
    (1, "kind", Kind::Text),
    (2, "namespace", Kind::Text),
    (3, "name", Kind::Text),
];
const RESOURCE_ATTRIBUTES: Fields = &[
    (1, "namespace", Kind::Text),
    (2, "verb", Kind::Text),
    (3, "group", Kind::Text),
    (4, "version", Kind::Text),
    (5, "resource", Kind::Text),
    (6, "subresource", Kind::Text),
    (7, "name", Kind::Text),
];
const OTHER_ATTRIBUTES: Fields = &[(1, "path", Kind::Text), (2, "verb", Kind::Text)];

/// Fields by `apiVersion` and `kind`.
const OBJECTS: &[(&str, &str, Fields)] = &[
    (
        "v1",
        "Namespace",
        &[
            (1, "metadata", Kind::Message(METADATA)),
            (2, "spec", Kind::Message(&[(1, "finalizers", Kind::Texts)])),
        ],
    ),
    (
        "v1",
        "Secret",
        &[
            (1, "metadata", Kind::Message(METADATA)),
            (2, "data", Kind::BytesMap),
            (3, "type", Kind::Text),
            (4, "stringData", Kind::TextMap),
            (5, "immutable", Kind::Bool),
        ],
    ),
    (
        "v1",
        "ConfigMap",
        &[
            (1, "metadata", Kind::Message(METADATA)),
            (2, "data", Kind::TextMap),
            (3, "binaryData", Kind::BytesMap),
            (4, "immutable", Kind::Bool),
        ],
    ),
    (
        "v1",
        "ServiceAccount",
        &[
            (1, "metadata", Kind::Message(METADATA)),
            (2, "secrets", Kind::Messages(OBJECT_REFERENCE)),
            (3, "imagePullSecrets", Kind::Messages(&[(1, "name", Kind::Text)])),
            (4, "automountServiceAccountToken", Kind::Bool),
        ],
    ),
    (
        "authorization.k8s.io/v1",
        "SelfSubjectAccessReview",
        &[(
            2,
            "spec",
            Kind::Message(&[
                (1, "resourceAttributes", Kind::Message(RESOURCE_ATTRIBUTES)),
                (2, "nonResourceAttributes", Kind::Message(OTHER_ATTRIBUTES)),
            ]),
        )],
    ),
];

/// Options have the group and version of what they are for, so their kind alone says what they are.
const DELETE_OPTIONS: Fields = &[
    (1, "gracePeriodSeconds", Kind::Number),
    (
        2,
        "preconditions",
        Kind::Message(&[(1, "uid", Kind::Text), (2, "resourceVersion", Kind::Text)]),
    ),
    (4, "propagationPolicy", Kind::Text),
    (5, "dryRun", Kind::Texts),
];

/// The object in such a body.
pub(crate) fn decode(body: &[u8]) -> Result<Value, ApiError> {
    let bad = || ApiError::bad_request("the object provided is unrecognized: not a Kubernetes protobuf message");
    let body = body.strip_prefix(MAGIC).ok_or_else(bad)?;
    let (mut head, mut raw) = (json!({}), &[][..]);
    for (number, wire) in split(body).ok_or_else(bad)? {
        match (number, wire) {
            (1, Wire::Bytes(bytes)) => {
                const TYPE: Fields = &[(1, "apiVersion", Kind::Text), (2, "kind", Kind::Text)];
                head = message(TYPE, bytes).ok_or_else(bad)?;
            }
            (2, Wire::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
    }
    let named = |field: &str| head.get(field).and_then(Value::as_str).unwrap_or("").to_owned();
    let (version, kind) = (named("apiVersion"), named("kind"));
    let fields = OBJECTS
        .iter()
        .find(|(v, k, _)| *v == version && *k == kind)
        .map(|(_, _, fields)| *fields);
    let fields = fields.or_else(|| (kind == "DeleteOptions").then_some(DELETE_OPTIONS));
    let fields = fields.ok_or_else(|| ApiError::unsupported_media_type("application/json, application/yaml"))?;
    let mut object = message(fields, raw).ok_or_else(bad)?;
    object["apiVersion"] = version.into();
    object["kind"] = kind.into();
    Ok(object)
}

enum Wire<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The fields of a message; `None` if it is cut short or malformed.
fn split(mut rest: &[u8]) -> Option<Vec<(u64, Wire<'_>)>> {
    let mut fields = Vec::new();
    while !rest.is_empty() {
        let tag = varint(&mut rest)?;
        let wire = match tag & 7 {
            0 => Wire::Number(varint(&mut rest)?),
            1 => Wire::Bytes(take(&mut rest, 8)?),
            2 => {
                let len = usize::try_from(varint(&mut rest)?).ok()?;
                Wire::Bytes(take(&mut rest, len)?)
            }
            5 => Wire::Bytes(take(&mut rest, 4)?),
            _ => return None,
        };
        fields.push((tag >> 3, wire));
    }
    Some(fields)
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (head, tail) = rest.split_at_checked(len)?;
    *rest = tail;
    Some(head)
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..u64::BITS).step_by(7) {
        let byte = take(rest, 1)?[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

fn text(bytes: &[u8]) -> Option<String> {
    String::from_utf8(bytes.to_vec()).ok()
}

/// A message as an object. Empty texts are left out, as Kubernetes leaves them out of JSON.
fn message(fields: Fields, bytes: &[u8]) -> Option<Value> {
    let mut object = Map::new();
    for (number, wire) in split(bytes)? {
        let Some((_, name, kind)) = fields.iter().find(|(n, ..)| *n == number) else {
            continue;
        };
        match (kind, wire) {
            (Kind::Number, Wire::Number(value)) => {
                object.insert((*name).to_owned(), value.cast_signed().into());
            }
            (Kind::Bool, Wire::Number(value)) => {
                object.insert((*name).to_owned(), (value != 0).into());
            }
            (Kind::Text, Wire::Bytes(bytes)) if !bytes.is_empty() => {
                object.insert((*name).to_owned(), text(bytes)?.into());
            }
            (Kind::Message(fields), Wire::Bytes(bytes)) => {
                object.insert((*name).to_owned(), message(fields, bytes)?);
            }
            (Kind::Texts, Wire::Bytes(bytes)) => append(&mut object, name, text(bytes)?.into()),
            (Kind::Messages(fields), Wire::Bytes(bytes)) => append(&mut object, name, message(fields, bytes)?),
            (Kind::TextMap | Kind::BytesMap, Wire::Bytes(bytes)) => {
                let (mut key, mut value) = (String::new(), &[][..]);
                for (number, wire) in split(bytes)? {
                    match (number, wire) {
                        (1, Wire::Bytes(bytes)) => key = text(bytes)?,
                        (2, Wire::Bytes(bytes)) => value = bytes,
                        _ => {}
                    }
                }
                let value = if matches!(kind, Kind::TextMap) {
                    text(value)?
                } else {
                    STANDARD.encode(value)
                };
                let slot = object.entry((*name).to_owned()).or_insert_with(|| json!({}));
                slot[key] = value.into();
            }
            _ => {}
        }
    }
    Some(object.into())
}

fn append(object: &mut Map<String, Value>, name: &str, value: Value) {
    let slot = object.entry(name.to_owned()).or_insert_with(|| json!([]));
    if let Some(list) = slot.as_array_mut() {
        list.push(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, u8::try_from(bytes.len()).unwrap()], bytes].concat()
    }

    #[test]
    fn reads_a_secret_and_survives_garbage() {
        let head = field(1, &[field(1, b"v1"), field(2, b"Secret")].concat());
        let metadata = field(1, &[field(1, b"s"), field(3, b"")].concat());
        let data = field(2, &[field(1, b"k"), field(2, b"v")].concat());
        let raw = field(2, &[metadata, data, field(3, b"Opaque")].concat());
        let body = [MAGIC, &head, &raw].concat();
        let expected = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"k": "dg=="}, "type": "Opaque",
        });
        assert_eq!(decode(&body).unwrap(), expected);
        for cut in 0..body.len() {
            let _ = decode(&body[..cut]);
        }
        assert!(decode(b"k8s\0\xff").is_err());
    }
}
