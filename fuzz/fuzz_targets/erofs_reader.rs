//! Any bytes as an image: errors, but no panic, no endless loop, no large allocation.
#![no_main]

use std::io::Read as _;

use imagecache_erofs::FileType;
use imagecache_erofs::reader::Image;
use libfuzzer_sys::fuzz_target;

/// Names looked at in one image.
const MAX_ENTRIES: u64 = 2_000;
/// Bytes read of one file.
const MAX_READ: u64 = 64 << 10;

fuzz_target!(|input: &[u8]| {
    let mut image = input.to_vec();
    if image.len() >= 4096 {
        // Magic, block size and checksum flag are given, so that the fuzzer spends its time behind them.
        image[1024..1028].copy_from_slice(&0xE0F5_E1E2_u32.to_le_bytes());
        image[1032..1036].fill(0);
        image[1036] = 12;
        image[1104..1108].fill(0);
        image[1114] = 0;
    }
    let Ok(image) = Image::open(image) else { return };
    let _ = image.walk(MAX_ENTRIES, |path, inode| {
        let _ = image.xattrs(inode);
        let _ = image.lookup(path);
        let _ = image.resolve(path);
        match inode.file_type {
            FileType::Symlink => drop(image.read_link(inode)),
            FileType::Regular => {
                let _ = image.file(inode).take(MAX_READ).read_to_end(&mut Vec::new());
            }
            _ => {}
        }
        Ok(())
    });
});
