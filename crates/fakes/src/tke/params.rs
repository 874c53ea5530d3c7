//! The parameters of one call: each is asked for by its documented name and type, and what is left over is refused.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use crate::cloud::{Received, Refusal};

/// The largest body that may be sent.
const MAX_BODY: usize = 10 * 1024 * 1024;
/// The longest query that may be sent.
const MAX_QUERY: usize = 32 * 1024;

/// Parameters of an object that have not been asked for yet.
#[derive(Clone, Debug)]
pub(crate) struct Params {
    /// Where the object stands: `Filters[0].`, or nothing.
    path: String,
    left: Map<String, Value>,
    /// All values came as text, in a query.
    textual: bool,
}

impl Params {
    /// The JSON object in the body of a POST, or the flattened one in the query of a GET.
    pub(crate) fn read(request: &Received) -> Result<Self, Refusal> {
        let content_type = request.header("content-type").unwrap_or_default();
        let content_type = content_type.split(';').next().unwrap_or_default().trim();
        let (value, textual) = match (request.method.as_str(), content_type) {
            ("POST", "application/json") if request.body.len() > MAX_BODY => {
                return Err(Refusal::new(
                    200,
                    "RequestSizeLimitExceeded",
                    "the request is too large",
                ));
            }
            ("GET", _) if request.query.len() > MAX_QUERY => {
                return Err(Refusal::new(
                    200,
                    "RequestSizeLimitExceeded",
                    "the request is too large",
                ));
            }
            ("POST", "application/json") if request.query.is_empty() => {
                (serde_json::from_slice(&request.body).ok(), false)
            }
            ("GET", "application/x-www-form-urlencoded") if request.body.is_empty() => {
                (unflatten(&request.query), true)
            }
            _ => {
                return Err(Refusal::new(
                    200,
                    "InvalidRequest",
                    "this method does not go with this content type",
                ));
            }
        };
        match value {
            Some(Value::Object(left)) => Ok(Self {
                path: String::new(),
                left,
                textual,
            }),
            _ => Err(Refusal::new(
                200,
                "InvalidParameter",
                "the parameters are not a JSON object",
            )),
        }
    }

    /// Everything that was given at the top, as text: what is not text already as JSON.
    pub(crate) fn all(&self) -> BTreeMap<String, String> {
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        self.left
            .iter()
            .map(|(name, value)| (name.clone(), text(value)))
            .collect()
    }

    fn take(&mut self, name: &str, kind: &str) -> (Option<Value>, Refusal) {
        let message = format!("The value type of parameter `{}{name}` is not {kind}.", self.path);
        (self.left.remove(name), Refusal::new(200, "InvalidParameter", message))
    }

    /// An optional text.
    pub(crate) fn text(&mut self, name: &str) -> Result<Option<String>, Refusal> {
        match self.take(name, "string") {
            (None, _) => Ok(None),
            (Some(Value::String(text)), _) => Ok(Some(text)),
            (Some(_), wrong) => Err(wrong),
        }
    }

    /// A text that must be there.
    pub(crate) fn required(&mut self, name: &str) -> Result<String, Refusal> {
        self.text(name)?.ok_or_else(|| self.missing(name))
    }

    /// A whole number inside a range.
    pub(crate) fn number(&mut self, name: &str, range: RangeInclusive<u64>) -> Result<Option<u64>, Refusal> {
        let textual = self.textual;
        let number = match self.take(name, "uint64") {
            (None, _) => return Ok(None),
            (Some(Value::String(text)), wrong) if textual => text.parse().map_err(|_| wrong)?,
            (Some(value), wrong) => value.as_u64().ok_or(wrong)?,
        };
        match range.contains(&number) {
            true => Ok(Some(number)),
            false => Err(self.invalid(name, &format!("{number} is not within {range:?}"))),
        }
    }

    /// A truth value.
    pub(crate) fn flag(&mut self, name: &str) -> Result<Option<bool>, Refusal> {
        match self.take(name, "bool") {
            (None, _) => Ok(None),
            (Some(Value::Bool(flag)), _) => Ok(Some(flag)),
            (Some(Value::String(text)), wrong) if self.textual => text.parse().map(Some).map_err(|_| wrong),
            (Some(_), wrong) => Err(wrong),
        }
    }

    /// A list of texts, none of them empty.
    pub(crate) fn texts(&mut self, name: &str) -> Result<Vec<String>, Refusal> {
        Ok(self.given_texts(name)?.unwrap_or_default())
    }

    /// The same, and whether it was given at all.
    pub(crate) fn given_texts(&mut self, name: &str) -> Result<Option<Vec<String>>, Refusal> {
        let (value, wrong) = self.take(name, "array of string");
        let Some(value) = value else { return Ok(None) };
        let Value::Array(values) = value else { return Err(wrong) };
        let mut texts = Vec::new();
        for value in values {
            let Value::String(text) = value else { return Err(wrong) };
            if text.is_empty() {
                return Err(self.invalid(name, "an entry is empty"));
            }
            texts.push(text);
        }
        Ok(Some(texts))
    }

    /// A list of texts that must be there and not empty.
    pub(crate) fn required_texts(&mut self, name: &str) -> Result<Vec<String>, Refusal> {
        match self.given_texts(name)? {
            None => Err(self.missing(name)),
            Some(texts) if texts.is_empty() => Err(self.invalid(name, "the list is empty")),
            Some(texts) => Ok(texts),
        }
    }

    /// A list of ids, each with this prefix.
    pub(crate) fn ids(&mut self, name: &str, prefix: &str) -> Result<Vec<String>, Refusal> {
        let ids = self.texts(name)?;
        match ids.iter().find(|id| !is_id(id, prefix)) {
            Some(id) => Err(self.invalid(name, &format!("{id} is not an id"))),
            None => Ok(ids),
        }
    }

    /// An object in the object.
    pub(crate) fn object(&mut self, name: &str) -> Result<Option<Self>, Refusal> {
        match self.take(name, "object") {
            (None, _) => Ok(None),
            (Some(Value::Object(left)), _) => Ok(Some(self.below(format!("{name}."), left))),
            (Some(_), wrong) => Err(wrong),
        }
    }

    /// A list of objects, and whether it was given at all.
    pub(crate) fn objects(&mut self, name: &str) -> Result<Option<Vec<Self>>, Refusal> {
        let (value, wrong) = self.take(name, "array of object");
        let Some(value) = value else { return Ok(None) };
        let Value::Array(values) = value else { return Err(wrong) };
        let mut objects = Vec::new();
        for (number, value) in values.into_iter().enumerate() {
            let Value::Object(left) = value else { return Err(wrong) };
            objects.push(self.below(format!("{name}.{number}."), left));
        }
        Ok(Some(objects))
    }

    fn below(&self, path: String, left: Map<String, Value>) -> Self {
        Self {
            path: format!("{}{path}", self.path),
            left,
            textual: self.textual,
        }
    }

    /// Ends the reading: what nobody asked for is refused.
    pub(crate) fn finish(self) -> Result<(), Refusal> {
        match self.left.keys().next() {
            Some(name) => {
                let message = format!("The parameter `{}{name}` is not recognized.", self.path);
                Err(Refusal::new(200, "UnknownParameter", message))
            }
            None => Ok(()),
        }
    }

    /// A required parameter is not there.
    pub(crate) fn missing(&self, name: &str) -> Refusal {
        let message = format!("The request is missing a required parameter `{}{name}`.", self.path);
        Refusal::new(200, "MissingParameter", message)
    }

    /// A parameter is there and wrong.
    pub(crate) fn invalid(&self, name: &str, why: &str) -> Refusal {
        let message = format!("The value of parameter `{}{name}` is not valid: {why}.", self.path);
        Refusal::new(200, "InvalidParameter", message)
    }
}

/// `imc-abcd1234` and the like.
pub(crate) fn is_id(text: &str, prefix: &str) -> bool {
    let rest = text.strip_prefix(prefix).unwrap_or_default();
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    (1..=32).contains(&rest.len()) && rest.bytes().all(allowed)
}

/// `A.0.B=c&…` as the object that it was before; `None` when it was none.
fn unflatten(query: &str) -> Option<Value> {
    let mut top = Value::Object(Map::new());
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=')?;
        let decoded = |text: &str| percent_decode_str(text).decode_utf8().ok().map(String::from);
        let mut place = &mut top;
        for part in decoded(name)?.split('.') {
            place = place
                .as_object_mut()?
                .entry(part)
                .or_insert_with(|| Value::Object(Map::new()));
        }
        // Neither is a name given twice nor below another value.
        if !place.as_object()?.is_empty() {
            return None;
        }
        *place = Value::String(decoded(value)?);
    }
    Some(listed(top))
}

/// Objects whose names are 0, 1, … become lists.
fn listed(value: Value) -> Value {
    let Value::Object(fields) = value else { return value };
    let count = fields.len();
    let mut numbered: BTreeMap<usize, Value> = BTreeMap::new();
    let mut named = Map::new();
    for (name, value) in fields {
        match name.parse() {
            Ok(number) if number < count => {
                numbered.insert(number, listed(value));
            }
            _ => {
                named.insert(name, listed(value));
            }
        }
    }
    match count > 0 && numbered.len() == count {
        true => Value::Array(numbered.into_values().collect()),
        false => {
            named.extend(numbered.into_iter().map(|(number, value)| (number.to_string(), value)));
            Value::Object(named)
        }
    }
}
