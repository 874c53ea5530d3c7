//! Public addresses made for builds, seen from outside: always the one, and always gone in the end.

use std::sync::Arc;
use std::time::Duration;

use imagecache_alibaba_eci::AlibabaProvider;
use imagecache_core::{CacheKey, CacheProvider as _, CacheSpec, CacheState, Phase, PublicAddress};
use imagecache_fakes::eci::{AddressView, BuildEnd, Fault};

use crate::support::{Cloud, DEADLINE, key, spec};

/// How long an address is kept whose cache no list shows.
const GRACE: Duration = Duration::from_secs(5 * 60 + 1);

fn wanted() -> (CacheKey, CacheSpec) {
    let mut spec = spec();
    spec.options.public_address = Some(PublicAddress::default());
    (key(&spec), spec)
}

async fn begin(provider: &AlibabaProvider) -> CacheState {
    let (key, spec) = wanted();
    provider.ensure(&key, &spec).await.unwrap()
}

async fn listed(provider: &AlibabaProvider) -> Vec<CacheState> {
    provider.list().await.unwrap()
}

fn the_address(cloud: &Cloud) -> AddressView {
    let mut addresses = cloud.fake.addresses();
    assert_eq!(addresses.len(), 1, "{addresses:?}");
    addresses.remove(0)
}

/// A refusal of the build itself.
fn refused() -> Fault {
    Fault::Refuse {
        status: 400,
        code: "QuotaExceeded".to_owned(),
        message: "no more".to_owned(),
    }
}

async fn building() -> (Cloud, Arc<AlibabaProvider>) {
    let cloud = Cloud::start().await;
    let provider = cloud.open();
    begin(&provider).await;
    listed(&provider).await;
    let address = the_address(&cloud);
    assert_eq!(address.status, "InUse");
    assert_eq!(cloud.fake.caches()[0].eip, Some(address.id));
    (cloud, provider)
}

#[tokio::test]
async fn it_goes_with_the_build_whatever_becomes_of_it() {
    // A cache that is gone from the list could still be on its way into it, so its address is kept for a while.
    for (end, waits) in [
        ("ready", false),
        ("failed", false),
        ("deleted", true),
        ("deleted by another process", true),
    ] {
        let (cloud, provider) = building().await;
        match end {
            "ready" => cloud.fake.finish_builds(),
            "failed" => {
                cloud.fake.fail_next_build(BuildEnd::Failed {
                    reason: "Failed".to_owned(),
                    message: "no such image".to_owned(),
                });
                cloud.fake.finish_builds();
            }
            "deleted" => provider.delete(&wanted().0).await.unwrap(),
            _ => cloud.open().delete(&wanted().0).await.unwrap(),
        }
        listed(&provider).await;
        if waits {
            cloud.fake.advance(GRACE);
            listed(&provider).await;
        }
        assert!(cloud.fake.addresses().is_empty(), "{end}: {:?}", cloud.fake.addresses());
        assert_eq!(cloud.fake.allocations(), 1, "{end}");
    }
}

#[tokio::test]
async fn it_stays_while_the_build_has_it() {
    let (cloud, provider) = building().await;
    for _ in 0..3 {
        cloud.fake.advance(Duration::from_secs(600));
        listed(&provider).await;
    }
    assert_eq!(cloud.fake.calls("ReleaseEipAddress"), 0);
    // Not even by the process that comes after ours.
    listed(&cloud.open()).await;
    assert_eq!(the_address(&cloud).status, "InUse");
}

#[tokio::test]
async fn a_crash_before_the_cache_leaves_one_that_is_found() {
    let cloud = Cloud::start().await;
    let (key, spec) = wanted();
    for _ in 0..3 {
        cloud.fake.inject("CreateImageCache", refused(), 1);
        cloud.open().ensure(&key, &spec).await.unwrap_err();
        the_address(&cloud);
    }
    let state = begin(&cloud.open()).await;
    assert!(matches!(state.phase, Phase::Pending | Phase::Creating), "{state:?}");
    assert_eq!(the_address(&cloud).status, "InUse");
    assert_eq!(cloud.fake.allocations(), 1);
}

#[tokio::test]
async fn a_crash_before_the_cache_that_nobody_mends_costs_minutes() {
    let cloud = Cloud::start().await;
    let (key, spec) = wanted();
    cloud.fake.inject("CreateImageCache", refused(), 1);
    cloud.open().ensure(&key, &spec).await.unwrap_err();
    the_address(&cloud);
    let next = cloud.open();
    listed(&next).await;
    the_address(&cloud);
    cloud.fake.advance(GRACE);
    listed(&next).await;
    assert!(cloud.fake.addresses().is_empty());
}

#[tokio::test]
async fn a_build_that_is_begun_anew_has_an_address_too() {
    let (cloud, provider) = building().await;
    cloud.fake.fail_next_build(BuildEnd::Hangs);
    cloud.fake.finish_builds();
    cloud.fake.advance(DEADLINE + Duration::from_secs(1));
    let states = listed(&provider).await;
    assert!(matches!(states[0].phase, Phase::Stalled(_)), "{states:?}");
    begin(&provider).await;
    let running = cloud.fake.caches();
    let eip = running[0].eip.clone().unwrap();
    let mine = cloud
        .fake
        .addresses()
        .into_iter()
        .find(|address| address.id == eip)
        .unwrap();
    assert_eq!(mine.status, "InUse");
    cloud.fake.finish_builds();
    cloud.fake.advance(GRACE);
    listed(&provider).await;
    assert!(cloud.fake.addresses().is_empty(), "{:?}", cloud.fake.addresses());
}

#[tokio::test]
async fn trouble_with_addresses_hides_no_cache() {
    let (cloud, provider) = building().await;
    cloud.fake.finish_builds();
    for action in ["ReleaseEipAddress", "DescribeEipAddresses"] {
        let refused = Fault::Refuse {
            status: 403,
            code: "Forbidden.RAM".to_owned(),
            message: "no".to_owned(),
        };
        cloud.fake.inject(action, refused, 1);
        assert_eq!(listed(&provider).await[0].phase, Phase::Ready, "{action}");
        the_address(&cloud);
    }
    listed(&provider).await;
    assert!(cloud.fake.addresses().is_empty());
}

#[tokio::test]
async fn who_wants_none_pays_nothing() {
    let cloud = Cloud::start().await;
    let provider = cloud.open();
    for _ in 0..5 {
        listed(&provider).await;
    }
    assert_eq!(cloud.fake.calls("DescribeEipAddresses"), 1, "one look at start");
    assert_eq!(cloud.fake.calls("AllocateEipAddress"), 0);
}
