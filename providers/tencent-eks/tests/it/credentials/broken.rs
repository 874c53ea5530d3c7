//! Sources that are configured and do not work end the search, and say what is wrong without any secret.

use imagecache_core::{ErrorKind, chain};
use serde_json::json;

use super::cloud::{Answer, DESCRIBE, Key, ROLE, nobody};
use super::machine::{Machine, PLANTED, Prepare};

/// Sources that are configured and do not work: how, and what the error says.
const BROKEN: &[(&str, Prepare, &[&str])] = &[
    (
        "reference to an unset variable",
        |machine| {
            machine.set("secret_id_env", "MY_ID");
            machine.set("secret_key_env", "MY_KEY");
        },
        &["configuration's references", "`MY_ID`", "secret_id_env", "not set"],
    ),
    (
        "reference without a key",
        |machine| {
            machine.var("MY_ID", "x");
            machine.set("secret_id_env", "MY_ID");
        },
        &["`secret_key_env` or `secret_key_file`"],
    ),
    (
        "reference to no file",
        |machine| {
            machine.set("secret_id_file", "/nonexistent/id");
            machine.set("secret_key_file", "/nonexistent/key");
        },
        &["/nonexistent/id", "does not exist"],
    ),
    (
        "half an environment",
        |machine| machine.var("TENCENTCLOUD_SECRET_KEY", PLANTED),
        &[
            "environment",
            "TENCENTCLOUD_SECRET_KEY is set but TENCENTCLOUD_SECRET_ID is not",
        ],
    ),
    (
        "a shared file that is no INI",
        |machine| {
            machine.shared(PLANTED);
        },
        &["shared profile file", ".tencentcloud/credentials", "is no INI file"],
    ),
    (
        "half a shared profile",
        |machine| {
            machine.shared(&format!("secret_key = {PLANTED}"));
        },
        &["`default` has no `secret_id`"],
    ),
    (
        "a shared file that is named and not there",
        |machine| machine.var("TENCENTCLOUD_CREDENTIALS_FILE", "/nonexistent/credentials"),
        &["/nonexistent/credentials", "the file does not exist"],
    ),
    (
        "a profile that is nowhere",
        |machine| machine.set("profile", "gone"),
        &["shared profile file", "there is no profile `gone`"],
    ),
    (
        "a profile's role that is refused",
        |machine| {
            machine.shared(&format!(
                "secret_id = AKIDunknown\nsecret_key = {PLANTED}\nrole_arn = {ROLE}"
            ));
        },
        &[
            "shared profile file",
            ROLE,
            "cannot be assumed",
            "AuthFailure.SecretIdNotFound",
        ],
    ),
    (
        "an instance without the named role",
        |machine| machine.set("instance_role", "another"),
        &["CVM instance", "does not have the CAM role `another`"],
    ),
    (
        "a role that is none",
        |machine| machine.set("instance_role", "../../x"),
        &["not one that a role can have"],
    ),
    (
        "an instance that must have a role and has none",
        |machine| {
            machine.set("source", "instance");
            machine.cloud.answer("roles", Answer::Status(404, PLANTED.to_owned()));
        },
        &["has no CAM role; attach one"],
    ),
    (
        "a metadata service in trouble",
        |machine| machine.cloud.answer("roles", Answer::Status(500, PLANTED.to_owned())),
        &["does not tell the instance's CAM role", "HTTP 500"],
    ),
    (
        "a metadata service with another document",
        |machine| {
            let answer = Answer::Status(200, format!("{{\"TmpSecretKey\": [\"{PLANTED}\"]}}"));
            machine.cloud.answer("role", answer);
        },
        &["the answer for the CAM role `node-role` is not what was expected"],
    ),
    (
        "a metadata service without a credential",
        |machine| {
            let document = json!({"Code": "Failed", "TmpSecretKey": PLANTED});
            machine.cloud.answer("role", Answer::Status(200, document.to_string()));
        },
        &["CAM role `node-role`: it has no credential now"],
    ),
];

/// The same for the pod's identity, where no instance comes first.
const BROKEN_PODS: &[(&str, Prepare, &[&str])] = &[
    (
        "OIDC without a role",
        |machine| {
            machine.environment.remove("TKE_ROLE_ARN");
        },
        &["OIDC", "`TKE_ROLE_ARN` is not set"],
    ),
    (
        "OIDC without a provider",
        |machine| {
            machine.environment.remove("TKE_PROVIDER_ID");
        },
        &["OIDC", "`TKE_PROVIDER_ID` is not set"],
    ),
    (
        "OIDC without a token",
        |machine| std::fs::remove_file(machine.home.path().join("oidc-token")).unwrap(),
        &["OIDC", "oidc-token` does not exist"],
    ),
    (
        "OIDC with an empty token",
        |machine| {
            machine.file("oidc-token", "\n");
        },
        &["OIDC", "oidc-token` is empty"],
    ),
    (
        "OIDC with a token that is refused, by a service that repeats it",
        |machine| {
            machine.file("oidc-token", PLANTED);
        },
        &[
            "OIDC",
            ROLE,
            "oidc-token",
            "InvalidParameter.WebIdentityTokenError",
            "the token … is bad",
        ],
    ),
    (
        "an STS that makes no sense",
        |machine| {
            let answer = Answer::Status(200, format!("<html>{PLANTED}</html>"));
            machine.cloud.answer("AssumeRoleWithWebIdentity", answer);
        },
        &["OIDC", ROLE, "not one of this API"],
    ),
    (
        "an STS that gives nothing",
        |machine| {
            let answer = json!({"Response": {"RequestId": "r", "ExpiredTime": 1}});
            let answer = Answer::Status(200, answer.to_string());
            machine.cloud.answer("AssumeRoleWithWebIdentity", answer);
        },
        &["STS's answer for role", "holds no credential"],
    ),
    (
        "an STS that gives half a credential",
        |machine| {
            let keys = json!({"TmpSecretId": "AKIDx", "TmpSecretKey": PLANTED});
            let answer = json!({"Response": {"RequestId": "r", "ExpiredTime": 1_900_000_000, "Credentials": keys}});
            let answer = Answer::Status(200, answer.to_string());
            machine.cloud.answer("AssumeRoleWithWebIdentity", answer);
        },
        &["holds no whole credential: the answer has no Token"],
    ),
    (
        "an STS that refuses for good",
        |machine| {
            let answer = Answer::Refuse(
                "UnauthorizedOperation",
                format!("{PLANTED} is not yours").replace(PLANTED, "this role"),
            );
            machine.cloud.answer("AssumeRoleWithWebIdentity", answer);
        },
        &["UnauthorizedOperation", "this role is not yours"],
    ),
];

async fn ends_the_search(name: &str, machine: &Machine, parts: &[&str]) {
    let error = machine.error(name).await;
    for part in parts {
        assert!(error.contains(part), "{name}: `{part}` is not in {error}");
    }
}

#[tokio::test]
async fn a_broken_source_ends_the_search() {
    for (name, prepare, parts) in BROKEN {
        let mut machine = Machine::new().await;
        // A lower link that works, so that falling through would be seen.
        machine.oidc();
        prepare(&mut machine);
        ends_the_search(name, &machine, parts).await;
        let went_on = machine.cloud.calls("AssumeRoleWithWebIdentity");
        assert_eq!(went_on, 0, "{name}: went on to another identity");
        assert_eq!(machine.cloud.calls(DESCRIBE), 0, "{name}");
    }
    for (name, prepare, parts) in BROKEN_PODS {
        let mut machine = Machine::without_metadata().await;
        machine.oidc();
        prepare(&mut machine);
        ends_the_search(name, &machine, parts).await;
    }
}

#[tokio::test]
async fn a_named_instance_role_and_no_instance() {
    let mut machine = Machine::without_metadata().await;
    machine.oidc();
    machine.set("instance_role", "r");
    ends_the_search("named", &machine, &["does not answer; is this a CVM instance?"]).await;
    machine.set("instance_role", serde_json::Value::Null);
    machine.set("source", "instance");
    ends_the_search("chosen", &machine, &["does not answer; is this a CVM instance?"]).await;
}

#[tokio::test]
async fn a_role_on_top_of_nothing_says_what_is_missing() {
    let mut machine = Machine::without_metadata().await;
    machine.set("role_arn", ROLE);
    ends_the_search("no base", &machine, &["no credential found"]).await;
    let known = Key::named("Mine", false);
    machine.environment_key(&known);
    machine.var("TENCENTCLOUD_SECRET_KEY", PLANTED);
    let parts = [
        "assumed role `qcs::cam::uin/100000000001:roleName/cache`",
        "AuthFailure.SignatureFailure",
    ];
    ends_the_search("a wrong base", &machine, &parts).await;
    machine.environment_key(&known);
    machine.set("role_arn", "qcs::cam::uin/1:roleName/another");
    ends_the_search("another role", &machine, &["ResourceNotFound.RoleNotFound"]).await;
}

#[tokio::test]
async fn contradictions_are_refused_before_anything_is_asked() {
    for (config, part) in [
        (
            json!({"secret_id_env": "A", "secret_id_file": "/b"}),
            "`secret_id_env` and `secret_id_file`",
        ),
        (
            json!({"token_env": "A", "token_file": "/b"}),
            "`token_env` and `token_file`",
        ),
        (
            json!({"source": "reference"}),
            "source `reference` needs `secret_id_env`",
        ),
        (
            json!({"metadata_endpoint": "http://metadata.example.com"}),
            "`metadata_endpoint`",
        ),
        (
            json!({"metadata_endpoint": "http://metadata.tencentyun.com.example.com"}),
            "`metadata_endpoint`",
        ),
    ] {
        let mut machine = Machine::new().await;
        machine.config = config.clone();
        let error = machine.open().expect_err(part);
        assert_eq!(error.kind(), ErrorKind::InvalidSpec, "{config}");
        let text = chain(&error);
        assert!(text.contains(part), "{config}: {text}");
    }
    let mut machine = Machine::new().await;
    machine.set("metadata_endpoint", "http://metadata.tencentyun.com/");
    assert!(machine.open().is_ok(), "the fixed address may be plain HTTP");
    machine.set("metadata_endpoint", nobody().await);
    assert!(machine.open().is_ok(), "and so may this machine");
}
