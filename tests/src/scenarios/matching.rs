//! `imagecache match`: which cache a pod would start from, and why.

use anyhow::{Result, ensure};
use imagecache_fakes::Fault;
use serde_json::Value;

use crate::cloud::{Cloud, Vendor as _};
use crate::context::Context;
use crate::tke::Tke;

const APP: &str = "registry.example.com/app:1";
/// What the fake's foreign caches hold.
const FOREIGN: &str = "registry.example.com/somebody/else:1";

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or("-")
}

/// Every candidate has its reason, and Tencent's cloud is asked what it would choose itself.
pub async fn candidates_are_explained_and_compared_with_the_cloud(context: Context) -> Result<()> {
    let cloud = Cloud::<Tke>::start().await;
    let binary = cloud.binary(&context)?;
    let mine = binary.create(APP).await?;
    let explained = binary.json(&["match", "--explain", APP]).await?;
    for (pointer, expected) in [
        ("/dialect", "tencent"),
        ("/chosen", mine.as_str()),
        ("/candidates/0/id", mine.as_str()),
        ("/candidates/0/verdict", "chosen"),
        ("/candidates/0/held/0", "exactly"),
        ("/cloud/id", mine.as_str()),
    ] {
        ensure!(
            text(&explained, pointer) == expected,
            "{pointer} is not {expected}: {explained}"
        );
    }
    ensure!(
        explained.pointer("/cloud/agrees") == Some(&true.into()),
        "no agreement: {explained}"
    );
    let table = binary.run(&["match", APP]).await?;
    ensure!(table.contains(&format!("would choose {mine} too")), "match: {table}");

    let other = "registry.example.com/app:2";
    let by_tencent = binary.json(&["match", "--explain", other]).await?;
    let why = text(&by_tencent, "/candidates/0/why");
    ensure!(why.contains("0 of 1 images exactly"), "another version: {by_tencent}");
    let by_alibaba = binary
        .run(&["match", "--explain", "--dialect", "alibaba", other])
        .await?;
    for part in ["Rules (alibaba)", "chosen", "would choose none; by alibaba rules it is"] {
        ensure!(by_alibaba.contains(part), "{part:?} is not in: {by_alibaba}");
    }
    let tight = ["match", "--explain", "--dialect", "alibaba", "--storage-gib", "10", APP];
    let tight = binary.run(&tight).await?;
    ensure!(tight.contains("more than the pod's 10 GiB"), "too large: {tight}");
    let two = binary.run(&["match", "--explain", "--count", "2", APP, other]).await?;
    ensure!(
        two.contains("1 of 2 images exactly, and 2 are asked for"),
        "a count: {two}"
    );

    let theirs = cloud.fake.add_foreign_cache("theirs");
    let disagreement = binary.run(&["match", FOREIGN]).await?;
    let expected = format!("would choose {theirs}; by tencent rules there is none");
    ensure!(
        disagreement.contains(&expected),
        "a cache of somebody else: {disagreement}"
    );
    let (status, code) = Tke::DENIED;
    let refusal = Fault::Refuse {
        status,
        code: code.to_owned(),
        message: "you are not authorized to do this".to_owned(),
    };
    cloud.fake.inject("GetMostSuitableImageCache", refusal, 1);
    let denied = binary.run(&["match", APP]).await?;
    ensure!(
        denied.contains(&mine) && denied.contains("does not tell"),
        "not allowed: {denied}"
    );
    Ok(())
}
