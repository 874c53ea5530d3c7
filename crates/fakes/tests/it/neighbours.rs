//! Public addresses, temporary keys, the metadata service and the credentials URI.

use std::time::Duration;

use imagecache_fakes::eci::{FakeEci, StsKey};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::support::{Caller, Pairs, STS, http};

const ROLE: &str = "acs:ram::1234567890123456:role/builder";

fn key(fields: &Value) -> StsKey {
    let text = |name: &str| fields[name].as_str().unwrap_or_else(|| panic!("no {name}")).to_owned();
    StsKey {
        id: text("AccessKeyId"),
        secret: text("AccessKeySecret"),
        token: text("SecurityToken"),
        expires: text("Expiration").parse().unwrap(),
    }
}

/// The key verifies, its secrets are known, and it ends.
async fn check(fake: &FakeEci, key: &StsKey) {
    let caller = Caller::with_key(fake, key);
    caller.eci("ListUsage", &[]).await.ok();
    assert!(fake.secrets().contains(&key.secret) && fake.secrets().contains(&key.token));
    fake.advance(Duration::from_secs(24 * 3_600));
    let region = [("RegionId", "cn-hangzhou")];
    let answer = caller.at("2018-08-08", "ListUsage", &region, fake.now()).await;
    assert_eq!((answer.status, answer.code()), (400, "InvalidSecurityToken.Expired"));
}

#[tokio::test]
async fn an_address_is_busy_while_its_build_runs() {
    let fake = FakeEci::start().await;
    let caller = Caller::new(&fake);
    let wanted: Pairs<'_> = &[
        ("ClientToken", "tok"),
        ("Name", "for-a-build"),
        ("Bandwidth", "100"),
        ("InternetChargeType", "PayByTraffic"),
        ("Tag.1.Key", "owner"),
        ("Tag.1.Value", "me"),
    ];
    let made = caller.vpc("AllocateEipAddress", wanted).await.ok();
    let id = made.text("/AllocationId");
    assert_eq!(
        caller
            .vpc("AllocateEipAddress", wanted)
            .await
            .ok()
            .text("/AllocationId"),
        id
    );
    assert_eq!(fake.allocations(), 1);
    let package: Pairs<'_> = &[("BandwidthPackageId", "cbwp-1"), ("IpInstanceId", &id)];
    caller.vpc("AddCommonBandwidthPackageIp", package).await.ok();
    let cache = caller
        .create("demo", &[("EipInstanceId", &id)])
        .await
        .ok()
        .text("/ImageCacheId");
    let shown = caller.vpc("DescribeEipAddresses", &[("AllocationId", &id)]).await.ok();
    let address = &shown.body["EipAddresses"]["EipAddress"][0];
    assert_eq!(
        (&address["Status"], &address["Name"]),
        (&json!("InUse"), &json!("for-a-build"))
    );
    assert_eq!(address["Tags"]["Tag"], json!([{ "Key": "owner", "Value": "me" }]));
    let release: Pairs<'_> = &[("AllocationId", &id)];
    assert_eq!(
        caller.vpc("ReleaseEipAddress", release).await.code(),
        "IncorrectEipStatus"
    );
    assert_eq!(
        caller.create("second", &[("EipInstanceId", &id)]).await.code(),
        "IncorrectStatus"
    );
    let view = &fake.addresses()[0];
    assert_eq!((view.bandwidth, view.charge.as_str()), (100, "PayByTraffic"));
    assert_eq!(
        (view.cache.as_deref(), view.bandwidth_package.as_deref()),
        (Some(cache.as_str()), Some("cbwp-1"))
    );
    fake.finish_builds();
    assert_eq!(fake.addresses()[0].status, "Available");
    assert_eq!(
        caller.vpc("ReleaseEipAddress", release).await.code(),
        "OperationDenied.EipInBandwidthPackage"
    );
    caller.vpc("RemoveCommonBandwidthPackageIp", package).await.ok();
    let again = caller.vpc("RemoveCommonBandwidthPackageIp", package).await;
    assert_eq!(again.code(), "IpInstanceId.NotBandwidthPackage");
    caller.vpc("ReleaseEipAddress", release).await.ok();
    // The token outlives its address.
    assert_eq!(
        caller
            .vpc("AllocateEipAddress", wanted)
            .await
            .ok()
            .text("/AllocationId"),
        id
    );
    let gone = caller.vpc("ReleaseEipAddress", release).await;
    assert_eq!((gone.status, gone.code()), (404, "InvalidAllocationId.NotFound"));
}

#[tokio::test]
async fn addresses_come_in_pages() {
    let fake = FakeEci::start().await;
    let caller = Caller::new(&fake);
    fake.add_foreign_address("somebody's", &[("team", "other")]);
    let foreign = caller
        .vpc("DescribeEipAddresses", &[("EipName", "somebody's")])
        .await
        .ok();
    let id = foreign.text("/EipAddresses/EipAddress/0/AllocationId");
    caller.vpc("ReleaseEipAddress", &[("AllocationId", &id)]).await.ok();
    assert_eq!(fake.allocations(), 0);
    for number in 0..12 {
        let name = format!("eip-{}", number % 2);
        caller
            .vpc(
                "AllocateEipAddress",
                &[("Name", &name), ("Tag.1.Key", "n"), ("Tag.1.Value", &name)],
            )
            .await
            .ok();
    }
    let count = async |filter: Pairs<'_>| {
        let answer = caller.vpc("DescribeEipAddresses", filter).await.ok();
        let listed = answer.body["EipAddresses"]["EipAddress"].as_array().unwrap().len();
        (listed, answer.body["TotalCount"].as_u64().unwrap())
    };
    assert_eq!(count(&[]).await, (10, 12));
    assert_eq!(count(&[("PageNumber", "2")]).await, (2, 12));
    assert_eq!(count(&[("EipName", "eip-1"), ("PageSize", "4")]).await, (4, 6));
    assert_eq!(
        count(&[("Tag.1.Key", "n"), ("Tag.1.Value", "eip-0"), ("PageSize", "100")]).await,
        (6, 6)
    );
    let answer = caller.vpc("DescribeEipAddresses", &[("PageSize", "101")]).await;
    assert_eq!(answer.code(), "InvalidParameter.ValueExceeded");
}

#[tokio::test]
async fn an_assumed_role_may_call() {
    let fake = FakeEci::start().await;
    let caller = Caller::new(&fake);
    let wanted: Pairs<'_> = &[("RoleArn", ROLE), ("RoleSessionName", "me"), ("DurationSeconds", "900")];
    let answer = caller.at(STS, "AssumeRole", wanted, Timestamp::now()).await.ok();
    check(&fake, &key(&answer.body["Credentials"])).await;
    let short: Pairs<'_> = &[("RoleArn", ROLE), ("RoleSessionName", "me"), ("DurationSeconds", "899")];
    assert_eq!(
        caller.at(STS, "AssumeRole", short, fake.now()).await.code(),
        "InvalidParameter.ValueExceeded"
    );
}

#[tokio::test]
async fn an_oidc_token_is_exchanged_without_a_signature() {
    let fake = FakeEci::start().await;
    let caller = Caller::new(&fake);
    let exchange = async |token: &str| {
        let form = format!(
            "RoleArn=acs%3Aram%3A%3A1%3Arole%2Fb&OIDCProviderArn=acs%3Aram%3A%3A1%3Aoidc-provider%2Fack&\
             OIDCToken={token}&RoleSessionName=me&DurationSeconds=3600"
        );
        let url = format!(
            "{}/?Action=AssumeRoleWithOIDC&Version=2015-04-01&Format=JSON&SignatureNonce=1",
            fake.endpoint()
        );
        let request = http()
            .post(url)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form);
        caller.send(request).await.unwrap()
    };
    let answer = exchange("header.body.signature").await.ok();
    assert!(fake.secrets().contains(&"header.body.signature".to_owned()));
    fake.set_oidc_token("the.right.one");
    assert_eq!(
        exchange("header.body.signature").await.code(),
        "AuthenticationFail.OIDCToken.Invalid"
    );
    exchange("the.right.one").await.ok();
    check(&fake, &key(&answer.body["Credentials"])).await;
}

#[tokio::test]
async fn the_metadata_service_hands_out_the_roles_key() {
    let fake = FakeEci::start().await;
    let http = http();
    let base = format!("{}/latest", fake.endpoint());
    let roles = format!("{base}/meta-data/ram/security-credentials/");
    let read = async |url: &str, token: Option<&str>| {
        let mut request = http.get(url);
        if let Some(token) = token {
            request = request.header("X-aliyun-ecs-metadata-token", token);
        }
        let response = request.send().await.unwrap();
        (
            response.status().as_u16(),
            String::from_utf8(response.bytes().await.unwrap().to_vec()).unwrap(),
        )
    };
    assert_eq!(read(&roles, None).await, (200, fake.role().to_owned()));
    fake.require_metadata_token(true);
    assert_eq!(read(&roles, None).await.0, 403);
    let ttl = "X-aliyun-ecs-metadata-token-ttl-seconds";
    let put = async |seconds: &str| {
        http.put(format!("{base}/api/token"))
            .header(ttl, seconds)
            .send()
            .await
            .unwrap()
    };
    assert_eq!(put("21601").await.status().as_u16(), 400);
    let token = String::from_utf8(put("60").await.bytes().await.unwrap().to_vec()).unwrap();
    assert_eq!(read(&roles, Some(&token)).await.0, 200);
    assert_eq!(read(&roles, Some("made-up")).await.0, 403);
    assert_eq!(read(&format!("{roles}another"), Some(&token)).await.0, 404);
    let (status, text) = read(&format!("{roles}{}", fake.role()), Some(&token)).await;
    let fields: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((status, &fields["Code"]), (200, &json!("Success")));
    check(&fake, &key(&fields)).await;
    assert_eq!(read(&roles, Some(&token)).await.0, 403);
}

#[tokio::test]
async fn a_credentials_uri_hands_out_the_same_key_until_it_nearly_ends() {
    let fake = FakeEci::start().await;
    fake.set_role_lifetime(Duration::from_secs(1_000));
    let http = http();
    let read = async || {
        let bytes = http
            .get(fake.credentials_uri())
            .send()
            .await
            .unwrap()
            .bytes()
            .await
            .unwrap();
        key(&serde_json::from_slice(&bytes).unwrap())
    };
    let first = read().await;
    fake.advance(Duration::from_secs(700));
    assert_eq!(read().await.id, first.id);
    fake.advance(Duration::from_secs(100));
    let second = read().await;
    assert_ne!(second.id, first.id);
    assert_eq!(fake.calls("credentials-uri"), 3);
    check(&fake, &second).await;
}

#[tokio::test]
async fn keys_come_and_go() {
    let fake = FakeEci::start().await;
    let mut caller = Caller::new(&fake);
    fake.add_access_key("LTAIanother", "another-secret");
    caller.id = "LTAIanother".to_owned();
    caller.secret = "another-secret".to_owned();
    caller.eci("ListUsage", &[]).await.ok();
    fake.remove_access_key("LTAIanother");
    assert_eq!(caller.eci("ListUsage", &[]).await.code(), "InvalidAccessKeyId.NotFound");
    let key = fake.issue_key(Duration::from_secs(900));
    assert!(!format!("{key:?}{fake:?}").contains(&key.secret));
    Caller::with_key(&fake, &key).eci("ListUsage", &[]).await.ok();
}

#[tokio::test]
async fn keys_end_by_the_services_time_and_dates_by_the_gateways() {
    let fake = FakeEci::start().await;
    let key = fake.issue_key(Duration::from_secs(900));
    let caller = Caller::with_key(&fake, &key);
    let region = [("RegionId", "cn-hangzhou")];
    let call = async |at| caller.at("2018-08-08", "ListUsage", &region, at).await;
    fake.age(Duration::from_secs(899));
    call(jiff::Timestamp::now()).await.ok();
    fake.set_clock_skew(jiff::SignedDuration::from_hours(5));
    call(fake.now() + jiff::SignedDuration::from_hours(5)).await.ok();
    fake.set_clock_skew(jiff::SignedDuration::from_secs(-899));
    fake.age(Duration::from_secs(1));
    let answer = call(jiff::Timestamp::now()).await;
    assert_eq!((answer.status, answer.code()), (400, "InvalidSecurityToken.Expired"));
    // The role's key is renewed in the same way.
    fake.set_role_lifetime(Duration::from_secs(900));
    let uri = fake.credentials_uri();
    let read = async || http().get(&uri).send().await.unwrap().bytes().await.unwrap();
    let first = read().await;
    fake.age(Duration::from_secs(900));
    assert_ne!(first, read().await);
}
