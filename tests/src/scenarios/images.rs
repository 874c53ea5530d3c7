//! The images that scenarios use.

use std::io;

use tar::EntryType;

use crate::layer::{Attributes, Layer, noise};

/// Seconds with a fraction, as PAX has them.
const FRACTION: &[u8] = b"1700000001.123456789";

/// `security.capability` as the kernel takes it: version 2, effective, `cap_net_raw`.
const NET_RAW: [u8; 20] = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// A few ordinary files in one layer.
pub fn small() -> io::Result<Vec<Vec<u8>>> {
    let mut layer = Layer::new();
    layer.dir("etc")?.file("etc/hostname", b"e2e\n")?;
    layer.dir("usr")?.dir("usr/bin")?;
    layer.file_with("usr/bin/hello", b"#!/bin/sh\necho hello\n", &Attributes::executable())?;
    Ok(vec![layer.finish()?])
}

/// Layers that take a while: `count` of `mebibytes` each, which hardly pack; layers are the same for the same seed.
pub fn heavy(seed: u64, count: u64, mebibytes: usize) -> io::Result<Vec<Vec<u8>>> {
    let one = |number: u64| {
        let mut layer = Layer::new();
        layer.dir("data")?;
        for file in 0..4_u64 {
            let content = noise(seed * 1000 + number * 10 + file, (mebibytes << 20) / 4);
            layer.file(&format!("data/{number}-{file}"), &content)?;
        }
        layer.finish()
    };
    (0..count).map(one).collect()
}

/// Every kind of file, with every attribute that a layer may carry.
pub fn basic() -> io::Result<Vec<Vec<u8>>> {
    let file = Attributes::file;
    let mut layer = Layer::new();
    layer.dir("./")?;
    for dir in ["bin", "dev", "etc", "home", "tmp", "var", "var/lib"] {
        layer.dir(dir)?;
    }
    layer.entry(
        "sticky",
        EntryType::Directory,
        None,
        &[],
        &Attributes::executable().with_mode(0o1777),
    )?;
    layer.file("etc/empty", b"")?;
    layer.file("etc/one-block", &noise(1, 4096))?;
    layer.file("etc/one-more", &noise(2, 4097))?;
    layer.file("var/lib/large", &noise(3, 3 << 20))?;
    layer.file("var/lib/zeroes", &vec![0; 1 << 20])?;
    layer.file_with("bin/setuid", b"x", &file().with_mode(0o4755))?;
    layer.file_with("etc/shadow", b"secret", &file().with_mode(0o640).with_owner(0, 42))?;
    layer.file_with("home/large-ids", b"x", &file().with_owner(100_000, 2_000_000))?;
    layer.file_with("home/fraction", b"x", &file().with_pax("mtime", FRACTION))?;
    layer.file_with(
        "bin/ping",
        b"x",
        &Attributes::executable().with_xattr("security.capability", &NET_RAW),
    )?;
    layer.file_with(
        "home/attributes",
        b"x",
        &file().with_xattr("user.one", b"1").with_xattr("user.two", b"\0\xff"),
    )?;
    layer.entry(
        "home/attributes-dir",
        EntryType::Directory,
        None,
        &[],
        &Attributes::executable().with_xattr("user.dir", b"yes"),
    )?;
    layer
        .symlink("etc/link", "empty")?
        .symlink("etc/dangling", "../no/such")?
        .symlink("etc/absolute", "/bin/ping")?;
    layer.symlink("etc/long-link", &"very-long-target/".repeat(40))?;
    layer
        .hard_link("etc/hard", "etc/one-block")?
        .hard_link("bin/hard-too", "etc/one-block")?;
    layer.entry(
        "dev/null",
        EntryType::Char,
        None,
        &[],
        &file().with_mode(0o666).with_device(1, 3),
    )?;
    layer.entry(
        "dev/disk",
        EntryType::Block,
        None,
        &[],
        &file().with_mode(0o660).with_owner(0, 6).with_device(259, 7),
    )?;
    layer.entry("tmp/pipe", EntryType::Fifo, None, &[], &file())?;
    layer.file(&format!("tmp/{}", "n".repeat(255)), b"a name as long as names may be")?;
    let mut deep = "tmp".to_owned();
    for _ in 0..20 {
        deep.push_str("/directory-of-a-deep-path");
        layer.dir(&deep)?;
    }
    layer.file(&format!("{deep}/leaf"), b"a path as long as GNU and PAX names are for")?;
    layer.file("tmp/ünï ©ødé\u{1F980}", b"names are bytes")?;
    layer.dir("many")?;
    for number in 0..600 {
        layer.file(&format!("many/{number}"), number.to_string().as_bytes())?;
    }
    Ok(vec![layer.finish()?])
}

/// Upper layers that take away and replace.
pub fn whiteouts() -> io::Result<Vec<Vec<u8>>> {
    let mut low = Layer::new();
    low.dir("./")?;
    for dir in [
        "keep",
        "gone",
        "gone/deep",
        "opaque",
        "opaque/sub",
        "to-file",
        "to-link",
        "again",
    ] {
        low.dir(dir)?;
    }
    for file in [
        "keep/a",
        "keep/b",
        "gone/deep/x",
        "opaque/x",
        "opaque/sub/y",
        "to-file/x",
        "to-link/x",
        "again/x",
        "to-dir",
    ] {
        low.file(file, file.as_bytes())?;
    }
    let mut middle = Layer::new();
    middle
        .dir("./")?
        .dir("keep")?
        .whiteout("keep/a")?
        .whiteout("gone")?
        .whiteout("again")?;
    middle.dir("opaque")?.opaque("opaque")?.file("opaque/new", b"new")?;
    middle.whiteout("to-file")?.file("to-file", b"a file now")?;
    middle.whiteout("to-link")?.symlink("to-link", "keep")?;
    middle
        .whiteout("to-dir")?
        .dir("to-dir")?
        .file("to-dir/inside", b"inside")?;
    let mut top = Layer::new();
    top.dir("./")?.dir("again")?.file("again/y", b"back, and without x")?;
    top.dir("keep")?.file_with(
        "keep/b",
        b"changed",
        &Attributes::file().with_mode(0o600).with_owner(5, 6),
    )?;
    [low, middle, top].into_iter().map(Layer::finish).collect()
}

/// What only the layers below can explain: parents that they have, and directories that are links there.
pub fn cross_layer() -> io::Result<Vec<Vec<u8>>> {
    let owned = Attributes::executable()
        .with_mode(0o750)
        .with_owner(1000, 1001)
        .with_xattr("user.kept", b"yes");
    let mut low = Layer::new();
    low.dir("./")?.dir("usr")?.dir("usr/lib")?.symlink("lib", "usr/lib")?;
    low.entry("owned", EntryType::Directory, None, &[], &owned)?;
    low.entry(
        "owned/deeper",
        EntryType::Directory,
        None,
        &[],
        &owned.clone().with_mode(0o2770),
    )?;
    low.file("usr/lib/below", b"below")?;
    let mut middle = Layer::new();
    // No entries for the parents: they must come out as the layer below has them.
    middle.file("owned/deeper/file", b"the parents are implicit")?;
    middle.file("owned/new-dir/file", b"one parent is new")?;
    middle.file("lib/through-link", b"the parent is a link below")?;
    let mut top = Layer::new();
    top.file("owned/deeper/another", b"implicit again, two layers up")?;
    [low, middle, top].into_iter().map(Layer::finish).collect()
}

/// The directories of [`cross_layer`] that containerd makes by itself, at the time of the pull.
pub const MADE_BY_CONTAINERD: &[&str] = &["lib", "owned", "owned/deeper", "owned/new-dir"];

/// An upper layer that links to files which only the layer below has.
pub fn linked_below() -> io::Result<Vec<Vec<u8>>> {
    let mut low = Layer::new();
    low.dir("./")?.dir("data")?;
    low.file_with(
        "data/original",
        b"linked from above",
        &Attributes::file().with_mode(0o640).with_owner(7, 8),
    )?;
    low.file_with(
        "data/attributes",
        b"too",
        &Attributes::file().with_xattr("user.kept", b"yes"),
    )?;
    let mut top = Layer::new();
    top.dir("./")?.dir("data")?.dir("links")?;
    top.hard_link("links/one", "data/original")?
        .hard_link("links/two", "data/original")?;
    top.hard_link("data/beside", "data/attributes")?;
    [low, top].into_iter().map(Layer::finish).collect()
}
