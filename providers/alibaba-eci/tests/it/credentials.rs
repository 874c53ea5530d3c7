//! Where the access key comes from: each source against real files and the fake's services, their order, and what is said when
//! one does not work.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use imagecache_alibaba_eci::{AlibabaConfig, AlibabaProvider, CredentialConfig, Environment};
use imagecache_core::{CacheProvider as _, Error, ErrorKind, chain, system_clock};
use imagecache_fakes::eci::{FakeEci, Fault};
use serde_json::json;

const DESCRIBE: &str = "DescribeImageCaches";
/// A role that the fake lets anybody assume.
const ROLE: &str = "acs:ram::123456789:role/cache";
/// A secret that is planted where it must never come out again.
const PLANTED: &str = "Pl4ntedSecretPl4ntedSecret0042";

/// A machine: its environment, its files, and the cloud it reaches.
struct Machine {
    fake: Arc<FakeEci>,
    home: tempfile::TempDir,
    environment: BTreeMap<String, String>,
    config: serde_json::Value,
}

impl Machine {
    async fn new() -> Self {
        let fake = Arc::new(FakeEci::start().await);
        let home = tempfile::tempdir().unwrap();
        let config = json!({
            "metadata_endpoint": fake.endpoint(),
        });
        let environment = BTreeMap::from([("HOME".to_owned(), home.path().display().to_string())]);
        Self {
            fake,
            home,
            environment,
            config,
        }
    }

    /// A machine that is no ECS instance.
    async fn without_metadata() -> Self {
        let mut machine = Self::new().await;
        machine.set("metadata_endpoint", nobody().await);
        machine
    }

    fn var(&mut self, name: &str, value: impl Into<String>) {
        self.environment.insert(name.to_owned(), value.into());
    }

    fn set(&mut self, key: &str, value: impl Into<serde_json::Value>) {
        self.config[key] = value.into();
    }

    fn file(&self, path: &str, content: impl AsRef<[u8]>) -> String {
        let path: PathBuf = self.home.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    }

    fn cli(&self, profile: &serde_json::Value) {
        let mut profile = profile.clone();
        profile["name"] = json!("main");
        let file = json!({"current": "main", "profiles": [profile]});
        self.file(".aliyun/config.json", file.to_string());
    }

    fn shared(&self, lines: &str) {
        self.file(".alibabacloud/credentials", format!("[default]\n{lines}\n"));
    }

    /// The fake's key, as two texts.
    fn key(&self) -> (String, String) {
        let (id, secret) = self.fake.access_key();
        (id.to_owned(), secret.to_owned())
    }

    fn rrsa(&mut self) -> String {
        let token = self.file("oidc-token", "header.payload.signature-1\n");
        self.var("ALIBABA_CLOUD_ROLE_ARN", ROLE);
        self.var(
            "ALIBABA_CLOUD_OIDC_PROVIDER_ARN",
            "acs:ram::123456789:oidc-provider/ack",
        );
        self.var("ALIBABA_CLOUD_OIDC_TOKEN_FILE", token.clone());
        token
    }

    fn open(&self) -> Result<AlibabaProvider, Error> {
        let mut config = AlibabaConfig {
            region: self.fake.region().to_owned(),
            ..AlibabaConfig::default()
        };
        config.endpoint = self.fake.endpoint();
        config.sts_endpoint = self.fake.endpoint();
        config.credentials = serde_json::from_value::<CredentialConfig>(self.config.clone()).unwrap();
        config.http.attempts = 1;
        let fake = Arc::clone(&self.fake);
        let clock = Arc::new(move || fake.now());
        let environment: Environment = self.environment.clone().into_iter().collect();
        AlibabaProvider::with_environment(config, Some("test".to_owned()), clock, &environment)
    }

    /// Signs one call with whatever credential is found.
    async fn call(&self) -> Result<(), Error> {
        self.open()?.list().await.map(drop)
    }

    /// The error of one call, checked to hold no secret.
    async fn error(&self, name: &str) -> String {
        let provider = self.open().unwrap();
        let error = provider.list().await.map(drop).expect_err(name);
        let mut secrets = self.fake.secrets();
        secrets.push(PLANTED.to_owned());
        for text in [chain(&error), format!("{error:?}"), format!("{provider:?}")] {
            for secret in &secrets {
                assert!(!text.contains(secret.as_str()), "{name}: a secret is in {text}");
            }
        }
        chain(&error)
    }
}

/// An endpoint at which nobody listens.
async fn nobody() -> String {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

/// Sets one source up on a machine.
type Prepare = fn(&mut Machine);

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

#[tokio::test]
async fn the_order_is_the_vendors() {
    let mut machine = Machine::new().await;
    let static_sources = ["reference", "environment", "cli", "shared"];
    let key = |name: &str| (format!("LTAI{name}"), format!("secret-of-{name}"));
    let (id, secret) = key("reference");
    machine.var("MY_ID", id);
    machine.var("MY_SECRET", secret);
    machine.set("access_key_id_env", "MY_ID");
    machine.set("access_key_secret_env", "MY_SECRET");
    let (id, secret) = key("environment");
    machine.var("ALIBABA_CLOUD_ACCESS_KEY_ID", id);
    machine.var("ALIBABA_CLOUD_ACCESS_KEY_SECRET", secret);
    machine.rrsa();
    let (id, secret) = key("cli");
    machine.cli(&json!({"mode": "AK", "access_key_id": id, "access_key_secret": secret}));
    let (id, secret) = key("shared");
    machine.shared(&format!(
        "type = access_key\naccess_key_id = {id}\naccess_key_secret = {secret}"
    ));
    machine.var("ALIBABA_CLOUD_CREDENTIALS_URI", machine.fake.credentials_uri());

    let steps: [(&str, Option<&str>, Prepare); 7] = [
        ("reference", None, |machine| {
            machine.set("access_key_id_env", serde_json::Value::Null);
            machine.set("access_key_secret_env", serde_json::Value::Null);
        }),
        ("environment", None, |machine| {
            machine.environment.remove("ALIBABA_CLOUD_ACCESS_KEY_ID");
            machine.environment.remove("ALIBABA_CLOUD_ACCESS_KEY_SECRET");
        }),
        ("oidc", Some("AssumeRoleWithOIDC"), |machine| {
            machine.environment.remove("ALIBABA_CLOUD_OIDC_TOKEN_FILE");
            machine.environment.remove("ALIBABA_CLOUD_OIDC_PROVIDER_ARN");
        }),
        ("cli", None, |machine| {
            machine.var("ALIBABA_CLOUD_CLI_PROFILE_DISABLED", "true")
        }),
        ("shared", None, |machine| {
            std::fs::remove_file(machine.home.path().join(".alibabacloud/credentials")).unwrap();
        }),
        ("instance", Some("metadata"), |machine| {
            machine.var("ALIBABA_CLOUD_ECS_METADATA_DISABLED", "TRUE")
        }),
        ("uri", Some("credentials-uri"), |machine| {
            machine.environment.remove("ALIBABA_CLOUD_CREDENTIALS_URI");
        }),
    ];
    for (name, action, remove) in steps {
        // Of the written keys only this one works now.
        for source in static_sources {
            machine.fake.remove_access_key(&key(source).0);
        }
        if static_sources.contains(&name) {
            let (id, secret) = key(name);
            machine.fake.add_access_key(&id, &secret);
        }
        let before = action.map(|action| machine.fake.calls(action));
        if let Err(error) = machine.call().await {
            panic!("{name}: {}", chain(&error));
        }
        if let (Some(action), Some(before)) = (action, before) {
            assert!(machine.fake.calls(action) > before, "{name}");
        }
        remove(&mut machine);
    }
    let error = machine.error("nothing left").await;
    for part in ["no credential found", "environment", ".alibabacloud/credentials"] {
        assert!(error.contains(part), "{error}");
    }
}

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

/// A lower link that works, so that falling through would be seen.
fn safety_net(machine: &mut Machine) {
    machine.var("ALIBABA_CLOUD_CREDENTIALS_URI", machine.fake.credentials_uri());
}

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
async fn no_instance_is_no_error_and_no_wait() {
    let mut machine = Machine::without_metadata().await;
    safety_net(&mut machine);
    machine.call().await.unwrap();
    // Somebody listens and never answers, as behind a firewall.
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    machine.set(
        "metadata_endpoint",
        format!("http://{}", listener.local_addr().unwrap()),
    );
    let started = Instant::now();
    machine.call().await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
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
async fn one_named_source_is_the_only_one() {
    for source in ["environment", "oidc", "cli", "profile"] {
        let mut machine = Machine::new().await;
        safety_net(&mut machine);
        machine.set("source", source);
        let error = machine.error(source).await;
        assert!(error.contains("no credential found"), "{source}: {error}");
        assert_eq!(machine.fake.calls("metadata"), 0, "{source}");
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

#[tokio::test]
async fn a_credential_that_ends_is_fetched_anew_from_the_token_that_is_there_then() {
    let mut machine = Machine::new().await;
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
    machine.fake.advance(Duration::from_secs(3590));
    provider.list().await.unwrap();
    assert_eq!(machine.fake.calls("AssumeRoleWithOIDC"), 2, "before it ends");
    provider.list().await.unwrap();
    assert_eq!(machine.fake.calls("AssumeRoleWithOIDC"), 2);
}

#[tokio::test]
async fn an_assumed_role_is_renewed_with_its_base() {
    let mut machine = Machine::new().await;
    machine.fake.set_role_lifetime(Duration::from_secs(7200));
    machine.set("role_arn", ROLE);
    let provider = machine.open().unwrap();
    provider.list().await.unwrap();
    provider.list().await.unwrap();
    assert_eq!(machine.fake.calls("AssumeRole"), 1);
    machine.fake.advance(Duration::from_secs(3600));
    provider.list().await.unwrap();
    assert_eq!(machine.fake.calls("AssumeRole"), 2);
    machine.fake.advance(Duration::from_secs(7200));
    provider.list().await.unwrap();
    assert_eq!(machine.fake.calls("AssumeRole"), 3);
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
