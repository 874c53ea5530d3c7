//! Pieces of a spec that both dialects parse the same way.

use std::ops::RangeInclusive;

use imagecache_core::{CacheId, CacheSpec, ImageRef, MAX_IMAGES};

use crate::{InvalidSpec, SecretRef};

const GIB: u64 = 1 << 30;
/// Units of storage: those of Kubernetes that anybody would use for a disk.
const STORAGE_UNITS: [(&str, u64); 6] = [
    ("Gi", GIB),
    ("Mi", 1 << 20),
    ("Ti", 1 << 40),
    ("G", 1_000_000_000),
    ("M", 1_000_000),
    ("T", 1_000_000_000_000),
];

/// A spec for `images`, named `name`.
pub(crate) fn images(name: Option<&String>, images: &[String]) -> Result<CacheSpec, InvalidSpec> {
    if images.is_empty() {
        return Err(InvalidSpec::new("spec.images", "it names no images, give at least one"));
    }
    if images.len() > MAX_IMAGES {
        let message = format!("it names {} images, at most {MAX_IMAGES} are allowed", images.len());
        return Err(InvalidSpec::new("spec.images", message));
    }
    let parsed = images
        .iter()
        .enumerate()
        .map(|(index, text)| {
            ImageRef::parse(text).map_err(|error| InvalidSpec::new(format!("spec.images[{index}]"), error))
        })
        .collect::<Result<Vec<_>, _>>()?;
    let mut spec = CacheSpec::new(parsed);
    spec.display_name = name.cloned();
    Ok(spec)
}

/// `value` as a number of `range`.
pub(crate) fn in_range(field: &str, value: i64, range: &RangeInclusive<u32>) -> Result<u32, InvalidSpec> {
    u32::try_from(value)
        .ok()
        .filter(|number| range.contains(number))
        .ok_or_else(|| {
            let message = format!("`{value}` is outside {} to {}", range.start(), range.end());
            InvalidSpec::new(field, message)
        })
}

/// `text` as a number of `range`.
pub(crate) fn number(field: &str, text: &str, range: &RangeInclusive<u32>) -> Result<u32, InvalidSpec> {
    let value = text.trim().parse::<i64>().map_err(|_| {
        let message = format!(
            "`{text}` is not a whole number, write one from {} to {} in quotes",
            range.start(),
            range.end()
        );
        InvalidSpec::new(field, message)
    })?;
    in_range(field, value, range)
}

/// Pull secrets, each `namespace<separator>name`.
pub(crate) fn secrets(texts: Option<&[String]>, separator: char) -> Result<Vec<SecretRef>, InvalidSpec> {
    let texts = texts.unwrap_or_default();
    texts
        .iter()
        .enumerate()
        .map(|(index, text)| secret(index, text, separator))
        .collect()
}

fn secret(index: usize, text: &str, separator: char) -> Result<SecretRef, InvalidSpec> {
    text.split_once(separator)
        .filter(|(namespace, name)| is_name(namespace) && is_name(name))
        .map(|(namespace, name)| SecretRef {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        })
        .ok_or_else(|| {
            InvalidSpec::new(
                format!("spec.imagePullSecrets[{index}]"),
                format!("`{text}` is not a secret, write namespace{separator}name"),
            )
        })
}

/// Words separated by commas.
pub(crate) fn list(text: &str) -> Vec<String> {
    text.split(',')
        .map(str::trim)
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Hosts with optional ports, separated by commas.
pub(crate) fn hosts(field: &str, text: &str) -> Result<Vec<String>, InvalidSpec> {
    text.split(',')
        .map(str::trim)
        .filter(|host| !host.is_empty())
        .map(|host| {
            let plain = host
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':' | b'[' | b']'));
            let message = "is not a registry host, write host or host:port without a scheme";
            plain
                .then(|| host.to_owned())
                .ok_or_else(|| InvalidSpec::new(field, format!("`{host}` {message}")))
        })
        .collect()
}

/// Whether Kubernetes could have an object of this name.
fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.'))
}

/// The id of a cache, as it was written.
pub(crate) fn cache_id(field: &str, text: &str) -> Result<String, InvalidSpec> {
    match CacheId::from_vendor(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err(InvalidSpec::new(
            field,
            format!("`{text}` is not a cache id, write `imc-…` as the ImageCache's status shows it"),
        )),
    }
}

/// A quantity of storage, such as `20Gi`, in whole GiB, rounded down.
pub(crate) fn gib(field: &str, text: &str) -> Result<u32, InvalidSpec> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let bytes_per_unit = STORAGE_UNITS
        .iter()
        .find(|(name, _)| *name == unit.trim())
        .map(|(_, bytes)| *bytes);
    let bytes = match (number.parse::<u64>(), bytes_per_unit) {
        (Ok(number), Some(unit)) => Some(u128::from(number) * u128::from(unit)),
        _ => None,
    };
    let Some(bytes) = bytes else {
        let message = format!("`{text}` is not an amount of storage, write a whole number with its unit, such as 20Gi");
        return Err(InvalidSpec::new(field, message));
    };
    Ok(u32::try_from(bytes / u128::from(GIB)).unwrap_or(u32::MAX))
}
