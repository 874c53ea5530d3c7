//! Where an image comes from: a registry, an OCI layout directory, a docker-archive.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use imagecache_core::{Error, ErrorKind, ImageRef};

use crate::error::fail;

/// Prefix of an OCI layout directory.
const OCI: &str = "oci:";
/// Prefix of a docker-archive.
const DOCKER_ARCHIVE: &str = "docker-archive:";

/// Where an image comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ImageSource {
    /// A registry, by image reference.
    Registry(ImageRef),
    /// `oci:<directory>[:<tag>]`: a directory in the OCI image layout.
    OciLayout {
        /// The directory that holds `index.json`.
        path: PathBuf,
        /// The tag; not needed when the layout holds one image.
        tag: Option<String>,
    },
    /// `docker-archive:<file>[:<reference>]`: what `docker save` writes.
    DockerArchive {
        /// The tar file.
        path: PathBuf,
        /// The image's name; not needed when the archive holds one image.
        reference: Option<String>,
    },
}

impl From<ImageRef> for ImageSource {
    fn from(reference: ImageRef) -> Self {
        Self::Registry(reference)
    }
}

impl FromStr for ImageSource {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let bad = |what: &str| {
            fail(
                ErrorKind::InvalidSpec,
                "resolve",
                format!("image source `{text}` has no {what}"),
            )
        };
        if let Some(rest) = text.strip_prefix(OCI) {
            // A colon inside a directory name needs a tag behind it.
            let (path, tag) = match rest.rsplit_once(':') {
                Some((path, tag)) if !tag.contains('/') => (path, Some(tag.to_owned())),
                _ => (rest, None),
            };
            if path.is_empty() {
                return Err(bad("directory"));
            }
            return Ok(Self::OciLayout {
                path: path.into(),
                tag: tag.filter(|tag| !tag.is_empty()),
            });
        }
        if let Some(rest) = text.strip_prefix(DOCKER_ARCHIVE) {
            let (path, reference) = rest
                .split_once(':')
                .map_or((rest, None), |(path, name)| (path, Some(name)));
            if path.is_empty() {
                return Err(bad("file"));
            }
            let reference = reference.filter(|name| !name.is_empty()).map(str::to_owned);
            return Ok(Self::DockerArchive {
                path: path.into(),
                reference,
            });
        }
        let reference = ImageRef::parse(text)
            .map_err(|error| fail(ErrorKind::InvalidSpec, "resolve", error.to_string()).with_source(error))?;
        Ok(Self::Registry(reference))
    }
}

impl fmt::Display for ImageSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (prefix, path, name) = match self {
            Self::Registry(reference) => return fmt::Display::fmt(reference, f),
            Self::OciLayout { path, tag } => (OCI, path, tag),
            Self::DockerArchive { path, reference } => (DOCKER_ARCHIVE, path, reference),
        };
        write!(f, "{prefix}{}", path.display())?;
        name.as_ref().map_or(Ok(()), |name| write!(f, ":{name}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_and_prints() {
        for (text, expected) in [
            ("nginx", "docker.io/library/nginx:latest"),
            ("oci:/a/b", "oci:/a/b"),
            ("oci:/a/b:17", "oci:/a/b:17"),
            ("oci:/a:b/c", "oci:/a:b/c"),
            ("docker-archive:/a.tar", "docker-archive:/a.tar"),
            ("docker-archive:/a.tar:x/y:1", "docker-archive:/a.tar:x/y:1"),
        ] {
            assert_eq!(text.parse::<ImageSource>().unwrap().to_string(), expected, "{text}");
        }
        for text in ["", "oci:", "oci::17", "docker-archive:", "UPPER"] {
            assert_eq!(
                text.parse::<ImageSource>().unwrap_err().kind(),
                ErrorKind::InvalidSpec,
                "{text}"
            );
        }
    }
}
