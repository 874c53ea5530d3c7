//! Image references, parsed and normalised as Docker and containerd do.

use std::fmt;
use std::str::FromStr;

use crate::Digest;
use crate::text_form::text_form;

/// Registry that a name without a host means.
const DEFAULT_REGISTRY: &str = "docker.io";
/// Docker Hub's older name for itself.
const LEGACY_DEFAULT_REGISTRY: &str = "index.docker.io";
/// Namespace of Docker Hub's official images.
const OFFICIAL_NAMESPACE: &str = "library/";
/// Tag that a reference with neither tag nor digest means.
const DEFAULT_TAG: &str = "latest";
/// Longest name, host included (distribution/reference).
const MAX_NAME_CHARS: usize = 255;
/// Longest tag (distribution/reference).
const MAX_TAG_CHARS: usize = 128;

/// A normalised image reference: `nginx` is `docker.io/library/nginx:latest`.
///
/// Grammar and normalisation are those of the distribution project's `reference` package, which Docker and containerd
/// share. With tag and digest both given, the digest decides what is fetched; the tag is kept for people.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ImageRef {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Why a text is not an image reference, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("image reference `{text}` is invalid at character {}: {problem}", at + 1)]
pub struct ImageRefError {
    text: String,
    at: usize,
    problem: String,
}

impl ImageRefError {
    /// Zero-based position, in characters, of the first thing that is wrong.
    pub fn position(&self) -> usize {
        self.at
    }
}

impl ImageRef {
    /// Parses and normalises `text`.
    pub fn parse(text: &str) -> Result<Self, ImageRefError> {
        parse(text).map_err(|(byte, problem)| ImageRefError {
            at: text.get(..byte).map_or(0, |before| before.chars().count()),
            // A hostile reference must not flood a log line or an event.
            text: text.chars().take(MAX_NAME_CHARS).collect(),
            problem,
        })
    }

    /// Registry host with optional port, for example `docker.io` or `127.0.0.1:5000`.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// Repository path below the registry, for example `library/nginx`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag; filled in as `latest` when the text had neither tag nor digest.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, when the text had one.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// Registry and repository: `docker.io/library/nginx`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// What to ask a registry for: the digest when there is one, else the tag.
    pub fn identifier(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => DEFAULT_TAG.to_owned(),
        }
    }

    /// The short form that people and pods write: `nginx:1.27` for `docker.io/library/nginx:1.27`.
    pub fn familiar(&self) -> String {
        let text = self.to_string();
        let path = text
            .strip_prefix(DEFAULT_REGISTRY)
            .and_then(|rest| rest.strip_prefix('/'));
        let shorter = path.and_then(|path| path.strip_prefix(OFFICIAL_NAMESPACE));
        // A path may look like a host once it stands in front: then only the long form means the same.
        let same = [shorter, path]
            .into_iter()
            .flatten()
            .find(|short| Self::parse(short).as_ref() == Ok(self));
        same.map_or_else(|| text.clone(), str::to_owned)
    }

    /// The same image pinned to `digest`.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self {
            digest: Some(digest),
            ..self.clone()
        }
    }
}

type Problem = (usize, String);

fn parse(text: &str) -> Result<ImageRef, Problem> {
    if text.is_empty() {
        return Err((0, "it is empty".to_owned()));
    }
    let (before_digest, digest) = match text.split_once('@') {
        Some((before, digest)) => {
            let parsed = digest
                .parse::<Digest>()
                .map_err(|error| (before.len() + 1, error.to_string()))?;
            (before, Some(parsed))
        }
        None => (text, None),
    };
    // A colon after the last slash starts the tag; one before it belongs to the host's port.
    let last_part = before_digest.rfind('/').map_or(0, |slash| slash + 1);
    let (name, tag) = match before_digest.get(last_part..).and_then(|part| part.find(':')) {
        Some(colon) => {
            let colon = last_part + colon;
            let tag = before_digest.get(colon + 1..).unwrap_or_default();
            check_tag(tag).map_err(|(at, problem)| (colon + 1 + at, problem))?;
            (before_digest.get(..colon).unwrap_or_default(), Some(tag.to_owned()))
        }
        None => (before_digest, None),
    };
    let (registry, path, path_start) = split_registry(name);
    if path_start > 0 {
        check_registry(registry)?;
    }
    check_path(path).map_err(|(at, problem)| (path_start + at, problem))?;
    if path_start == 0 && path.len() == 64 && path.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err((0, "64 hexadecimal characters are an image id, not a name".to_owned()));
    }
    let registry = if registry == LEGACY_DEFAULT_REGISTRY {
        DEFAULT_REGISTRY
    } else {
        registry
    };
    let official = registry == DEFAULT_REGISTRY && !path.contains('/');
    let repository = if official {
        format!("{OFFICIAL_NAMESPACE}{path}")
    } else {
        path.to_owned()
    };
    if registry.len() + 1 + repository.len() > MAX_NAME_CHARS {
        return Err((0, format!("the name is longer than {MAX_NAME_CHARS} characters")));
    }
    let tag = if tag.is_none() && digest.is_none() {
        Some(DEFAULT_TAG.to_owned())
    } else {
        tag
    };
    Ok(ImageRef {
        registry: registry.to_owned(),
        repository,
        tag,
        digest,
    })
}

/// Splits `name` into registry, path and the byte where the path starts (0 when the registry was left out).
fn split_registry(name: &str) -> (&str, &str, usize) {
    if let Some((first, rest)) = name.split_once('/') {
        let is_host = first.contains(['.', ':']) || first == "localhost" || first.chars().any(char::is_uppercase);
        if is_host {
            return (first, rest, first.len() + 1);
        }
    }
    (DEFAULT_REGISTRY, name, 0)
}

fn check_registry(registry: &str) -> Result<(), Problem> {
    let (host, port) = match registry.strip_prefix('[') {
        Some(inner) => {
            let Some((address, rest)) = inner.split_once(']') else {
                return Err((0, "the IPv6 host has no closing `]`".to_owned()));
            };
            if address.parse::<std::net::Ipv6Addr>().is_err() {
                return Err((1, format!("`{address}` is not an IPv6 address")));
            }
            let port_at = address.len() + 2;
            match rest.strip_prefix(':') {
                Some(port) => return check_port(port, port_at + 1),
                None if rest.is_empty() => return Ok(()),
                None => return Err((port_at, "only `:port` may follow an IPv6 host".to_owned())),
            }
        }
        None => registry
            .split_once(':')
            .map_or((registry, None), |(host, port)| (host, Some(port))),
    };
    let mut at = 0;
    for label in host.split('.') {
        if label.is_empty() {
            return Err((at, "the registry host has an empty part".to_owned()));
        }
        if let Some(bad) = label.find(|c: char| !c.is_ascii_alphanumeric() && c != '-') {
            return Err((
                at + bad,
                "a registry host has only letters, digits, `-` and `.`".to_owned(),
            ));
        }
        if label.starts_with('-') || label.ends_with('-') {
            return Err((at, "a part of the registry host starts or ends with `-`".to_owned()));
        }
        at += label.len() + 1;
    }
    port.map_or(Ok(()), |port| check_port(port, host.len() + 1))
}

fn check_port(port: &str, at: usize) -> Result<(), Problem> {
    match port.parse::<u16>() {
        Ok(_) if port.bytes().all(|b| b.is_ascii_digit()) => Ok(()),
        _ => Err((at, format!("`{port}` is not a port number"))),
    }
}

fn check_path(path: &str) -> Result<(), Problem> {
    let mut at = 0;
    for part in path.split('/') {
        check_path_part(part).map_err(|(offset, problem)| (at + offset, problem))?;
        at += part.len() + 1;
    }
    Ok(())
}

/// One part of a repository path: runs of `[a-z0-9]` joined by `.`, `_`, `__` or any number of `-`.
fn check_path_part(part: &str) -> Result<(), Problem> {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if part.is_empty() {
        return Err((0, "the repository has an empty part".to_owned()));
    }
    if let Some((at, bad)) = part
        .char_indices()
        .find(|(_, c)| !alphanumeric(*c) && !matches!(c, '.' | '_' | '-'))
    {
        let hint = if bad.is_ascii_uppercase() {
            "a repository is lower case"
        } else {
            "not allowed in a repository"
        };
        return Err((at, format!("`{}`: {hint}", bad.escape_default())));
    }
    if !part.starts_with(alphanumeric) {
        return Err((
            0,
            "a part of the repository must start with a letter or digit".to_owned(),
        ));
    }
    if !part.ends_with(alphanumeric) {
        return Err((
            part.len() - 1,
            "a part of the repository must end with a letter or digit".to_owned(),
        ));
    }
    let mut at = 0;
    for separator in part.split(alphanumeric) {
        let allowed = matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|b| b == b'-');
        if !allowed {
            return Err((
                at,
                format!("`{separator}` cannot join two words, use `.`, `_`, `__` or `-`"),
            ));
        }
        // What `split` cut out is one ASCII character wide.
        at += separator.len() + 1;
    }
    Ok(())
}

fn check_tag(tag: &str) -> Result<(), Problem> {
    if tag.is_empty() {
        return Err((0, "the tag is empty".to_owned()));
    }
    if let Some((at, bad)) = tag
        .char_indices()
        .find(|(_, c)| !c.is_ascii_alphanumeric() && !matches!(c, '_' | '.' | '-'))
    {
        return Err((at, format!("`{}` is not allowed in a tag", bad.escape_default())));
    }
    if tag.starts_with(['.', '-']) {
        return Err((0, "a tag must start with a letter, a digit or `_`".to_owned()));
    }
    if tag.len() > MAX_TAG_CHARS {
        return Err((
            MAX_TAG_CHARS,
            format!("the tag is longer than {MAX_TAG_CHARS} characters"),
        ));
    }
    Ok(())
}

impl FromStr for ImageRef {
    type Err = ImageRefError;

    fn from_str(text: &str) -> Result<Self, ImageRefError> {
        Self::parse(text)
    }
}

/// The normalised reference in full: `docker.io/library/nginx:1.27@sha256:…`.
impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

text_form!(ImageRef);

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn normalises_as_docker_and_containerd_do() {
        let digest = format!("@sha256:{HEX}");
        for (text, expected) in [
            ("nginx", "docker.io/library/nginx:latest"),
            ("nginx:1.27", "docker.io/library/nginx:1.27"),
            ("team/app", "docker.io/team/app:latest"),
            ("index.docker.io/nginx", "docker.io/library/nginx:latest"),
            ("docker.io/nginx", "docker.io/library/nginx:latest"),
            ("localhost/app", "localhost/app:latest"),
            ("localhost:5000/app:v1", "localhost:5000/app:v1"),
            ("127.0.0.1:5000/java:17", "127.0.0.1:5000/java:17"),
            ("[::1]:5000/java", "[::1]:5000/java:latest"),
            ("[fd00::1]/java", "[fd00::1]/java:latest"),
            ("registry.example.com/a/b/c", "registry.example.com/a/b/c:latest"),
            ("REGISTRY.example.com/a", "REGISTRY.example.com/a:latest"),
            ("Upper/app", "Upper/app:latest"),
            ("a__b/c-d--e.f_g:T.a-g_1", "docker.io/a__b/c-d--e.f_g:T.a-g_1"),
            (&format!("nginx{digest}"), &format!("docker.io/library/nginx{digest}")),
            (
                &format!("nginx:1{digest}"),
                &format!("docker.io/library/nginx:1{digest}"),
            ),
        ] {
            let parsed = ImageRef::parse(text).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(parsed.to_string(), expected, "{text}");
            assert_eq!(
                ImageRef::parse(expected).as_ref(),
                Ok(&parsed),
                "normalising {text} twice"
            );
        }
    }

    #[test]
    fn familiar_form_is_what_people_write() {
        for text in [
            "nginx:1.27",
            "team/app:v1",
            "docker.io/a.com/app:v1",
            "library/a.com/app:v1",
            "localhost:5000/app:v1",
            "registry.example.com/library/app:v1",
        ] {
            assert_eq!(ImageRef::parse(text).unwrap().familiar(), text);
        }
        assert_eq!(
            ImageRef::parse("docker.io/library/nginx").unwrap().familiar(),
            "nginx:latest"
        );
    }

    #[test]
    fn says_where_it_is_wrong() {
        for (text, position) in [
            ("", 0),
            (":tag", 0),
            ("Nginx", 0),
            ("nginX", 4),
            ("nginx:", 6),
            ("nginx:-x", 6),
            ("nginx:a/b", 6),
            ("a//b", 2),
            ("a/b/", 4),
            ("a..b", 1),
            ("a___b", 1),
            ("-a", 0),
            ("a-", 1),
            ("host.com:port/a", 9),
            ("host.com:99999/a", 9),
            ("ho_st.com/a", 2),
            (".com/a", 0),
            ("[::1/a", 0),
            ("nginx@sha256:12", 6),
            ("nginx@md5:12", 6),
            ("ngi nx", 3),
            ("https://nginx", 6),
            ("nginxé", 5),
            (HEX, 0),
        ] {
            let error = ImageRef::parse(text).expect_err(text);
            assert_eq!(error.position(), position, "{error}");
            assert!(error.to_string().contains(text), "{error}");
        }
    }

    #[test]
    fn long_names_and_tags_are_refused() {
        assert!(ImageRef::parse(&"a".repeat(256)).is_err());
        assert!(ImageRef::parse(&format!("a:{}", "t".repeat(129))).is_err());
        assert!(ImageRef::parse(&format!("a:{}", "t".repeat(128))).is_ok());
    }

    proptest::proptest! {
        #[test]
        fn never_panics_and_is_idempotent(text in "\\PC{0,80}") {
            if let Ok(parsed) = ImageRef::parse(&text) {
                for form in [parsed.to_string(), parsed.familiar()] {
                    proptest::prop_assert_eq!(ImageRef::parse(&form), Ok(parsed.clone()), "{}", form);
                }
            }
        }

        #[test]
        fn what_looks_right_is_accepted(
            host in proptest::option::of("[a-z0-9]{1,8}\\.[a-z]{2,4}(:[1-9][0-9]{0,3})?"),
            path in "[a-z0-9]{1,6}([_-][a-z0-9]{1,6}){0,2}(/[a-z0-9]{1,6}){0,3}",
            tag in "[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}",
        ) {
            let text = match &host { Some(host) => format!("{host}/{path}:{tag}"), None => format!("{path}:{tag}") };
            let parsed = ImageRef::parse(&text).unwrap();
            proptest::prop_assert_eq!(parsed.tag(), Some(tag.as_str()));
            proptest::prop_assert!(parsed.repository().ends_with(&path) || host.is_none());
        }
    }
}
