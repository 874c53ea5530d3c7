//! Layer semantics, table by table: what containerd does on an upper directory, and where the image spec is better.

use imagecache_erofs::ExternalLink;
use sha2::{Digest as _, Sha256};

use crate::support::{TarBuilder, dump, layer};

/// The dump without owner and times, and without the root: `kind mode links path rest`.
fn shape(image: &[u8]) -> Vec<String> {
    let keep = |line: &str| {
        let fields: Vec<&str> = line.splitn(6, ' ').collect();
        format!("{} {} {} {}", fields[0], fields[1], fields[3], fields[5])
    };
    dump(image).lines().skip(1).map(keep).collect()
}

#[test]
fn a_small_layer_reads_back() {
    let tar = sample();
    let (image, summary) = layer(&tar).expect("a good layer");
    assert_eq!(
        dump(&image),
        "d 0755 0:0 n5 0.000000000 /\n\
         c 0000 0:0 n1 10.000000000 deleted 0:0\n\
         d 0755 0:0 n2 10.000000000 etc\n\
         d 0755 0:0 n2 0.000000000 implicit\n\
         l 0777 0:0 n1 10.000000000 lib -> usr/lib\n\
         d 0755 0:0 n3 10.000000000 usr\n\
         - 0644 0:0 n2 10.000000000 etc/hosts \"127.0.0.1 localhost\\n\" user.note=\"\\0\\n=\"\n\
         - 0644 0:0 n1 10.000000000 implicit/file \"x\"\n\
         - 0644 0:0 n2 10.000000000 usr/hard \"127.0.0.1 localhost\\n\" user.note=\"\\0\\n=\"\n\
         d 0755 0:0 n2 10.000000000 usr/lib trusted.overlay.opaque=\"y\"\n\
         - 0644 0:0 n1 10.000000000 usr/lib/libc.so 5000 bytes\n"
    );
    assert_eq!(summary.implicit_directories, [b"".to_vec(), b"implicit".to_vec()]);
    assert_eq!(summary.external_links, []);
    assert_eq!(summary.inodes, 10);
}

fn sample() -> Vec<u8> {
    TarBuilder::default()
        .dir("etc/")
        .pax(&[
            ("SCHILY.xattr.user.note", b"\0\n="),
            ("SCHILY.xattr.trusted.overlay.redirect", b"/etc/shadow"),
        ])
        .file("etc/hosts", b"127.0.0.1 localhost\n")
        .symlink("lib", "usr/lib")
        .dir("usr/")
        .dir("usr/lib")
        .file("usr/lib/.wh..wh..opq", b"")
        .file("lib/libc.so", &[7; 5000])
        .link("usr/hard", "etc/hosts")
        .file(".wh.deleted", b"")
        .file("implicit/file", b"x")
        .end()
}

#[test]
fn the_same_layer_is_the_same_image_everywhere() {
    let (first, _) = layer(&sample()).expect("layer");
    let (second, _) = layer(&sample()).expect("layer");
    assert!(first == second, "two runs differ");
    // A change here means that every layer image in every store gets other bytes: block lists no longer match.
    let digest: String = Sha256::digest(&first)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(digest, PINNED);
}

const PINNED: &str = "7821426c89513e28285f7543c703a0f5aab17eef37c40cbd25cec06709b68ebc";

#[test]
fn entries_become_what_containerd_makes_of_them() {
    let new = TarBuilder::default;
    let rows: Vec<(&str, TarBuilder, Vec<&str>)> = vec![
        (
            "parent references and absolute paths stay inside",
            new().file("../../a", b"1").file("/b", b"2"),
            vec!["- 0644 n1 a \"1\"", "- 0644 n1 b \"2\""],
        ),
        (
            "names are cleaned",
            new().file("./x//y/../z", b"1"),
            vec!["d 0755 n2 x", "- 0644 n1 x/z \"1\""],
        ),
        (
            "a later file wins",
            new().file("a", b"1").file("a", b"two"),
            vec!["- 0644 n1 a \"two\""],
        ),
        (
            "a file becomes a directory",
            new().file("a", b"1").dir("a").file("a/b", b"2"),
            vec!["d 0755 n2 a", "- 0644 n1 a/b \"2\""],
        ),
        (
            "a directory becomes a file",
            new().dir("a").file("a/b/c", b"1").file("a", b"2"),
            vec!["- 0644 n1 a \"2\""],
        ),
        (
            "directories merge",
            new().dir("a").file("a/b", b"1").dir("a"),
            vec!["d 0755 n2 a", "- 0644 n1 a/b \"1\""],
        ),
        (
            "a symlinked parent is followed",
            new().symlink("l", "d").dir("d").file("l/f", b"1"),
            vec!["d 0755 n2 d", "l 0777 n1 l -> d", "- 0644 n1 d/f \"1\""],
        ),
        (
            "an absolute link is bounded to the root",
            new().symlink("l", "/d").file("l/f", b"1"),
            vec!["d 0755 n2 d", "l 0777 n1 l -> /d", "- 0644 n1 d/f \"1\""],
        ),
        (
            "a link cannot leave",
            new().dir("s").symlink("s/l", "../../../../t").file("s/l/f", b"1"),
            vec![
                "d 0755 n2 s",
                "d 0755 n2 t",
                "l 0777 n1 s/l -> ../../../../t",
                "- 0644 n1 t/f \"1\"",
            ],
        ),
        (
            "links to links",
            new().symlink("a", "b").symlink("b", "c").dir("c").file("a/f", b"1"),
            vec![
                "l 0777 n1 a -> b",
                "l 0777 n1 b -> c",
                "d 0755 n2 c",
                "- 0644 n1 c/f \"1\"",
            ],
        ),
        (
            "the last name is not followed",
            new().symlink("l", "d").dir("d").file("l", b"1"),
            vec!["d 0755 n2 d", "- 0644 n1 l \"1\""],
        ),
        (
            "a hard link to a symlink",
            new().symlink("l", "x").link("m", "l"),
            vec!["l 0777 n2 l -> x", "l 0777 n2 m -> x"],
        ),
        (
            "a hard link through a symlink",
            new().dir("d").file("d/f", b"1").symlink("l", "d").link("m", "l/f"),
            vec![
                "d 0755 n2 d",
                "l 0777 n1 l -> d",
                "- 0644 n2 m \"1\"",
                "- 0644 n2 d/f \"1\"",
            ],
        ),
        (
            "the first name of a link goes",
            new().file("a", b"1").link("b", "a").file("a", b"2"),
            vec!["- 0644 n1 a \"2\"", "- 0644 n1 b \"1\""],
        ),
        (
            "a whiteout",
            new().file("d/.wh.f", b""),
            vec!["d 0755 n2 d", "c 0000 n1 d/f 0:0"],
        ),
        (
            "a whiteout, then a file",
            new().file(".wh.f", b"").file("f", b"1"),
            vec!["- 0644 n1 f \"1\""],
        ),
        (
            "a file, then its whiteout",
            new().file("f", b"1").file(".wh.f", b""),
            vec!["- 0644 n1 f \"1\""],
        ),
        (
            "a whiteout, then a directory",
            new().file(".wh.d", b"").dir("d"),
            vec!["d 0755 n2 d trusted.overlay.opaque=\"y\""],
        ),
        (
            "a directory, then its whiteout",
            new().dir("d").file(".wh.d", b""),
            vec!["d 0755 n2 d trusted.overlay.opaque=\"y\""],
        ),
        (
            "a whiteout, then something below",
            new().file(".wh.d", b"").file("d/f", b"1"),
            vec!["d 0755 n2 d trusted.overlay.opaque=\"y\"", "- 0644 n1 d/f \"1\""],
        ),
        (
            "opaque after content",
            new().dir("d").file("d/f", b"1").file("d/.wh..wh..opq", b""),
            vec!["d 0755 n2 d trusted.overlay.opaque=\"y\"", "- 0644 n1 d/f \"1\""],
        ),
        (
            "AUFS metadata is no content",
            new()
                .dir(".wh..wh.plnk")
                .file(".wh..wh.plnk/1.2", b"1")
                .file(".wh..wh.aufs", b""),
            vec![],
        ),
        (
            "an old directory is a name with a slash",
            new().entry(0, "old/", "", b"").entry(0, "plain", "", b"1"),
            vec!["d 0644 n2 old", "- 0644 n1 plain \"1\""],
        ),
        (
            "a contiguous file",
            new().entry(b'7', "c", "", b"1"),
            vec!["- 0644 n1 c \"1\""],
        ),
        (
            "user xattrs only where Linux has them",
            new()
                .pax(&[
                    ("SCHILY.xattr.user.a", b"1"),
                    ("SCHILY.xattr.odd.b", b"2"),
                    ("SCHILY.xattr.security.c", b"3"),
                ])
                .symlink("l", "x"),
            vec!["l 0777 n1 l -> x security.c=\"3\""],
        ),
        (
            "xattrs of a repeated directory add up",
            new()
                .pax(&[("SCHILY.xattr.user.a", b"1"), ("SCHILY.xattr.user.b", b"1")])
                .dir("d")
                .pax(&[("SCHILY.xattr.user.b", b"2")])
                .dir("d"),
            vec!["d 0755 n2 d user.a=\"1\" user.b=\"2\""],
        ),
        (
            "a global header changes nothing",
            {
                let mut tar = new();
                let body = b"13 path=evil\n";
                tar = tar.raw(TarBuilder::header(b'g', b"g", b"", body.len() as u64, 0), body);
                tar.file("f", b"1")
            },
            vec!["- 0644 n1 f \"1\""],
        ),
    ];
    for (name, tar, expected) in rows {
        let (image, _) = layer(&tar.end()).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(shape(&image), expected, "{name}");
    }
}

#[test]
fn what_lower_layers_must_supply_is_listed() {
    let tar = TarBuilder::default()
        .dir("./")
        .file("a/b/c", b"1")
        .dir("a/b")
        .link("x", "lower/file")
        .link("y", "x")
        .link("dropped", "lower/other")
        .file("dropped", b"2")
        .dir("gone")
        .link("gone/z", "lower/third")
        .file("gone", b"3")
        .file(".wh.new", b"")
        .file("new/f", b"4")
        .end();
    let (_, summary) = layer(&tar).expect("layer");
    assert_eq!(summary.implicit_directories, [b"a".to_vec()]);
    let link = |path: &str| ExternalLink {
        path: path.into(),
        target: b"lower/file".to_vec(),
    };
    assert_eq!(summary.external_links, [link("x"), link("y")]);
    assert!(!summary.root_is_opaque);
    let (_, summary) = layer(&TarBuilder::default().file(".wh..wh..opq", b"").end()).expect("layer");
    assert!(summary.root_is_opaque);
}

#[test]
fn trailing_bytes_are_read_for_whoever_hashes_them() {
    let mut tar = TarBuilder::default().file("a", b"1").end();
    let (expected, _) = layer(&tar).expect("layer");
    tar.extend_from_slice(&vec![0; 300_000]);
    tar.extend_from_slice(b"garbage");
    // `layer` asserts that the summary counts every byte.
    let (image, _) = layer(&tar).expect("layer");
    assert!(image == expected, "trailing bytes change nothing");
    let (empty, _) = layer(b"").expect("an empty stream is an empty layer");
    assert_eq!(dump(&empty), "d 0755 0:0 n2 0.000000000 /\n");
}
