//! The commands that need no Kubernetes.

use anyhow::{Result, ensure};
use std::os::unix::fs::FileExt;

use crate::context::Context;
use crate::registry::Registry;
use crate::scenarios::images;
use crate::store;

/// An id as both clouds write it.
pub fn is_cache_id(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_digit() || byte.is_ascii_lowercase();
    text.strip_prefix("imc-")
        .is_some_and(|rest| rest.len() == 20 && rest.bytes().all(plain))
}

/// An id as a vendor may write it: Tencent's are shorter than ours.
pub fn is_vendor_id(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_digit() || byte.is_ascii_lowercase();
    text.strip_prefix("imc-")
        .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(plain))
}

pub async fn create_get_list_match_delete(context: Context) -> Result<()> {
    let registry = Registry::of(&[("small", images::small()?)]).await?;
    let (binary, image) = (context.binary(), registry.image("small"));

    let id = binary.create(&image).await?;
    ensure!(is_cache_id(&id), "create printed {id:?}");
    ensure!(binary.create(&image).await? == id, "the same image made another cache");
    let got = binary.json(&["get", &id]).await?.to_string();
    ensure!(got.contains(&id) && got.contains("Ready"), "get: {got}");
    let listed = binary.json(&["list"]).await?.to_string();
    ensure!(listed.contains(&id), "list: {listed}");
    let matched = binary.run(&["match", &image]).await?;
    ensure!(matched.contains(&id), "match: {matched}");
    binary.run(&["verify", &id]).await?;
    let table = binary.run(&["get", &id]).await?;
    ensure!(table.contains(&id), "the table does not name the cache: {table}");

    binary.run(&["delete", &id]).await?;
    for command in ["get", "delete"] {
        let message = binary.fails(&[command, &id]).await?;
        ensure!(message.contains(&id), "{command} of a deleted cache: {message}");
    }
    let left = store::layer_images(binary.store())?;
    ensure!(left.is_empty(), "deleting the last cache left {left:?}");
    store::nothing_unfinished(binary.store())
}

pub async fn prints_config_without_secrets(context: Context) -> Result<()> {
    let binary = context.binary();
    let printed = binary.run(&["config"]).await?;
    let store = binary.store().to_string_lossy().into_owned();
    ensure!(
        printed.contains(&store),
        "the environment's store path is not in the effective configuration: {printed}"
    );
    let unknown = context.dir.join("unknown.toml");
    std::fs::write(&unknown, "provider = \"local\"\n[local.store]\npaht = \"/nowhere\"\n")?;
    let message = binary
        .fails(&["--config", &unknown.to_string_lossy(), "config"])
        .await?;
    ensure!(
        message.contains("paht"),
        "a typo in the configuration is not named: {message}"
    );
    let absent = context.dir.join("absent.toml");
    let message = binary.fails(&["--config", &absent.to_string_lossy(), "config"]).await?;
    ensure!(
        message.contains("absent.toml"),
        "a missing configuration file is not named: {message}"
    );
    Ok(())
}

pub async fn verify_names_damage(context: Context) -> Result<()> {
    let registry = Registry::of(&[("basic", images::basic()?)]).await?;
    let binary = context.binary();
    binary.create(&registry.image("basic")).await?;
    binary.verify().await?;

    let layers = store::layer_images(binary.store())?;
    ensure!(layers.len() == 1, "one layer gave {layers:?}");
    let length = layers[0].metadata()?.len();
    let mut permissions = layers[0].metadata()?.permissions();
    #[allow(
        clippy::permissions_set_readonly_false,
        reason = "the file is about to be damaged and thrown away"
    )]
    permissions.set_readonly(false);
    std::fs::set_permissions(&layers[0], permissions)?;
    let file = std::fs::File::options().read(true).write(true).open(&layers[0])?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, length / 2)?;
    file.write_all_at(&[!byte[0]], length / 2)?;

    let output = binary.output(&["verify"]).await?;
    ensure!(
        output.code == Some(1),
        "verify of a damaged store exited with {:?}",
        output.code
    );
    let said = format!("{}{}", output.stdout, output.stderr);
    let name = layers[0]
        .file_stem()
        .map(|stem| stem.to_string_lossy().into_owned())
        .unwrap_or_default();
    ensure!(
        said.contains(&name),
        "verify does not name the damaged layer {name}: {said}"
    );
    Ok(())
}

pub async fn check_says_what_a_node_lacks(context: Context) -> Result<()> {
    let binary = context.binary();
    let (dir, config) = (context.subdir("check")?, context.dir.join("config.toml"));
    let (root, socket) = (dir.join("root"), dir.join("node.sock"));
    std::fs::write(&config, "[proxy_plugins.imagecache]\ncapabilities = [\"rebase\"]\n")?;
    let arguments = |source: &std::path::Path| {
        let paths = [("--root", &*root), ("--socket", &socket), ("--source", source)];
        let paths = paths
            .into_iter()
            .chain([("--containerd-config", &*config), ("--containerd-root", &dir)]);
        let flags = paths.flat_map(|(flag, path)| [flag.to_owned(), path.to_string_lossy().into_owned()]);
        ["-o", "json", "node", "--check"]
            .map(str::to_owned)
            .into_iter()
            .chain(flags)
            .collect::<Vec<_>>()
    };
    let output = binary.output(&arguments(&dir.join("later"))).await?;
    ensure!(
        output.code == Some(1),
        "{:?} although containerd is configured wrong: {}",
        output.code,
        output.stdout
    );
    let rows: Vec<serde_json::Value> = serde_json::from_str(&output.stdout)?;
    for (subject, result, part) in [
        ("root directory", "ok", "free"),
        ("mount propagation", "", ""),
        ("store", "note", "may appear later"),
        ("snapshotter", "note", "start `imagecache node`"),
        ("containerd config", "missing", "rebase"),
        ("containerd config", "note", "disable_snapshot_annotations"),
        ("image filesystem", "note", "--containerd-root"),
    ] {
        let found = rows.iter().any(|row| {
            let has = |key: &str, wanted: &str| row[key].as_str().is_some_and(|text| text.contains(wanted));
            has("subject", subject) && has("result", result) && has("text", part)
        });
        ensure!(found, "{subject}: no {result} with {part:?} in {}", output.stdout);
    }
    ensure!(!root.exists() && !socket.exists(), "a check changed something");
    // A directory that is no store is a mistake, not something that may come.
    let output = binary.output(&arguments(&dir)).await?;
    ensure!(
        output.code == Some(1) && output.stdout.contains("store"),
        "{}",
        output.stdout
    );
    let message = binary
        .fails(&["node", "--mirror", "0.0.0.0:5000", "--root", &root.to_string_lossy()])
        .await?;
    ensure!(message.contains("loopback"), "a mirror for everybody: {message}");
    ensure!(!root.exists(), "it went on");
    Ok(())
}
