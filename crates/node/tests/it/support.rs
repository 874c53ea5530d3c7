//! Small stores with caches of real layer images.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use imagecache_blocks::{
    CacheRecord, DirectoryStore, Durability, ImageRecord, LayerRecord, LayerReference, Part, PartRecord, RecordChange,
    References, SpecRecord, Store as _, VolumeContent, VolumePart, chain_ids, write_snapshot,
};
use imagecache_core::{CacheId, CacheKey, CacheSpec, CacheState, Digest, ImageRef, Phase, Platform, Progress};
use imagecache_node::wire::Mount;
use imagecache_node::{Error, Labels, REFERENCE_LABEL, Snapshotter};

use crate::tiny_image::tiny_image;

/// A store, a snapshotter's root beside it, and what is mounted below either ends with the test.
pub struct Place {
    pub dir: tempfile::TempDir,
}

impl Place {
    pub fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        // As the kernel's table of mounts has it.
        fs::canonicalize(self.dir.path()).unwrap().join(name)
    }

    pub fn store(&self) -> DirectoryStore {
        DirectoryStore::open(self.path("store")).unwrap()
    }

    pub fn open(&self) -> Snapshotter {
        Snapshotter::open(&self.path("root")).unwrap()
    }

    /// Mount points below the snapshotter's root, in order.
    pub fn mounts(&self) -> Vec<PathBuf> {
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let points = table.lines().filter_map(|line| line.split(' ').nth(4));
        let below = points
            .map(PathBuf::from)
            .filter(|path| path.starts_with(self.path("root")));
        below.collect()
    }

    pub fn unmount_all(&self) {
        for path in self.mounts().into_iter().rev() {
            rustix::mount::unmount(&path, rustix::mount::UnmountFlags::DETACH).unwrap();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for path in self.mounts().into_iter().rev() {
            let _ = rustix::mount::unmount(&path, rustix::mount::UnmountFlags::DETACH);
        }
    }
}

/// A layer with one file of this name; its content is the name, many times.
pub fn put_layer(store: &DirectoryStore, name: &str) -> LayerRecord {
    let content = name.repeat(20_000);
    let diff_id = Digest::sha256_of(content.as_bytes());
    let mut writer = store.part_writer(&Part::Layer(diff_id.clone())).unwrap();
    writer.write_all(&tiny_image(name, content.as_bytes())).unwrap();
    let record = writer.publish(|blocks| PartRecord::Layer(LayerRecord::new(diff_id, blocks)));
    match record.unwrap() {
        PartRecord::Layer(record) => record,
        PartRecord::Patch(_) => unreachable!(),
    }
}

/// A Ready cache of one image with a layer for each of these names; gives the chains.
pub fn put_cache(store: &DirectoryStore, image: &str, names: &[&str]) -> (CacheId, Vec<Digest>) {
    let layers: Vec<LayerRecord> = names.iter().map(|name| put_layer(store, name)).collect();
    let diff_ids: Vec<Digest> = layers.iter().map(|layer| layer.diff_id.clone()).collect();
    let listed: Vec<String> = diff_ids.iter().map(|id| format!("\"{id}\"")).collect();
    let rootfs = format!(r#"{{"type":"layers","diff_ids":[{}]}}"#, listed.join(","));
    let config = format!(r#"{{"architecture":"amd64","os":"linux","rootfs":{rootfs}}}"#);
    let config_digest = Digest::sha256_of(config.as_bytes());
    let manifest = format!(r#"{{"schemaVersion":2,"config":{{"digest":"{config_digest}"}},"name":"{image}"}}"#);
    let manifest_digest = Digest::sha256_of(manifest.as_bytes());
    let blobs = [
        (config_digest.clone(), config.into_bytes()),
        (manifest_digest.clone(), manifest.clone().into_bytes()),
    ];
    for (digest, bytes) in &blobs {
        store.put_blob(digest, bytes).unwrap();
    }
    let chains = chain_ids(&diff_ids);
    let references = diff_ids.iter().zip(&chains).map(|(diff_id, chain_id)| LayerReference {
        diff_id: diff_id.clone(),
        chain_id: chain_id.clone(),
        blob: diff_id.clone(),
        blob_bytes: 1,
    });
    let images = vec![ImageRecord {
        reference: ImageRef::parse(image).unwrap(),
        media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
        manifest: manifest_digest,
        manifest_bytes: manifest.len() as u64,
        index: None,
        public: true,
        config: config_digest,
        platform: Platform::linux("amd64"),
        layers: references.collect(),
    }];
    let content = VolumeContent {
        images: images.clone(),
        blobs: blobs.into(),
        parts: layers
            .into_iter()
            .map(|layer| VolumePart::from(PartRecord::Layer(layer)))
            .collect(),
        head: None,
    };
    let snapshot = write_snapshot(store, &content, None).unwrap();
    let spec = CacheSpec::new(vec![ImageRef::parse(image).unwrap()]);
    let key = CacheKey::new(image, &spec);
    let id = CacheId::for_key(&key);
    let mut record = CacheRecord::new(requested(&key, &spec), SpecRecord::from(&spec), "build".to_owned());
    record.references = References::of(&images);
    record.images = images;
    record.snapshot = Some(snapshot.id);
    record.state.phase = Phase::Ready;
    let change = RecordChange::Write(Box::new(record), Durability::Durable);
    store.update_record(&id, |_| (change, ())).unwrap();
    (id, chains)
}

fn requested(key: &CacheKey, spec: &CacheSpec) -> CacheState {
    CacheState {
        progress: Progress::ZERO,
        ..CacheState::requested(key, spec, jiff::Timestamp::UNIX_EPOCH)
    }
}

pub fn delete_cache(store: &DirectoryStore, id: &CacheId) {
    store.update_record(id, |_| (RecordChange::Remove, ())).unwrap();
    store.collect_garbage().unwrap();
}

/// Where the image of the layer at the end of a chain of one is.
pub fn image_file(store: &DirectoryStore, diff_id: &Digest) -> PathBuf {
    store.part_path(&Part::Layer(diff_id.clone()))
}

/// Flips one bit.
pub fn damage(file: &Path) {
    let opened = fs::File::options().read(true).write(true).open(file).unwrap();
    let at = opened.metadata().unwrap().len() / 2;
    let mut byte = [0];
    opened.read_exact_at(&mut byte, at).unwrap();
    opened.write_all_at(&[byte[0] ^ 1], at).unwrap();
}

pub fn reference(chain: &Digest) -> Labels {
    Labels::from([(REFERENCE_LABEL.to_owned(), chain.to_string())])
}

/// Asks for a layer as containerd does and gives the name of the snapshot that is there already.
pub fn adopt(snapshotter: &Snapshotter, chain: &Digest, parent: Option<&str>) -> Option<String> {
    let key = format!("extract {chain} {}", fastrand::u64(..));
    match snapshotter.prepare(&key, parent, reference(chain)) {
        Ok(_) => {
            snapshotter.remove(&key).unwrap();
            return None;
        }
        Err(Error::AlreadyExists(_)) => {}
        Err(error) => panic!("{error}"),
    }
    let parent = parent.unwrap_or_default();
    let filter = format!("labels.\"{REFERENCE_LABEL}\"=={chain},parent==\"{parent}\"");
    let found = snapshotter.list(&[filter]).unwrap();
    Some(found.into_iter().next().expect("nothing to adopt").name)
}

/// Adopts all layers of an image and gives the name of the last.
pub fn adopt_all(snapshotter: &Snapshotter, chains: &[Digest]) -> String {
    let mut parent: Option<String> = None;
    for chain in chains {
        parent = Some(adopt(snapshotter, chain, parent.as_deref()).expect("a layer is pulled"));
    }
    parent.unwrap()
}

/// A mount as containerd makes it, which ends with the test.
pub struct Root(tempfile::TempDir);

impl Root {
    pub fn of(mounts: &[Mount]) -> Self {
        let target = tempfile::tempdir().unwrap();
        let mount = &mounts[0];
        let options = mount.options.join(",");
        let mut command = std::process::Command::new("mount");
        if mount.r#type == "bind" {
            command.args(["--bind", &mount.source]).arg(target.path());
        } else {
            // containerd enters the common directory of the lower ones, so that they fit into a page.
            let lower = options
                .split(',')
                .find_map(|option| option.strip_prefix("lowerdir="))
                .unwrap();
            let common = Path::new(lower.split(':').next().unwrap()).ancestors();
            let common = common.clone().find(|directory| {
                let prefix = format!("{}/", directory.display());
                lower.split(':').all(|path| path.starts_with(&prefix))
            });
            let common = common.unwrap();
            let short = options.replace(&format!("{}/", common.display()), "");
            let short = short.replace("workdir=", &format!("workdir={}/", common.display()));
            let short = short.replace("upperdir=", &format!("upperdir={}/", common.display()));
            // Newer ones would set each option by a call of its own, which takes 255 bytes only.
            command.env("LIBMOUNT_FORCE_MOUNT2", "always");
            command
                .current_dir(common)
                .args(["-i", "-t", &mount.r#type, "-o", &short, &mount.source]);
            command.arg(target.path());
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Self(target)
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(self.0.path(), rustix::mount::UnmountFlags::DETACH);
    }
}
