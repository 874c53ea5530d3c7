//! Mounts, as root.

use std::fs;
use std::path::Path;

use imagecache_blocks::mount::{mount_image, mount_volume, unmount};
use imagecache_blocks::{DirectoryStore, LayerRecord, RecordChange, export, image_stack, stored_images};

use crate::support::{content, noise, put_cache, put_layer, store};

/// A mount that ends with the test, however that ends.
struct Mounted(tempfile::TempDir);

impl Mounted {
    fn at(mount: impl FnOnce(&Path) -> imagecache_blocks::Result<()>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        mount(directory.path()).unwrap();
        Self(directory)
    }

    fn read(&self, path: &str) -> Vec<u8> {
        fs::read(self.0.path().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let undone = unmount(self.0.path());
        if !std::thread::panicking() {
            undone.unwrap();
        }
    }
}

fn mount_count() -> usize {
    fs::read_to_string("/proc/self/mountinfo")
        .unwrap()
        .lines()
        .filter(|line| line.contains("erofs") || line.contains("overlay"))
        .count()
}

#[test]
#[ignore = "needs root"]
fn a_mounted_volume_is_a_read_only_store() {
    let (_directory, store) = store();
    let base = put_layer(&store, &[("base", noise(1, 3_000_000))]);
    let top = put_layer(&store, &[("top", noise(2, 10_000))]);
    let (id, manifest) = put_cache(&store, "app:1", &[&base, &top]);
    let mounted = Mounted::at(|target| mount_volume(&store, &manifest, target));
    let volume = DirectoryStore::open_read_only(mounted.0.path()).unwrap();
    let images = stored_images(&volume.top_file("index.json").unwrap()).unwrap();
    assert_eq!(images.len(), 1);
    let stack = image_stack(&volume, &images[0].manifest).unwrap();
    assert_eq!(stack, image_stack(&store, &images[0].manifest).unwrap());
    for part in &stack.parts {
        assert!(
            fs::read(volume.part_path(part)).unwrap() == fs::read(store.part_path(part)).unwrap(),
            "{part}"
        );
    }
    // The volume's layer files can be mounted in turn.
    let root = Mounted::at(|target| mount_image(&volume, &stack, target));
    assert_eq!(root.read("top"), noise(2, 10_000));
    drop(root);
    // Deleting the cache does not disturb the mount.
    store.update_record(&id, |_| (RecordChange::Remove, ())).unwrap();
    assert_eq!(store.collect_garbage().unwrap().parts, 2);
    fs::write("/proc/sys/vm/drop_caches", "3").unwrap();
    assert_eq!(
        volume.top_file("oci-layout").unwrap(),
        br#"{"imageLayoutVersion":"1.0.0"}"#
    );
    let path = volume.part_path(&stack.parts[1]);
    assert_eq!(fs::read(path).unwrap().len() as u64, base.blocks.bytes);
}

#[test]
#[ignore = "needs root"]
fn an_exported_volume_mounts_by_itself() {
    let (_directory, store) = store();
    let layer = put_layer(&store, &[("file", noise(1, 2_000_000))]);
    let (_, manifest) = put_cache(&store, "app:1", &[&layer]);
    let file = tempfile::NamedTempFile::new().unwrap();
    export(&store, &store, &manifest, None, file.as_file(), file.path()).unwrap();
    let mounted = Mounted::at(|target| {
        let status = std::process::Command::new("mount")
            .args(["-t", "erofs", "-o", "ro,loop"])
            .arg(file.path())
            .arg(target)
            .status();
        assert!(status.unwrap().success());
        Ok(())
    });
    let volume = DirectoryStore::open_read_only(mounted.0.path()).unwrap();
    let images = stored_images(&volume.top_file("index.json").unwrap()).unwrap();
    let stack = image_stack(&volume, &images[0].manifest).unwrap();
    let root = Mounted::at(|target| mount_image(&volume, &stack, target));
    assert_eq!(root.read("file"), noise(1, 2_000_000));
}

#[test]
#[ignore = "needs root"]
fn many_layers_make_one_mount() {
    let (_directory, store) = store();
    const LAYERS: usize = 120;
    let names: Vec<String> = (0..LAYERS).map(|n| format!("file-{n}")).collect();
    let layers: Vec<LayerRecord> = names
        .iter()
        .map(|name| {
            put_layer(
                &store,
                &[(name, name.clone().into_bytes()), ("same", name.clone().into_bytes())],
            )
        })
        .collect();
    let layers: Vec<&LayerRecord> = layers.iter().collect();
    let content = content(&store, "many:1", &layers);
    let stack = image_stack(&store, &content.images[0].manifest).unwrap();
    assert_eq!(stack.parts.len(), LAYERS);
    let root = Mounted::at(|target| mount_image(&store, &stack, target));
    for name in &names {
        assert_eq!(root.read(name), name.as_bytes());
    }
    assert_eq!(root.read("same"), names[LAYERS - 1].as_bytes(), "the top layer wins");
    assert!(fs::write(root.0.path().join("new"), "x").is_err(), "read-only");
    let mine = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let root_path = root.0.path().to_str().unwrap();
    assert_eq!(
        mine.lines().filter(|line| line.contains(root_path)).count(),
        1,
        "one mount for all layers"
    );
}

#[test]
#[ignore = "needs root"]
fn failures_leave_no_mount() {
    let (_directory, store) = store();
    let good = put_layer(&store, &[("a", b"a".to_vec())]);
    let bad = put_layer(&store, &[("b", b"b".to_vec())]);
    let content = content(&store, "bad:1", &[&good, &bad]);
    let stack = image_stack(&store, &content.images[0].manifest).unwrap();
    fs::write(store.part_path(&stack.parts[0]), vec![0; 4096]).unwrap();
    let target = tempfile::tempdir().unwrap();
    let before = mount_count();
    assert!(mount_image(&store, &stack, target.path()).is_err());
    assert!(mount_image(&store, &stack, Path::new("/nowhere/at/all")).is_err());
    let mine = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(
        !mine.contains(target.path().to_str().unwrap()),
        "{before} mounts before"
    );
    assert!(
        unmount(target.path())
            .unwrap_err()
            .to_string()
            .contains("nothing is mounted")
    );
}
