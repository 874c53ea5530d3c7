//! Addresses against the fake's VPC.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use imagecache_cloud_http::{ClientConfig, Credential, CredentialError, CredentialSource, Credentials};
use imagecache_core::{AddressCharge, CacheSpec, Secret};
use imagecache_fakes::eci::{AddressView, FakeEci, Fault};

use super::*;
use crate::endpoint::{Endpoints, Network};
use crate::protocol::Product;

const DESCRIBE: &str = "DescribeEipAddresses";
const RELEASE: &str = "ReleaseEipAddress";

/// A cloud, and the account that addresses are made in.
struct Cloud {
    fake: Arc<FakeEci>,
    credential: Credential,
    /// Seconds that our clock is ahead.
    ahead: Arc<AtomicI64>,
}

#[async_trait]
impl CredentialSource for Cloud {
    fn name(&self) -> String {
        "test".to_owned()
    }

    async fn load(&self) -> std::result::Result<Option<Credential>, CredentialError> {
        Ok(Some(self.credential.clone()))
    }
}

impl fmt::Debug for Cloud {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cloud")
    }
}

impl Cloud {
    async fn new() -> Self {
        let fake = FakeEci::start().await;
        let (id, secret) = fake.access_key();
        let credential = Credential {
            id: id.to_owned(),
            secret: Secret::new(secret.to_owned()),
            token: None,
            expires_at: None,
        };
        Self {
            fake: Arc::new(fake),
            credential,
            ahead: Arc::default(),
        }
    }

    /// A process that starts now.
    fn process(&self, owner: Option<&str>) -> Addresses {
        let endpoint = self.fake.endpoint();
        let endpoints = Endpoints::of(self.fake.region(), Network::Public).unwrap();
        let endpoints = endpoints.with(Product::Vpc, &endpoint).unwrap();
        let signing_clock: Clock = {
            let fake = Arc::clone(&self.fake);
            Arc::new(move || fake.now())
        };
        let source = Cloud {
            fake: Arc::clone(&self.fake),
            credential: self.credential.clone(),
            ahead: Arc::clone(&self.ahead),
        };
        let credentials = Credentials::new(vec![Box::new(source)], Arc::clone(&signing_clock));
        let config = ClientConfig {
            attempts: 1,
            ..ClientConfig::default()
        };
        let client = Client::new(
            Acs3::new(endpoints),
            Arc::new(credentials),
            config,
            Arc::clone(&signing_clock),
        );
        let ahead = Arc::clone(&self.ahead);
        let clock: Clock = Arc::new(move || signing_clock() + SignedDuration::from_secs(ahead.load(Ordering::Relaxed)));
        let mark = Mark::new(owner.map(str::to_owned));
        Addresses::new(Arc::new(client), self.fake.region().to_owned(), mark, clock)
    }

    /// Lets time pass for the addresses' owner.
    fn pass(&self, seconds: i64) {
        self.ahead.fetch_add(seconds, Ordering::Relaxed);
    }

    fn one(&self) -> AddressView {
        let mut addresses = self.fake.addresses();
        assert_eq!(addresses.len(), 1, "{addresses:?}");
        addresses.remove(0)
    }
}

fn key(name: &str) -> CacheKey {
    CacheKey::new(name, &CacheSpec::new(vec!["nginx".parse().unwrap()]))
}

async fn obtain(addresses: &Addresses, key: &CacheKey, attempt: u32) -> String {
    let resources = AlibabaResources::default();
    addresses
        .obtain(key, attempt, &PublicAddress::default(), &resources)
        .await
        .unwrap()
}

fn list(caches: &[(&CacheKey, BuildState)]) -> BTreeMap<CacheKey, BuildState> {
    caches.iter().map(|(key, state)| ((*key).clone(), *state)).collect()
}

#[tokio::test]
async fn an_address_carries_what_was_asked_for_and_the_mark() {
    let cloud = Cloud::new().await;
    let addresses = cloud.process(Some("cluster"));
    let (address, resources) = (
        PublicAddress {
            bandwidth_mbps: Some(50),
            charge: Some(AddressCharge::Bandwidth),
            isp: Some("BGP_PRO".to_owned()),
        },
        AlibabaResources {
            resource_group_id: Some("rg-1".to_owned()),
            bandwidth_package_id: Some("cbwp-1".to_owned()),
            ..AlibabaResources::default()
        },
    );
    let id = addresses.obtain(&key("a"), 2, &address, &resources).await.unwrap();
    let made = cloud.one();
    assert_eq!(made.id, id);
    assert_eq!(made.name, format!("imagecache-{}", key("a")));
    assert_eq!(
        (made.bandwidth, made.charge.as_str(), made.isp.as_str()),
        (50, "PayByBandwidth", "BGP_PRO")
    );
    assert_eq!(made.resource_group.as_deref(), Some("rg-1"));
    assert_eq!(made.bandwidth_package.as_deref(), Some("cbwp-1"));
    let tags: BTreeMap<_, _> = made.tags.into_iter().collect();
    for (name, value) in [
        ("managed-by", "imagecache"),
        ("owner", "cluster"),
        ("key", key("a").as_str()),
        ("attempt", "2"),
    ] {
        assert_eq!(
            tags.get(&format!("imagecache.dev/{name}")).map(String::as_str),
            Some(value),
            "{name}"
        );
    }
    // Again, by another process: the same one, and it stays in its package.
    let again = cloud
        .process(Some("cluster"))
        .obtain(&key("a"), 2, &address, &resources)
        .await
        .unwrap();
    assert_eq!(again, id);
    assert_eq!(cloud.fake.calls("AddCommonBandwidthPackageIp"), 1);
}

#[tokio::test]
async fn an_address_leaves_its_package_before_it_goes() {
    let cloud = Cloud::new().await;
    let addresses = cloud.process(Some("cluster"));
    let resources = AlibabaResources {
        bandwidth_package_id: Some("cbwp-1".to_owned()),
        ..AlibabaResources::default()
    };
    // One that could not join at first is not forgotten, and joins when it is asked for again.
    cloud
        .fake
        .inject("AddCommonBandwidthPackageIp", Fault::ServerErrorBefore, 1);
    let wanted = PublicAddress::default();
    addresses.obtain(&key("a"), 1, &wanted, &resources).await.unwrap_err();
    addresses.obtain(&key("a"), 1, &wanted, &resources).await.unwrap();
    assert_eq!(cloud.one().bandwidth_package.as_deref(), Some("cbwp-1"));
    cloud.pass(60);
    cloud.fake.inject(RELEASE, Fault::ServerErrorBefore, 1);
    for _ in 0..2 {
        addresses.sweep(&list(&[(&key("a"), BuildState::Over)])).await;
    }
    assert!(cloud.fake.addresses().is_empty());
}

#[test]
fn parameters_are_the_documented_ones() {
    let wanted = PublicAddress::default();
    let parameters = |owner: &str, window| {
        let request = wire::Allocate {
            key: &key("a"),
            address: &wanted,
            resource_group_id: None,
            tags: wire::tags(&Mark::new(Some(owner.to_owned())), &key("a"), 1),
            window,
        };
        request.parameters("cn-hangzhou")
    };
    let one = parameters("cluster", 1);
    for (name, value) in [
        ("RegionId", Some("cn-hangzhou")),
        ("Bandwidth", Some("5")),
        ("InternetChargeType", Some("PayByTraffic")),
        ("InstanceChargeType", Some("PostPaid")),
        ("ISP", None),
        ("ResourceGroupId", None),
        ("Tag.1.Key", Some("imagecache.dev/managed-by")),
        ("Tag.1.Value", Some("imagecache")),
        ("Tag.5.Key", None),
    ] {
        assert_eq!(one.get(name), value, "{name}");
    }
    let token = |parameters: &crate::params::Parameters| parameters.get("ClientToken").unwrap().to_owned();
    assert!(token(&one).is_ascii() && token(&one).len() <= 64);
    assert_eq!(token(&one), token(&parameters("cluster", 1)));
    for (name, other) in [
        ("later", parameters("cluster", 2)),
        ("for another owner", parameters("other", 1)),
    ] {
        assert_ne!(token(&one), token(&other), "{name}");
    }
}

#[tokio::test]
async fn a_crash_makes_no_second_address() {
    let cloud = Cloud::new().await;
    let first = obtain(&cloud.process(Some("cluster")), &key("a"), 1).await;
    assert_eq!(obtain(&cloud.process(Some("cluster")), &key("a"), 1).await, first);
    cloud.pass(7200);
    assert_eq!(
        obtain(&cloud.process(Some("cluster")), &key("a"), 1).await,
        first,
        "much later too"
    );
    assert_eq!(cloud.fake.allocations(), 1);
    assert_ne!(obtain(&cloud.process(Some("cluster")), &key("b"), 1).await, first);
    assert_ne!(
        obtain(&cloud.process(Some("other")), &key("a"), 1).await,
        first,
        "another installation's"
    );
}

#[tokio::test]
async fn a_lost_answer_makes_no_second_address() {
    let cloud = Cloud::new().await;
    for fault in [Fault::ServerErrorAfter, Fault::CutBody, Fault::WrongJson] {
        cloud.fake.inject("AllocateEipAddress", fault.clone(), 1);
        let addresses = cloud.process(Some("cluster"));
        let (wanted, resources) = (PublicAddress::default(), AlibabaResources::default());
        let lost = addresses.obtain(&key("a"), 1, &wanted, &resources).await;
        // The next time it is found, or the same call gives it again.
        obtain(&addresses, &key("a"), 1).await;
        drop(lost);
        assert_eq!(cloud.fake.allocations(), 1, "{fault:?}");
    }
}

#[tokio::test]
async fn what_a_build_needs_stays_and_what_is_over_goes() {
    let cloud = Cloud::new().await;
    let addresses = cloud.process(Some("cluster"));
    let (running, ready, deleted) = (key("running"), key("ready"), key("deleted"));
    let kept = obtain(&addresses, &running, 1).await;
    for key in [&ready, &deleted] {
        obtain(&addresses, key, 1).await;
    }
    // A list that knows none of them yet.
    addresses.sweep(&BTreeMap::new()).await;
    assert_eq!(cloud.fake.addresses().len(), 3, "just obtained");
    let all = [
        (&running, BuildState::Running),
        (&ready, BuildState::Running),
        (&deleted, BuildState::Running),
    ];
    addresses.sweep(&list(&all)).await;
    cloud.pass(3600);
    addresses.sweep(&list(&all)).await;
    assert_eq!(cloud.fake.addresses().len(), 3, "all build");

    addresses
        .sweep(&list(&[(&running, BuildState::Running), (&ready, BuildState::Over)]))
        .await;
    assert_eq!(cloud.one().id, kept, "done or failed, and deleted");
    addresses.sweep(&list(&[(&running, BuildState::Over)])).await;
    assert!(cloud.fake.addresses().is_empty());

    // Nothing left: one look that finds nothing, then none.
    addresses.sweep(&BTreeMap::new()).await;
    let calls = cloud.fake.calls(DESCRIBE);
    for _ in 0..10 {
        addresses.sweep(&BTreeMap::new()).await;
    }
    assert_eq!(cloud.fake.calls(DESCRIBE), calls);
}

#[tokio::test]
async fn an_address_of_a_process_that_died_is_released() {
    let cloud = Cloud::new().await;
    obtain(&cloud.process(Some("cluster")), &key("a"), 1).await;
    let next = cloud.process(Some("cluster"));
    next.sweep(&BTreeMap::new()).await;
    assert_eq!(cloud.fake.addresses().len(), 1, "its cache may be on its way");
    cloud.pass(301);
    next.sweep(&BTreeMap::new()).await;
    assert!(cloud.fake.addresses().is_empty());
}

#[tokio::test]
async fn who_never_asks_pays_one_call() {
    let cloud = Cloud::new().await;
    let addresses = cloud.process(Some("cluster"));
    for _ in 0..10 {
        addresses.sweep(&list(&[(&key("a"), BuildState::Running)])).await;
    }
    assert_eq!(cloud.fake.calls(DESCRIBE), 1);

    // Nor does it matter that it is not allowed to look.
    let addresses = cloud.process(Some("cluster"));
    let fault = Fault::Refuse {
        status: 403,
        code: "Forbidden.RAM".to_owned(),
        message: "no".to_owned(),
    };
    cloud.fake.inject(DESCRIBE, fault, 1);
    for _ in 0..10 {
        addresses.sweep(&BTreeMap::new()).await;
    }
    assert_eq!(cloud.fake.calls(DESCRIBE), 2);

    // Nor that the service is down.
    let addresses = cloud.process(Some("cluster"));
    cloud.fake.inject(DESCRIBE, Fault::ServerErrorBefore, 2);
    for round in 1..=3 {
        for _ in 0..10 {
            addresses.sweep(&BTreeMap::new()).await;
        }
        assert_eq!(cloud.fake.calls(DESCRIBE), 2 + round);
        cloud.pass(601);
    }
}

#[tokio::test]
async fn problems_are_tried_again_with_the_next_sweep() {
    let cloud = Cloud::new().await;
    let addresses = cloud.process(Some("cluster"));
    for (action, fault) in [
        (RELEASE, Fault::ServerErrorBefore),
        (
            RELEASE,
            Fault::Refuse {
                status: 400,
                code: "TaskConflict".to_owned(),
                message: "busy".to_owned(),
            },
        ),
        (DESCRIBE, Fault::ServerErrorBefore),
        (DESCRIBE, Fault::WrongJson),
    ] {
        obtain(&addresses, &key("a"), 1).await;
        cloud.pass(60);
        cloud.fake.inject(action, fault.clone(), 1);
        addresses.sweep(&list(&[(&key("a"), BuildState::Over)])).await;
        assert_eq!(cloud.fake.addresses().len(), 1, "{action} {fault:?}");
        addresses.sweep(&list(&[(&key("a"), BuildState::Over)])).await;
        assert!(cloud.fake.addresses().is_empty(), "{action} {fault:?}");
        // The token of the address that is gone is old by now.
        cloud.pass(601);
    }
}

#[tokio::test]
async fn a_release_whose_answer_is_lost_is_done() {
    let cloud = Cloud::new().await;
    let addresses = cloud.process(Some("cluster"));
    obtain(&addresses, &key("a"), 1).await;
    cloud.pass(60);
    cloud.fake.inject(RELEASE, Fault::ServerErrorAfter, 1);
    for _ in 0..2 {
        addresses.sweep(&list(&[(&key("a"), BuildState::Over)])).await;
    }
    assert!(cloud.fake.addresses().is_empty());
}

#[tokio::test]
async fn the_token_of_an_address_that_is_gone_gives_no_dead_address() {
    let cloud = Cloud::new().await;
    let addresses = cloud.process(Some("cluster"));
    let first = obtain(&addresses, &key("a"), 1).await;
    cloud.pass(60);
    addresses.sweep(&list(&[(&key("a"), BuildState::Over)])).await;
    // Deleted and made again at once: the cloud may still remember the first call.
    let (wanted, resources) = (PublicAddress::default(), AlibabaResources::default());
    match addresses.obtain(&key("a"), 1, &wanted, &resources).await {
        Ok(id) => assert_ne!(id, first),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Conflict, "tried again: {error}");
            cloud.pass(601);
            assert_ne!(obtain(&addresses, &key("a"), 1).await, first);
        }
    }
}

#[tokio::test]
async fn foreign_addresses_are_not_touched() {
    let cloud = Cloud::new().await;
    let theirs = obtain(&cloud.process(Some("other")), &key("a"), 1).await;
    let cli = obtain(&cloud.process(None), &key("a"), 1).await;
    let name = format!("imagecache-{}", key("a"));
    let (a, owner) = (key("a"), ("imagecache.dev/owner", "cluster"));
    let manager = ("imagecache.dev/managed-by", "imagecache");
    let alike: [&[(&str, &str)]; 4] = [
        &[],
        &[owner, ("imagecache.dev/key", a.as_str())],
        &[owner, manager],
        &[owner, manager, ("imagecache.dev/key", "Not A Key")],
    ];
    let alike: Vec<_> = alike.map(|tags| cloud.fake.add_foreign_address(&name, tags)).into();
    cloud.pass(86_400);
    let ours = cloud.process(Some("cluster"));
    ours.sweep(&list(&[(&key("a"), BuildState::Over)])).await;
    cloud
        .process(None)
        .sweep(&list(&[(&key("a"), BuildState::Running)]))
        .await;
    let left: Vec<_> = cloud.fake.addresses().into_iter().map(|address| address.id).collect();
    let all = [theirs.clone(), cli].into_iter().chain(alike.iter().cloned());
    assert_eq!(left, all.collect::<Vec<_>>());
    assert!(!alike.contains(&obtain(&ours, &key("a"), 1).await), "nor used");
    // The command line releases its own and nobody else's.
    cloud.process(None).sweep(&list(&[(&key("a"), BuildState::Over)])).await;
    let left: Vec<_> = cloud.fake.addresses().into_iter().map(|address| address.id).collect();
    assert!(left.contains(&theirs) && left.len() == 6, "{left:?}");
}

#[tokio::test]
async fn every_page_is_read() {
    let cloud = Cloud::new().await;
    let addresses = cloud.process(Some("cluster"));
    let keys: Vec<_> = (0..130).map(|number| key(&format!("k{number}"))).collect();
    for key in &keys {
        obtain(&addresses, key, 1).await;
    }
    cloud.pass(3600);
    addresses.sweep(&BTreeMap::new()).await;
    assert_eq!(cloud.fake.addresses().len(), 0);
    assert_eq!(cloud.fake.calls(RELEASE), 130);
}
