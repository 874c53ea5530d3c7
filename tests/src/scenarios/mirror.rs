//! `imagecache node --mirror` behind a real containerd: images start while their registry is away, for whom they may.

use anyhow::{Result, ensure};

use crate::context::Context;
use crate::image::Images;
use crate::node::Node;
use crate::registry::Registry;
use crate::scenarios::node::runnable;

const USER: &str = "user";
const PASSWORD: &str = "hunter2";

/// Prints a file of the topmost layer.
const SCRIPT: &str = "cat /data/top";

pub async fn public_image_starts_without_its_registry(context: Context) -> Result<()> {
    let images = Images::of(&[("run", runnable()?)]);
    let registry = Registry::serve(&images).await?;
    let (host, image) = (registry.host().to_owned(), registry.image("run"));
    // The same image, as one platform of an index.
    let built = images.get("run")?;
    let index = imagecache_fakes::image::index(&[built]).digest;
    let multi = registry.fake().push_index("e2e", "multi", &[built]);
    for reference in [&image, &multi] {
        context.binary().create(reference).await?;
    }
    let node = Node::start(&context).await?;
    node.knows(3).await?;
    drop(registry);
    let alone = node.containerd.pull(&image).await;
    ensure!(alone.is_err(), "the registry still serves");
    node.mirrors(&host)?;
    node.containerd.pull(&image).await?;
    node.has_each_image_mounted_once()?;
    let said = node.script(&image, &context.name("away"), SCRIPT).await?;
    ensure!(said == "top\n", "the container said {said:?}");
    // A pod may name what its tag meant: the index, not the manifest of this platform.
    node.containerd.pull(&format!("{host}/e2e@{index}")).await?;
    let uncached = node.containerd.pull(&format!("{host}/e2e:other")).await;
    ensure!(uncached.is_err(), "an image that is not cached was pulled from nowhere");
    node.containerd.remove(&format!("{host}/e2e@{index}")).await?;
    node.forget(&image).await
}

pub async fn private_image_starts_for_who_may_have_it(context: Context) -> Result<()> {
    let registry = Registry::serve_to(&Images::of(&[("run", runnable()?)]), USER, PASSWORD).await?;
    let (host, image) = (registry.host().to_owned(), registry.image("run"));
    let secret = context.dir.join("secret.json");
    let auths = serde_json::json!({ "auths": { &host: { "username": USER, "password": PASSWORD } } });
    std::fs::write(&secret, auths.to_string())?;
    let binary = context.binary();
    binary
        .run(&["create", "--wait", "--pull-secret", &secret.to_string_lossy(), &image])
        .await?;
    let node = Node::start(&context).await?;
    node.knows(3).await?;
    // Content from the mirror first, so that it gets to know who may have what; tags from the registry while it is there.
    let mirror = node.mirror;
    let hosts = format!(
        "server = \"http://{host}\"\n\
         [host.\"http://127.0.0.1:{mirror}\"]\n  capabilities = [\"pull\"]\n\
         [host.\"http://{host}\"]\n  capabilities = [\"pull\", \"resolve\"]\n\
         [host.\"http://localhost:{mirror}\"]\n  capabilities = [\"pull\", \"resolve\"]\n"
    );
    node.containerd.reach(&host, &hosts)?;
    node.containerd.pull_as(&image, USER, PASSWORD).await?;
    node.forget(&image).await?;
    drop(registry);
    ensure!(
        node.containerd.pull(&image).await.is_err(),
        "anyone gets a private image"
    );
    let stranger = node.containerd.pull_as(&image, USER, "wrong").await;
    ensure!(stranger.is_err(), "any password gets a private image");
    node.containerd.pull_as(&image, USER, PASSWORD).await?;
    let said = node.script(&image, &context.name("known"), SCRIPT).await?;
    ensure!(said == "top\n", "the container said {said:?}");
    let log = std::fs::read_to_string(node.dir.join("node.log"))?;
    ensure!(!log.contains(PASSWORD), "the log has a password");
    node.forget(&image).await
}
