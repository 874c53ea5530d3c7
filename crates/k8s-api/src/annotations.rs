//! Annotations of one object, read by name: what is blank is not given, and a wrong value is told with its name.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use crate::{InvalidSpec, parse};

/// The annotations of one object.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Annotations<'a>(pub(crate) &'a BTreeMap<String, String>);

impl<'a> Annotations<'a> {
    pub(crate) fn text(&self, name: &str) -> Option<&'a str> {
        self.0.get(name).map(|text| text.trim()).filter(|text| !text.is_empty())
    }

    pub(crate) fn owned(&self, name: &str) -> Option<String> {
        self.text(name).map(str::to_owned)
    }

    /// As it was written, blanks included.
    pub(crate) fn verbatim(&self, name: &str) -> Option<String> {
        self.0.get(name).cloned()
    }

    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        self.text(name).map(parse::list).unwrap_or_default()
    }

    pub(crate) fn hosts(&self, name: &str) -> Result<Vec<String>, InvalidSpec> {
        self.text(name)
            .map_or(Ok(Vec::new()), |text| parse::hosts(&field(name), text))
    }

    pub(crate) fn number(&self, name: &str, range: &RangeInclusive<u32>) -> Result<Option<u32>, InvalidSpec> {
        self.text(name)
            .map(|text| parse::number(&field(name), text, range))
            .transpose()
    }

    /// One of some words, whatever their case.
    pub(crate) fn word<T: Copy>(&self, name: &str, words: &[(&'static str, T)]) -> Result<Option<T>, InvalidSpec> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let found = words.iter().find(|(word, _)| word.eq_ignore_ascii_case(text));
        found.map(|(_, value)| Some(*value)).ok_or_else(|| {
            let known: Vec<_> = words.iter().map(|(word, _)| *word).collect();
            InvalidSpec::new(
                field(name),
                format!("`{text}` is not known, write {}", known.join(" or ")),
            )
        })
    }

    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>, InvalidSpec> {
        self.word(name, &[("true", true), ("false", false)])
    }
}

/// How an annotation is named to people.
pub(crate) fn field(annotation: &str) -> String {
    format!("metadata.annotations[{annotation}]")
}
