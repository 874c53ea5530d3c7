//! The platform that an image is chosen for.

use std::fmt;
use std::str::FromStr;

use crate::text_form::text_form;

/// Operating system, CPU architecture and variant, in Go's and OCI's names: `linux/arm64/v8`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Platform {
    /// Operating system, for example `linux`.
    pub os: String,
    /// CPU architecture, for example `amd64`.
    pub architecture: String,
    /// CPU variant, for example `v8`; containerd's defaults are filled in by [`Platform::normalized`].
    pub variant: Option<String>,
}

/// Why a text is not a platform.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("platform `{0}` is not of the form os/architecture[/variant], for example linux/amd64")]
pub struct PlatformError(String);

impl Platform {
    /// A Linux platform of `architecture` (Go's name), with no variant.
    pub fn linux(architecture: &str) -> Self {
        Self {
            os: "linux".to_owned(),
            architecture: architecture.to_owned(),
            variant: None,
        }
    }

    /// The platform that this program runs on.
    pub fn host() -> Self {
        Self::linux(std::env::consts::ARCH).normalized()
    }

    /// The same platform in containerd's canonical names: `x86_64` is `amd64`, `arm64` means `arm64/v8`, `arm` means `arm/v7`.
    pub fn normalized(&self) -> Self {
        let os = match self.os.to_ascii_lowercase().as_str() {
            "macos" => "darwin".to_owned(),
            other => other.to_owned(),
        };
        let variant = self.variant.as_ref().map(|v| v.to_ascii_lowercase());
        let (architecture, variant) = match (self.architecture.to_ascii_lowercase().as_str(), variant.as_deref()) {
            ("x86_64" | "x86-64" | "amd64", v) => ("amd64".to_owned(), v.filter(|v| *v != "v1").map(str::to_owned)),
            ("i386" | "x86" | "386", _) => ("386".to_owned(), None),
            ("aarch64" | "arm64", None | Some("8" | "v8")) => ("arm64".to_owned(), Some("v8".to_owned())),
            ("aarch64" | "arm64", v) => ("arm64".to_owned(), v.map(str::to_owned)),
            ("armhf", _) | ("arm", None | Some("7")) => ("arm".to_owned(), Some("v7".to_owned())),
            ("armel", _) | ("arm", Some("6")) => ("arm".to_owned(), Some("v6".to_owned())),
            ("powerpc64le", v) => ("ppc64le".to_owned(), v.map(str::to_owned)),
            (other, v) => (other.to_owned(), v.map(str::to_owned)),
        };
        Self {
            os,
            architecture,
            variant,
        }
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let word = |part: &&str| {
            !part.is_empty()
                && part
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
        };
        let parts: Vec<&str> = text.split('/').collect();
        match parts.as_slice() {
            [os, architecture, rest @ ..] if rest.len() <= 1 && parts.iter().all(word) => Ok(Self {
                os: (*os).to_owned(),
                architecture: (*architecture).to_owned(),
                variant: rest.first().map(|v| (*v).to_owned()),
            }
            .normalized()),
            _ => Err(PlatformError(text.to_owned())),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

text_form!(Platform);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalises_as_containerd_does() {
        for (text, expected) in [
            ("linux/amd64", "linux/amd64"),
            ("linux/x86_64", "linux/amd64"),
            ("linux/amd64/v1", "linux/amd64"),
            ("Linux/aarch64", "linux/arm64/v8"),
            ("linux/arm64", "linux/arm64/v8"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/arm/6", "linux/arm/v6"),
            ("linux/armhf", "linux/arm/v7"),
        ] {
            assert_eq!(text.parse::<Platform>().unwrap().to_string(), expected, "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_platform() {
        for text in ["", "linux", "linux/", "linux/amd64/v1/x", "linux/am d64"] {
            assert!(text.parse::<Platform>().is_err(), "{text}");
        }
    }
}
