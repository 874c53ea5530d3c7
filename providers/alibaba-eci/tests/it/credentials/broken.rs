//! Sources that are configured and do not work end the search, and say what is wrong without any secret.

use imagecache_core::{ErrorKind, chain};
use imagecache_fakes::eci::Fault;
use serde_json::json;

use super::machine::{DESCRIBE, Machine, PLANTED, Prepare, ROLE, safety_net};

/// Sources that are configured and do not work: how, and what the error says.
const BROKEN: &[(&str, Prepare, &[&str])] = &[
    (
        "reference to an unset variable",
        |machine| {
            machine.set("access_key_id_env", "MY_ID");
            machine.set("access_key_secret_env", "MY_SECRET");
        },
        &["configuration's references", "`MY_ID`", "access_key_id_env", "not set"],
    ),
    (
        "reference without a secret",
        |machine| {
            machine.var("MY_ID", "x");
            machine.set("access_key_id_env", "MY_ID");
        },
        &["`access_key_secret_env` or `access_key_secret_file`"],
    ),
    (
        "reference to no file",
        |machine| {
            machine.set("access_key_id_file", "/nonexistent/id");
            machine.set("access_key_secret_file", "/nonexistent/secret");
        },
        &["/nonexistent/id", "does not exist"],
    ),
    (
        "reference to an empty file",
        |machine| {
            let file = machine.file("id", "  \n");
            machine.set("access_key_id_file", file.clone());
            machine.set("access_key_secret_file", file);
        },
        &["/id`", "is empty"],
    ),
    (
        "half an environment",
        |machine| machine.var("ALIBABA_CLOUD_ACCESS_KEY_SECRET", PLANTED),
        &[
            "environment",
            "ALIBABA_CLOUD_ACCESS_KEY_ID is not",
            "ALIBABA_CLOUD_ACCESS_KEY_SECRET is set",
        ],
    ),
    (
        "RRSA without a role",
        |machine| {
            machine.rrsa();
            machine.environment.remove("ALIBABA_CLOUD_ROLE_ARN");
        },
        &["RRSA", "`ALIBABA_CLOUD_ROLE_ARN` is not set"],
    ),
    (
        "RRSA without a token",
        |machine| {
            let token = machine.rrsa();
            std::fs::remove_file(token).unwrap();
        },
        &["RRSA", "oidc-token` does not exist"],
    ),
    (
        "RRSA with a token that is refused",
        |machine| {
            let token = machine.rrsa();
            std::fs::write(token, PLANTED).unwrap();
            machine.fake.set_oidc_token("header.payload.another");
        },
        &["RRSA", ROLE, "AuthenticationFail.OIDCToken.Invalid"],
    ),
    (
        "RRSA with an STS that repeats the token",
        |machine| {
            let token = machine.rrsa();
            std::fs::write(token, PLANTED).unwrap();
            let fault = Fault::Refuse {
                status: 400,
                code: "AuthenticationFail.OIDCToken.Invalid".to_owned(),
                message: format!("the token {PLANTED} is bad"),
            };
            machine.fake.inject("AssumeRoleWithOIDC", fault, 9);
        },
        &["the token … is bad"],
    ),
    (
        "RRSA with an STS that makes no sense",
        |machine| {
            machine.rrsa();
            machine.fake.inject("AssumeRoleWithOIDC", Fault::WrongJson, 9);
        },
        &["RRSA"],
    ),
    (
        "a CLI file that is no JSON",
        |machine| {
            machine.file(".aliyun/config.json", format!("{{\"profiles\": [\"{PLANTED}\""));
        },
        &["CLI profile file", ".aliyun/config.json", "line 1"],
    ),
    (
        "a CLI file with other types",
        |machine| {
            machine.file(".aliyun/config.json", format!("{{\"profiles\": \"{PLANTED}\"}}"));
        },
        &["CLI profile file", "line 1"],
    ),
    (
        "a CLI mode that needs the CLI",
        |machine| machine.cli(&json!({"mode": "CloudSSO", "access_key_secret": PLANTED})),
        &["`main` has the mode `CloudSSO`", "use AK"],
    ),
    (
        "half a CLI profile",
        |machine| machine.cli(&json!({"mode": "AK", "access_key_secret": PLANTED})),
        &["`main` has no `access_key_id`"],
    ),
    (
        "a CLI role that is refused",
        |machine| {
            machine.cli(&json!({
                "mode": "RamRoleArn", "access_key_id": "LTAIunknown", "access_key_secret": PLANTED, "ram_role_arn": ROLE,
            }));
        },
        &["CLI profile file", ROLE, "InvalidAccessKeyId"],
    ),
    (
        "a shared file that is no INI",
        |machine| machine.shared(PLANTED),
        &["shared profile file", ".alibabacloud/credentials", "is no INI file"],
    ),
    (
        "a shared file with lines run together",
        |machine| machine.shared(&format!("type = access_key access_key_secret = {PLANTED}")),
        &["`default` has a type that is no word"],
    ),
    (
        "a shared profile without a type",
        |machine| machine.shared(&format!("access_key_secret = {PLANTED}")),
        &["`default` has no `type`"],
    ),
    (
        "a profile that is nowhere",
        |machine| machine.var("ALIBABA_CLOUD_PROFILE", "gone"),
        &["there is no profile `gone`, and none in", ".aliyun/config.json"],
    ),
    (
        "a named instance role and no instance",
        |machine| machine.set("instance_role", "r"),
        &["ECS instance", "does not answer; is this an ECS instance?"],
    ),
];

#[tokio::test]
async fn a_broken_source_ends_the_search() {
    for (name, prepare, parts) in BROKEN {
        let mut machine = Machine::without_metadata().await;
        safety_net(&mut machine);
        prepare(&mut machine);
        let error = machine.error(name).await;
        for part in *parts {
            assert!(error.contains(part), "{name}: `{part}` is not in {error}");
        }
        assert_eq!(machine.fake.calls(DESCRIBE), 0, "{name}");
        assert_eq!(
            machine.fake.calls("credentials-uri"),
            0,
            "{name}: went on to another identity"
        );
    }
}

#[tokio::test]
async fn an_instance_that_says_no() {
    let cases: [(&str, Prepare, &str); 4] = [
        (
            "another role",
            |machine| machine.set("instance_role", "another"),
            "does not have the RAM role `another`",
        ),
        (
            "a role that is none",
            |machine| machine.set("instance_role", "../../x"),
            "not one that a role can have",
        ),
        (
            "sessions only, and none to be had",
            |machine| {
                machine.var("ALIBABA_CLOUD_IMDSV1_DISABLED", "true");
                let fault = Fault::Refuse {
                    status: 404,
                    code: String::new(),
                    message: PLANTED.to_owned(),
                };
                machine.fake.inject("metadata-token", fault, 9);
            },
            "gives no session token",
        ),
        (
            "disabled and chosen",
            |machine| {
                machine.var("ALIBABA_CLOUD_ECS_METADATA_DISABLED", "true");
                machine.set("source", "instance");
            },
            "disabled by `ALIBABA_CLOUD_ECS_METADATA_DISABLED`",
        ),
    ];
    for (name, prepare, part) in cases {
        let mut machine = Machine::new().await;
        safety_net(&mut machine);
        prepare(&mut machine);
        let error = machine.error(name).await;
        assert!(error.contains(part), "{name}: {error}");
    }
    // With sessions required by the service and not by us, the first variant is the one that works.
    let machine = Machine::new().await;
    machine.fake.require_metadata_token(true);
    machine.call().await.unwrap();
}

#[tokio::test]
async fn a_credentials_uri_that_does_not_work_shows_nothing() {
    let fault = |status| Fault::Refuse {
        status,
        code: PLANTED.to_owned(),
        message: PLANTED.to_owned(),
    };
    for (name, fault, part) in [
        ("an error", fault(500), "HTTP 500"),
        ("a refusal", fault(403), "HTTP 403"),
        ("another body", Fault::WrongJson, "credentials URI"),
    ] {
        let mut machine = Machine::without_metadata().await;
        let uri = format!("{}?key={PLANTED}", machine.fake.credentials_uri());
        machine.set("credentials_uri", uri);
        machine.fake.inject("credentials-uri", fault, 99);
        let error = machine.error(name).await;
        assert!(error.contains(part), "{name}: {error}");
    }
}

#[tokio::test]
async fn a_role_on_top_of_nothing_says_what_is_missing() {
    let mut machine = Machine::without_metadata().await;
    machine.set("role_arn", ROLE);
    let error = machine.error("no base").await;
    assert!(error.contains("no credential found"), "{error}");
    let (id, _) = machine.key();
    machine.var("ALIBABA_CLOUD_ACCESS_KEY_ID", id);
    machine.var("ALIBABA_CLOUD_ACCESS_KEY_SECRET", PLANTED);
    let error = machine.error("a wrong base").await;
    assert!(
        error.contains("assumed role `acs:ram::123456789:role/cache`"),
        "{error}"
    );
    assert!(error.contains("SignatureDoesNotMatch"), "{error}");
}

#[tokio::test]
async fn contradictions_are_refused_before_anything_is_asked() {
    for (config, part) in [
        (
            json!({"access_key_id_env": "A", "access_key_id_file": "/b"}),
            "`access_key_id_env` and `access_key_id_file`",
        ),
        (
            json!({"source": "reference"}),
            "source `reference` needs `access_key_id_env`",
        ),
        (json!({"source": "uri"}), "source `uri` needs `credentials_uri`"),
        (
            json!({"metadata_endpoint": "http://metadata.example.com"}),
            "`metadata_endpoint`",
        ),
        (
            json!({"metadata_endpoint": "http://100.100.100.201"}),
            "`metadata_endpoint`",
        ),
        (
            json!({"credentials_uri": format!("http://example.com/{PLANTED}")}),
            "`credentials_uri`",
        ),
        (
            json!({"credentials_uri": format!("ftp://example.com/{PLANTED}")}),
            "`credentials_uri`",
        ),
        (json!({"credentials_uri": PLANTED}), "`credentials_uri`"),
    ] {
        let mut machine = Machine::new().await;
        machine.config = config.clone();
        let error = machine.open().expect_err(part);
        assert_eq!(error.kind(), ErrorKind::InvalidSpec, "{config}");
        let text = chain(&error);
        assert!(text.contains(part), "{config}: {text}");
        assert!(!format!("{text} {error:?}").contains(PLANTED), "{text}");
    }
    let mut machine = Machine::new().await;
    machine.set("metadata_endpoint", "http://100.100.100.200/");
    assert!(machine.open().is_ok(), "the fixed address may be plain HTTP");
}
