//! Patch images: what a layer takes over from below.

use std::io::{Cursor, Empty, empty};

use imagecache_erofs::{Attributes, Kind, PatchContent, PatchFile, PatchOptions, Xattr, write_patch};

use crate::support::dump;

fn attributes(mode: u16) -> Attributes {
    let xattrs = vec![Xattr {
        name: b"user.a".to_vec(),
        value: b"1".to_vec(),
    }];
    Attributes {
        uid: 7,
        gid: 8,
        mtime_seconds: -2,
        mtime_nanoseconds: 5,
        xattrs,
        ..Attributes::with_mode(mode)
    }
}

#[test]
fn a_patch_holds_directories_and_linked_files() {
    let directories = [(b"a/b".to_vec(), attributes(0o711)), (Vec::new(), attributes(0o750))];
    let files = [
        PatchFile {
            paths: vec![b"a/b/link".to_vec(), b"target".to_vec()],
            attributes: attributes(0o600),
            content: PatchContent::Regular {
                size: 5,
                data: &b"hello and more"[..],
            },
        },
        PatchFile {
            paths: vec![b"a/l".to_vec()],
            attributes: attributes(0o777),
            content: PatchContent::Special(Kind::Symlink(b"x".to_vec())),
        },
    ];
    let mut image = Cursor::new(Vec::new());
    let bytes = write_patch(&directories, files, &mut image, &PatchOptions::default()).expect("patch");
    assert_eq!(bytes, image.get_ref().len() as u64);
    assert_eq!(
        dump(image.get_ref()),
        "d 0750 7:8 n3 -2.000000005 / user.a=\"1\"\n\
         d 0755 0:0 n3 0.000000000 a\n\
         - 0600 7:8 n2 -2.000000005 target \"hello\" user.a=\"1\"\n\
         d 0711 7:8 n2 -2.000000005 a/b user.a=\"1\"\n\
         l 0777 7:8 n1 -2.000000005 a/l -> x user.a=\"1\"\n\
         - 0600 7:8 n2 -2.000000005 a/b/link \"hello\" user.a=\"1\"\n"
    );
}

#[test]
fn a_patch_that_cannot_be_is_refused() {
    let file = |paths: &[&str], content| PatchFile {
        paths: paths.iter().map(|path| path.as_bytes().to_vec()).collect(),
        attributes: Attributes::file(),
        content,
    };
    let rows: Vec<(&str, PatchFile<Empty>, &str)> = vec![
        (
            "short data",
            file(&["f"], PatchContent::Regular { size: 5, data: empty() }),
            "ends 5 bytes early",
        ),
        (
            "no path",
            file(&[], PatchContent::Special(Kind::Fifo)),
            "without a path",
        ),
        (
            "the same path twice",
            file(&["f", "f"], PatchContent::Special(Kind::Fifo)),
            "already taken",
        ),
        (
            "below a file",
            file(&["f", "f/x"], PatchContent::Special(Kind::Fifo)),
            "not a directory",
        ),
        ("the root", file(&["/"], PatchContent::Special(Kind::Fifo)), "root"),
        (
            "a directory as a file",
            file(&["d"], PatchContent::Special(Kind::Directory)),
            "own form",
        ),
    ];
    for (name, file, expected) in rows {
        let result = write_patch(&[], [file], Cursor::new(Vec::new()), &PatchOptions::default());
        let error = result.err().unwrap_or_else(|| panic!("{name}: was accepted"));
        assert!(error.to_string().contains(expected), "{name}: {error}");
    }
}
