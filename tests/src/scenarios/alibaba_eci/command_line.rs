//! The commands that need no Kubernetes, and the configuration.

use anyhow::{Result, ensure};

use crate::context::Context;
use crate::eci::{Cloud, changed_config};
use crate::scenarios::command_line::is_cache_id;

pub async fn create_get_list_match_delete(context: Context) -> Result<()> {
    let cloud = Cloud::start().await;
    let binary = cloud.binary(&context);
    let image = "registry.example.com/app:1";
    let id = binary.create(image).await?;
    ensure!(is_cache_id(&id), "create printed {id:?}");
    ensure!(binary.create(image).await? == id, "the same image made another cache");
    let got = binary.json(&["get", &id]).await?.to_string();
    ensure!(got.contains(&id) && got.contains("Ready"), "get: {got}");
    let listed = binary.json(&["list"]).await?.to_string();
    ensure!(listed.contains(&id), "list: {listed}");
    let matched = binary.run(&["match", image]).await?;
    ensure!(matched.contains(&id), "match: {matched}");
    let message = binary.fails(&["mount", &id, "/mnt"]).await?;
    ensure!(message.contains("local"), "mount of a cloud's cache: {message}");
    binary.run(&["delete", &id]).await?;
    ensure!(cloud.fake.caches().is_empty(), "the cache is still billed");
    for command in ["get", "delete"] {
        let message = binary.fails(&[command, &id]).await?;
        ensure!(message.contains(&id), "{command} of a deleted cache: {message}");
    }
    Ok(())
}

pub async fn mistakes_are_named(context: Context) -> Result<()> {
    let cloud = Cloud::start().await;
    for (shipped, wanted, parts) in [
        (
            "page_size = 50",
            "pagesize = 50",
            &["alibaba-eci.toml", "`alibaba-eci.pagesize`", "`alibaba-eci.page_size`"][..],
        ),
        ("region = \"cn-hangzhou\"", "region = \"\"", &["alibaba-eci.region"]),
        (
            "provider = \"alibaba-eci\"",
            "provider = \"alibaba-ecs\"",
            &["alibaba-ecs", "alibaba-eci"],
        ),
    ] {
        let file = changed_config(&context, &[(shipped, wanted)])?;
        let message = cloud.binary_with(&context, &file).fails(&["list"]).await?;
        for part in parts {
            ensure!(message.contains(part), "{wanted}: {message}");
        }
    }
    let binary = cloud.binary(&context);
    let wrong = binary
        .clone()
        .with_environment([("ALIBABA_CLOUD_ACCESS_KEY_SECRET", "wrong-secret".to_owned())]);
    let message = wrong.fails(&["list"]).await?;
    ensure!(
        message.contains("SignatureDoesNotMatch") && !message.contains("wrong-secret"),
        "a wrong secret: {message}"
    );
    let remote = binary
        .clone()
        .with_environment([("IMAGECACHE_ALIBABA_ECI__ENDPOINT", "http://eci.example.com".to_owned())]);
    let message = remote.fails(&["list"]).await?;
    ensure!(message.contains("https"), "plain HTTP to a remote host: {message}");
    let printed = binary.run(&["config"]).await?;
    for part in [
        "provider = \"alibaba-eci\"",
        "[alibaba-eci]",
        "region = \"cn-hangzhou\"",
        &cloud.fake.endpoint(),
    ] {
        ensure!(
            printed.contains(part),
            "{part} is not in the effective configuration: {printed}"
        );
    }
    Ok(())
}
