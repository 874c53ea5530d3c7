//! The OpenAPI v2 document in protobuf, as `kubectl` asks for it: messages of gnostic's `OpenAPIv2.proto`.
//!
//! Only what `kubectl` reads is written: definitions, and the kind and query parameters of each operation.

use serde_json::Value;

/// Wire type of numbers.
const VARINT: u64 = 0;
/// Wire type of doubles.
const FIXED64: u64 = 1;
/// Wire type of texts and messages.
const BYTES: u64 = 2;

/// One message being written.
#[derive(Debug, Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        const MORE: u8 = 0x80;
        loop {
            let low = value.to_le_bytes()[0] & !MORE;
            value >>= 7;
            if value == 0 {
                self.0.push(low);
                return;
            }
            self.0.push(low | MORE);
        }
    }

    fn bytes(&mut self, field: u64, bytes: &[u8]) {
        self.varint(field << 3 | BYTES);
        self.varint(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        self.0.extend_from_slice(bytes);
    }

    fn text(&mut self, field: u64, value: Option<&Value>) {
        if let Some(text) = value.and_then(Value::as_str).filter(|t| !t.is_empty()) {
            self.bytes(field, text.as_bytes());
        }
    }

    fn message(&mut self, field: u64, message: &Self) {
        self.bytes(field, &message.0);
    }

    fn number(&mut self, field: u64, value: Option<&Value>) {
        if let Some(number) = value.and_then(Value::as_u64).filter(|n| *n > 0) {
            self.varint(field << 3 | VARINT);
            self.varint(number);
        }
    }

    fn flag(&mut self, field: u64, value: Option<&Value>) {
        if value == Some(&Value::Bool(true)) {
            self.varint(field << 3 | VARINT);
            self.varint(1);
        }
    }

    fn double(&mut self, field: u64, value: Option<&Value>) {
        if let Some(number) = value.and_then(Value::as_f64) {
            self.varint(field << 3 | FIXED64);
            self.0.extend_from_slice(&number.to_le_bytes());
        }
    }

    /// `Any` with the value as YAML, of which JSON is a part.
    fn any(&mut self, field: u64, value: &Value) {
        let mut any = Self::default();
        any.bytes(2, value.to_string().as_bytes());
        self.message(field, &any);
    }

    /// `NamedX { name = 1; value = 2 }`
    fn named(&mut self, field: u64, name: &str, value: &Self) {
        let mut named = Self::default();
        named.bytes(1, name.as_bytes());
        named.message(2, value);
        self.message(field, &named);
    }

    fn extensions(&mut self, field: u64, value: &Value) {
        for (name, value) in value
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(k, _)| k.starts_with("x-"))
        {
            let mut named = Self::default();
            named.bytes(1, name.as_bytes());
            named.any(2, value);
            self.message(field, &named);
        }
    }
}

/// The whole document.
pub(crate) fn document(value: &Value) -> Vec<u8> {
    let mut document = Message::default();
    document.text(1, value.get("swagger"));
    let mut info = Message::default();
    info.text(1, value["info"].get("title"));
    info.text(2, value["info"].get("version"));
    document.message(2, &info);
    let mut paths = Message::default();
    for (path, item) in value["paths"].as_object().into_iter().flatten() {
        paths.named(2, path, &path_item(item));
    }
    document.message(8, &paths);
    let mut definitions = Message::default();
    for (name, definition) in value["definitions"].as_object().into_iter().flatten() {
        definitions.named(1, name, &schema(definition));
    }
    document.message(9, &definitions);
    document.0
}

fn path_item(value: &Value) -> Message {
    let mut item = Message::default();
    for (field, method) in [(2, "get"), (3, "put"), (4, "post"), (5, "delete"), (8, "patch")] {
        if let Some(value) = value.get(method) {
            item.message(field, &operation(value));
        }
    }
    item
}

fn operation(value: &Value) -> Message {
    let mut operation = Message::default();
    for value in value["parameters"].as_array().into_iter().flatten() {
        // ParametersItem > Parameter > NonBodyParameter > QueryParameterSubSchema
        let mut query = Message::default();
        query.text(2, value.get("in"));
        query.text(4, value.get("name"));
        query.text(6, value.get("type"));
        let mut parameter = Message::default();
        parameter.message(3, &query);
        for field in [2, 1] {
            let mut outer = Message::default();
            outer.message(field, &parameter);
            parameter = outer;
        }
        operation.message(8, &parameter);
    }
    operation.extensions(13, value);
    operation
}

fn schema(value: &Value) -> Message {
    let mut schema_message = Message::default();
    let m = &mut schema_message;
    let get = |field: &str| value.get(field);
    m.text(1, get("$ref"));
    m.text(2, get("format"));
    m.text(3, get("title"));
    m.text(4, get("description"));
    if let Some(default) = get("default") {
        m.any(5, default);
    }
    m.double(7, get("maximum"));
    m.flag(8, get("exclusiveMaximum"));
    m.double(9, get("minimum"));
    m.flag(10, get("exclusiveMinimum"));
    m.number(11, get("maxLength"));
    m.number(12, get("minLength"));
    m.text(13, get("pattern"));
    m.number(14, get("maxItems"));
    m.number(15, get("minItems"));
    m.flag(16, get("uniqueItems"));
    m.number(17, get("maxProperties"));
    m.number(18, get("minProperties"));
    for name in get("required").and_then(Value::as_array).into_iter().flatten() {
        m.text(19, Some(name));
    }
    for allowed in get("enum").and_then(Value::as_array).into_iter().flatten() {
        m.any(20, allowed);
    }
    if let Some(additional) = get("additionalProperties").filter(|a| a.is_object()) {
        let mut item = Message::default();
        item.message(1, &schema(additional));
        m.message(21, &item);
    }
    if let Some(kind) = get("type") {
        let mut item = Message::default();
        item.text(1, Some(kind));
        m.message(22, &item);
    }
    if let Some(items) = get("items") {
        let mut item = Message::default();
        item.message(1, &schema(items));
        m.message(23, &item);
    }
    if let Some(fields) = get("properties").and_then(Value::as_object) {
        let mut properties = Message::default();
        for (name, field) in fields {
            properties.named(1, name, &schema(field));
        }
        m.message(25, &properties);
    }
    m.extensions(31, value);
    schema_message
}
