//! Profile files in INI form. Values are taken as they stand: no escapes, no quotes, as the vendors' tools read them.

use std::collections::BTreeMap;
use std::path::Path;

use imagecache_core::{BoxError, Secret};
use ini::{Ini, ParseOption};

use super::read_secret_file;

/// A profile file. `Debug` shows the names of sections and keys only.
#[derive(Clone, Debug, Default)]
pub struct IniFile(BTreeMap<String, IniSection>);

/// One section of it.
#[derive(Clone, Debug, Default)]
pub struct IniSection(BTreeMap<String, Secret<String>>);

impl IniFile {
    /// Reads the file at `path`; `None` when there is none.
    ///
    /// # Errors
    ///
    /// When it is there and cannot be read or is no INI file. Names the path and holds nothing of the content.
    pub async fn read(path: &Path) -> Result<Option<Self>, BoxError> {
        let Some(text) = read_secret_file(path).await? else {
            return Ok(None);
        };
        match Self::parse(text.expose()) {
            Ok(file) => Ok(Some(file)),
            Err(what) => Err(format!("file `{}` is no INI file: {what}", path.display()).into()),
        }
    }

    /// Parses `text`; the error holds nothing of it.
    fn parse(text: &str) -> Result<Self, String> {
        let options = ParseOption {
            enabled_quote: false,
            enabled_escape: false,
            ..ParseOption::default()
        };
        // The parser's own message is dropped: it may repeat what it read.
        let ini = Ini::load_from_str_opt(text, options).map_err(|error| format!("error before line {}", error.line))?;
        let mut sections = BTreeMap::<String, IniSection>::new();
        for (name, properties) in &ini {
            let section = sections.entry(name.unwrap_or_default().trim().to_owned()).or_default();
            for (key, value) in properties {
                // The parser takes a line without `=` and the next one together for a key.
                if key.contains(['\r', '\n']) {
                    return Err("it has a line that is neither section nor `key = value`".to_owned());
                }
                section
                    .0
                    .insert(key.trim().to_owned(), Secret::new(value.trim().to_owned()));
            }
        }
        Ok(Self(sections))
    }

    /// The section `name`; what stands before any section has the empty name.
    pub fn section(&self, name: &str) -> Option<&IniSection> {
        self.0.get(name)
    }
}

impl IniSection {
    /// The value of `key`; an empty one counts as not set.
    pub fn secret(&self, key: &str) -> Option<&Secret<String>> {
        self.0.get(key).filter(|value| !value.expose().is_empty())
    }

    /// A value that is no secret: a kind of credential, a role.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.secret(key).map(|value| value.expose().as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stand_as_they_are() {
        let file = IniFile::parse(
            "# comment\ntop = 1\n[default]\ntype = access_key\n; comment\nsecret = a\\b\"c'#d;e=f\nempty =\n[other]\nsecret=hunter2\n",
        )
        .unwrap();
        let default = file.section("default").unwrap();
        assert_eq!(default.text("type"), Some("access_key"));
        assert_eq!(default.text("secret"), Some("a\\b\"c'#d;e=f"));
        assert_eq!(default.text("empty"), None);
        assert_eq!(file.section("").unwrap().text("top"), Some("1"));
        assert!(file.section("absent").is_none());
        assert!(!format!("{file:?}").contains("hunter2"));
    }

    #[tokio::test]
    async fn mistakes_repeat_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("credentials.ini");
        assert!(IniFile::read(&path).await.unwrap().is_none());
        for (content, part) in [
            ("[default]\nid = x\nhunter2hunter2\n[b]\n", "before line 5"),
            (
                "[default]\nhunter2hunter2\nid = x\n",
                "neither section nor `key = value`",
            ),
            ("[default\nid = hunter2\n", "before line"),
        ] {
            std::fs::write(&path, content).unwrap();
            let error = IniFile::read(&path).await.unwrap_err();
            let text = format!("{error} {error:?}");
            assert!(text.contains("credentials.ini") && text.contains(part), "{text}");
            assert!(!text.contains("hunter2"), "{text}");
        }
    }
}
