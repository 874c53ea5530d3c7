//! Which manifest of an index fits a platform.

use imagecache_core::{Error, ErrorKind, Platform};

use crate::error::fail;
use crate::manifest::IndexEntry;

/// Picks the best entry for `wanted`, by containerd's rules: an exact variant first, then the nearest older one that the
/// CPU also runs (`arm/v7` runs `v6` and `v5`, `arm64/v9` runs `v8`, `amd64/v3` runs `v2` and the baseline).
///
/// An index with exactly one entry that names no platform is taken as it is; its config decides later.
/// Errors: `NotFound` listing the platforms that there are.
pub fn select<'a>(entries: &'a [IndexEntry], wanted: &Platform, what: &str) -> Result<&'a IndexEntry, Error> {
    let wanted = wanted.normalized();
    for candidate in candidates(&wanted) {
        if let Some(found) = entries.iter().find(|entry| entry.platform.as_ref() == Some(&candidate)) {
            return Ok(found);
        }
    }
    if let [only] = entries
        && only.platform.is_none()
    {
        return Ok(only);
    }
    let mut have: Vec<String> = entries
        .iter()
        .filter_map(|entry| entry.platform.as_ref())
        // Attestations are listed as `unknown/unknown`.
        .filter(|platform| platform.os != "unknown")
        .map(ToString::to_string)
        .collect();
    have.sort();
    have.dedup();
    let have = if have.is_empty() {
        "none".to_owned()
    } else {
        have.join(", ")
    };
    Err(fail(
        ErrorKind::NotFound,
        "resolve",
        format!("{what} has no platform {wanted}; it has: {have}"),
    ))
}

/// Whether an image built for `image` runs on `wanted`.
pub fn runs_on(image: &Platform, wanted: &Platform) -> bool {
    candidates(&wanted.normalized()).contains(&image.normalized())
}

/// Platforms that `wanted` can run, best first.
fn candidates(wanted: &Platform) -> Vec<Platform> {
    /// No CPU family has more variants; a larger number is nonsense that must not be counted down from.
    const MAX_LEVEL: u32 = 16;
    let number = |text: &str| {
        text.trim_start_matches('v')
            .split('.')
            .next()
            .and_then(|n| n.parse::<u32>().ok())
            .filter(|n| *n <= MAX_LEVEL)
    };
    let with = |variant: Option<String>| {
        Platform {
            variant,
            ..wanted.clone()
        }
        .normalized()
    };
    let mut list = vec![wanted.clone()];
    let level = wanted.variant.as_deref().and_then(number);
    match (wanted.architecture.as_str(), level) {
        ("arm", Some(level)) => list.extend((5..level).rev().map(|v| with(Some(format!("v{v}"))))),
        ("arm64", Some(level)) => list.extend((8..level).rev().map(|v| with(Some(format!("v{v}"))))),
        ("amd64", Some(level)) => list.extend((1..level).rev().map(|v| with(Some(format!("v{v}"))))),
        _ => {}
    }
    list
}

#[cfg(test)]
mod tests {
    use imagecache_core::Digest;

    use super::*;
    use crate::manifest::Descriptor;

    fn index(platforms: &[&str]) -> Vec<IndexEntry> {
        platforms
            .iter()
            .map(|text| IndexEntry {
                descriptor: Descriptor {
                    media_type: String::new(),
                    digest: Digest::sha256_of(text.as_bytes()),
                    size: 0,
                },
                platform: (!text.is_empty()).then(|| text.parse().unwrap()),
                ref_name: None,
                image_name: None,
            })
            .collect()
    }

    #[test]
    fn picks_the_nearest_variant() {
        for (wanted, have, expected) in [
            ("linux/amd64", vec!["linux/arm64", "linux/amd64"], Some("linux/amd64")),
            ("linux/arm64", vec!["linux/arm64"], Some("linux/arm64/v8")),
            ("linux/arm64/v8", vec!["linux/arm64"], Some("linux/arm64/v8")),
            ("linux/arm64/v9", vec!["linux/arm64/v8"], Some("linux/arm64/v8")),
            (
                "linux/arm/v7",
                vec!["linux/arm/v5", "linux/arm/v6"],
                Some("linux/arm/v6"),
            ),
            ("linux/arm/v6", vec!["linux/arm/v7"], None),
            ("linux/amd64/v3", vec!["linux/amd64"], Some("linux/amd64")),
            ("linux/amd64", vec!["linux/amd64/v3"], None),
            ("linux/s390x", vec!["linux/amd64"], None),
        ] {
            let entries = index(&have);
            let found = select(&entries, &wanted.parse().unwrap(), "`x`");
            let found = found
                .ok()
                .and_then(|entry| entry.platform.as_ref())
                .map(ToString::to_string);
            assert_eq!(found.as_deref(), expected, "{wanted} of {have:?}");
        }
    }

    #[test]
    fn lists_what_there_is() {
        let entries = index(&["linux/arm64", "unknown/unknown", "linux/amd64"]);
        let error = select(&entries, &"linux/s390x".parse().unwrap(), "`x`").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert_eq!(
            error.message(),
            "`x` has no platform linux/s390x; it has: linux/amd64, linux/arm64/v8"
        );
    }
}
