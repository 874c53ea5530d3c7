//! Snapshots over layers that a store holds: really mounted, so as root.

use std::fs;

use imagecache_blocks::Store as _;
use imagecache_core::Phase;
use imagecache_node::wire::Kind;
use imagecache_node::{Error, Labels, REFERENCE_LABEL, Snapshotter};

use crate::support::{Place, Root, adopt, adopt_all, damage, delete_cache, image_file, put_cache, put_layer};

/// Has the snapshotter know what the store holds.
fn look(snapshotter: &Snapshotter, place: &Place) {
    snapshotter.look_at_directory(&place.path("store")).unwrap();
}

fn container(snapshotter: &Snapshotter, key: &str, parent: &str) -> Root {
    Root::of(&snapshotter.prepare(key, Some(parent), Labels::new()).unwrap())
}

#[test]
#[ignore = "needs root"]
fn a_container_upon_120_cached_layers_sees_all_of_them() {
    let place = Place::new();
    let names: Vec<String> = (0..120).map(|number| format!("file-{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (_, chains) = put_cache(&place.store(), "registry.test/app:1", &names);
    let snapshotter = place.open();
    look(&snapshotter, &place);
    let top = adopt_all(&snapshotter, &chains);
    let root = container(&snapshotter, "container", &top);
    for name in &names {
        assert_eq!(root.read(name), name.repeat(20_000));
    }
    fs::write(root.path().join("file-7"), "changed").unwrap();
    fs::remove_file(root.path().join("file-8")).unwrap();
    let other = container(&snapshotter, "other", &top);
    assert_eq!(
        other.read("file-7"),
        "file-7".repeat(20_000),
        "a container wrote into the cache"
    );
    assert!(other.path().join("file-8").exists());
    assert_eq!(place.mounts().len(), 120, "each layer is mounted once");
}

#[test]
#[ignore = "needs root"]
fn two_namespaces_share_a_committed_layer() {
    let place = Place::new();
    let (_, chains) = put_cache(&place.store(), "registry.test/app:1", &["low", "top"]);
    let snapshotter = place.open();
    look(&snapshotter, &place);
    // containerd writes the namespace into the keys; the names of what it adopts are ours.
    let first = adopt_all(&snapshotter, &chains);
    let second = adopt_all(&snapshotter, &chains);
    assert_eq!(first, second);
    assert_eq!(snapshotter.size(), (2, 2));
    let roots = ["k8s.io/1/a", "default/2/b"].map(|key| container(&snapshotter, key, &first));
    assert!(roots.iter().all(|root| root.read("low").starts_with("low")));
    // The first one collects its garbage: it cannot take away what the other one uses.
    assert!(matches!(snapshotter.remove(&first), Err(Error::FailedPrecondition(_))));
}

#[test]
#[ignore = "needs root"]
fn a_container_upon_cached_layers_can_be_committed() {
    let place = Place::new();
    let (_, chains) = put_cache(&place.store(), "registry.test/app:1", &["low", "top"]);
    let snapshotter = place.open();
    look(&snapshotter, &place);
    let cached = adopt_all(&snapshotter, &chains);
    let root = container(&snapshotter, "work", &cached);
    fs::write(root.path().join("own"), "own").unwrap();
    fs::rename(root.path().join("top"), root.path().join("moved")).unwrap();
    drop(root);
    snapshotter.commit("committed", "work", None, Labels::new()).unwrap();
    let info = snapshotter.stat("committed").unwrap();
    assert_eq!((info.kind, info.parent), (i32::from(Kind::Committed), cached));
    let view = Root::of(&snapshotter.view("view", Some("committed"), Labels::new()).unwrap());
    assert_eq!(view.read("own"), "own");
    assert!(view.read("moved").starts_with("top") && view.read("low").starts_with("low"));
    assert!(!view.path().join("top").exists());
    assert!(fs::write(view.path().join("new"), "x").is_err(), "a view is read-only");
}

#[test]
#[ignore = "needs root"]
fn a_cached_layer_never_loses_the_label_by_which_it_is_found() {
    let place = Place::new();
    let (_, chains) = put_cache(&place.store(), "registry.test/app:1", &["low"]);
    let snapshotter = place.open();
    look(&snapshotter, &place);
    let name = adopt(&snapshotter, &chains[0], None).unwrap();
    let other = Labels::from([("containerd.io/snapshot/x".to_owned(), "1".to_owned())]);
    for fields in [
        vec![],
        vec!["labels".to_owned()],
        vec![format!("labels.{REFERENCE_LABEL}")],
    ] {
        let info = snapshotter.update(&name, &other, &fields).unwrap();
        assert_eq!(
            info.labels.get(REFERENCE_LABEL),
            Some(&chains[0].to_string()),
            "{fields:?}"
        );
        assert_eq!(
            adopt(&snapshotter, &chains[0], None).as_ref(),
            Some(&name),
            "{fields:?}"
        );
    }
}

#[test]
#[ignore = "needs root"]
fn layers_are_mounted_before_they_are_asked_for_and_as_long_as_a_cache_has_them() {
    let place = Place::new();
    let store = place.store();
    let (id, chains) = put_cache(&store, "registry.test/app:1", &["low", "top"]);
    let snapshotter = place.open();
    look(&snapshotter, &place);
    assert_eq!(place.mounts().len(), 2, "ahead");
    snapshotter.cleanup().unwrap();
    assert_eq!(place.mounts().len(), 2, "a cleanup leaves them");
    // What mount(8), started by a process that was killed, mounted after the start.
    let late = place.path("root/s/99");
    fs::create_dir(&late).unwrap();
    imagecache_blocks::mount::mount_part(&image_file(&store, &chains[0]), &late).unwrap();
    snapshotter.cleanup().unwrap();
    assert!(!late.exists() && place.mounts().len() == 2, "{:?}", place.mounts());
    let low = adopt(&snapshotter, &chains[0], None).unwrap();
    delete_cache(&store, &id);
    look(&snapshotter, &place);
    assert_eq!(place.mounts().len(), 1, "only what is in use");
    assert!(
        container(&snapshotter, "container", &low)
            .read("low")
            .starts_with("low")
    );
    drop(snapshotter);
    let snapshotter = place.open();
    assert_eq!(place.mounts().len(), 1);
    snapshotter.remove("container").unwrap();
    snapshotter.remove(&low).unwrap();
    assert_eq!(place.mounts(), Vec::<std::path::PathBuf>::new());
    assert_eq!(fs::read_dir(place.path("root/images")).unwrap().count(), 0);
}

#[test]
#[ignore = "needs root"]
fn containers_of_a_deleted_cache_on_another_filesystem_start_again() {
    let place = Place::new();
    fs::create_dir(place.path("root")).unwrap();
    fs::create_dir(place.path("root/other")).unwrap();
    let other = place.path("root/other");
    rustix::mount::mount("tmpfs", &other, "tmpfs", rustix::mount::MountFlags::empty(), None).unwrap();
    let store = imagecache_blocks::DirectoryStore::open(other.join("store")).unwrap();
    let (id, chains) = put_cache(&store, "registry.test/app:1", &["low", "top"]);
    let snapshotter = place.open();
    snapshotter.look_at_directory(store.root()).unwrap();
    let top = adopt_all(&snapshotter, &chains);
    delete_cache(&store, &id);
    snapshotter.look_at_directory(store.root()).unwrap();
    assert!(container(&snapshotter, "one", &top).read("low").starts_with("low"));
    drop(snapshotter);
    let snapshotter = place.open();
    assert!(container(&snapshotter, "two", &top).read("top").starts_with("top"));
    assert!(
        Root::of(&snapshotter.mounts("one").unwrap())
            .read("low")
            .starts_with("low")
    );
    // The same layers in a new file: the mounted ones are as good as before.
    put_cache(&store, "registry.test/app:2", &["low", "top"]);
    assert!(container(&snapshotter, "three", &top).read("top").starts_with("top"));
}

#[test]
#[ignore = "needs root"]
fn a_layer_that_is_damaged_under_a_running_container_is_repaired_for_the_next_one() {
    let place = Place::new();
    let store = place.store();
    let (id, chains) = put_cache(&store, "registry.test/app:1", &["low", "top"]);
    let snapshotter = place.open();
    look(&snapshotter, &place);
    let top = adopt_all(&snapshotter, &chains);
    snapshotter.prepare("one", Some(&top), Labels::new()).unwrap();
    let file = image_file(&store, &chains[0]);
    damage(&file);
    let refused = snapshotter.mounts("one").unwrap_err();
    assert!(
        matches!(&refused, Error::Unavailable(text) if text.contains("built again")),
        "{refused}"
    );
    assert!(snapshotter.prepare("two", Some(&top), Labels::new()).is_err());
    // Whoever builds the cache is told, and finds nothing that it could take for the layer.
    let record = store.record(&id).unwrap().unwrap();
    assert!(
        matches!(record.state.phase, Phase::Stalled(_)),
        "{:?}",
        record.state.phase
    );
    assert!(!file.exists() && store.layer(&chains[0]).unwrap().is_none());
    // It was built again.
    put_layer(&store, "low");
    put_cache(&store, "registry.test/app:1", &["low", "top"]);
    look(&snapshotter, &place);
    assert!(
        Root::of(&snapshotter.mounts("one").unwrap())
            .read("low")
            .starts_with("low")
    );
    assert_eq!(place.mounts().len(), 2);
    drop(snapshotter);
    let snapshotter = place.open();
    assert_eq!(place.mounts().len(), 2, "nothing is left of the damaged image");
    assert!(container(&snapshotter, "three", &top).read("low").starts_with("low"));
}

#[test]
#[ignore = "needs root"]
fn images_in_use_are_mounted_again_after_the_machine_stopped() {
    let place = Place::new();
    let store = place.store();
    let (id, chains) = put_cache(&store, "registry.test/app:1", &["low", "top"]);
    let snapshotter = place.open();
    look(&snapshotter, &place);
    let top = adopt_all(&snapshotter, &chains);
    snapshotter.prepare("one", Some(&top), Labels::new()).unwrap();
    drop(snapshotter);
    place.unmount_all();
    delete_cache(&store, &id);
    let snapshotter = place.open();
    assert!(
        Root::of(&snapshotter.mounts("one").unwrap())
            .read("low")
            .starts_with("low")
    );
    drop(snapshotter);
    place.unmount_all();
    // Changed while nobody looked.
    let links: Vec<_> = fs::read_dir(place.path("root/images")).unwrap().flatten().collect();
    damage(&links[0].path());
    let snapshotter = place.open();
    assert_eq!(place.mounts().len(), 1);
    assert!(matches!(snapshotter.mounts("one"), Err(Error::Unavailable(_))));
}

#[test]
#[ignore = "needs root"]
fn what_cannot_be_removed_is_in_nobodys_way() {
    let place = Place::new();
    let snapshotter = place.open();
    snapshotter.prepare("first", None, Labels::new()).unwrap();
    drop(snapshotter);
    // As a container leaves it with an immutable file.
    for name in ["trash/7", "trash/9/fs", "s/8/fs"] {
        fs::create_dir_all(place.path("root").join(name)).unwrap();
    }
    let stuck = place.path("root/trash/9/fs");
    rustix::mount::mount("tmpfs", &stuck, "tmpfs", rustix::mount::MountFlags::empty(), None).unwrap();
    let snapshotter = place.open();
    assert!(
        !place.path("root/trash/7").exists() && !place.path("root/s/8").exists(),
        "the others go"
    );
    let mounts = snapshotter.prepare("next", None, Labels::new()).unwrap();
    assert!(
        mounts[0].source.ends_with("s/10/fs"),
        "its number stays taken: {}",
        mounts[0].source
    );
    snapshotter.remove("next").unwrap();
    snapshotter.cleanup().unwrap();
    assert!(stuck.exists() && !place.path("root/trash/10").exists());
    assert!(snapshotter.stat("first").is_ok());
}

#[test]
#[ignore = "needs root"]
fn a_damaged_layer_is_pulled_and_leaves_the_store() {
    let place = Place::new();
    let store = place.store();
    let (_, chains) = put_cache(&store, "registry.test/app:1", &["low"]);
    damage(&image_file(&store, &chains[0]));
    let snapshotter = place.open();
    look(&snapshotter, &place);
    assert_eq!(adopt(&snapshotter, &chains[0], None), None, "it is pulled");
    assert!(!image_file(&store, &chains[0]).exists());
    // Cut off before the store was looked at, and gone.
    for (harm, image) in [("cut", "registry.test/app:2"), ("gone", "registry.test/app:3")] {
        let (id, chains) = put_cache(&store, image, &["low"]);
        let file = image_file(&store, &chains[0]);
        match harm {
            "cut" => fs::File::options()
                .write(true)
                .open(&file)
                .unwrap()
                .set_len(4096)
                .unwrap(),
            _ => fs::remove_file(&file).unwrap(),
        }
        look(&snapshotter, &place);
        assert_eq!(adopt(&snapshotter, &chains[0], None), None, "{harm}");
        let record = store.record(&id).unwrap().unwrap();
        assert!(
            matches!(record.state.phase, Phase::Stalled(_)),
            "{harm}: {:?}",
            record.state.phase
        );
    }
    // What a newer program wrote is not ours to judge.
    let (id, chains) = put_cache(&store, "registry.test/app:4", &["low"]);
    let path = image_file(&store, &chains[0]).with_extension("json");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains("\"version\":1"), "{text}");
    fs::write(&path, text.replace("\"version\":1", "\"version\":9")).unwrap();
    look(&snapshotter, &place);
    assert_eq!(adopt(&snapshotter, &chains[0], None), None, "it is pulled");
    assert_eq!(store.record(&id).unwrap().unwrap().state.phase, Phase::Ready);
    assert!(image_file(&store, &chains[0]).exists());
}
