//! What a user asks for.

use sha2::{Digest as _, Sha256};

use crate::{BuildOptions, Digest, Error, ErrorKind, ImageRef, Platform, RegistryCredential, Retention};

/// Most images in one cache (Alibaba, "Overview of image caches").
pub const MAX_IMAGES: usize = 20;
/// Size in GiB when none is asked for (both vendors' API pages).
pub const DEFAULT_SIZE_GIB: u32 = 20;
/// Smallest size in GiB that both vendors' CRDs document.
pub const MIN_SIZE_GIB: u32 = 20;
/// Largest size in GiB that Alibaba's CRD documents.
pub const MAX_SIZE_GIB: u32 = 32_768;

/// An image cache as asked for: some images and how to keep them. New options become new fields here, not new arguments.
///
/// Two specs with the same [`digest`](Self::digest) ask for the same content; credentials are not part of it, so that a
/// rotated password does not rebuild anything.
#[derive(Clone, Debug, PartialEq)]
pub struct CacheSpec {
    /// A name for people; not unique, shown only.
    pub display_name: Option<String>,
    /// The images, at least one, in the order given.
    pub images: Vec<ImageRef>,
    /// Size of the cache in GiB: the most that its volume may take.
    pub size_gib: u32,
    /// How long the cache is kept.
    pub retention: Retention,
    /// Platform to choose from multi-platform images; `None` is the provider's default.
    pub platform: Option<Platform>,
    /// Registry credentials, most specific server first.
    pub credentials: Vec<RegistryCredential>,
    /// Registries (host and optional port) to reach over plain HTTP.
    pub plain_http_registries: Vec<String>,
    /// Registries (host and optional port) whose certificate is not checked.
    pub insecure_registries: Vec<String>,
    /// How a cloud is asked to build it.
    pub options: BuildOptions,
}

impl CacheSpec {
    /// A spec for `images` with every option at its default.
    pub fn new(images: Vec<ImageRef>) -> Self {
        Self {
            display_name: None,
            images,
            size_gib: DEFAULT_SIZE_GIB,
            retention: Retention::Forever,
            platform: None,
            credentials: Vec::new(),
            plain_http_registries: Vec::new(),
            insecure_registries: Vec::new(),
            options: BuildOptions::default(),
        }
    }

    /// Checks the limits that hold for every provider.
    ///
    /// # Errors
    ///
    /// `InvalidSpec`, naming the field, the value and the range.
    pub fn validate(&self, provider: &'static str) -> Result<(), Error> {
        let invalid = |message: String| Err(Error::new(ErrorKind::InvalidSpec, provider, "validate", message));
        if self.images.is_empty() {
            return invalid("the spec names no images, give at least one".to_owned());
        }
        if self.images.len() > MAX_IMAGES {
            return invalid(format!(
                "the spec names {} images, at most {MAX_IMAGES} are allowed",
                self.images.len()
            ));
        }
        if !(1..=MAX_SIZE_GIB).contains(&self.size_gib) {
            return invalid(format!(
                "the size of {} GiB is outside 1 to {MAX_SIZE_GIB}",
                self.size_gib
            ));
        }
        if let Some(days) = self.retention.days().filter(|days| *days > crate::MAX_RETENTION_DAYS) {
            return invalid(format!(
                "the retention of {days} days is above {}",
                crate::MAX_RETENTION_DAYS
            ));
        }
        Ok(())
    }

    /// SHA-256 over everything that decides what is built and kept, credentials and display name excluded.
    pub fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        // Each field is its name, a count and length-prefixed values: no two specs share an encoding.
        let mut field = |name: &str, values: &[String]| {
            for part in [name.to_owned(), values.len().to_string()].iter().chain(values) {
                hash.update(part.len().to_be_bytes());
                hash.update(part);
            }
        };
        field("images", &strings(&self.images));
        field("size", &[self.size_gib.to_string()]);
        field("retention", &strings(self.retention.days().as_slice()));
        field("platform", &strings(self.platform.as_slice()));
        field("plain-http", &self.plain_http_registries);
        field("insecure", &self.insecure_registries);
        for (name, values) in self.options.fields() {
            field(name, &values);
        }
        hash.finalize().into()
    }

    /// [`digest`](Self::digest) in OCI form, for records and status.
    pub fn content_digest(&self) -> Digest {
        Digest::from_sha256(self.digest())
    }
}

fn strings<T: ToString>(values: &[T]) -> Vec<String> {
    values.iter().map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Secret;

    fn spec() -> CacheSpec {
        CacheSpec::new(vec![ImageRef::parse("nginx").unwrap()])
    }

    #[test]
    fn digest_covers_content_and_nothing_else() {
        let base = spec().digest();
        let change = |edit: fn(&mut CacheSpec)| {
            let mut changed = spec();
            edit(&mut changed);
            changed.digest()
        };
        for (name, digest) in [
            (
                "image",
                change(|s| s.images = vec![ImageRef::parse("nginx:1").unwrap()]),
            ),
            (
                "second image",
                change(|s| s.images.push(ImageRef::parse("redis").unwrap())),
            ),
            ("size", change(|s| s.size_gib = 30)),
            ("retention", change(|s| s.retention = Retention::Days(1))),
            ("platform", change(|s| s.platform = Some(Platform::linux("arm64")))),
            ("plain http", change(|s| s.plain_http_registries = vec!["a".into()])),
            ("insecure", change(|s| s.insecure_registries = vec!["a".into()])),
            ("an option", change(|s| s.options.flash = Some(true))),
        ] {
            assert_ne!(digest, base, "{name} must change the digest");
        }
        assert_eq!(change(|s| s.display_name = Some("x".into())), base);
        let credential = RegistryCredential {
            server: "a".into(),
            username: "b".into(),
            password: Secret::new("c".into()),
        };
        let mut with_credential = spec();
        with_credential.credentials = vec![credential];
        assert_eq!(with_credential.digest(), base);
    }

    #[test]
    fn limits_are_named() {
        for (name, edit, part) in [
            ("no images", (|s| s.images.clear()) as fn(&mut CacheSpec), "no images"),
            (
                "too many",
                |s| s.images = vec![ImageRef::parse("a").unwrap(); 21],
                "21 images",
            ),
            ("size 0", |s| s.size_gib = 0, "0 GiB"),
            ("huge", |s| s.size_gib = 32_769, "32769 GiB"),
            ("retention", |s| s.retention = Retention::Days(65_537), "65537 days"),
        ] {
            let mut bad = spec();
            edit(&mut bad);
            let error = bad.validate("test").expect_err(name);
            assert_eq!(error.kind(), ErrorKind::InvalidSpec, "{name}");
            assert!(error.message().contains(part), "{name}: {error}");
        }
        assert!(spec().validate("test").is_ok());
    }
}
