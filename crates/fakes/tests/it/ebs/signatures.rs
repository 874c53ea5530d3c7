//! What is not signed, or not by a known key, for this service, region and time.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;

use super::support::{Account, Signer, client, refusal};

fn code(body: &str) -> &str {
    let start = body.find("<Code>").map(|at| at + "<Code>".len());
    let rest = start.map_or("", |at| &body[at..]);
    rest.split('<').next().unwrap()
}

#[tokio::test]
async fn only_known_keys_may_call() {
    let account = Account::new().await;
    let (id, secret) = account.fake.access_key();
    let key = account.fake.issue_key(Duration::from_secs(60));
    let (mismatch, unknown) = ("InvalidSignatureException", "UnrecognizedClientException");
    let region = account.fake.region();
    for (name, id, secret, token, region, expected) in [
        ("right", id, secret, None, region, None),
        (
            "unknown key",
            "AKIAIOSFODNN7EXAMPLE",
            secret,
            None,
            region,
            Some(unknown),
        ),
        ("wrong secret", id, "wrong", None, region, Some(mismatch)),
        ("wrong region", id, secret, None, "us-east-1", Some(mismatch)),
        ("token without need", id, secret, Some("token"), region, Some(unknown)),
        ("temporary", &key.id, &key.secret, Some(&*key.token), region, None),
        (
            "temporary without token",
            &key.id,
            &key.secret,
            None,
            region,
            Some(unknown),
        ),
        (
            "temporary with another's token",
            &key.id,
            &key.secret,
            Some("other"),
            region,
            Some(unknown),
        ),
    ] {
        let credentials = Credentials::new(id, secret, token.map(str::to_owned), None, "test");
        let client = client(&account.fake, credentials, region);
        let result = client.start_snapshot().volume_size(1).send().await;
        let code = result.err().map(|error| refusal(error).1);
        assert_eq!(code.as_deref(), expected, "{name}");
    }
    account.fake.advance(Duration::from_secs(61));
    let credentials = Credentials::new(key.id, key.secret, Some(key.token), None, "test");
    let late = client(&account.fake, credentials, region)
        .start_snapshot()
        .volume_size(1);
    assert_eq!(refusal(late.send().await.unwrap_err()).1, "ExpiredTokenException");
}

#[tokio::test]
async fn ec2_is_signed_for_ec2_just_now() {
    let account = Account::new().await;
    let (id, secret) = account.fake.access_key();
    let signer = || Signer::new(id, secret);
    let late = SystemTime::now() - Duration::from_secs(16 * 60);
    let for_ebs = Signer {
        service: "ebs",
        ..signer()
    };
    let old = Signer { at: late, ..signer() };
    for (name, signer, status, expected) in [
        ("right", signer(), 200, ""),
        ("for another service", for_ebs, 403, "SignatureDoesNotMatch"),
        ("too old", old, 400, "RequestExpired"),
    ] {
        let request = signer.post(&account.fake, "/", "Action=DescribeSnapshots&Version=2016-11-15");
        let response = request.send().await.unwrap();
        let found = response.status().as_u16();
        let body = response.text().await.unwrap();
        assert_eq!((found, code(&body)), (status, expected), "{name}: {body}");
    }
}

#[tokio::test]
async fn what_was_changed_on_the_way_is_refused() {
    let account = Account::new().await;
    let (id, secret) = account.fake.access_key();
    let signed = || Signer::new(id, secret).post(&account.fake, "/", "Action=DescribeSnapshots&Version=2016-11-15");
    let other_body = signed().body("Action=DeleteSnapshot&Version=2016-11-15&SnapshotId=snap-0");
    let more_headers = signed().header("x-amz-checksum", "AAAA");
    let other_path = Signer::new(id, secret).post(&account.fake, "/?a=b", "Action=DescribeSnapshots");
    let (mut request, other) = (signed().build().unwrap(), other_path.build().unwrap());
    let authorization = other.headers()["authorization"].clone();
    request.headers_mut().insert("authorization", authorization);
    let http = super::support::http();
    for (name, response) in [
        ("body", other_body.send().await),
        ("unsigned header", more_headers.send().await),
        ("another request's signature", http.execute(request).await),
    ] {
        let body = response.unwrap().text().await.unwrap();
        assert_eq!(code(&body), "SignatureDoesNotMatch", "{name}: {body}");
    }
    let unsigned = http.post(account.fake.endpoint()).body("Action=DescribeSnapshots");
    let body = unsigned.send().await.unwrap().text().await.unwrap();
    assert_eq!(code(&body), "MissingAuthenticationToken");
    assert_eq!(account.fake.rejections()["SignatureDoesNotMatch"], 3);
}
