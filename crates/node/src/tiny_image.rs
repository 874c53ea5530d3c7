//! For tests: an EROFS image with one file, since this crate does not use the one that writes real ones.

const BLOCK: usize = 4096;

/// An image with one regular file in its root directory.
pub fn tiny_image(name: &str, content: &[u8]) -> Vec<u8> {
    // Superblock, inodes, directory, file.
    let mut image = vec![0; (3 + content.len().div_ceil(BLOCK)) * BLOCK];
    let blocks = u32::try_from(image.len() / BLOCK).unwrap();
    let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    put(1024, &0xE0F5_E1E2_u32.to_le_bytes());
    put(1024 + 12, &[12]);
    put(1024 + 14, &1_u16.to_le_bytes());
    put(1024 + 16, &2_u64.to_le_bytes());
    put(1024 + 36, &blocks.to_le_bytes());
    put(1024 + 40, &1_u32.to_le_bytes());
    let entries: [(u64, &str, u8); 3] = [(1, ".", 2), (1, "..", 2), (2, name, 1)];
    let mut names = 12 * entries.len();
    for (number, (node, name, kind)) in entries.iter().enumerate() {
        put(2 * BLOCK + 12 * number, &node.to_le_bytes());
        put(
            2 * BLOCK + 12 * number + 8,
            &u16::try_from(names).unwrap().to_le_bytes(),
        );
        put(2 * BLOCK + 12 * number + 10, &[*kind]);
        put(2 * BLOCK + names, name.as_bytes());
        names += name.len();
    }
    for (node, mode, links, size, block) in [
        (1, 0o40755_u16, 2_u16, names, 2_u32),
        (2, 0o100_644, 1, content.len(), 3),
    ] {
        let inode = BLOCK + 32 * node;
        put(inode + 4, &mode.to_le_bytes());
        put(inode + 6, &links.to_le_bytes());
        put(inode + 8, &u32::try_from(size).unwrap().to_le_bytes());
        put(inode + 16, &block.to_le_bytes());
        put(inode + 20, &u32::try_from(node).unwrap().to_le_bytes());
    }
    put(3 * BLOCK, content);
    image
}
