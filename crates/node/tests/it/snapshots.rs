//! Life of a snapshot: made, committed, found, labelled, removed; and what a crash leaves.

use std::fs;

use imagecache_node::wire::Kind;
use imagecache_node::{Error, Labels, REFERENCE_LABEL, Snapshotter};

/// A chainID that no store holds.
const CHAIN: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

fn snapshotter() -> (tempfile::TempDir, Snapshotter) {
    let root = tempfile::tempdir().unwrap();
    let snapshotter = Snapshotter::open(root.path()).unwrap();
    (root, snapshotter)
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

/// A committed snapshot with one file.
fn layer(snapshotter: &Snapshotter, name: &str, parent: Option<&str>) {
    let key = format!("extract {name}");
    let mounts = snapshotter.prepare(&key, parent, Labels::new()).unwrap();
    let mount = mounts.first().unwrap();
    let upper = mount.options.iter().find_map(|option| option.strip_prefix("upperdir="));
    fs::write(format!("{}/{name}", upper.unwrap_or(&mount.source)), vec![7; 10_000]).unwrap();
    snapshotter.commit(name, &key, None, Labels::new()).unwrap();
}

fn names(snapshotter: &Snapshotter, filters: &[&str]) -> Vec<String> {
    let filters: Vec<String> = filters.iter().map(|filter| (*filter).to_owned()).collect();
    snapshotter
        .list(&filters)
        .unwrap()
        .into_iter()
        .map(|info| info.name)
        .collect()
}

#[test]
fn a_layer_that_no_cache_holds_is_unpacked_and_committed() {
    let (root, snapshotter) = snapshotter();
    let asked = labels(&[(REFERENCE_LABEL, CHAIN)]);
    snapshotter.prepare("key", None, asked.clone()).unwrap();
    assert_eq!(snapshotter.stat("key").unwrap().kind, i32::from(Kind::Active));
    snapshotter.commit("name", "key", None, asked).unwrap();
    assert!(matches!(snapshotter.stat("key"), Err(Error::NotFound(_))));
    let info = snapshotter.stat("name").unwrap();
    assert_eq!((info.kind, info.labels.len()), (i32::from(Kind::Committed), 1));
    let filter = format!("labels.\"{REFERENCE_LABEL}\"=={CHAIN},parent==\"\"");
    assert_eq!(names(&snapshotter, &[&filter]), ["name"]);
    layer(&snapshotter, "upper", Some("name"));
    let usage = snapshotter.usage("upper").unwrap();
    assert!(usage.bytes >= 10_000 && usage.inodes == 2, "{usage:?}");
    // It is all there after a restart.
    drop(snapshotter);
    let snapshotter = Snapshotter::open(root.path()).unwrap();
    assert_eq!(names(&snapshotter, &[]), ["name", "upper"]);
    assert_eq!(snapshotter.usage("upper").unwrap(), usage);
}

#[test]
fn what_makes_no_sense_is_refused_with_the_right_kind() {
    let (_root, snapshotter) = snapshotter();
    layer(&snapshotter, "base", None);
    layer(&snapshotter, "upper", Some("base"));
    snapshotter.prepare("active", Some("upper"), Labels::new()).unwrap();
    let none = Labels::new;
    type Check = fn(&Error) -> bool;
    let exists: Check = |error| matches!(error, Error::AlreadyExists(_));
    let missing: Check = |error| matches!(error, Error::NotFound(_));
    let precondition: Check = |error| matches!(error, Error::FailedPrecondition(_));
    let argument: Check = |error| matches!(error, Error::InvalidArgument(_));
    for (name, result, right) in [
        (
            "key in use",
            snapshotter.prepare("active", None, none()).map(drop),
            exists,
        ),
        (
            "no such parent",
            snapshotter.prepare("x", Some("none"), none()).map(drop),
            missing,
        ),
        (
            "parent not committed",
            snapshotter.view("x", Some("active"), none()).map(drop),
            argument,
        ),
        ("mounts of a layer", snapshotter.mounts("base").map(drop), precondition),
        ("mounts of nothing", snapshotter.mounts("none").map(drop), missing),
        (
            "commit of a layer",
            snapshotter.commit("y", "base", None, none()),
            precondition,
        ),
        (
            "commit to a name in use",
            snapshotter.commit("base", "active", None, none()),
            exists,
        ),
        (
            "commit upon another parent",
            snapshotter.commit("y", "active", Some("base"), none()),
            argument,
        ),
        ("removal of a parent", snapshotter.remove("base"), precondition),
        ("removal of nothing", snapshotter.remove("none"), missing),
        (
            "change of a name",
            snapshotter.update("base", &none(), &["name".to_owned()]).map(drop),
            argument,
        ),
    ] {
        let error = result.unwrap_err();
        assert!(right(&error), "{name}: {error}");
    }
    assert_eq!(names(&snapshotter, &[]), ["active", "base", "upper"], "nothing changed");
}

#[test]
fn a_parent_may_come_with_the_commit() {
    let (_root, snapshotter) = snapshotter();
    layer(&snapshotter, "base", None);
    snapshotter.prepare("key", None, Labels::new()).unwrap();
    snapshotter.commit("late", "key", Some("base"), Labels::new()).unwrap();
    assert_eq!(snapshotter.stat("late").unwrap().parent, "base");
    assert!(snapshotter.remove("base").is_err(), "it has a child now");
}

#[test]
fn labels_change_one_by_one_or_all_together() {
    let (_root, snapshotter) = snapshotter();
    layer(&snapshotter, "base", None);
    let update = |pairs: &[(&str, &str)], fields: &[&str]| {
        let fields: Vec<String> = fields.iter().map(|field| (*field).to_owned()).collect();
        let info = snapshotter.update("base", &labels(pairs), &fields).unwrap();
        info.labels.into_iter().collect::<Labels>()
    };
    assert_eq!(
        update(&[("a", "1"), ("b", "2")], &[]),
        labels(&[("a", "1"), ("b", "2")])
    );
    assert_eq!(
        update(&[("a", "3"), ("c", "4")], &["labels.a"]),
        labels(&[("a", "3"), ("b", "2")])
    );
    assert_eq!(update(&[], &["labels.a"]), labels(&[("b", "2")]));
    assert_eq!(update(&[("d", "5")], &["labels"]), labels(&[("d", "5")]));
}

#[test]
fn nothing_is_left_of_what_was_removed_or_never_finished() {
    let (root, snapshotter) = snapshotter();
    layer(&snapshotter, "kept", None);
    layer(&snapshotter, "gone", Some("kept"));
    snapshotter.remove("gone").unwrap();
    snapshotter.empty_trash();
    let directories = || {
        fs::read_dir(root.path().join("s")).unwrap().count() + fs::read_dir(root.path().join("trash")).unwrap().count()
    };
    assert_eq!(directories(), 1);
    drop(snapshotter);
    // As if a kill came between a directory and its entry in the book, and between an entry's end and its directory's.
    fs::create_dir_all(root.path().join("s/99/fs")).unwrap();
    fs::create_dir_all(root.path().join("trash/98/fs")).unwrap();
    let snapshotter = Snapshotter::open(root.path()).unwrap();
    assert_eq!(directories(), 1);
    layer(&snapshotter, "next", Some("kept"));
    assert_eq!(directories(), 2);
}

#[test]
fn two_processes_never_share_a_root() {
    let (root, _snapshotter) = snapshotter();
    let error = Snapshotter::open(root.path()).unwrap_err();
    assert!(error.to_string().contains("book"), "{error}");
}
