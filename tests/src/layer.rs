//! Writes layer tars, ordinary and tricky, entry by entry.

use std::io;
use std::path::Path;

use tar::{Builder, EntryType, Header};

/// Second that everything in a test layer was last modified, unless it says otherwise.
const MTIME: u64 = 1_700_000_000;

/// A layer being written.
pub struct Layer {
    tar: Builder<Vec<u8>>,
}

/// Attributes of one entry; [`Attributes::file`] and the others give the usual ones.
#[derive(Clone, Debug)]
pub struct Attributes {
    /// Permission bits.
    pub mode: u32,
    /// User and group; more than 21 bits are written as PAX records by the writer.
    pub owner: (u64, u64),
    /// PAX records, such as `mtime` or `SCHILY.xattr.user.x`.
    pub pax: Vec<(String, Vec<u8>)>,
    /// Major and minor number of a device.
    pub device: (u32, u32),
}

impl Attributes {
    /// A regular file, 0644, owned by root.
    pub fn file() -> Self {
        Self {
            mode: 0o644,
            owner: (0, 0),
            pax: Vec::new(),
            device: (0, 0),
        }
    }

    /// A directory or program, 0755, owned by root.
    pub fn executable() -> Self {
        Self {
            mode: 0o755,
            ..Self::file()
        }
    }

    /// With other permission bits.
    pub fn with_mode(self, mode: u32) -> Self {
        Self { mode, ..self }
    }

    /// With another owner.
    pub fn with_owner(self, user: u64, group: u64) -> Self {
        Self {
            owner: (user, group),
            ..self
        }
    }

    /// With an extended attribute.
    pub fn with_xattr(self, name: &str, value: &[u8]) -> Self {
        self.with_pax(&format!("SCHILY.xattr.{name}"), value)
    }

    /// With a PAX record.
    pub fn with_pax(mut self, key: &str, value: &[u8]) -> Self {
        self.pax.push((key.to_owned(), value.to_vec()));
        self
    }

    /// With a device number.
    pub fn with_device(self, major: u32, minor: u32) -> Self {
        Self {
            device: (major, minor),
            ..self
        }
    }
}

impl Default for Layer {
    fn default() -> Self {
        Self {
            tar: Builder::new(Vec::new()),
        }
    }
}

impl Layer {
    /// An empty layer.
    pub fn new() -> Self {
        Self::default()
    }

    /// A directory, 0755.
    pub fn dir(&mut self, path: &str) -> io::Result<&mut Self> {
        self.entry(path, EntryType::Directory, None, &[], &Attributes::executable())
    }

    /// A file with content, 0644.
    pub fn file(&mut self, path: &str, content: &[u8]) -> io::Result<&mut Self> {
        self.entry(path, EntryType::Regular, None, content, &Attributes::file())
    }

    /// A file with content and attributes.
    pub fn file_with(&mut self, path: &str, content: &[u8], attributes: &Attributes) -> io::Result<&mut Self> {
        self.entry(path, EntryType::Regular, None, content, attributes)
    }

    /// A symbolic link.
    pub fn symlink(&mut self, path: &str, target: &str) -> io::Result<&mut Self> {
        self.entry(
            path,
            EntryType::Symlink,
            Some(target),
            &[],
            &Attributes::executable().with_mode(0o777),
        )
    }

    /// A hard link to another path of the image.
    pub fn hard_link(&mut self, path: &str, target: &str) -> io::Result<&mut Self> {
        self.entry(path, EntryType::Link, Some(target), &[], &Attributes::file())
    }

    /// Removes a path of the layers below.
    pub fn whiteout(&mut self, path: &str) -> io::Result<&mut Self> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let marker = if parent.is_empty() {
            format!(".wh.{name}")
        } else {
            format!("{parent}/.wh.{name}")
        };
        self.file_with(&marker, &[], &Attributes::file())
    }

    /// Hides everything that the layers below have in a directory.
    pub fn opaque(&mut self, directory: &str) -> io::Result<&mut Self> {
        self.file_with(&format!("{directory}/.wh..wh..opq"), &[], &Attributes::file())
    }

    /// Any entry, as given.
    pub fn entry(
        &mut self,
        path: &str,
        kind: EntryType,
        target: Option<&str>,
        content: &[u8],
        attributes: &Attributes,
    ) -> io::Result<&mut Self> {
        let pax = attributes
            .pax
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_slice()));
        self.tar.append_pax_extensions(pax)?;
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(attributes.mode);
        header.set_uid(attributes.owner.0);
        header.set_gid(attributes.owner.1);
        header.set_mtime(MTIME);
        header.set_size(content.len() as u64);
        if kind.is_character_special() || kind.is_block_special() {
            header.set_device_major(attributes.device.0)?;
            header.set_device_minor(attributes.device.1)?;
        }
        match target {
            Some(target) => self.tar.append_link(&mut header, path, target)?,
            None => self.tar.append_data(&mut header, path, content)?,
        }
        Ok(self)
    }

    /// A file of the host, with its mode.
    pub fn host_file(&mut self, from: &Path, path: &str) -> io::Result<&mut Self> {
        self.file_with(path, &std::fs::read(from)?, &Attributes::executable())
    }

    /// The finished tar.
    pub fn finish(self) -> io::Result<Vec<u8>> {
        self.tar.into_inner()
    }
}

/// Bytes that look random and pack badly, the same for the same seed.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
