//! The checksums of the EBS direct APIs: SHA-256 of each block, and the LINEAR one over a snapshot's blocks.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use imagecache_blocks::BlockDigest;
use sha2::{Digest as _, Sha256};

/// A block's checksum as it travels: base64 of the 32 raw bytes.
pub(crate) fn block_checksum(digest: &BlockDigest) -> String {
    STANDARD.encode(digest.as_bytes())
}

/// The LINEAR aggregate: SHA-256 over the raw digests of the blocks that were put into a snapshot, by ascending index.
pub(crate) fn linear_checksum<'a>(ascending: impl IntoIterator<Item = &'a BlockDigest>) -> String {
    let mut hash = Sha256::new();
    ascending.into_iter().for_each(|digest| hash.update(digest.as_bytes()));
    STANDARD.encode(hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: usize = 524_288;

    /// Computed by hand from the rule above; the service's documentation prints none.
    #[test]
    fn vectors() {
        let zero = BlockDigest::of(&vec![0; BLOCK]);
        let one = BlockDigest::of(&vec![1; BLOCK]);
        let five = BlockDigest::of(&(0..=255).cycle().take(BLOCK).collect::<Vec<u8>>());
        for (name, found, expected) in [
            (
                "zeros",
                block_checksum(&zero),
                "B4VNL+8pega6gWheZgwzLeNtXRjVRpJ9MNqtbX/aFUE=",
            ),
            (
                "ones",
                block_checksum(&one),
                "M6FQvOsTwamSIx5ltPrRaBUhL8Bs20CJltMu6yzvnrs=",
            ),
            (
                "bytes",
                block_checksum(&five),
                "M7yKq0BwNnjD6+lNLdjyr/8oXdkB+SNOhB5GefggT9U=",
            ),
            (
                "three",
                linear_checksum([&zero, &one, &five]),
                "9fRvcReKlrAS69v68MSsIee7Gyc8r4IoooKMGndohvY=",
            ),
            (
                "one",
                linear_checksum([&zero]),
                "3QyamIjs9/uk1ge+ZPpwA6Yo7YmArJ8I121qDaF+DcI=",
            ),
        ] {
            assert_eq!(found, expected, "{name}");
        }
    }
}
