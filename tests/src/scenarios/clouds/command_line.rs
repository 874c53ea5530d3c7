//! The commands that need no Kubernetes, and the configuration.

use anyhow::{Result, ensure};

use crate::cloud::{Cloud, Vendor};
use crate::context::Context;
use crate::scenarios::command_line::is_vendor_id;

pub async fn create_get_list_match_delete<V: Vendor>(context: Context) -> Result<()> {
    let cloud = Cloud::<V>::start().await;
    let binary = cloud.binary(&context)?;
    let image = "registry.example.com/app:1";
    let id = binary.create(image).await?;
    ensure!(is_vendor_id(&id), "create printed {id:?}");
    ensure!(binary.create(image).await? == id, "the same image made another cache");
    let got = binary.json(&["get", &id]).await?.to_string();
    ensure!(got.contains(&id) && got.contains("Ready"), "get: {got}");
    let listed = binary.json(&["list"]).await?.to_string();
    ensure!(listed.contains(&id) && listed.contains("Ready"), "list: {listed}");
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

pub async fn mistakes_are_named<V: Vendor>(context: Context) -> Result<()> {
    let cloud = Cloud::<V>::start().await;
    let provider = V::PROVIDER;
    let (region, chosen) = (
        format!("region = \"{}\"", V::REGION),
        format!("provider = \"{provider}\""),
    );
    let key = |name: &str| format!("`{provider}.{name}`");
    for (shipped, wanted, parts) in [
        (
            "page_size = 50",
            "pagesize = 50",
            vec![format!("{provider}.toml"), key("pagesize"), key("page_size")],
        ),
        (
            &region,
            "region = \"\"",
            vec![key("region").trim_matches('`').to_owned()],
        ),
        (
            &chosen,
            "provider = \"somebody-else\"",
            vec!["somebody-else".to_owned(), provider.to_owned()],
        ),
    ] {
        let message = cloud
            .binary_with(&context, &[(shipped, wanted)])?
            .fails(&["list"])
            .await?;
        for part in parts {
            ensure!(message.contains(&part), "{wanted}: no {part} in {message}");
        }
    }
    let binary = cloud.binary(&context)?;
    let wrong = binary
        .clone()
        .with_environment([(V::KEY[1], "wrong-secret".to_owned())]);
    let message = wrong.fails(&["list"]).await?;
    ensure!(
        message.contains(V::WRONG_SECRET) && !message.contains("wrong-secret"),
        "a wrong secret: {message}"
    );
    let remote = V::ENDPOINTS
        .iter()
        .map(|name| (*name, "http://api.example.com".to_owned()));
    let message = binary.clone().with_environment(remote).fails(&["list"]).await?;
    ensure!(message.contains("https"), "plain HTTP to a remote host: {message}");
    let printed = binary.run(&["config"]).await?;
    for part in [chosen, format!("[{provider}]"), region, cloud.fake.endpoint()] {
        ensure!(
            printed.contains(&part),
            "{part} is not in the effective configuration: {printed}"
        );
    }
    Ok(())
}
