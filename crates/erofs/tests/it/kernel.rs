//! The kernel, GNU tar and erofs-utils agree with what was written.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::path::Path;
use std::process::Command;

use imagecache_erofs::{
    Attributes, Content, Device, Kind, Plan, Superblock, Tree, header_blocks, multi_device_superblock,
};

use crate::support::{Mounted, TarBuilder, fsck, layer};

/// What `lstat`, `readlink` and `read` say about each path.
fn survey(root: &Path) -> BTreeMap<Vec<u8>, String> {
    let mut found = BTreeMap::new();
    let mut inodes: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    let mut pending = vec![root.to_owned()];
    while let Some(path) = pending.pop() {
        let meta = fs::symlink_metadata(&path).expect("lstat");
        let name = path
            .strip_prefix(root)
            .expect("below the root")
            .as_os_str()
            .as_bytes()
            .to_vec();
        let kind = meta.file_type();
        let content = if kind.is_symlink() {
            format!("-> {:?}", fs::read_link(&path).expect("readlink"))
        } else if kind.is_file() {
            use sha2::Digest as _;
            format!(
                "{} {:x?}",
                meta.len(),
                sha2::Sha256::digest(fs::read(&path).expect("read"))
            )
        } else if kind.is_char_device() || kind.is_block_device() {
            format!("dev {:x}", meta.rdev())
        } else {
            String::new()
        };
        // The first name of an inode in path order stands for it: equal trees give equal groups.
        let first = if kind.is_dir() {
            name.clone()
        } else {
            inodes.entry(meta.ino()).or_insert(name.clone()).clone()
        };
        if kind.is_dir() {
            let mut names: Vec<_> = fs::read_dir(&path)
                .expect("readdir")
                .map(|entry| entry.expect("entry").path())
                .collect();
            names.sort();
            pending.extend(names.into_iter().rev());
        }
        found.insert(
            name,
            format!(
                "{:o} {}:{} n{} {}.{:09} {content} = {:?}",
                meta.mode(),
                meta.uid(),
                meta.gid(),
                meta.nlink(),
                meta.mtime(),
                meta.mtime_nsec(),
                OsString::from_vec(first)
            ),
        );
    }
    found.insert(b"(xattrs)".to_vec(), xattrs(root));
    found
}

/// All xattrs below a directory, one line for each file that has some: one process for the whole tree.
fn xattrs(root: &Path) -> String {
    let output = Command::new("getfattr")
        .args(["-R", "-P", "-h", "-d", "-m", "-", "-e", "hex", "--absolute-names", "./"])
        .current_dir(root)
        .output()
        .expect("getfattr runs");
    let text = String::from_utf8(output.stdout).expect("text");
    let mut files: Vec<String> = text
        .split("\n\n")
        .map(|file| {
            let mut lines: Vec<&str> = file.lines().collect();
            lines.sort_unstable();
            lines.join(" ")
        })
        .collect();
    files.sort_unstable();
    files.join("\n")
}

fn run(command: &mut Command) {
    let output = command.output().expect("runs");
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A tree with one of everything, made with ordinary tools.
fn sample_tree(root: &Path) {
    fs::create_dir_all(root.join("dir/sub/deeper")).expect("mkdir");
    fs::write(root.join("dir/empty"), b"").expect("write");
    fs::write(root.join("dir/one-byte"), b"x").expect("write");
    for (name, size) in [
        ("block", 4096),
        ("block-1", 4095),
        ("block+1", 4097),
        ("megabytes", 3_000_001),
    ] {
        let data: Vec<u8> = (0..size)
            .map(|at: u32| (at.wrapping_mul(2_654_435_761) >> 13) as u8)
            .collect();
        fs::write(root.join("dir").join(name), data).expect("write");
    }
    let sparse = fs::File::create(root.join("dir/sparse")).expect("create");
    sparse.set_len(10 << 20).expect("grow");
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"in the middle", 5_000_000).expect("write");
    let holes = fs::File::create(root.join("dir/many-holes")).expect("create");
    for part in 0..60u64 {
        std::os::unix::fs::FileExt::write_all_at(&holes, &[part as u8 + 1; 5000], part * 65_536).expect("write");
    }
    fs::hard_link(root.join("dir/one-byte"), root.join("hard")).expect("link");
    fs::hard_link(root.join("dir/one-byte"), root.join("dir/sub/hard")).expect("link");
    symlink("dir/one-byte", root.join("link")).expect("symlink");
    symlink("x".repeat(4000), root.join("long-link")).expect("symlink");
    symlink("y".repeat(4095), root.join("longest-link")).expect("symlink");
    fs::hard_link(root.join("link"), root.join("link-to-link")).expect("link");
    fs::write(root.join("n".repeat(255)), b"long name").expect("write");
    fs::write(
        root.join(OsString::from_vec(b"not \xff utf-8 \n".to_vec())),
        b"odd name",
    )
    .expect("write");
    for name in ["!first", "+before-dots", "-", ".hidden", "..data", "...", "zzz"] {
        fs::write(root.join(name), name).expect("write");
    }
    let many = root.join("many");
    fs::create_dir(&many).expect("mkdir");
    for index in 0..600 {
        fs::write(many.join(format!("file-number-{index:05}")), b"").expect("write");
    }
    let mut deep = root.join("deep");
    for level in 0..60 {
        deep = deep.join(format!("level-{level}"));
    }
    fs::create_dir_all(&deep).expect("mkdir");
    run(Command::new("mknod").arg(root.join("null")).args(["c", "1", "3"]));
    run(Command::new("mknod")
        .arg(root.join("block-device"))
        .args(["b", "259", "70000"]));
    run(Command::new("mkfifo").arg(root.join("fifo")));
    run(Command::new("chown")
        .arg("70000:4000000000")
        .arg(root.join("dir/block")));
    run(Command::new("chmod").arg("6751").arg(root.join("dir/block-1")));
    run(Command::new("chmod").arg("1777").arg(root.join("many")));
    run(Command::new("setfattr")
        .args(["-n", "user.note", "-v", "0x00ff0a3d00"])
        .arg(root.join("dir/block")));
    run(Command::new("setfattr")
        .args(["-n", "user.empty"])
        .arg(root.join("dir/block")));
    run(Command::new("setfattr")
        .args(["-n", "user.big", "-v", &"v".repeat(3000)])
        .arg(root.join("dir/sub")));
    run(Command::new("setfattr")
        .args([
            "-n",
            "security.capability",
            "-v",
            "0x0100000200040000000000000000000000000000",
        ])
        .arg(root.join("dir/block+1")));
    run(Command::new("setfacl")
        .args(["-m", "u:1234:rwx,g:99:r"])
        .arg(root.join("dir/megabytes")));
    run(Command::new("setfacl")
        .args(["-d", "-m", "u:1234:rwx"])
        .arg(root.join("dir/sub")));
    run(Command::new("touch")
        .args(["-h", "-d", "2001-02-03T04:05:06.123456789Z"])
        .arg(root.join("link")));
    run(Command::new("touch")
        .args(["-d", "1960-01-01T00:00:00.5Z"])
        .arg(root.join("hard")));
    run(Command::new("touch")
        .args(["-d", "2300-01-01T00:00:00Z"])
        .arg(root.join("dir")));
}

#[test]
#[ignore = "needs root, tar, setfattr and setfacl"]
fn the_kernel_shows_what_gnu_tar_packed() {
    let work = tempfile::tempdir().expect("temporary directory");
    let tree = work.path().join("tree");
    fs::create_dir(&tree).expect("mkdir");
    sample_tree(&tree);
    let rows: &[(&str, &[&str])] = &[
        ("pax", &["--format=pax", "--xattrs", "--xattrs-include=*", "--acls"]),
        ("pax sparse 0.0", &["--format=pax", "--sparse", "--sparse-version=0.0"]),
        ("pax sparse 0.1", &["--format=pax", "--sparse", "--sparse-version=0.1"]),
        ("pax sparse 1.0", &["--format=pax", "--sparse", "--sparse-version=1.0"]),
        ("gnu", &["--format=gnu"]),
        ("gnu sparse", &["--format=gnu", "--sparse"]),
        ("oldgnu sparse", &["--format=oldgnu", "--sparse"]),
    ];
    for (row, flags) in rows {
        let tar = work.path().join("layer.tar");
        run(Command::new("tar")
            .arg("-C")
            .arg(&tree)
            .args(*flags)
            .arg("--sort=name")
            .arg("-cf")
            .arg(&tar)
            .arg("."));
        let (image, summary) = layer(&fs::read(&tar).expect("tar")).unwrap_or_else(|error| panic!("{row}: {error}"));
        assert!(
            summary.implicit_directories.is_empty(),
            "{row}: {:?}",
            summary.implicit_directories
        );
        let file = work.path().join("layer.erofs");
        fs::write(&file, image).expect("image");
        fsck(&file);
        // GNU tar itself says what the tar holds: its formats differ in times and xattrs.
        let unpacked = work.path().join("unpacked");
        fs::create_dir(&unpacked).expect("mkdir");
        run(Command::new("tar")
            .args([
                "--xattrs",
                "--xattrs-include=*",
                "--acls",
                "--numeric-owner",
                "--same-owner",
                "-p",
                "-C",
            ])
            .arg(&unpacked)
            .arg("-xf")
            .arg(&tar));
        let mount = Mounted::new(&file);
        let (expected, found) = (survey(&unpacked), survey(&mount.path()));
        for (path, line) in &expected {
            let path_text = String::from_utf8_lossy(path);
            assert_eq!(found.get(path), Some(line), "{row}: {path_text}");
        }
        assert_eq!(found.len(), expected.len(), "{row}: no other paths");
        fs::remove_dir_all(&unpacked).expect("remove");
    }
}

#[test]
#[ignore = "needs root"]
fn a_directory_of_a_hundred_thousand_names_is_found_and_listed() {
    const NAMES: usize = 120_000;
    let mut tar = TarBuilder::default().dir("big");
    for index in 0..NAMES {
        tar = tar.file(&format!("big/{index:x}"), b"");
    }
    let (image, _) = layer(&tar.end()).expect("layer");
    let file = tempfile::NamedTempFile::new().expect("file");
    fs::write(file.path(), image).expect("image");
    fsck(file.path());
    let mount = Mounted::new(file.path());
    assert_eq!(fs::read_dir(mount.path().join("big")).expect("readdir").count(), NAMES);
    for index in (0..NAMES).step_by(997).chain([NAMES - 1]) {
        assert!(mount.path().join(format!("big/{index:x}")).exists(), "name {index:x}");
    }
    assert!(!mount.path().join("big/nothing").exists());
}

#[test]
#[ignore = "needs root"]
fn a_volume_is_readable_flat_and_from_several_devices() {
    let work = tempfile::tempdir().expect("temporary directory");
    // Two "layers" at 512 KiB boundaries, metadata between superblock and the first.
    let devices = [
        Device {
            blocks: 3,
            mapped_block: 128,
        },
        Device {
            blocks: 200,
            mapped_block: 256,
        },
    ];
    let contents: Vec<Vec<u8>> = devices
        .iter()
        .map(|device| vec![device.mapped_block as u8 | 1; device.blocks as usize * 4096])
        .collect();
    let mut tree = Tree::new(&Attributes::directory()).expect("tree");
    let layers = tree
        .make_directories(b"layers/sha256", &Attributes::directory())
        .expect("directories");
    for (index, device) in devices.iter().enumerate() {
        let size = u64::from(device.blocks) * 4096 - 5;
        let extent = Content::Extent {
            start_block: device.mapped_block,
            size,
        };
        tree.add(
            layers,
            format!("{index}").as_bytes(),
            &Attributes::file(),
            Kind::Regular(extent),
        )
        .expect("file");
    }
    let small = Kind::Regular(Content::Bytes(b"{}\n".to_vec()));
    tree.add(tree.root(), b"oci-layout", &Attributes::file(), small)
        .expect("file");
    let plan = Plan::new(&tree).expect("plan");
    let meta_block = header_blocks(devices.len());
    assert!(
        meta_block + plan.blocks() <= 128,
        "the metadata fits before the first layer"
    );
    let superblock = Superblock {
        uuid: [7; 16],
        blocks: 512,
        meta_block,
        inodes: plan.inodes(),
        label: "volume".into(),
    };
    let mut header = superblock.to_block();
    plan.write(meta_block, &mut header).expect("metadata");
    let mut flat = header.clone();
    flat.resize(512 * 4096, 0);
    for (device, content) in devices.iter().zip(&contents) {
        flat[device.mapped_block as usize * 4096..][..content.len()].copy_from_slice(content);
    }
    let flat_file = work.path().join("flat.erofs");
    fs::write(&flat_file, &flat).expect("image");
    fsck(&flat_file);
    let check = |root: &Path, row: &str| {
        assert_eq!(fs::read(root.join("oci-layout")).expect("read"), b"{}\n", "{row}");
        for (index, content) in contents.iter().enumerate() {
            let read = fs::read(root.join(format!("layers/sha256/{index}"))).expect("read");
            assert!(read == content[..content.len() - 5], "{row}: layer {index}");
        }
    };
    check(&Mounted::new(&flat_file).path(), "flat");
    multi_device_superblock(&mut header, &devices).expect("device table");
    let primary = work.path().join("primary.erofs");
    fs::write(&primary, &header).expect("image");
    let mut mount_options = vec!["ro".to_owned(), "loop".to_owned()];
    let mut loops = Vec::new();
    for (index, content) in contents.iter().enumerate() {
        let file = work.path().join(format!("device-{index}"));
        fs::write(&file, content).expect("device");
        let output = Command::new("losetup")
            .args(["-f", "--show", "-r"])
            .arg(&file)
            .output()
            .expect("losetup runs");
        let name = String::from_utf8(output.stdout).expect("text").trim().to_owned();
        mount_options.push(format!("device={name}"));
        loops.push(Loop(name));
    }
    let mounted = Mounted::with_options(&primary, &mount_options.join(","));
    check(&mounted.path(), "several devices");
}

/// A loop device, released when dropped.
struct Loop(String);

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").args(["-d", &self.0]).status();
    }
}

#[test]
#[ignore = "needs root"]
fn overlayfs_honours_whiteouts_and_opaque_directories() {
    let lower = TarBuilder::default()
        .dir("gone")
        .file("gone/x", b"1")
        .dir("replaced")
        .file("replaced/old", b"1")
        .dir("merged")
        .file("merged/old", b"1")
        .dir("opaque")
        .file("opaque/old", b"1")
        .file("file", b"1")
        .file("kept", b"1")
        .end();
    let upper = TarBuilder::default()
        .entry(b'0', ".wh.gone", "", b"")
        .entry(b'0', ".wh.replaced", "", b"")
        .dir("replaced")
        .file("replaced/new", b"2")
        .file("merged/new", b"2")
        .file("opaque/.wh..wh..opq", b"")
        .file("opaque/new", b"2")
        .file(".wh.file", b"")
        .end();
    assert_eq!(
        stacked_names(&lower, &upper),
        [
            "kept",
            "merged",
            "merged/new",
            "merged/old",
            "opaque",
            "opaque/new",
            "replaced",
            "replaced/new"
        ]
    );
}

/// Paths of two layers stacked by overlayfs.
fn stacked_names(lower: &[u8], upper: &[u8]) -> Vec<String> {
    let work = tempfile::tempdir().expect("temporary directory");
    let mounts: Vec<Mounted> = [("upper", upper), ("lower", lower)]
        .into_iter()
        .map(|(name, tar)| {
            let file = work.path().join(name);
            fs::write(&file, layer(tar).expect("layer").0).expect("image");
            Mounted::new(&file)
        })
        .collect();
    let stacked = Mounted::overlay(&mounts);
    let paths = survey(&stacked.path())
        .into_keys()
        .filter(|path| !path.is_empty() && path != b"(xattrs)");
    paths.map(|path| String::from_utf8(path).expect("text")).collect()
}

#[test]
#[ignore = "needs root"]
fn stacked_layers_have_the_paths_that_containerd_shows() {
    // Seen with `ctr images import` of containerd 1.6.20 and its overlayfs snapshotter, same layers.
    let new = TarBuilder::default;
    let base = new()
        .dir("usr")
        .dir("usr/lib")
        .file("usr/lib/libc", b"c")
        .symlink("lib", "usr/lib")
        .dir("dir");
    let base = base.file("dir/old", b"old").file("target", b"lower").end();
    let rows: Vec<(&str, TarBuilder, &str)> = vec![
        (
            "written through a lower symlink",
            new().file("lib/foo", b"1"),
            "dir dir/old lib lib/foo target usr usr/lib usr/lib/libc",
        ),
        (
            "implicit parent",
            new().file("dir/new", b"1"),
            "dir dir/new dir/old lib target usr usr/lib usr/lib/libc",
        ),
        (
            "file, then directory",
            new().file("dir", b"2").dir("dir").file("dir/new", b"2"),
            "dir dir/new dir/old lib target usr usr/lib usr/lib/libc",
        ),
        (
            "below a lower file",
            new().file("target/x", b"2"),
            "dir dir/old lib target target/x usr usr/lib usr/lib/libc",
        ),
        (
            "opaque",
            new().file("dir/.wh..wh..opq", b"").file("dir/new", b"1"),
            "dir dir/new lib target usr usr/lib usr/lib/libc",
        ),
        (
            "opaque root, which overlayfs ignores",
            new().file(".wh..wh..opq", b"").file("x", b"1"),
            "dir dir/old lib target usr usr/lib usr/lib/libc x",
        ),
    ];
    for (name, upper, expected) in rows {
        assert_eq!(stacked_names(&base, &upper.end()).join(" "), expected, "{name}");
    }
}
