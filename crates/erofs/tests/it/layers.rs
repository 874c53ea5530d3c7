//! Layer semantics, table by table.

use crate::support::{TarBuilder, dump, layer};

#[test]
fn a_small_layer_reads_back() {
    let tar = TarBuilder::default()
        .dir("etc/")
        .file("etc/hosts", b"127.0.0.1 localhost\n")
        .symlink("lib", "usr/lib")
        .dir("usr/")
        .dir("usr/lib")
        .file("lib/libc.so", b"through the link")
        .link("usr/hard", "etc/hosts")
        .end();
    let (image, summary) = layer(&tar).expect("a good layer");
    assert_eq!(
        dump(&image),
        "d 0755 0:0 n4 0.000000000 /\n\
         d 0755 0:0 n2 10.000000000 etc\n\
         l 0777 0:0 n1 10.000000000 lib -> usr/lib\n\
         d 0755 0:0 n3 10.000000000 usr\n\
         - 0644 0:0 n2 10.000000000 etc/hosts \"127.0.0.1 localhost\\n\"\n\
         - 0644 0:0 n2 10.000000000 usr/hard \"127.0.0.1 localhost\\n\"\n\
         d 0755 0:0 n2 10.000000000 usr/lib\n\
         - 0644 0:0 n1 10.000000000 usr/lib/libc.so \"through the link\"\n"
    );
    assert_eq!(summary.implicit_directories, [b"".to_vec()]);
}
