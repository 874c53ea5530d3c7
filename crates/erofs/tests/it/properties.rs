//! Random trees, packed by the `tar` crate, come back from the image as they were.

use std::collections::BTreeMap;
use std::io::Read as _;

use imagecache_erofs::reader::Image;
use imagecache_erofs::tar::TarReader;
use imagecache_erofs::{FileType, Limits};
use proptest::prelude::*;

use crate::support::layer;

#[derive(Clone, Debug, PartialEq)]
enum Node {
    Directory,
    File(Vec<u8>),
    Symlink(String),
}

/// Paths with few distinct names (so that they meet), some long ones, and names around `.` and `..` in order.
fn path() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        8 => "[a-c]{1,2}",
        2 => "[!-,0-~]{1,30}",
        1 => "[x-z]{100,200}",
    ];
    prop::collection::vec(name, 1..6).prop_map(|names| names.join("/"))
}

fn node() -> impl Strategy<Value = Node> {
    prop_oneof![
        2 => Just(Node::Directory),
        4 => prop::collection::vec(any::<u8>(), 0..20).prop_map(Node::File),
        1 => (any::<u8>(), 4000usize..13_000).prop_map(|(byte, size)| Node::File(vec![byte; size])),
        1 => "[a-z]{1,9}/[a-z]{1,20}".prop_map(Node::Symlink),
    ]
}

/// Adds a path unless it or what is above it is taken by something else.
fn model(entries: Vec<(String, Node)>) -> BTreeMap<String, Node> {
    let mut tree: BTreeMap<String, Node> = BTreeMap::new();
    for (path, node) in entries {
        let parents: Vec<String> = path.match_indices('/').map(|(at, _)| path[..at].to_owned()).collect();
        let free = !tree.contains_key(&path)
            && parents
                .iter()
                .all(|parent| tree.get(parent).is_none_or(|node| *node == Node::Directory));
        if free {
            tree.extend(parents.into_iter().map(|parent| (parent, Node::Directory)));
            tree.insert(path, node);
        }
    }
    tree
}

fn pack(tree: &BTreeMap<String, Node>) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, node) in tree {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o640);
        header.set_uid(70_000);
        header.set_gid(5_000_000);
        header.set_mtime(path.len() as u64);
        match node {
            Node::Directory => {
                header.set_entry_type(tar::EntryType::Directory);
                header.set_size(0);
                builder.append_data(&mut header, path, &b""[..]).expect("append");
            }
            Node::File(data) => {
                header.set_size(data.len() as u64);
                builder.append_data(&mut header, path, data.as_slice()).expect("append");
            }
            Node::Symlink(target) => {
                header.set_entry_type(tar::EntryType::Symlink);
                header.set_size(0);
                builder.append_link(&mut header, path, target).expect("append");
            }
        }
    }
    builder.into_inner().expect("finish")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn random_trees_round_trip(entries in prop::collection::vec((path(), node()), 0..60)) {
        let tree = model(entries);
        let tar = pack(&tree);
        let (bytes, summary) = layer(&tar).expect("layer");
        prop_assert_eq!(summary.inodes, tree.len() as u64 + 1);
        prop_assert_eq!(&summary.implicit_directories, &[Vec::<u8>::new()]);
        let image = Image::open(bytes).expect("image");
        let mut found = BTreeMap::new();
        image.walk(u64::MAX, |path, inode| {
            if path.is_empty() {
                return Ok(());
            }
            assert_eq!((inode.uid, inode.gid, inode.mtime_seconds), (70_000, 5_000_000, path.len() as i64));
            assert_eq!(image.lookup(path)?.as_ref(), Some(inode));
            let node = match inode.file_type {
                FileType::Directory => Node::Directory,
                FileType::Symlink => Node::Symlink(String::from_utf8(image.read_link(inode)?).expect("text")),
                _ => {
                    let mut data = Vec::new();
                    image.file(inode).read_to_end(&mut data).expect("content");
                    Node::File(data)
                }
            };
            found.insert(String::from_utf8(path.to_vec()).expect("text"), node);
            Ok(())
        }).expect("walk");
        prop_assert_eq!(found, tree);
    }

    #[test]
    fn entries_are_those_that_the_tar_crate_reads(entries in prop::collection::vec((path(), node()), 0..30)) {
        let tar = pack(&model(entries));
        let mut ours = TarReader::new(tar.as_slice(), Limits::default().max_header_bytes);
        for theirs in tar::Archive::new(tar.as_slice()).entries().expect("entries") {
            let mut theirs = theirs.expect("entry");
            let entry = ours.next_entry().expect("entry").expect("one more");
            prop_assert_eq!(&entry.path[..], &*theirs.path_bytes());
            prop_assert_eq!(&entry.link[..], &*theirs.link_name_bytes().unwrap_or_default());
            let mut expected = Vec::new();
            theirs.read_to_end(&mut expected).expect("data");
            let mut data = vec![0; expected.len() + 1];
            let mut have = 0;
            loop {
                let count = ours.read_data(&mut data[have..]).expect("data");
                if count == 0 {
                    break;
                }
                have += count;
            }
            prop_assert_eq!(&data[..have], &expected[..]);
        }
        prop_assert!(ours.next_entry().expect("end").is_none());
    }
}
