//! Every source gives its key, and only the services that it needs are asked.

use imagecache_core::chain;
use serde_json::json;

use super::cloud::{INSTANCE_ROLE, Key, ROLE};
use super::machine::{Machine, Prepare};

/// The key of a source that has one in writing.
fn mine() -> Key {
    Key::named("Mine", false)
}

fn mine_for_now() -> Key {
    Key::named("Mine", true)
}

/// A source: its name, how it is configured, the key it gives, and the actions that are called for it.
type Source = (&'static str, Prepare, fn() -> Key, &'static [&'static str]);

/// Every source.
const SOURCES: &[Source] = &[
    (
        "reference to variables",
        |machine| {
            machine.var("MY_ID", mine().id);
            machine.var("MY_KEY", mine().secret);
            machine.set("secret_id_env", "MY_ID");
            machine.set("secret_key_env", "MY_KEY");
        },
        mine,
        &[],
    ),
    (
        "reference to files",
        |machine| {
            let file = machine.file("id", format!("{}\n", mine().id));
            machine.set("secret_id_file", file);
            let file = machine.file("key", mine().secret);
            machine.set("secret_key_file", file);
            let file = machine.file("token", mine_for_now().token.unwrap() + "\n");
            machine.set("token_file", file);
        },
        mine_for_now,
        &[],
    ),
    ("environment", |machine| machine.environment_key(&mine()), mine, &[]),
    (
        "environment, temporary",
        |machine| machine.environment_key(&mine_for_now()),
        mine_for_now,
        &[],
    ),
    (
        "environment, temporary, as Terraform has it",
        |machine| {
            machine.environment_key(&mine());
            machine.cloud.add(&mine_for_now());
            machine.var("TENCENTCLOUD_SECURITY_TOKEN", mine_for_now().token.unwrap());
        },
        mine_for_now,
        &[],
    ),
    (
        "shared file",
        |machine| {
            let key = mine();
            machine.shared(&format!("secret_id = {}\nsecret_key = {}", key.id, key.secret));
        },
        mine,
        &[],
    ),
    (
        "shared file of another path and profile",
        |machine| {
            let key = mine();
            let body = format!("[team]\nsecret_id={}\nsecret_key={}\n", key.id, key.secret);
            let file = machine.file("elsewhere.ini", body);
            machine.var("TENCENTCLOUD_CREDENTIALS_FILE", file);
            machine.set("profile", "team");
        },
        mine,
        &[],
    ),
    (
        "shared file with a role",
        |machine| {
            let key = mine();
            machine.cloud.add(&key);
            machine.shared(&format!(
                "secret_id = {}\nsecret_key = {}\nrole_arn = {ROLE}",
                key.id, key.secret
            ));
        },
        || Key::named("Issued1", true),
        &["AssumeRole"],
    ),
    (
        "instance role",
        |_| {},
        || Key::named("Issued1", true),
        &["roles", "role"],
    ),
    (
        "instance role, named",
        |machine| machine.set("instance_role", INSTANCE_ROLE),
        || Key::named("Issued1", true),
        &["role"],
    ),
    (
        "OIDC workload identity",
        |machine| {
            machine.oidc();
            machine.set("source", "oidc");
        },
        || Key::named("Issued1", true),
        &["AssumeRoleWithWebIdentity"],
    ),
    (
        "OIDC workload identity in the configured region",
        |machine| {
            machine.oidc();
            machine.environment.remove("TKE_REGION");
            machine.set("source", "oidc");
        },
        || Key::named("Issued1", true),
        &["AssumeRoleWithWebIdentity"],
    ),
    (
        "assumed role on top",
        |machine| {
            machine.environment_key(&mine());
            machine.set("role_arn", ROLE);
        },
        || Key::named("Issued1", true),
        &["AssumeRole"],
    ),
    (
        "assumed role on top of a temporary key",
        |machine| {
            machine.environment_key(&mine_for_now());
            machine.set("role_arn", ROLE);
        },
        || Key::named("Issued1", true),
        &["AssumeRole"],
    ),
    (
        "assumed role on top of an instance role",
        |machine| machine.set("role_arn", ROLE),
        || Key::named("Issued2", true),
        &["roles", "role", "AssumeRole"],
    ),
];

#[tokio::test]
async fn every_source_gives_its_key() {
    for (name, prepare, expected, actions) in SOURCES {
        let mut machine = Machine::new().await;
        machine.cloud.add(&expected());
        prepare(&mut machine);
        match machine.signer().await {
            Ok(found) => assert_eq!(found, expected(), "{name}"),
            Err(error) => panic!("{name}: {}", chain(&error)),
        }
        let all = ["roles", "role", "AssumeRole", "AssumeRoleWithWebIdentity"];
        let asked: Vec<&str> = all
            .into_iter()
            .filter(|action| machine.cloud.calls(action) > 0)
            .collect();
        assert_eq!(&asked, actions, "{name}");
    }
}

#[tokio::test]
async fn sts_is_asked_as_configured() {
    let mut machine = Machine::new().await;
    machine.environment_key(&mine());
    machine.set("role_arn", ROLE);
    machine.signer().await.unwrap();
    let plain = json!({"RoleArn": ROLE, "RoleSessionName": "imagecache", "DurationSeconds": 7200});
    assert_eq!(machine.cloud.last_body(), plain);

    machine.set("role_session_name", 42);
    machine.set("external_id", "shared with the other account");
    machine.signer().await.unwrap();
    let mut chosen = plain.clone();
    chosen["RoleSessionName"] = json!("42");
    chosen["ExternalId"] = json!("shared with the other account");
    assert_eq!(machine.cloud.last_body(), chosen);

    let mut pod = Machine::without_metadata().await;
    pod.oidc();
    pod.signer().await.unwrap();
    let mut exchange = plain;
    exchange["ProviderId"] = json!(super::cloud::PROVIDER);
    exchange["WebIdentityToken"] = json!(super::cloud::OIDC_TOKEN);
    assert_eq!(pod.cloud.last_body(), exchange);
}
