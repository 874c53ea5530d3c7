//! The parameters of one call: each is asked for by its documented name, and what is left over is refused.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::str::FromStr;

use crate::cloud::Refusal;

/// Parameters that have not been asked for yet.
pub(crate) struct Params {
    given: Vec<(String, String)>,
    left: BTreeMap<String, String>,
}

impl Params {
    pub(crate) fn new(all: BTreeMap<String, String>) -> Self {
        Self {
            given: all.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
            left: all,
        }
    }

    /// Everything that was given, in order.
    pub(crate) fn all(&self) -> Vec<(String, String)> {
        self.given.clone()
    }

    /// Drops what the older style of calls carries beside the parameters.
    pub(crate) fn forget_protocol(&mut self) {
        for name in ["Action", "Version", "Format", "Timestamp", "SignatureNonce"] {
            self.left.remove(name);
            self.given.retain(|(given, _)| given != name);
        }
    }

    /// An optional text.
    pub(crate) fn text(&mut self, name: &str) -> Option<String> {
        self.left.remove(name)
    }

    /// A text that must be there and not empty.
    pub(crate) fn required(&mut self, name: &str) -> Result<String, Refusal> {
        self.text(name)
            .filter(|text| !text.is_empty())
            .ok_or_else(|| missing(name))
    }

    /// The region; must be the one that this endpoint serves.
    pub(crate) fn region(&mut self, served: &str) -> Result<(), Refusal> {
        let region = self
            .text("RegionId")
            .ok_or_else(|| Refusal::new(400, "MissingRegionId", "RegionId is mandatory for this action."))?;
        if region != served {
            let message = format!("this endpoint serves {served}, not {region}");
            return Err(Refusal::new(400, "InvalidOperation.NotSupportedEndpoint", message));
        }
        Ok(())
    }

    /// A number inside a range.
    pub(crate) fn number<T>(&mut self, name: &str, range: RangeInclusive<T>) -> Result<Option<T>, Refusal>
    where
        T: FromStr + PartialOrd + std::fmt::Display,
    {
        let Some(text) = self.text(name) else { return Ok(None) };
        match text.parse::<T>() {
            Ok(number) if range.contains(&number) && number.to_string() == text => Ok(Some(number)),
            Ok(_) => Err(invalid(
                "ValueExceeded",
                &format!("the value of {name} is out of range"),
            )),
            Err(_) => Err(invalid(name, &format!("the value of {name} is not a number"))),
        }
    }

    /// A truth value, in the documented and in an SDK's spelling.
    pub(crate) fn flag(&mut self, name: &str) -> Result<Option<bool>, Refusal> {
        match self.text(name).as_deref() {
            None => Ok(None),
            Some("true" | "True") => Ok(Some(true)),
            Some("false" | "False") => Ok(Some(false)),
            Some(_) => Err(invalid(name, &format!("the value of {name} is neither true nor false"))),
        }
    }

    /// One of a few words.
    pub(crate) fn word(&mut self, name: &str, allowed: &[&str]) -> Result<Option<String>, Refusal> {
        match self.text(name) {
            Some(text) if !allowed.contains(&text.as_str()) => {
                Err(invalid(name, &format!("the value of {name} is not one of {allowed:?}")))
            }
            other => Ok(other),
        }
    }

    /// Comma-separated values without blanks or quotes.
    pub(crate) fn commas(&mut self, name: &str, most: usize) -> Result<Vec<String>, Refusal> {
        let Some(text) = self.text(name) else {
            return Ok(Vec::new());
        };
        let values: Vec<String> = text.split(',').map(str::to_owned).collect();
        let bad = |value: &String| value.is_empty() || value.contains(['"', ' ', '/']);
        if values.iter().any(bad) || values.len() > most {
            return Err(invalid(
                name,
                &format!("the value of {name} is not a list of at most {most} names"),
            ));
        }
        Ok(values)
    }

    /// The token that makes a call repeatable.
    pub(crate) fn client_token(&mut self) -> Result<Option<String>, Refusal> {
        match self.text("ClientToken") {
            Some(token) if token.is_empty() || token.len() > 64 || !token.is_ascii() => {
                Err(invalid("ClientToken", "ClientToken is not 1 to 64 ASCII characters"))
            }
            other => Ok(other),
        }
    }

    /// `Name.1`, `Name.2`, … in that order. What comes after a gap stays behind.
    pub(crate) fn list(&mut self, name: &str, most: usize) -> Result<Vec<String>, Refusal> {
        let mut values = Vec::new();
        while let Some(value) = self.left.remove(&format!("{name}.{}", values.len() + 1)) {
            if value.is_empty() {
                return Err(invalid(name, &format!("a value of {name} is empty")));
            }
            values.push(value);
        }
        if values.len() > most {
            return Err(invalid(
                &format!("{name}.Exceed"),
                &format!("more than {most} values of {name}"),
            ));
        }
        Ok(values)
    }

    /// `Name.N.Field` for every N from 1; each entry has what was given of `fields`.
    pub(crate) fn groups(
        &mut self,
        name: &str,
        fields: &[&str],
        most: usize,
    ) -> Result<Vec<Vec<Option<String>>>, Refusal> {
        let mut groups: Vec<Vec<Option<String>>> = Vec::new();
        loop {
            let prefix = format!("{name}.{}", groups.len() + 1);
            let values: Vec<Option<String>> = fields
                .iter()
                .map(|field| self.left.remove(&format!("{prefix}.{field}")))
                .collect();
            if values.iter().all(Option::is_none) {
                break;
            }
            groups.push(values);
        }
        if groups.len() > most {
            return Err(invalid(
                &format!("{name}.Exceed"),
                &format!("more than {most} entries of {name}"),
            ));
        }
        Ok(groups)
    }

    /// `Tag.N.Key` and `Tag.N.Value`.
    pub(crate) fn tags(&mut self) -> Result<Vec<(String, String)>, Refusal> {
        let mut tags: Vec<(String, String)> = Vec::new();
        for group in self.groups("Tag", &["Key", "Value"], usize::MAX)? {
            let mut fields = group.into_iter();
            let key = fields.next().flatten().unwrap_or_default();
            let value = fields.next().flatten().unwrap_or_default();
            let reserved = key.starts_with("aliyun") || key.starts_with("acs:") || key.contains("://");
            if key.is_empty() || reserved || key.chars().count() > 128 || value.chars().count() > 128 {
                return Err(invalid("Tag", "a tag's key or value is not allowed"));
            }
            if tags.iter().any(|(known, _)| *known == key) {
                return Err(invalid("Tag.Duplicate", "a tag's key is given twice"));
            }
            tags.push((key, value));
        }
        if tags.len() > 20 {
            return Err(Refusal::new(400, "NumberExceed.Tags", "more than 20 tags"));
        }
        Ok(tags)
    }

    /// Ends the reading: what nobody asked for is refused.
    pub(crate) fn finish(self) -> Result<(), Refusal> {
        match self.left.into_keys().next() {
            Some(name) => Err(invalid("Unknown", &format!("the parameter {name} is not known here"))),
            None => Ok(()),
        }
    }
}

/// A required parameter is not there.
pub(crate) fn missing(name: &str) -> Refusal {
    Refusal::new(
        400,
        "MissingParameter",
        format!("the parameter {name} is mandatory for this action"),
    )
}

/// A parameter is there and wrong.
pub(crate) fn invalid(what: &str, message: &str) -> Refusal {
    Refusal::new(400, format!("InvalidParameter.{what}"), message)
}
