//! Every source gives a credential that the cloud takes.

use std::time::Duration;

use imagecache_core::chain;
use imagecache_fakes::eci::Fault;
use serde_json::json;

use super::machine::{DESCRIBE, Machine, Prepare, ROLE};

/// Every source: its name, how it is configured, and the fake's action that must be called for it.
const SOURCES: &[(&str, Prepare, Option<&str>)] = &[
    (
        "reference to variables",
        |machine| {
            let (id, secret) = machine.key();
            machine.var("MY_ID", id);
            machine.var("MY_SECRET", secret);
            machine.set("access_key_id_env", "MY_ID");
            machine.set("access_key_secret_env", "MY_SECRET");
        },
        None,
    ),
    (
        "reference to files",
        |machine| {
            let key = machine.fake.issue_key(Duration::from_secs(3600));
            let file = machine.file("id", format!("{}\n", key.id));
            machine.set("access_key_id_file", file);
            let file = machine.file("secret", key.secret);
            machine.set("access_key_secret_file", file);
            let file = machine.file("token", format!("{}\n", key.token));
            machine.set("security_token_file", file);
        },
        None,
    ),
    (
        "environment",
        |machine| {
            let (id, secret) = machine.key();
            machine.var("ALIBABA_CLOUD_ACCESS_KEY_ID", id);
            machine.var("ALIBABA_CLOUD_ACCESS_KEY_SECRET", secret);
        },
        None,
    ),
    (
        "environment, temporary",
        |machine| {
            let key = machine.fake.issue_key(Duration::from_secs(3600));
            machine.var("ALIBABA_CLOUD_ACCESS_KEY_ID", key.id);
            machine.var("ALIBABA_CLOUD_ACCESS_KEY_SECRET", key.secret);
            machine.var("ALIBABA_CLOUD_SECURITY_TOKEN", key.token);
        },
        None,
    ),
    (
        "OIDC workload identity",
        |machine| {
            machine.rrsa();
            machine.fake.set_oidc_token("header.payload.signature-1");
        },
        Some("AssumeRoleWithOIDC"),
    ),
    (
        "CLI, AK",
        |machine| {
            let (id, secret) = machine.key();
            machine.cli(&json!({"mode": "AK", "access_key_id": id, "access_key_secret": secret}));
        },
        None,
    ),
    (
        "CLI, StsToken",
        |machine| {
            let key = machine.fake.issue_key(Duration::from_secs(3600));
            machine.cli(&json!({
                "mode": "StsToken", "access_key_id": key.id, "access_key_secret": key.secret, "sts_token": key.token,
            }));
        },
        None,
    ),
    (
        "CLI, RamRoleArn",
        |machine| {
            let (id, secret) = machine.key();
            machine.cli(&json!({
                "mode": "RamRoleArn", "access_key_id": id, "access_key_secret": secret, "ram_role_arn": ROLE,
                "ram_session_name": "me", "expired_seconds": 900, "external_id": "x",
            }));
        },
        Some("AssumeRole"),
    ),
    (
        "CLI, EcsRamRole",
        |machine| machine.cli(&json!({"mode": "EcsRamRole", "ram_role_name": machine.fake.role()})),
        Some("metadata"),
    ),
    (
        "CLI, OIDC",
        |machine| {
            let token = machine.file("token", "header.payload.signature");
            machine.cli(&json!({
                "mode": "OIDC", "ram_role_arn": ROLE, "oidc_provider_arn": "acs:ram::1:oidc-provider/p",
                "oidc_token_file": token, "ram_session_name": "me",
            }));
        },
        Some("AssumeRoleWithOIDC"),
    ),
    (
        "shared file, access_key",
        |machine| {
            let (id, secret) = machine.key();
            machine.shared(&format!(
                "type = access_key\naccess_key_id = {id}\naccess_key_secret = {secret}"
            ));
        },
        None,
    ),
    (
        "shared file of another path and profile",
        |machine| {
            let (id, secret) = machine.key();
            let body = format!("[team]\ntype=access_key\naccess_key_id={id}\naccess_key_secret={secret}\n");
            let file = machine.file("elsewhere.ini", body);
            machine.var("ALIBABA_CLOUD_CREDENTIALS_FILE", file);
            machine.var("ALIBABA_CLOUD_PROFILE", "team");
        },
        None,
    ),
    (
        "shared file, sts",
        |machine| {
            let key = machine.fake.issue_key(Duration::from_secs(3600));
            machine.shared(&format!(
                "type = sts\naccess_key_id = {}\naccess_key_secret = {}\nsecurity_token = {}",
                key.id, key.secret, key.token
            ));
        },
        None,
    ),
    (
        "shared file, ram_role_arn",
        |machine| {
            let (id, secret) = machine.key();
            machine.shared(&format!(
                "type = ram_role_arn\naccess_key_id = {id}\naccess_key_secret = {secret}\nrole_arn = {ROLE}\nrole_session_name = me"
            ));
        },
        Some("AssumeRole"),
    ),
    (
        "shared file, ecs_ram_role",
        |machine| machine.shared("type = ecs_ram_role"),
        Some("metadata"),
    ),
    (
        "shared file, oidc_role_arn",
        |machine| {
            let token = machine.file("token", "header.payload.signature");
            machine.shared(&format!(
                "type = oidc_role_arn\nrole_arn = {ROLE}\noidc_provider_arn = p\noidc_token_file_path = {token}"
            ));
        },
        Some("AssumeRoleWithOIDC"),
    ),
    ("instance role", |_| {}, Some("metadata-token")),
    (
        "instance role, named, sessions only",
        |machine| {
            machine.fake.require_metadata_token(true);
            machine.var("ALIBABA_CLOUD_ECS_METADATA", machine.fake.role());
            machine.var("ALIBABA_CLOUD_IMDSV1_DISABLED", "true");
        },
        Some("metadata"),
    ),
    (
        "instance role, of a service without sessions",
        |machine| {
            let fault = Fault::Refuse {
                status: 404,
                code: "x".to_owned(),
                message: "x".to_owned(),
            };
            machine.fake.inject("metadata-token", fault, 100);
        },
        Some("metadata"),
    ),
    (
        "credentials URI",
        |machine| {
            machine.var("ALIBABA_CLOUD_ECS_METADATA_DISABLED", "true");
            machine.var("ALIBABA_CLOUD_CREDENTIALS_URI", machine.fake.credentials_uri());
        },
        Some("credentials-uri"),
    ),
    (
        "assumed role on top",
        |machine| {
            let (id, secret) = machine.key();
            machine.var("ALIBABA_CLOUD_ACCESS_KEY_ID", id);
            machine.var("ALIBABA_CLOUD_ACCESS_KEY_SECRET", secret);
            machine.set("role_arn", ROLE);
            machine.set("role_session_name", 42);
            machine.set("external_id", "shared with the other account");
        },
        Some("AssumeRole"),
    ),
    (
        "assumed role on top of an instance role",
        |machine| machine.set("role_arn", ROLE),
        Some("AssumeRole"),
    ),
];

#[tokio::test]
async fn every_source_signs() {
    for (name, prepare, action) in SOURCES {
        let mut machine = Machine::new().await;
        prepare(&mut machine);
        if let Err(error) = machine.call().await {
            panic!("{name}: {}", chain(&error));
        }
        assert!(machine.fake.calls(DESCRIBE) > 0, "{name}");
        if let Some(action) = action {
            assert!(machine.fake.calls(action) > 0, "{name} calls {action}");
        } else {
            let asked = [
                "AssumeRole",
                "AssumeRoleWithOIDC",
                "metadata",
                "metadata-token",
                "credentials-uri",
            ];
            let asked: Vec<_> = asked
                .into_iter()
                .filter(|action| machine.fake.calls(action) > 0)
                .collect();
            assert!(asked.is_empty(), "{name} needs nobody, and asks {asked:?}");
        }
    }
}
