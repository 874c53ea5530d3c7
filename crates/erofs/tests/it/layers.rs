//! Layer semantics, table by table: what containerd does on an upper directory, and where the image spec is better.

use imagecache_erofs::{ExternalLink, Limits};
use sha2::{Digest as _, Sha256};

use crate::support::{TarBuilder, dump, layer, layer_with, options};

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
fn hostile_layers_are_refused_with_the_name_of_the_entry() {
    let new = TarBuilder::default;
    let deep = vec!["d"; 10_000].join("/");
    let loops = new().symlink("a", "b").symlink("b", "a").file("a/f", b"1");
    let grows = new()
        .symlink("a", "a/bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb")
        .file("a/f", b"1");
    let mut bad_sum = TarBuilder::header(b'0', b"sum", b"", 0, 0o644);
    bad_sum[0] = b'x';
    let with = |at: usize, bytes: &[u8]| {
        let mut header = TarBuilder::header(b'0', b"field", b"", 0, 0o644);
        header[at..at + bytes.len()].copy_from_slice(bytes);
        TarBuilder::seal(&mut header);
        header
    };
    let pax = |body: &[u8]| {
        new()
            .raw(TarBuilder::header(b'x', b"p", b"", body.len() as u64, 0o644), body)
            .file("after", b"")
    };
    let rows: Vec<(&str, Vec<u8>, &str)> = vec![
        ("a path of 10,000 levels", new().file(&deep, b"1").end(), "path bytes"),
        ("a link loop", loops.end(), "too many symbolic links"),
        ("a link that grows", grows.end(), "path bytes"),
        (
            "a file as a parent",
            new().file("f", b"1").file("f/x", b"2").end(),
            "not a directory",
        ),
        (
            "a file as a grandparent",
            new().file("f", b"1").file("f/x/y", b"2").end(),
            "used as a directory",
        ),
        (
            "a name of 256 bytes",
            new().file(&"n".repeat(256), b"").end(),
            "file name bytes",
        ),
        (
            "a symlink without target",
            new().symlink("l", "").end(),
            "symlink target",
        ),
        ("a hard link to itself", new().link("l", "l").end(), "itself"),
        (
            "a hard link to a directory",
            new().dir("d").link("l", "d").end(),
            "hard link to a directory",
        ),
        ("a hard link to the root", new().link("l", "../..").end(), "root"),
        (
            "an unknown type",
            new().entry(b'V', "label", "", b"").end(),
            "tar type 'V'",
        ),
        (
            "a whiteout of nothing",
            new().file(".wh.", b"").end(),
            "without a file name",
        ),
        (
            "a whiteout of the parent",
            new().file("a/.wh...", b"").end(),
            "without a file name",
        ),
        ("a wrong checksum", new().raw(bad_sum, b"").end(), "checksum"),
        ("not a tar", vec![b'A'; 2048], "checksum"),
        (
            "cut off in a header",
            new().file("a", b"1").0[..700].to_vec(),
            "cut off",
        ),
        (
            "cut off in the data",
            new().file("a", &[1; 9000]).0[..2000].to_vec(),
            "cut off",
        ),
        (
            "a lone zero record",
            {
                let mut tar = vec![0; 512];
                tar.extend(new().file("a", b"").0);
                tar
            },
            "zero record",
        ),
        (
            "a negative size",
            new().raw(with(124, &[0xff; 12]), b"").end(),
            "negative",
        ),
        (
            "an absurd size",
            new()
                .raw(
                    with(124, &[0x80, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
                    b"",
                )
                .end(),
            "image bytes",
        ),
        (
            "a size that is no number",
            new().raw(with(124, b"0000009zzzz\0"), b"").end(),
            "octal",
        ),
        (
            "a huge uid",
            new().raw(with(108, &[0x80, 0, 0, 1, 0, 0, 0, 0]), b"").end(),
            "uid 4294967296",
        ),
        (
            "the uid that means nobody",
            new()
                .raw(with(108, &[0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]), b"")
                .end(),
            "uid 4294967295",
        ),
        ("a PAX record too long", pax(b"99 path=x\n").end(), "claims 99 bytes"),
        ("a PAX record without end", pax(b"9 path=xy").end(), "newline"),
        ("a PAX path with NUL", pax(b"12 path=a\0b\n").end(), "NUL"),
        ("a PAX size that is no number", pax(b"10 size=z\n").end(), "decimal"),
        (
            "a huge PAX header",
            new()
                .raw(TarBuilder::header(b'x', b"p", b"", 2 << 20, 0), &vec![b'1'; 2 << 20])
                .end(),
            "extended header bytes",
        ),
        (
            "a sparse file beyond its size",
            new()
                .pax(&[("GNU.sparse.size", b"10"), ("GNU.sparse.map", b"5,8")])
                .file("s", b"12345678")
                .end(),
            "beyond the file",
        ),
        (
            "a sparse file with too little data",
            new()
                .pax(&[("GNU.sparse.size", b"100"), ("GNU.sparse.map", b"5,8")])
                .file("s", b"1234")
                .end(),
            "bytes of data",
        ),
        (
            "overlapping sparse parts",
            new()
                .pax(&[("GNU.sparse.size", b"100"), ("GNU.sparse.map", b"5,4,6,4")])
                .file("s", b"12345678")
                .end(),
            "overlap",
        ),
        (
            "a sparse bomb",
            new()
                .pax(&[("GNU.sparse.size", b"9000000000000000000"), ("GNU.sparse.map", b"0,1")])
                .file("s", b"1")
                .end(),
            "image bytes",
        ),
        (
            "extensions without end",
            {
                let mut tar = new();
                for _ in 0..100 {
                    tar = tar.pax(&[("comment", b"x")]);
                }
                tar.end()
            },
            "extended headers in a row",
        ),
        (
            "an xattr that does not fit",
            new()
                .pax(&[("SCHILY.xattr.user.a", &vec![1; 65_536])])
                .file("f", b"")
                .end(),
            "xattr value bytes",
        ),
        (
            "xattrs that do not fit",
            {
                let value = vec![1; 60_000];
                new()
                    .pax(&[
                        ("SCHILY.xattr.user.a", &value),
                        ("SCHILY.xattr.user.b", &value),
                        ("SCHILY.xattr.user.c", &value),
                    ])
                    .file("f", b"")
                    .end()
            },
            "xattr bytes",
        ),
    ];
    for (name, tar, expected) in rows {
        match layer(&tar) {
            Ok(_) => panic!("{name}: was accepted"),
            Err(error) => assert!(error.to_string().contains(expected), "{name}: {error}"),
        }
    }
}

#[test]
fn limits_hold() {
    let tar = TarBuilder::default()
        .file("a", &[1; 9000])
        .file("b/c/d", &[2; 9000])
        .file("e", b"")
        .end();
    let base = Limits::default();
    let rows: &[(&str, Limits, &str)] = &[
        (
            "image",
            Limits {
                max_image_bytes: 20_000,
                ..base.clone()
            },
            "image bytes of \"b/c/d\"",
        ),
        (
            "image with metadata",
            Limits {
                max_image_bytes: 7 * 4096,
                ..base.clone()
            },
            "image bytes of \"\"",
        ),
        (
            "entries",
            Limits {
                max_entries: 2,
                ..base.clone()
            },
            "entries of \"e\"",
        ),
        (
            "path",
            Limits {
                max_path_bytes: 4,
                ..base.clone()
            },
            "path bytes of \"b/c/d\"",
        ),
        (
            "depth",
            Limits {
                max_depth: 2,
                ..base.clone()
            },
            "directory levels of \"b/c/d\"",
        ),
        (
            "metadata",
            Limits {
                max_metadata_bytes: 2,
                ..base
            },
            "metadata bytes of \"b/c/d\"",
        ),
    ];
    for (name, limits, expected) in rows {
        let mut options = options();
        options.limits = limits.clone();
        match layer_with(&tar, &options) {
            Ok(_) => panic!("{name}: was accepted"),
            Err(error) => assert!(error.to_string().contains(expected), "{name}: {error}"),
        }
    }
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
