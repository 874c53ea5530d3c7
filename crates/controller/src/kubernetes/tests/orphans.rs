//! Caches whose object is gone, and the network that the cluster's profile gives.

use std::time::Duration;

use http::Method;
use imagecache_core::{CacheKey, CacheProvider as _, CacheSpec, ErrorKind, Failure};
use imagecache_k8s_api::alibaba::Profile;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::super::orphans::Sweeper;
use super::rig::{Rig, UID};
use super::script::failure;

const ALIBABA: &str = "/apis/eci.alibabacloud.com/v1/imagecaches";
const TENCENT: &str = "/apis/eks.cloud.tencent.com/v1/imagecaches";

/// An API server's answer with the metadata of objects with these UIDs.
fn objects(uids: &[&str]) -> Value {
    let item = |uid: &&str| {
        json!({
            "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
            "metadata": { "name": format!("object-{uid}"), "uid": uid },
        })
    };
    json!({
        "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadataList", "metadata": {},
        "items": uids.iter().map(item).collect::<Vec<_>>(),
    })
}

/// A rig whose provider keeps a cache for each of these UIDs.
async fn with_caches(uids: &[&str]) -> Rig {
    let rig = Rig::new(json!(["nginx"]));
    for uid in uids {
        let spec = CacheSpec::new(vec!["nginx".parse().unwrap()]);
        rig.provider.ensure(&CacheKey::new(uid, &spec), &spec).await.unwrap();
    }
    list(&rig).await;
    rig
}

async fn list(rig: &Rig) {
    let listed = rig.provider.list().await.unwrap();
    tokio::time::advance(Duration::from_millis(1)).await;
    rig.shared().states.listed(listed, Instant::now());
}

fn expect_objects(rig: &Rig, alibaba: &[&str], tencent: &[&str]) {
    let (alibaba, tencent) = (objects(alibaba), objects(tencent));
    rig.script.expect(Method::GET, ALIBABA, move |_| (200, alibaba));
    rig.script.expect(Method::GET, TENCENT, move |_| (200, tencent));
}

async fn owners_left(rig: &Rig) -> Vec<String> {
    let caches = rig.provider.list().await.unwrap();
    caches.iter().map(|state| state.key.to_string()).collect()
}

#[tokio::test(start_paused = true)]
async fn only_caches_without_an_object_of_either_kind_are_removed() {
    let rig = with_caches(&["alibaba", "tencent", "gone"]).await;
    expect_objects(&rig, &["alibaba"], &["tencent"]);
    Sweeper::default().sweep(&rig.provider, &rig.shared()).await;
    rig.script.assert_done("a sweep");
    let left = owners_left(&rig).await;
    assert_eq!(left.len(), 2, "{left:?}");
    assert!(left.iter().all(|key| !key.starts_with("gone")), "{left:?}");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_removed_while_the_objects_cannot_all_be_listed() {
    let rig = with_caches(&["gone"]).await;
    rig.script.expect(Method::GET, ALIBABA, |_| (200, objects(&[])));
    rig.script
        .expect(Method::GET, TENCENT, |_| failure(404, "not installed"));
    let mut sweeper = Sweeper::default();
    sweeper.sweep(&rig.provider, &rig.shared()).await;
    assert_eq!(owners_left(&rig).await.len(), 1);
    sweeper.sweep(&rig.provider, &rig.shared()).await;
    rig.script.assert_done("the next search comes a minute later");
    tokio::time::advance(Duration::from_secs(61)).await;
    expect_objects(&rig, &[], &[]);
    sweeper.sweep(&rig.provider, &rig.shared()).await;
    rig.script.assert_done("a minute later");
    assert_eq!(owners_left(&rig).await.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_profile_is_used_where_builds_have_options() {
    let mut rig = Rig::new(json!(["nginx"]));
    rig.profile(Err(Failure {
        kind: ErrorKind::PermissionDenied,
        message: "ConfigMap `kube-system/eci-profile` cannot be read".to_owned(),
    }));
    rig.expect_phase("Pending");
    rig.expect_status(|status| assert!(status["message"].as_str().unwrap().contains("eci-profile"), "{status}"));
    rig.expect_event("Warning", "PermissionDenied", "eci-profile");
    rig.pass("a profile that may not be read").await;
    assert_eq!(rig.provider.builds_started(), 0);
    rig.advance(Duration::from_secs(3600)).await;
    let data = [("vSwitchIds", "vsw-a"), ("securityGroupId", "sg-a")];
    let data = data.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    rig.profile(Ok(Profile::parse(&data)));
    rig.expect_phase("Pending");
    rig.pass("a profile that may be read").await;
    let asked = rig.provider.specs();
    let alibaba = &asked.first().unwrap().options.alibaba;
    assert_eq!(
        (alibaba.vswitch_ids.as_slice(), alibaba.security_group_id.as_deref()),
        (["vsw-a".to_owned()].as_slice(), Some("sg-a"))
    );
    let without = CacheKey::new(UID, &CacheSpec::new(vec!["nginx".parse().unwrap()]));
    assert!(
        owners_left(&rig).await.contains(&without.to_string()),
        "the profile is not part of the key"
    );
}
