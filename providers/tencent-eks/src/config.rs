//! Configuration of the provider; region and network have no default.

use std::collections::BTreeMap;
use std::time::Duration;

use imagecache_cloud_http::build::Patience;
use imagecache_cloud_http::checks::{self, TagRules};
use imagecache_cloud_http::text::{given, lenient};
use imagecache_cloud_http::{ClientConfig, Rate};
use imagecache_core::{Result, duration_text};
use serde::{Deserialize, Serialize};

use crate::credential::CredentialConfig;
use crate::endpoint::{Endpoints, Network};
use crate::protocol::Product;
use crate::{NAME, client, mark};

/// Where the region is looked for when the configuration names none; the vendor's workload identity sets it too.
pub(crate) const REGION_VARIABLE: &str = "TKE_REGION";
/// Largest page (API reference, `Limit`).
const MAX_PAGE_SIZE: u32 = 50;
/// A build that takes longer hangs.
const DEFAULT_BUILD_DEADLINE: Duration = Duration::from_secs(60 * 60);
/// Builds of one cache that may hang before it counts as failed: each costs a build instance for as long as the deadline.
const DEFAULT_BUILD_ATTEMPTS: u32 = 3;
/// Nothing is documented of how long lists lag.
const DEFAULT_LISTING_LAG: Duration = Duration::from_secs(30);
/// What the vendor allows of tags ("Use Limits" of tags).
const TAG_RULES: TagRules = TagRules {
    most: mark::MAX_USER_TAGS,
    key_chars: 127,
    value_chars: (1, mark::MAX_VALUE_CHARS),
    reserved: &["qcs:", "project", "项目", "tencent"],
    allowed: |text| text.trim() == text && text.chars().all(is_tag_char),
};

/// Documented for each action; the service counts 20 in a second.
const ACTION_RATE: Rate = Rate::per_second(20);
/// Rates of the actions.
const DEFAULT_RATES: &[(&str, Rate)] = &[
    (client::CREATE, ACTION_RATE),
    (client::DESCRIBE, ACTION_RATE),
    (client::UPDATE, ACTION_RATE),
    (client::DELETE, ACTION_RATE),
    (client::MATCH, ACTION_RATE),
];

/// The provider's table in the config file.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct TencentConfig {
    /// Region to keep caches in, such as `ap-guangzhou`. Default: the environment's `TKE_REGION`.
    pub region: String,
    /// From where the services are called: `public`, or `internal` from inside a VPC of the vendor. Default: `public`.
    pub network: Network,
    /// Endpoint of TKE as `host`, `host:port` or `https://host`. Default: the region's.
    pub endpoint: String,
    /// Endpoint of STS, which gives the credentials of assumed roles. Default: the vendor's only one.
    pub sts_endpoint: String,
    /// Who this installation is: two owners never touch each other's caches. Default: the cluster.
    #[serde(deserialize_with = "lenient")]
    pub owner: String,
    /// Caches on one page of a list, at most 50. Default: 50.
    pub page_size: u32,
    /// Longest time for one build; after it the build is begun anew. Default: `1h`.
    #[serde(with = "duration_text")]
    pub build_deadline: Duration,
    /// Builds of one cache that may exceed the deadline, or updates that may fail, before it counts as failed. Default: 3.
    pub build_attempts: u32,
    /// How long a new cache may be missing from lists: so long nothing is created again after a lost answer, nor anything at
    /// all by an installation that has just started. Default: `30s`.
    #[serde(with = "duration_text")]
    pub listing_lag: Duration,
    /// What a build uses where the object names nothing.
    pub defaults: DefaultsConfig,
    /// Where the secret key comes from.
    pub credentials: CredentialConfig,
    /// Attempts, time limits and rates of the calls.
    pub http: ClientConfig,
}

/// What a build uses where the object names nothing.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct DefaultsConfig {
    /// VPC (`vpc-…`) to build in.
    pub vpc_id: String,
    /// Subnet (`subnet-…`) of that VPC to build in.
    pub subnet_id: String,
    /// Security groups (`sg-…`) of the build. Default: the service's own.
    pub security_group_ids: Vec<String>,
    /// Public address (`eip-…`) for builds. One address serves one build at a time.
    pub eip_id: String,
    /// Whether each build gets a public address made for it, and released after it. Default: no.
    pub auto_create_eip: bool,
    /// Bandwidth in Mbit/s of an address that is made. Default: the service's.
    pub eip_bandwidth_mbps: Option<u32>,
    /// Text of the `resolv.conf` to build with. Default: the service's.
    pub resolv_conf: String,
    /// Registries (host and optional port) that every build reaches over plain HTTP.
    pub plain_http_registries: Vec<String>,
    /// Registries (host and optional port) whose certificate no build checks, because they signed it themselves.
    pub insecure_registries: Vec<String>,
    /// Tags of every cache, besides our own.
    pub tags: BTreeMap<String, String>,
}

impl Default for TencentConfig {
    fn default() -> Self {
        Self {
            region: String::new(),
            network: Network::default(),
            endpoint: String::new(),
            sts_endpoint: String::new(),
            owner: String::new(),
            page_size: MAX_PAGE_SIZE,
            build_deadline: DEFAULT_BUILD_DEADLINE,
            build_attempts: DEFAULT_BUILD_ATTEMPTS,
            listing_lag: DEFAULT_LISTING_LAG,
            defaults: DefaultsConfig::default(),
            credentials: CredentialConfig::default(),
            http: ClientConfig::default().with_default_rates(DEFAULT_RATES),
        }
    }
}

impl TencentConfig {
    /// Checks every value and fills in what depends on others.
    ///
    /// # Errors
    ///
    /// `InvalidSpec`, naming the key, its value and the remedy.
    pub(crate) fn checked(mut self, region_from_environment: Option<&str>) -> Result<Self> {
        if self.region.is_empty() {
            self.region = region_from_environment.unwrap_or_default().to_owned();
        }
        // A table that names one rate must not lose the others.
        self.http = self.http.with_default_rates(DEFAULT_RATES);
        match self.problem() {
            Some((key, problem)) => Err(checks::refused(NAME, key, &problem)),
            None => Ok(self),
        }
    }

    /// Where the services are.
    ///
    /// # Errors
    ///
    /// As [`checked`](Self::checked).
    pub(crate) fn endpoints(&self) -> Result<Endpoints> {
        let endpoints = self.resolve_endpoints();
        endpoints.map_err(|(key, problem)| checks::refused(NAME, key, &problem))
    }

    /// When to give up on a build.
    pub(crate) fn patience(&self) -> Patience {
        Patience {
            deadline: self.build_deadline,
            attempts: self.build_attempts,
        }
    }

    fn resolve_endpoints(&self) -> Result<Endpoints, (&'static str, String)> {
        let mut endpoints = Endpoints::of(&self.region, self.network).map_err(|error| ("region", error.to_string()))?;
        for (key, product, endpoint) in [
            ("endpoint", Product::Tke, &self.endpoint),
            ("sts_endpoint", Product::Sts, &self.sts_endpoint),
        ] {
            if let Some(endpoint) = given(endpoint) {
                let own = endpoints.with(product, &endpoint);
                endpoints = own.map_err(|error| (key, error.to_string()))?;
            }
        }
        Ok(endpoints)
    }

    /// The first thing that is wrong: key and problem.
    fn problem(&self) -> Option<(&'static str, String)> {
        if let Some(problem) = checks::region(&self.region, "ap-guangzhou", REGION_VARIABLE) {
            return Some(("region", problem));
        }
        if let Err(problem) = self.resolve_endpoints() {
            return Some(problem);
        }
        if !is_owner(&self.owner) {
            let (owner, limit) = (&self.owner, mark::MAX_VALUE_CHARS);
            let problem = format!("`{owner}` is longer than {limit} or holds characters that no tag can have");
            return Some(("owner", problem));
        }
        let actions: Vec<&str> = DEFAULT_RATES.iter().map(|(action, _)| *action).collect();
        checks::first([
            ("page_size", checks::page_size(self.page_size, MAX_PAGE_SIZE)),
            ("build_attempts", checks::build_attempts(self.build_attempts)),
            ("http.rates", checks::rates(&self.http, &actions)),
        ])
        .or_else(|| self.defaults.problem())
    }
}

impl DefaultsConfig {
    fn problem(&self) -> Option<(&'static str, String)> {
        for (key, id, what) in [
            ("defaults.vpc_id", &self.vpc_id, "the VPC (vpc-…)"),
            ("defaults.subnet_id", &self.subnet_id, "the subnet (subnet-…)"),
        ] {
            if id.is_empty() {
                return Some((key, format!("not set; name {what} to build in")));
            }
        }
        let one = |id: &str| given(id).into_iter().collect::<Vec<_>>();
        for (key, ids, prefix) in [
            ("defaults.vpc_id", one(&self.vpc_id), "vpc-"),
            ("defaults.subnet_id", one(&self.subnet_id), "subnet-"),
            ("defaults.security_group_ids", self.security_group_ids.clone(), "sg-"),
            ("defaults.eip_id", one(&self.eip_id), "eip-"),
        ] {
            if let Some(problem) = checks::ids(&ids, prefix) {
                return Some((key, problem));
            }
        }
        if self.auto_create_eip && !self.eip_id.is_empty() {
            let problem = "an address is made or an existing one is used, not both; leave `eip_id` empty".to_owned();
            return Some(("defaults.auto_create_eip", problem));
        }
        if self.eip_bandwidth_mbps == Some(0) {
            let problem = "0 Mbit/s let nothing through, give at least 1".to_owned();
            return Some(("defaults.eip_bandwidth_mbps", problem));
        }
        for (key, hosts) in [
            ("defaults.plain_http_registries", &self.plain_http_registries),
            ("defaults.insecure_registries", &self.insecure_registries),
        ] {
            let bad =
                |host: &&String| host.is_empty() || host.contains(['/', ',']) || host.contains(char::is_whitespace);
            if let Some(bad) = hosts.iter().find(bad) {
                return Some((key, format!("`{bad}` is no host; write it like `harbor.example.com`")));
            }
        }
        checks::first([("defaults.tags", checks::tags(&self.tags, &TAG_RULES))])
    }
}

fn is_owner(text: &str) -> bool {
    text.len() <= mark::MAX_VALUE_CHARS && text.chars().all(is_tag_char)
}

/// What keys and values of tags may hold ("Use Limits" of tags).
fn is_tag_char(char: char) -> bool {
    char.is_alphanumeric() || " +-=._:/@()[],;<>【】".contains(char)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// The table with what has no default.
    fn read(mut table: Value) -> Result<TencentConfig, String> {
        let required = [("vpc_id", "vpc-1"), ("subnet_id", "subnet-1")];
        if table.get("region").is_none() {
            table["region"] = json!("ap-guangzhou");
        }
        for (key, id) in required {
            if table.pointer(&format!("/defaults/{key}")).is_none() {
                table["defaults"][key] = json!(id);
            }
        }
        let config: TencentConfig = serde_json::from_value(table).map_err(|error| error.to_string())?;
        config.checked(None).map_err(|error| error.to_string())
    }

    #[test]
    fn region_and_network_are_enough() {
        let config = read(json!({})).unwrap();
        assert_eq!(config.http.rates["CreateImageCache"], Rate::per_second(20));
        let host = |config: &TencentConfig| {
            let endpoints = config.endpoints().unwrap();
            endpoints.url(Product::Tke).host_str().map(str::to_owned)
        };
        assert_eq!(host(&config).as_deref(), Some("tke.ap-guangzhou.tencentcloudapi.com"));
        let inside = read(json!({"network": "internal"})).unwrap();
        assert_eq!(host(&inside).as_deref(), Some("tke.internal.tencentcloudapi.com"));
        let own = read(json!({"endpoint": "tke.intl.tencentcloudapi.com"})).unwrap();
        assert_eq!(host(&own).as_deref(), Some("tke.intl.tencentcloudapi.com"));
    }

    #[test]
    fn the_policy_of_the_deployment_allows_every_action() {
        let policy = include_str!("../../../config/deploy/overlays/tencent-eks/cam-policy.json");
        let policy: Value = serde_json::from_str(policy).unwrap();
        let statements = policy["statement"].as_array().unwrap();
        let allowed: Vec<&Value> = statements
            .iter()
            .filter_map(|statement| statement["action"].as_array())
            .flatten()
            .collect();
        let caches = DEFAULT_RATES.iter().map(|(action, _)| format!("tke:{action}"));
        for action in caches.chain(["sts:AssumeRole".to_owned()]) {
            assert!(allowed.iter().any(|allowed| **allowed == action), "{action}");
        }
    }

    #[test]
    fn the_environment_names_the_region_if_the_file_does_not() {
        let from = |file: &str, environment: Option<&str>| {
            let mut config = read(json!({})).unwrap();
            config.region = file.to_owned();
            let checked = config.checked(environment);
            checked.map(|config| config.region).map_err(|error| error.to_string())
        };
        assert_eq!(from("", Some("ap-beijing")).as_deref(), Ok("ap-beijing"));
        assert_eq!(from("ap-shanghai", Some("ap-beijing")).as_deref(), Ok("ap-shanghai"));
        let missing = from("", None).unwrap_err();
        assert!(
            missing.contains("tencent-eks.region") && missing.contains(REGION_VARIABLE),
            "{missing}"
        );
    }

    #[test]
    fn one_rate_of_ones_own_keeps_the_others() {
        let config = read(json!({"http": {"rates": {"CreateImageCache": "5/s"}}})).unwrap();
        assert_eq!(config.http.rates["CreateImageCache"], Rate::per_second(5));
        assert_eq!(config.http.rates["DeleteImageCaches"], Rate::per_second(20));
    }

    #[test]
    fn what_is_printed_is_read_again() {
        let config = read(json!({
            "network": "internal", "owner": 42, "build_deadline": "90m", "listing_lag": "5s",
            "defaults": {"security_group_ids": ["sg-1"], "tags": {"team": "a"}, "auto_create_eip": true},
        }))
        .unwrap();
        let printed = serde_json::to_value(&config).unwrap();
        let again: TencentConfig = serde_json::from_value(printed.clone()).unwrap();
        assert_eq!(serde_json::to_value(again).unwrap(), printed);
        assert_eq!(
            (&printed["owner"], &printed["listing_lag"]),
            (&json!("42"), &json!("5s"))
        );
    }

    #[test]
    fn mistakes_name_key_and_value() {
        let many_tags: BTreeMap<String, String> = (0..47).map(|n| (format!("t{n}"), "x".to_owned())).collect();
        for (table, parts) in [
            (json!({"regoin": "x"}), vec!["unknown field `regoin`"]),
            (
                json!({"region": "ap guangzhou"}),
                vec!["tencent-eks.region", "`ap guangzhou`"],
            ),
            (
                json!({"network": "lan"}),
                vec!["unknown variant `lan`", "`public`", "`internal`"],
            ),
            (
                json!({"endpoint": "http://tke.example.com"}),
                vec!["tencent-eks.endpoint", "plain HTTP"],
            ),
            (json!({"sts_endpoint": "x/y"}), vec!["sts_endpoint", "`x/y`"]),
            (json!({"owner": "x".repeat(256)}), vec!["owner", "longer than 255"]),
            (json!({"owner": "a\nb"}), vec!["owner", "no tag"]),
            (json!({"page_size": 51}), vec!["page_size", "51 is not 1 to 50"]),
            (json!({"build_attempts": 0}), vec!["build_attempts"]),
            (json!({"listing_lag": "0s"}), vec!["`0s` is not a duration"]),
            (
                json!({"http": {"rates": {"CreateCache": "1/s"}}}),
                vec!["http.rates", "`CreateCache`"],
            ),
            (json!({"defaults": {"vpc_id": ""}}), vec!["defaults.vpc_id", "not set"]),
            (
                json!({"defaults": {"subnet_id": "vpc-1"}}),
                vec!["subnet_id", "`vpc-1`", "`subnet-`"],
            ),
            (
                json!({"defaults": {"security_group_ids": ["x"]}}),
                vec!["security_group_ids", "`x`"],
            ),
            (json!({"defaults": {"eip_id": "x"}}), vec!["eip_id", "`x`"]),
            (
                json!({"defaults": {"eip_id": "eip-1", "auto_create_eip": true}}),
                vec!["auto_create_eip", "not both"],
            ),
            (
                json!({"defaults": {"eip_bandwidth_mbps": 0}}),
                vec!["eip_bandwidth_mbps"],
            ),
            (
                json!({"defaults": {"insecure_registries": ["a,b"]}}),
                vec!["insecure_registries", "`a,b`"],
            ),
            (
                json!({"defaults": {"plain_http_registries": ["http://a"]}}),
                vec!["plain_http_registries", "`http://a`"],
            ),
            (
                json!({"defaults": {"tags": {"imagecache.dev/owner": "x"}}}),
                vec!["tags", "imagecache.dev/owner"],
            ),
            (json!({"defaults": {"tags": {"qcs:x": "x"}}}), vec!["tags", "`qcs:`"]),
            (json!({"defaults": {"tags": {"x": ""}}}), vec!["tags", "1 to 255"]),
            (json!({"defaults": {"tags": {"x": "a*b"}}}), vec!["tags", "`a*b`"]),
            (
                json!({"defaults": {"tags": many_tags}}),
                vec!["tags", "47 tags, at most 46"],
            ),
        ] {
            let error = read(table.clone()).unwrap_err();
            for part in parts {
                assert!(error.contains(part), "{table}: {error}");
            }
        }
    }
}
