//! CRC-32C (Castagnoli) as EROFS uses it: no final inversion.

/// Castagnoli polynomial, bit-reversed.
const POLYNOMIAL: u32 = 0x82F6_3B78;

/// Feeds `bytes` into a running checksum; EROFS starts at `u32::MAX` and stores the result as it is.
pub(crate) fn update(mut crc: u32, bytes: &[u8]) -> u32 {
    // One superblock per image: a table would cost more than it saves.
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (POLYNOMIAL & (crc & 1).wrapping_neg());
        }
    }
    crc
}

#[cfg(test)]
mod tests {
    #[test]
    fn matches_the_published_check_value() {
        // RFC 3720 B.4 style check: CRC-32C of "123456789" is 0xE3069283 after the final inversion.
        assert_eq!(!super::update(u32::MAX, b"123456789"), 0xE306_9283);
    }
}
