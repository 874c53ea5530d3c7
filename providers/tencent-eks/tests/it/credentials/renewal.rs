//! Credentials that end are fetched anew.

use std::sync::Arc;

use imagecache_core::{CacheProvider as _, system_clock};
use imagecache_tencent_eks::{TencentConfig, TencentProvider};

use super::cloud::{Key, LIFETIME, REGION, ROLE};
use super::machine::Machine;

#[tokio::test]
async fn a_credential_that_ends_is_fetched_anew_from_the_token_that_is_there_then() {
    let mut machine = Machine::without_metadata().await;
    machine.attempts = 3;
    let token = machine.oidc();
    let provider = Arc::new(machine.open().unwrap());
    let listings = (0..20).map(|_| {
        let provider = Arc::clone(&provider);
        tokio::spawn(async move { provider.list().await.map(drop) })
    });
    for listing in listings.collect::<Vec<_>>() {
        listing.await.unwrap().unwrap();
    }
    let exchanges = || machine.cloud.calls("AssumeRoleWithWebIdentity");
    assert_eq!(exchanges(), 1, "once, however many wait");

    std::fs::write(&token, "header.payload.signature-2").unwrap();
    machine.cloud.set_oidc_token("header.payload.signature-2");
    machine.cloud.advance(LIFETIME + 1);
    for _ in 0..3 {
        assert_eq!(machine.signer_of(&provider).await.unwrap(), Key::named("Issued2", true));
    }
    assert_eq!(exchanges(), 2);
}

#[tokio::test]
async fn an_assumed_role_is_renewed_with_its_base() {
    let mut machine = Machine::new().await;
    machine.attempts = 3;
    machine.set("role_arn", ROLE);
    let provider = machine.open().unwrap();
    for _ in 0..2 {
        assert_eq!(machine.signer_of(&provider).await.unwrap(), Key::named("Issued2", true));
    }
    assert_eq!(machine.cloud.calls("AssumeRole"), 1);
    machine.cloud.advance(LIFETIME + 1);
    // The base has ended too: the third key is its next.
    assert_eq!(machine.signer_of(&provider).await.unwrap(), Key::named("Issued4", true));
    assert_eq!(machine.cloud.calls("role"), 2);
}

#[tokio::test]
async fn the_process_environment_is_read_by_open_only() {
    // `open` must work without any of the vendor's variables: nothing is asked before the first call.
    let mut config = TencentConfig {
        region: REGION.to_owned(),
        ..TencentConfig::default()
    };
    config.defaults.vpc_id = "vpc-01234567".to_owned();
    config.defaults.subnet_id = "subnet-01234567".to_owned();
    assert!(TencentProvider::open(config, None, system_clock()).is_ok());
}
