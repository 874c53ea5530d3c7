//! What a mounted image is, compared with what umoci and containerd make of the same one.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use crate::binary::tool;
use crate::compare::{Rules, same_tree};
use crate::containerd::Containerd;
use crate::context::Context;
use crate::image::Images;
use crate::mounts::Mounted;
use crate::registry::Registry;
use crate::scenarios::images;
use crate::store;

/// The big images, smallest first.
const BIG: &[&str] = &["base:12", "java:17", "java:17-patch", "java:17-zstd"];

pub async fn basic_image_equals_umoci(context: Context) -> Result<()> {
    equals_umoci(&context, "basic", &images::basic()?).await
}

pub async fn whiteouts_equal_umoci(context: Context) -> Result<()> {
    equals_umoci(&context, "whiteouts", &images::whiteouts()?).await
}

/// containerd's overlayfs cannot unpack this image at all; umoci, which unpacks every layer into one tree, can.
pub async fn links_below_equal_umoci(context: Context) -> Result<()> {
    equals_umoci(&context, "linked", &images::linked_below()?).await
}

async fn equals_umoci(context: &Context, tag: &str, layers: &[Vec<u8>]) -> Result<()> {
    let (images, layout) = (Images::of(&[(tag, layers)]), context.dir.join("oci"));
    images.write(&layout)?;
    let registry = Registry::serve(&images).await?;
    let bundle = umoci_unpack(&format!("{}:{tag}", layout.display()), &context.dir).await?;
    let ours = mount_image(context, &registry.image(tag)).await?;
    same_tree(
        ("the mount", ours.path()),
        ("umoci", &bundle.join("rootfs")),
        Rules::EXACT,
    )
}

pub async fn cross_layer_cases_equal_containerd(context: Context) -> Result<()> {
    let rows = [
        ("basic", images::basic()?, Rules::EXACT),
        ("whiteouts", images::whiteouts()?, Rules::EXACT),
        (
            "cross",
            images::cross_layer()?,
            Rules {
                any_time: images::MADE_BY_CONTAINERD,
                ..Rules::EXACT
            },
        ),
    ];
    let registry = Registry::of(&rows.each_ref().map(|(tag, layers, _)| (*tag, layers))).await?;
    let containerd = Containerd::start(&context.subdir("containerd")?).await?;
    for (tag, _, rules) in rows {
        let theirs = context.subdir(&format!("theirs-{tag}"))?;
        let theirs = containerd.mount(&registry.image(tag), &theirs).await?;
        let ours = mount_image(&context, &registry.image(tag)).await?;
        same_tree(("the mount", ours.path()), ("containerd", theirs.path()), rules).context(tag)?;
    }
    Ok(())
}

pub async fn fsck_accepts_every_image(context: Context) -> Result<()> {
    let registry = Registry::of(&[
        ("basic", images::basic()?),
        ("whiteouts", images::whiteouts()?),
        ("cross", images::cross_layer()?),
        ("linked", images::linked_below()?),
    ])
    .await?;
    let binary = context.binary();
    for tag in ["basic", "whiteouts", "cross", "linked"] {
        let id = binary.create(&registry.image(tag)).await?;
        let volume = context.dir.join(format!("{tag}.volume"));
        binary.run(&["export", &id, &volume.to_string_lossy()]).await?;
        fsck(&volume).await?;
    }
    for image in store::layer_images(binary.store())? {
        fsck(&image).await?;
    }
    Ok(())
}

pub async fn exported_volume_mounts_plainly(context: Context) -> Result<()> {
    let registry = Registry::of(&[("basic", images::basic()?), ("heavy", images::heavy(21, 2, 3)?)]).await?;
    let binary = context.binary();
    let id = binary
        .run(&["create", "--wait", &registry.image("basic"), &registry.image("heavy")])
        .await?;
    let file = context.dir.join("volume.erofs");
    binary.run(&["export", &id, &file.to_string_lossy()]).await?;
    let plain = Mounted::mount(
        &["-t", "erofs", "-o", "loop,ro", &file.to_string_lossy()],
        &context.dir.join("plain"),
    )
    .await?;

    // The layer images are in the volume as they are in the store, and each mounts from there.
    let images = store::layer_images(binary.store())?;
    ensure!(images.len() == 3, "three layers gave {images:?}");
    for image in &images {
        let inside = plain.path().join(image.strip_prefix(binary.store())?);
        let same = std::fs::read(&inside).with_context(|| inside.display().to_string())? == std::fs::read(image)?;
        ensure!(same, "{} is not as in the store", inside.display());
    }
    let layer = plain.path().join(images[0].strip_prefix(binary.store())?);
    let nested = Mounted::mount(
        &["-t", "erofs", "-o", "loop,ro", &layer.to_string_lossy()],
        &context.dir.join("nested"),
    )
    .await?;
    ensure!(
        !store::files(nested.path())?.is_empty(),
        "a layer image in the volume is empty"
    );
    drop(nested);

    let index: serde_json::Value = serde_json::from_slice(&std::fs::read(plain.path().join("index.json"))?)?;
    let manifests = index["manifests"].as_array().context("index.json has no manifests")?;
    ensure!(manifests.len() == 2, "two images gave {index}");
    for manifest in manifests {
        let name = manifest["annotations"]["org.opencontainers.image.ref.name"].as_str();
        let name = name.with_context(|| format!("an image without name: {manifest}"))?;
        let raw = tool(
            "skopeo",
            &["inspect", "--raw", &format!("oci:{}:{name}", plain.path().display())],
        )
        .await?;
        ensure!(
            crate::image::digest(raw.as_bytes()) == manifest["digest"],
            "{name}: skopeo reads another manifest"
        );
    }

    // What is mounted without a second copy is the same volume.
    let dir = context.subdir("ours")?;
    binary.run(&["mount", &id, &dir.to_string_lossy()]).await?;
    let ours = Mounted::adopt(&dir);
    same_tree(
        ("the mount", ours.path()),
        ("the exported volume", plain.path()),
        Rules::EXACT,
    )
}

pub async fn big_images_equal_umoci(context: Context) -> Result<()> {
    let registry = context.registry()?.to_owned();
    for image in BIG {
        let reference = format!("{registry}/{image}");
        let tag = image.replace(':', "-");
        let copy = format!("oci:{}:{tag}", context.dir.join("big").display());
        tool(
            "skopeo",
            &[
                "copy",
                "-q",
                "--src-tls-verify=false",
                &format!("docker://{reference}"),
                &copy,
            ],
        )
        .await?;
        let ours = mount_image(&context, &reference).await?;
        // This umoci does not know zstd: the image with zstd layers holds what java:17 holds.
        let unpacked = if image.ends_with("zstd") {
            "java-17".to_owned()
        } else {
            tag.clone()
        };
        let bundle = context.dir.join(format!("bundle-{unpacked}"));
        if !bundle.exists() {
            let name = format!("{}:{unpacked}", context.dir.join("big").display());
            tool("umoci", &["unpack", "--image", &name, &bundle.to_string_lossy()]).await?;
        }
        same_tree(
            ("the mount", ours.path()),
            ("umoci", &bundle.join("rootfs")),
            Rules::EXACT,
        )
        .context(*image)?;
    }
    context.binary().verify().await?;
    for image in store::layer_images(context.binary().store())? {
        fsck(&image).await?;
    }
    Ok(())
}

/// Builds a cache of one image and mounts that image's root filesystem.
async fn mount_image(context: &Context, image: &str) -> Result<Mounted> {
    let binary = context.binary();
    let id = binary.create(image).await?;
    let dir = context.subdir(&format!("mount-{id}"))?;
    binary
        .run(&["mount", &id, &dir.to_string_lossy(), "--image", image])
        .await?;
    Ok(Mounted::adopt(&dir))
}

async fn umoci_unpack(image: &str, dir: &Path) -> Result<std::path::PathBuf> {
    let bundle = dir.join("bundle");
    tool("umoci", &["unpack", "--image", image, &bundle.to_string_lossy()]).await?;
    Ok(bundle)
}

async fn fsck(image: &Path) -> Result<()> {
    tool("fsck.erofs", &[image.as_os_str()]).await.map(|_| ())
}
