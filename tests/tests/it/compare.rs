//! The comparer finds every kind of difference: a comparison that cannot fail proves nothing.

use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;

use imagecache_tests::compare::{Rules, differences};

/// One tree, always the same.
fn tree(root: &Path) {
    std::fs::create_dir_all(root.join("dir")).expect("dir");
    std::fs::write(root.join("dir/file"), "content").expect("file");
    std::fs::hard_link(root.join("dir/file"), root.join("hard")).expect("hard link");
    symlink("dir/file", root.join("link")).expect("link");
    for path in ["dir/file", "dir"] {
        touch(&root.join(path), 1_700_000_000, 5);
    }
    touch_link(&root.join("link"));
}

fn touch(path: &Path, seconds: i64, nanoseconds: i64) {
    let time = rustix::fs::Timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds,
    };
    let times = rustix::fs::Timestamps {
        last_access: time,
        last_modification: time,
    };
    rustix::fs::utimensat(rustix::fs::CWD, path, &times, rustix::fs::AtFlags::empty()).expect("utimensat");
}

fn touch_link(path: &Path) {
    let time = rustix::fs::Timespec {
        tv_sec: 1_700_000_000,
        tv_nsec: 0,
    };
    let times = rustix::fs::Timestamps {
        last_access: time,
        last_modification: time,
    };
    rustix::fs::utimensat(rustix::fs::CWD, path, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).expect("utimensat");
}

/// What differs after `change`.
fn after(change: impl FnOnce(&Path)) -> Vec<String> {
    let dir = tempfile::tempdir().expect("tempdir");
    let (left, right) = (dir.path().join("left"), dir.path().join("right"));
    tree(&left);
    tree(&right);
    change(&right);
    differences(("left", &left), ("right", &right), Rules::EXACT).expect("both can be read")
}

#[test]
fn equal_trees_are_equal() {
    assert_eq!(after(|_| ()), Vec::<String>::new());
}

#[test]
fn every_difference_is_found() {
    type Change = fn(&Path);
    let rows: &[(&str, &str, Change)] = &[
        ("only left", "/hard is only in left", |root| {
            std::fs::remove_file(root.join("hard")).expect("rm")
        }),
        ("only right", "/new is only in right", |root| {
            std::fs::write(root.join("new"), "").expect("write")
        }),
        ("content", "/dir/file: content", |root| {
            std::fs::write(root.join("dir/file"), "CONTENT").expect("write");
            touch(&root.join("dir/file"), 1_700_000_000, 5);
        }),
        ("size", "/dir/file: size", |root| {
            std::fs::write(root.join("dir/file"), "longer content").expect("write")
        }),
        ("mode", "/dir: mode is 755 in left, 700 in right", |root| {
            std::fs::set_permissions(root.join("dir"), std::fs::Permissions::from_mode(0o700)).expect("chmod");
        }),
        ("nanoseconds", "/dir: mtime", |root| {
            touch(&root.join("dir"), 1_700_000_000, 6)
        }),
        ("target", "/link: target", |root| {
            std::fs::remove_file(root.join("link")).expect("rm");
            symlink("elsewhere", root.join("link")).expect("link");
        }),
        ("type", "/link: type is symlink in left, file in right", |root| {
            std::fs::remove_file(root.join("link")).expect("rm");
            std::fs::write(root.join("link"), "").expect("write");
        }),
        ("links", "/hard: links", |root| {
            std::fs::remove_file(root.join("hard")).expect("rm");
            std::fs::copy(root.join("dir/file"), root.join("hard")).expect("copy");
        }),
    ];
    for (row, expected, change) in rows {
        let found = after(change);
        assert!(found.iter().any(|line| line.starts_with(expected)), "{row}: {found:?}");
    }
}

#[test]
#[ignore = "needs root"]
fn owners_devices_and_attributes_are_compared() {
    let found = after(|root| chown(root.join("dir/file"), Some(1), Some(2)).expect("chown"));
    assert!(
        found
            .iter()
            .any(|line| line.contains("owner is (0, 0) in left, (1, 2) in right")),
        "{found:?}"
    );
    let found = after(|root| {
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(root.join("dir"), "trusted.one", b"1", flags).expect("setxattr");
    });
    assert!(found.iter().any(|line| line.starts_with("/dir: xattrs")), "{found:?}");
}
