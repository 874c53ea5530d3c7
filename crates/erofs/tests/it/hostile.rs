//! Layers that try to escape, to exhaust, or that are simply broken: each gets one clear error.

use imagecache_erofs::Limits;

use crate::support::{TarBuilder, layer, layer_with, options};

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
