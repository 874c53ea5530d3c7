//! Any text as an image reference: what parses prints as something that parses to the same.
#![no_main]

use imagecache_core::ImageRef;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(reference) = ImageRef::parse(text) {
        let printed = reference.to_string();
        assert_eq!(ImageRef::parse(&printed).ok(), Some(reference), "{printed}");
    }
});
