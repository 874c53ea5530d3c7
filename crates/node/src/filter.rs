//! containerd's filters, as far as `List` gets them: `labels."a.b/c"==value,parent==name`.

use crate::error::{Error, Result};
use crate::snapshot::{Kind, Snapshot};

/// Some conditions that must all hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter(Vec<Condition>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Condition {
    field: Vec<String>,
    test: Test,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    Present,
    Equal(String),
    Different(String),
}

impl Filter {
    /// Reads a filter: conditions with commas between them. A condition is a field, or a field, `==` or `!=`, and a value.
    ///
    /// # Errors
    /// `InvalidArgument` when it cannot be read, and for `~=`, which nothing sends to a snapshotter.
    pub fn parse(text: &str) -> Result<Self> {
        let mut rest = text;
        let mut conditions = Vec::new();
        while !rest.is_empty() {
            let wrong = |what: &str| Error::InvalidArgument(format!("filter `{text}` {what}"));
            let mut field = Vec::new();
            loop {
                let (name, after) = word(rest, &['.', '=', '!', '~', ',']).ok_or_else(|| wrong("has an open quote"))?;
                if name.is_empty() {
                    return Err(wrong("lacks the name of a field"));
                }
                field.push(name);
                rest = after;
                match rest.strip_prefix('.') {
                    Some(after) => rest = after,
                    None => break,
                }
            }
            let operator = rest.get(..2).filter(|_| !rest.starts_with(','));
            let test = match operator {
                Some("==") | Some("!=") => {
                    let after = rest.get(2..).unwrap_or_default();
                    let (value, after) = word(after, &[',']).ok_or_else(|| wrong("has an open quote"))?;
                    rest = after;
                    match operator {
                        Some("==") => Test::Equal(value),
                        _ => Test::Different(value),
                    }
                }
                _ if rest.is_empty() || rest.starts_with(',') => Test::Present,
                _ => return Err(wrong("has an operator other than == and !=")),
            };
            conditions.push(Condition { field, test });
            rest = match rest.strip_prefix(',') {
                Some("") => return Err(wrong("ends with a comma")),
                Some(after) => after,
                None if rest.is_empty() => rest,
                None => return Err(wrong("lacks a comma")),
            };
        }
        Ok(Self(conditions))
    }

    /// Whether every condition holds.
    pub fn matches(&self, snapshot: &Snapshot) -> bool {
        self.0.iter().all(|condition| {
            let value = value_of(snapshot, &condition.field);
            match &condition.test {
                Test::Present => value.is_some(),
                Test::Equal(wanted) => value == Some(wanted),
                Test::Different(other) => value != Some(other),
            }
        })
    }
}

/// A field as text; one that is not there, or empty, is `None`, except that a snapshot always has a name, a kind and a parent.
fn value_of<'a>(snapshot: &'a Snapshot, field: &[String]) -> Option<&'a str> {
    let names: Vec<&str> = field.iter().map(String::as_str).collect();
    match names.as_slice() {
        ["name"] => Some(&snapshot.name),
        ["parent"] => Some(snapshot.parent.as_deref().unwrap_or_default()),
        ["kind"] => Some(match snapshot.kind {
            Kind::View => "view",
            Kind::Active => "active",
            Kind::Committed => "committed",
        }),
        // Keys with dots may come unquoted.
        ["labels", key @ ..] => snapshot.labels.get(&key.join(".")).map(String::as_str),
        _ => None,
    }
}

/// A quoted or a plain word at the beginning of `text`, and what follows; `None` for a quote without end.
fn word<'a>(text: &'a str, ends: &[char]) -> Option<(String, &'a str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(ends).unwrap_or(text.len());
        let (word, rest) = text.split_at(end);
        return Some((word.to_owned(), rest));
    };
    let mut word = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((word, quoted.get(at + 1..)?)),
            '\\' => word.push(characters.next()?.1),
            other => word.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::Content;

    fn snapshot() -> Snapshot {
        let labels = [("containerd.io/snapshot.ref", "sha256:ab"), ("plain", "x,y")];
        let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let parent = Some("k8s.io/1/extract-1 \"sha256:aa\"");
        Snapshot::new(
            "default/2/sha256:ab",
            parent,
            Kind::Committed,
            labels,
            Content::Directory(1),
        )
    }

    #[test]
    fn filters_decide_as_containerd_does() {
        for (text, expected) in [
            ("", true),
            (r#"labels."containerd.io/snapshot.ref"==sha256:ab"#, true),
            (r#"labels."containerd.io/snapshot.ref"==sha256:ac"#, false),
            (
                r#"labels."containerd.io/snapshot.ref"==sha256:ab,parent=="k8s.io/1/extract-1 \"sha256:aa\"""#,
                true,
            ),
            (r#"labels."containerd.io/snapshot.ref"==sha256:ab,parent=="""#, false),
            (r#"labels."containerd.io/snapshot.ref""#, true),
            (r#"labels."other""#, false),
            (r#"labels.plain=="x,y""#, true),
            ("name==default/2/sha256:ab", true),
            ("name!=default/2/sha256:ab", false),
            ("kind==committed", true),
            ("kind==active", false),
            ("nonsense==1", false),
        ] {
            assert_eq!(Filter::parse(text).unwrap().matches(&snapshot()), expected, "{text}");
        }
    }

    #[test]
    fn unreadable_filters_are_refused() {
        for text in [
            "name~=^x",
            "name==a,",
            ",",
            "==a",
            r#"name=="a"#,
            r#"labels."a"#,
            r#"name=="a"b"#,
        ] {
            let refused = Filter::parse(text);
            assert!(matches!(refused, Err(Error::InvalidArgument(_))), "{text}: {refused:?}");
        }
    }
}
