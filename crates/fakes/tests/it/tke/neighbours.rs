//! STS and the metadata service.

use std::time::Duration;

use imagecache_fakes::tke::{FakeTke, Fault, StsKey};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::support::{Caller, STS};

const ROLES: &str = "GET /latest/meta-data/cam/security-credentials/";
const ARN: &str = "qcs::cam::uin/100000000001:roleName/imagecache";

fn key(fields: &Value, keys: &Value) -> StsKey {
    let text = |name: &str| keys[name].as_str().unwrap().to_owned();
    StsKey {
        id: text("TmpSecretId"),
        secret: text("TmpSecretKey"),
        token: text("Token"),
        expires: Timestamp::from_second(fields["ExpiredTime"].as_i64().unwrap()).unwrap(),
    }
}

async fn with_identity(caller: &Caller, authorization: &str, more: Value) -> super::support::Answer {
    let mut parameters = json!({
        "ProviderId": "cls-abcd1234",
        "WebIdentityToken": "of-this-pod",
        "RoleArn": ARN,
        "RoleSessionName": "imagecache",
    });
    for (name, value) in more.as_object().unwrap() {
        parameters[name] = value.clone();
    }
    let body = parameters.to_string().into_bytes();
    let mut headers = caller.headers(STS, "AssumeRoleWithWebIdentity", &body, Timestamp::now());
    headers.retain(|(name, _)| name != "authorization");
    headers.push(("authorization".to_owned(), authorization.to_owned()));
    caller.post(&headers, &body).await
}

#[tokio::test]
async fn a_web_identity_gives_a_key() {
    let fake = FakeTke::start().await;
    let caller = Caller::new(&fake);
    let fields = with_identity(&caller, "SKIP", json!({"DurationSeconds": 900}))
        .await
        .ok();
    let key = key(&fields, &fields["Credentials"]);
    let left = key.expires.duration_since(fake.now()).as_secs();
    assert!((895..=900).contains(&left), "{left}");
    let temporary = Caller::with_key(&fake, &key);
    temporary.describe(json!({})).await;
    for secret in [&key.secret, &key.token, &"of-this-pod".to_owned(), &caller.secret] {
        assert!(fake.secrets().contains(secret));
    }
    fake.age(Duration::from_secs(900));
    assert_eq!(
        temporary.tke("DescribeImageCaches", json!({})).await.code(),
        "AuthFailure.TokenFailure"
    );

    fake.set_oidc_token("the-new-one");
    let rows = [
        ("SKIP", json!({}), "InvalidParameter.WebIdentityTokenError"),
        ("SKIP", json!({"WebIdentityToken": "the-new-one"}), ""),
        (
            "SKIP ",
            json!({"DurationSeconds": 43_201}),
            "InvalidParameter.OverTimeError",
        ),
        (
            "SKIP",
            json!({"RoleArn": "acs:ram::1:role/a"}),
            "InvalidParameter.ParamError",
        ),
        ("SKIP", json!({"RoleSessionName": "a b"}), "InvalidParameter.ParamError"),
        (
            "SKIP",
            json!({"OIDCToken": "a"}),
            "InvalidParameter.WebIdentityTokenError",
        ),
        (
            "SKIP",
            json!({"WebIdentityToken": "the-new-one", "OIDCToken": "a"}),
            "UnknownParameter",
        ),
        ("TC3-HMAC-SHA256", json!({}), "AuthFailure.InvalidAuthorization"),
    ];
    for (authorization, more, expected) in rows {
        let answer = with_identity(&caller, authorization, more.clone()).await;
        assert_eq!(answer.code(), expected, "{authorization} {more}");
    }
    assert_eq!(
        with_identity(&temporary, "SKIP", json!({})).await.code(),
        "AuthFailure.InvalidAuthorization"
    );
}

#[tokio::test]
async fn a_role_is_assumed_with_a_signature_for_sts() {
    let fake = FakeTke::start().await;
    let caller = Caller::new(&fake);
    let wanted = json!({"RoleArn": ARN, "RoleSessionName": "imagecache", "ExternalId": "a"});
    let fields = caller.sts("AssumeRole", wanted.clone()).await.ok();
    let temporary = Caller::with_key(&fake, &key(&fields, &fields["Credentials"]));
    temporary.describe(json!({})).await;
    temporary.sts("AssumeRole", wanted.clone()).await.ok();
    let body = wanted.to_string().into_bytes();
    let headers = caller.headers(("tke", STS.1), "AssumeRole", &body, Timestamp::now());
    assert_eq!(
        caller.post(&headers, &body).await.code(),
        "AuthFailure.SignatureFailure"
    );
}

#[tokio::test]
async fn a_machine_has_a_role() {
    let fake = FakeTke::start().await;
    let caller = Caller::new(&fake);
    let host = [("host".to_owned(), caller.address.clone())];
    let get = async |target: &str| caller.send(target, &host, b"").await.unwrap();
    let role = get(ROLES).await;
    assert_eq!((role.status, role.text.as_str()), (200, fake.role()));
    let target = format!("{ROLES}{}", fake.role());
    let read = async || {
        let fields: Value = serde_json::from_str(&get(&target).await.text).unwrap();
        assert_eq!(fields["Code"], "Success");
        key(&fields, &fields)
    };
    let first = read().await;
    assert!(first == read().await, "it is kept");
    Caller::with_key(&fake, &first).describe(json!({})).await;
    fake.age(Duration::from_secs(5 * 3600));
    assert!(first != read().await, "it is renewed before it ends");
    fake.set_role_lifetime(Duration::from_secs(60));
    let short = read().await.expires.duration_since(fake.now()).as_secs();
    assert!((50..=60).contains(&short), "{short}");

    assert_eq!(get(&format!("{ROLES}another")).await.status, 404);
    assert_eq!(get(&target.replace("GET", "POST")).await.status, 405);
    fake.inject("metadata", Fault::ServerErrorBefore, 1);
    assert_eq!(get(ROLES).await.status, 503);
    fake.inject("metadata", Fault::WrongJson, 1);
    assert!(serde_json::from_str::<Value>(&get(&target).await.text).is_err());
    assert_eq!(fake.calls("metadata"), 9);
}
