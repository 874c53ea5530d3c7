//! Small tars, and a readable form of what an image holds.

use std::fmt::Write as _;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::process::Command;

use imagecache_erofs::reader::Image;
use imagecache_erofs::{Error, FileType, LayerOptions, LayerSummary, write_layer};

/// Builds tars by hand, so that they can also be wrong.
#[derive(Default)]
pub struct TarBuilder(pub Vec<u8>);

impl TarBuilder {
    pub fn header(kind: u8, name: &[u8], link: &[u8], size: u64, mode: u32) -> [u8; 512] {
        let mut header = [0u8; 512];
        let put = |header: &mut [u8; 512], at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
        put(&mut header, 0, &name[..name.len().min(100)]);
        put(&mut header, 100, format!("{mode:07o}\0").as_bytes());
        put(&mut header, 108, b"0000000\0");
        put(&mut header, 116, b"0000000\0");
        put(&mut header, 124, format!("{size:011o}\0").as_bytes());
        put(&mut header, 136, b"00000000012\0");
        header[156] = kind;
        put(&mut header, 157, &link[..link.len().min(100)]);
        put(&mut header, 257, b"ustar\x0000");
        Self::seal(&mut header);
        header
    }

    pub fn seal(header: &mut [u8; 512]) {
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }

    pub fn raw(mut self, header: [u8; 512], data: &[u8]) -> Self {
        self.0.extend_from_slice(&header);
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub fn entry(self, kind: u8, name: &str, link: &str, data: &[u8]) -> Self {
        let mode = if kind == b'5' { 0o755 } else { 0o644 };
        if name.len() > 100 {
            return self.pax(&[("path", name.as_bytes())]).raw(
                Self::header(kind, b"long", link.as_bytes(), data.len() as u64, mode),
                data,
            );
        }
        self.raw(
            Self::header(kind, name.as_bytes(), link.as_bytes(), data.len() as u64, mode),
            data,
        )
    }

    pub fn file(self, name: &str, data: &[u8]) -> Self {
        self.entry(b'0', name, "", data)
    }

    pub fn dir(self, name: &str) -> Self {
        self.entry(b'5', name, "", b"")
    }

    pub fn symlink(self, name: &str, target: &str) -> Self {
        self.entry(b'2', name, target, b"")
    }

    pub fn link(self, name: &str, target: &str) -> Self {
        self.entry(b'1', name, target, b"")
    }

    pub fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let body: Vec<u8> = records.iter().flat_map(|(key, value)| record(key, value)).collect();
        self.raw(Self::header(b'x', b"pax", b"", body.len() as u64, 0o644), &body)
    }

    pub fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        self.0
    }
}

/// One PAX record with its own length in front.
fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length.to_string().len() + rest != length {
        length = length.to_string().len() + rest;
    }
    [format!("{length} {key}=").as_bytes(), value, b"\n"].concat()
}

pub fn options() -> LayerOptions {
    LayerOptions {
        uuid: *b"0123456789abcdef",
        ..LayerOptions::default()
    }
}

/// Writes a layer to memory.
pub fn layer(tar: &[u8]) -> Result<(Vec<u8>, LayerSummary), Error> {
    layer_with(tar, &options())
}

pub fn layer_with(tar: &[u8], options: &LayerOptions) -> Result<(Vec<u8>, LayerSummary), Error> {
    let mut image = Cursor::new(Vec::new());
    let summary = write_layer(tar, &mut image, options)?;
    let image = image.into_inner();
    assert_eq!(
        image.len() as u64,
        summary.image_bytes,
        "the summary's size is the image's"
    );
    assert_eq!(tar.len() as u64, summary.tar_bytes, "the whole tar was read");
    Ok((image, summary))
}

/// One line for each path: type, mode, owner, size, links, time, what it holds.
pub fn dump(image: &[u8]) -> String {
    let image = Image::open(image).expect("valid image");
    let mut text = String::new();
    image
        .walk(1 << 20, |path, inode| {
            let kind = match inode.file_type {
                FileType::Regular => '-',
                FileType::Directory => 'd',
                FileType::CharDevice => 'c',
                FileType::BlockDevice => 'b',
                FileType::Fifo => 'p',
                FileType::Socket => 's',
                FileType::Symlink => 'l',
            };
            let path = if path.is_empty() {
                "/".into()
            } else {
                String::from_utf8_lossy(path)
            };
            write!(
                text,
                "{kind} {:04o} {}:{} n{} {}.{:09} {path}",
                inode.mode, inode.uid, inode.gid, inode.links, inode.mtime_seconds, inode.mtime_nanoseconds
            )
            .expect("to a string");
            match inode.file_type {
                FileType::Regular => {
                    let mut data = Vec::new();
                    std::io::Read::read_to_end(&mut image.file(inode), &mut data).expect("readable");
                    if data.len() > 40 {
                        write!(text, " {} bytes", data.len()).expect("to a string");
                    } else {
                        write!(text, " {:?}", String::from_utf8_lossy(&data)).expect("to a string");
                    }
                }
                FileType::Symlink => {
                    let target = image.read_link(inode)?;
                    write!(text, " -> {}", String::from_utf8_lossy(&target)).expect("to a string");
                }
                FileType::CharDevice | FileType::BlockDevice => {
                    write!(text, " {}:{}", inode.device.0, inode.device.1).expect("to a string");
                }
                _ => {}
            }
            for xattr in image.xattrs(inode)? {
                let (name, value) = (
                    String::from_utf8_lossy(&xattr.name),
                    String::from_utf8_lossy(&xattr.value),
                );
                write!(text, " {name}={value:?}").expect("to a string");
            }
            text.push('\n');
            Ok(())
        })
        .expect("a sound tree");
    text
}

/// An image mounted by the kernel; unmounted when dropped.
pub struct Mounted(tempfile::TempDir);

impl Mounted {
    pub fn new(image: &Path) -> Self {
        Self::with_options(image, "loop,ro")
    }

    pub fn with_options(image: &Path, options: &str) -> Self {
        let dir = tempfile::tempdir().expect("temporary directory");
        let status = Command::new("mount")
            .args(["-t", "erofs", "-o", options])
            .arg(image)
            .arg(dir.path())
            .status();
        assert!(
            status.expect("mount runs").success(),
            "mount -t erofs -o {options} {}",
            image.display()
        );
        Self(dir)
    }

    /// Stacks mounted layers, the topmost first.
    pub fn overlay(layers: &[Mounted]) -> Self {
        let dir = tempfile::tempdir().expect("temporary directory");
        let lower: Vec<String> = layers.iter().map(|layer| layer.path().display().to_string()).collect();
        let options = format!("ro,lowerdir={}", lower.join(":"));
        let status = Command::new("mount")
            .args(["-t", "overlay", "-o", &options, "overlay"])
            .arg(dir.path())
            .status();
        assert!(status.expect("mount runs").success(), "mount -t overlay -o {options}");
        Self(dir)
    }

    pub fn path(&self) -> PathBuf {
        self.0.path().to_owned()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Lazily: a process that another test is just starting may still hold a copy of a descriptor of this mount.
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

/// Runs `fsck.erofs` on an image.
pub fn fsck(image: &Path) {
    let output = Command::new("fsck.erofs").arg(image).output().expect("fsck.erofs runs");
    assert!(
        output.status.success(),
        "fsck.erofs: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}
