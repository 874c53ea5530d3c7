//! Parameters of a call: one JSON object, and nothing in it that was not set.

use std::fmt;

use serde_json::{Map, Value};

/// Parameters by name.
///
/// Values may be registry passwords: `Debug` shows the names only.
#[derive(Clone, Default, PartialEq)]
pub(crate) struct Parameters(Map<String, Value>);

impl Parameters {
    /// No parameters.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Sets one parameter.
    pub(crate) fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.0.insert(name.to_owned(), value.into());
    }

    /// Sets a parameter that may be absent; an absent one is left out altogether.
    pub(crate) fn set_some(&mut self, name: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.set(name, value);
        }
    }

    /// Sets an array; an empty one is no parameter.
    pub(crate) fn set_list<T: Into<Value>>(&mut self, name: &str, values: impl IntoIterator<Item = T>) {
        let values: Vec<Value> = values.into_iter().map(Into::into).collect();
        if !values.is_empty() {
            self.set(name, values);
        }
    }

    /// Texts, at any depth, whose names end in one of `ends`.
    pub(crate) fn values_of(&self, ends: &[&str]) -> Vec<&str> {
        let mut found = Vec::new();
        let mut left: Vec<(&str, &Value)> = members(&self.0).collect();
        while let Some((name, value)) = left.pop() {
            match value {
                Value::String(text) if ends.iter().any(|end| name.ends_with(end)) => found.push(text.as_str()),
                Value::Array(values) => left.extend(values.iter().map(|value| (name, value))),
                Value::Object(inner) => left.extend(members(inner)),
                _ => {}
            }
        }
        found
    }

    /// The body of the request.
    pub(crate) fn body(&self) -> String {
        Value::Object(self.0.clone()).to_string()
    }

    /// The parameters that a captured body holds.
    #[cfg(test)]
    pub(crate) fn of(value: Value) -> Self {
        match value {
            Value::Object(map) => Self(map),
            other => panic!("{other} is no object"),
        }
    }
}

fn members(object: &Map<String, Value>) -> impl Iterator<Item = (&str, &Value)> {
    object.iter().map(|(name, value)| (name.as_str(), value))
}

impl From<Parameters> for Value {
    fn from(parameters: Parameters) -> Self {
        Self::Object(parameters.0)
    }
}

impl fmt::Debug for Parameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_values_are_left_out() {
        let mut parameters = Parameters::new();
        assert_eq!(parameters.body(), "{}");
        parameters.set_some("VpcId", None::<&str>);
        parameters.set_list("Images", Vec::<String>::new());
        parameters.set_list("Tags", ["a"]);
        parameters.set("ImageCacheSize", 20);
        assert_eq!(parameters.body(), r#"{"ImageCacheSize":20,"Tags":["a"]}"#);
    }

    #[test]
    fn secrets_are_found_at_any_depth_and_shown_nowhere() {
        let body = serde_json::json!({"ImageRegistryCredentials": [{"Password": "hunter2"}, {"Password": "hunter3"}],
            "WebIdentityToken": "hunter4", "PasswordLength": 7, "Name": "n"});
        let parameters = Parameters::of(body);
        let mut found = parameters.values_of(&["Password", "Token"]);
        found.sort_unstable();
        assert_eq!(found, ["hunter2", "hunter3", "hunter4"]);
        assert!(!format!("{parameters:?}").contains("hunter"));
    }
}
