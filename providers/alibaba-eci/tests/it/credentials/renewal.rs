//! Credentials that end are fetched anew in time, once.

use std::sync::Arc;
use std::time::Duration;

use imagecache_alibaba_eci::{AlibabaConfig, AlibabaProvider};
use imagecache_core::{CacheProvider as _, system_clock};

use super::machine::{Machine, ROLE};

#[tokio::test]
async fn a_credential_that_ends_is_fetched_anew_from_the_token_that_is_there_then() {
    let mut machine = Machine::new().await;
    machine.attempts = 3;
    let token = machine.rrsa();
    let provider = Arc::new(machine.open().unwrap());
    let listings = (0..20).map(|_| {
        let provider = Arc::clone(&provider);
        tokio::spawn(async move { provider.list().await.map(drop) })
    });
    for listing in listings.collect::<Vec<_>>() {
        listing.await.unwrap().unwrap();
    }
    assert_eq!(machine.fake.calls("AssumeRoleWithOIDC"), 1, "once, however many wait");

    std::fs::write(&token, "header.payload.signature-2").unwrap();
    machine.fake.set_oidc_token("header.payload.signature-2");
    machine.fake.advance(Duration::from_secs(3601));
    for _ in 0..3 {
        provider.list().await.unwrap();
    }
    assert_eq!(machine.fake.calls("AssumeRoleWithOIDC"), 2);
}

#[tokio::test]
async fn an_assumed_role_is_renewed_with_its_base() {
    let mut machine = Machine::new().await;
    machine.attempts = 3;
    machine.fake.set_role_lifetime(Duration::from_secs(7200));
    machine.set("role_arn", ROLE);
    let provider = machine.open().unwrap();
    provider.list().await.unwrap();
    provider.list().await.unwrap();
    assert_eq!(machine.fake.calls("AssumeRole"), 1);
    machine.fake.advance(Duration::from_secs(3601));
    provider.list().await.unwrap();
    assert_eq!(machine.fake.calls("AssumeRole"), 2);
    let before = machine.fake.calls("metadata");
    machine.fake.advance(Duration::from_secs(3601));
    provider.list().await.unwrap();
    assert!(machine.fake.calls("metadata") > before, "the base has ended too");
}

#[tokio::test]
async fn the_process_environment_is_read_by_open_only() {
    // `open` must work without any of the vendor's variables: nothing is asked before the first call.
    let config = AlibabaConfig {
        region: "cn-hangzhou".to_owned(),
        ..AlibabaConfig::default()
    };
    assert!(AlibabaProvider::open(config, None, system_clock()).is_ok());
}
