//! Real mounts. Every test unmounts through a guard, so that a failing one leaves nothing behind.

use std::fs;
use std::path::{Path, PathBuf};

use imagecache_blocks::mount::{mount_image, mount_volume, unmount};
use imagecache_blocks::{DirectoryStore, ImageStack, LayerRecord, Part, Store as _, export};
use imagecache_fakes::image::LayerBuilder;

use crate::support::TestStore;

/// Unmounts when dropped.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _already_unmounted = unmount(&self.0);
    }
}

fn stack(layers: &[LayerRecord]) -> ImageStack {
    ImageStack { parts: layers.iter().rev().map(|layer| Part::Layer(layer.diff_id.clone())).collect() }
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Mounts and loop devices of this machine that have to do with `path`.
fn leftovers(path: &Path) -> Vec<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let text = path.to_str().unwrap();
    table.lines().filter(|line| line.contains(text) || line.contains("/run/imagecache/")).map(str::to_owned).collect()
}

#[test]
#[ignore = "needs root"]
fn an_image_is_its_layers_merged() {
    let test = TestStore::new();
    let layers = [
        test.layer(
            LayerBuilder::new().dir("etc", 0o755).file("etc/kept", b"kept", 0o644).file("etc/gone", b"x", 0o600).dir("tmp", 0o1777),
        ),
        test.layer(LayerBuilder::new().dir("etc", 0o750).file("etc/new", b"new", 0o644).whiteout("etc/gone")),
    ];
    let target = test.mount_point("root");
    mount_image(&test.store, &stack(&layers), &target).unwrap();
    let guard = Mounted(target.clone());
    assert_eq!(names(&target.join("etc")), ["kept", "new"]);
    assert_eq!(fs::read(target.join("etc/kept")).unwrap(), b"kept");
    assert!(fs::write(target.join("etc/kept"), b"y").is_err(), "it is read-only");
    assert!(mount_image(&test.store, &stack(&layers), &target).unwrap_err().to_string().contains("mount point already"));
    drop(guard);
    assert_eq!(names(&target), [""; 0]);
    assert_eq!(leftovers(test.dir.path()), [""; 0]);
    assert!(unmount(&target).unwrap_err().to_string().contains("nothing is mounted"));
}

#[test]
#[ignore = "needs root"]
fn one_layer_and_many_layers_mount() {
    for count in [1usize, 130, 300] {
        let test = TestStore::new();
        let layers: Vec<LayerRecord> = (0..count)
            .map(|n| {
                let layer = LayerBuilder::new().file(&format!("f{n:03}"), n.to_string().as_bytes(), 0o644);
                test.layer(layer.file("top", n.to_string().as_bytes(), 0o644).whiteout("nothing"))
            })
            .collect();
        let target = test.mount_point("root");
        mount_image(&test.store, &stack(&layers), &target).unwrap();
        let _guard = Mounted(target.clone());
        assert_eq!(names(&target).len(), count + 1, "{count} layers");
        assert_eq!(fs::read(target.join("top")).unwrap(), (count - 1).to_string().as_bytes());
        assert_eq!(fs::read(target.join("f000")).unwrap(), b"0");
    }
}

#[test]
#[ignore = "needs root"]
fn a_volume_is_a_store_and_equals_its_export() {
    let test = TestStore::new();
    let big: Vec<u8> = (0..3_000_000u32).flat_map(u32::to_le_bytes).take(3_000_000).collect();
    let layers = [
        test.layer(LayerBuilder::new().file("big", &big, 0o644)),
        test.layer(LayerBuilder::new().file("small", b"small", 0o644)),
    ];
    let manifest = test.snapshot(&layers, None);
    let target = test.mount_point("volume");
    mount_volume(&test.store, &manifest, &target).unwrap();
    let _guard = Mounted(target.clone());
    let volume = DirectoryStore::open_read_only(&target).unwrap();
    for layer in &layers {
        assert_eq!(volume.layer(&layer.diff_id).unwrap().as_ref(), Some(layer));
        let part = Part::Layer(layer.diff_id.clone());
        let (stored, mounted) = (test.store.part_path(&part), volume.part_path(&part));
        assert!(fs::read(stored).unwrap() == fs::read(mounted).unwrap(), "{}", layer.diff_id);
    }
    // An image can be mounted from the mounted volume, too.
    let root = test.mount_point("root");
    mount_image(&volume, &stack(&layers), &root).unwrap();
    let _root_guard = Mounted(root.clone());
    assert!(fs::read(root.join("big")).unwrap() == big);

    // The flat form: byte-equal files, on a plain loop mount.
    let flat = test.dir.path().join("flat.img");
    let file = fs::File::create_new(&flat).unwrap();
    export(&test.store, &test.store, &manifest, None, &file, &flat).unwrap();
    let flat_root = test.mount_point("flat");
    let mut mount = std::process::Command::new("mount");
    assert!(mount.args(["-t", "erofs", "-o", "loop,ro"]).args([&flat, &flat_root]).status().unwrap().success());
    let _flat_guard = Mounted(flat_root.clone());
    let compared = std::process::Command::new("diff").arg("-r").args([&target, &flat_root]).status().unwrap();
    assert!(compared.success());
}

#[test]
#[ignore = "needs root"]
fn a_mount_outlives_its_files() {
    let test = TestStore::new();
    let layers = [test.layer(LayerBuilder::new().file("data", &[7; 100_000], 0o644))];
    let target = test.mount_point("root");
    mount_image(&test.store, &stack(&layers), &target).unwrap();
    let _guard = Mounted(target.clone());
    fs::remove_dir_all(test.store.root()).unwrap();
    fs::write("/proc/sys/vm/drop_caches", "1").unwrap();
    assert_eq!(fs::read(target.join("data")).unwrap(), [7; 100_000]);
}

#[test]
#[ignore = "needs root"]
fn strangers_mounts_are_left_alone() {
    let test = TestStore::new();
    let target = test.mount_point("tmpfs");
    assert!(std::process::Command::new("mount").args(["-t", "tmpfs", "none"]).arg(&target).status().unwrap().success());
    let error = unmount(&target).unwrap_err().to_string();
    assert!(std::process::Command::new("umount").arg(&target).status().unwrap().success());
    assert!(error.contains("was not mounted by imagecache"), "{error}");
}

#[test]
#[ignore = "needs root"]
fn a_failed_mount_leaves_nothing() {
    let test = TestStore::new();
    let good = test.layer(LayerBuilder::new().file("a", b"a", 0o644));
    let broken = test.layer(LayerBuilder::new().file("b", b"b", 0o644));
    fs::write(test.store.part_path(&Part::Layer(broken.diff_id.clone())), [0; 8192]).unwrap();
    let target = test.mount_point("root");
    mount_image(&test.store, &stack(&[good, broken]), &target).unwrap_err();
    assert_eq!(leftovers(test.dir.path()), [""; 0]);
    let loops = std::process::Command::new("losetup").arg("--list").output().unwrap();
    let text = String::from_utf8(loops.stdout).unwrap();
    assert!(!text.contains(test.dir.path().to_str().unwrap()), "{text}");
}
