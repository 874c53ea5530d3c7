//! Any bytes as a layer: a clear error, or an image that reads back whole with as many inodes as were counted.
#![no_main]

use std::io::Cursor;

use imagecache_erofs::reader::Image;
use imagecache_erofs::{LayerOptions, Limits, write_layer};
use libfuzzer_sys::fuzz_target;

/// Small enough that a sparse bomb costs milliseconds.
const MAX_IMAGE_BYTES: u64 = 4 << 20;

fuzz_target!(|input: &[u8]| {
    // Random bytes never hit a checksum, so every record that could be a header gets the right one.
    let mut tar = input.to_vec();
    for record in tar.chunks_exact_mut(512) {
        if record[257..262] == *b"ustar" {
            record[148..156].fill(b' ');
            let sum: u32 = record.iter().map(|byte| u32::from(*byte)).sum();
            record[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
    let limits = Limits { max_image_bytes: MAX_IMAGE_BYTES, max_header_bytes: 64 << 10, ..Limits::default() };
    let options = LayerOptions { uuid: [1; 16], limits };
    let mut image = Cursor::new(Vec::new());
    let Ok(summary) = write_layer(tar.as_slice(), &mut image, &options) else { return };
    let image = image.into_inner();
    assert_eq!(image.len() as u64, summary.image_bytes);
    let mut again = Cursor::new(Vec::new());
    write_layer(tar.as_slice(), &mut again, &options).expect("what worked once works again");
    assert!(again.into_inner() == image, "the same tar gave another image");
    let image = Image::open(image).expect("an image that was written opens");
    let mut inodes = std::collections::BTreeSet::new();
    image
        .walk(u64::MAX, |path, inode| {
            inodes.insert(inode.nid);
            let found = image.lookup(path)?.expect("every path that is listed is found");
            assert_eq!(found.nid, inode.nid);
            image.xattrs(inode)?;
            Ok(())
        })
        .expect("an image that was written is sound");
    assert_eq!(inodes.len() as u64, summary.inodes);
});
