//! Configuration of the provider; only the region has no default.

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

/// Where the region is looked for when the configuration names none; the vendor's tools read it too.
pub(crate) const REGION_VARIABLE: &str = "ALIBABA_CLOUD_REGION_ID";
/// Page size when none is asked for; the API documents neither default nor maximum.
const DEFAULT_PAGE_SIZE: u32 = 50;
/// Largest page that is asked for; other lists of the vendor end there.
const MAX_PAGE_SIZE: u32 = 100;
/// A build that takes longer hangs; Terraform's provider gives up then too.
const DEFAULT_BUILD_DEADLINE: Duration = Duration::from_secs(60 * 60);
/// Builds of one cache that may hang before it counts as failed: each costs a build instance for as long as the deadline.
const DEFAULT_BUILD_ATTEMPTS: u32 = 3;
/// vSwitches in one request (API reference, `VSwitchId`).
pub(crate) const MAX_VSWITCHES: usize = 10;
/// The one strategy besides none.
const LRU: &str = "LRU";
/// What the vendor allows of tags.
const TAG_RULES: TagRules = TagRules {
    most: mark::MAX_USER_TAGS,
    key_chars: 128,
    value_chars: (0, mark::MAX_VALUE_CHARS),
    reserved: &["aliyun", "acs:", "http://", "https://"],
    allowed: |_| true,
};

/// Rates that stay below what the service is known or likely to allow. For creating it is documented ("Limits").
const DEFAULT_RATES: &[(&str, Rate)] = &[
    (client::CREATE, Rate::per_minute(200)),
    (client::DESCRIBE, Rate::per_second(10)),
    (client::UPDATE, Rate::per_second(5)),
    (client::DELETE, Rate::per_second(5)),
    (client::LIST_USAGE, Rate::per_second(1)),
];
/// Rate of all actions together.
const DEFAULT_OVERALL_RATE: Rate = Rate::per_second(15);
/// Actions besides those of [`DEFAULT_RATES`] that may be given a rate.
const OTHER_ACTIONS: &[&str] = &[
    "AllocateEipAddress",
    "DescribeEipAddresses",
    "ReleaseEipAddress",
    "AddCommonBandwidthPackageIp",
    "RemoveCommonBandwidthPackageIp",
];

/// The provider's table in the config file.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct AlibabaConfig {
    /// Region to keep caches in, such as `cn-hangzhou`. Default: the environment's `ALIBABA_CLOUD_REGION_ID`.
    pub region: String,
    /// From where the services are called: `public`, or `vpc` from inside a VPC of the region. Default: `public`.
    pub network: Network,
    /// Endpoint of ECI as `host`, `host:port` or `https://host`. Default: the region's.
    pub endpoint: String,
    /// Endpoint of VPC, which makes public addresses for builds. Default: the region's.
    pub vpc_endpoint: String,
    /// Endpoint of STS, which gives the credentials of assumed roles. Default: the region's.
    pub sts_endpoint: String,
    /// Who this installation is: two owners never touch each other's caches. Default: the cluster.
    #[serde(deserialize_with = "lenient")]
    pub owner: String,
    /// Caches on one page of a list, at most 100. Default: 50.
    pub page_size: u32,
    /// Longest time for one build; after it the build is begun anew. Default: `1h`.
    #[serde(with = "duration_text")]
    pub build_deadline: Duration,
    /// Builds of one cache that may exceed the deadline, or updates that may fail, before it counts as failed; the last one stays
    /// until the object is deleted or the service gives up. Default: 3.
    pub build_attempts: u32,
    /// What a build uses where the object names nothing.
    pub defaults: DefaultsConfig,
    /// Where the access key comes from.
    pub credentials: CredentialConfig,
    /// Attempts, time limits and rates of the calls.
    pub http: ClientConfig,
}

/// What a build uses where the object names nothing.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct DefaultsConfig {
    /// vSwitches (`vsw-…`) to build in, tried in order, at most 10. Default: the service chooses.
    pub vswitch_ids: Vec<String>,
    /// Zone of these vSwitches. Default: the service chooses.
    pub zone_id: String,
    /// Security group (`sg-…`) of the build. Default: the service chooses.
    pub security_group_id: String,
    /// Resource group (`rg-…`) that caches are booked on. Default: the account's.
    pub resource_group_id: String,
    /// Public address (`eip-…`) for builds. One address serves one build at a time.
    pub eip_instance_id: String,
    /// Reuse layers of existing caches while building. Default: the service's, which is no.
    pub layer_reuse: Option<bool>,
    /// Make caches usable from a temporary local snapshot before the lasting one is done. Default: the service's, which is no.
    pub flash: Option<bool>,
    /// Copies of the local snapshot; one for every 1,000 instances started at once. Default: 1.
    pub flash_copies: Option<u32>,
    /// Copies of the lasting snapshot; one for every 1,000 instances started at once. Default: 1.
    pub standard_copies: Option<u32>,
    /// `LRU` lets the service delete the least used caches when the quota is full; empty keeps them. Default: empty.
    pub elimination_strategy: String,
    /// Container Registry Enterprise instances to reach without a password.
    pub acr_instances: Vec<AcrConfig>,
    /// Tags of every cache, besides our own.
    pub tags: BTreeMap<String, String>,
}

/// A Container Registry Enterprise instance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct AcrConfig {
    /// Its id (`cri-…`).
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its region. Default: the cache's.
    pub region: String,
    /// Its domains. Default: all.
    pub domains: Vec<String>,
    /// RAM role (`acs:ram::…`) of the account that runs the build.
    pub service_arn: String,
    /// RAM role of the account that owns the instance.
    pub user_arn: String,
}

impl Default for AlibabaConfig {
    fn default() -> Self {
        Self {
            region: String::new(),
            network: Network::default(),
            endpoint: String::new(),
            vpc_endpoint: String::new(),
            sts_endpoint: String::new(),
            owner: String::new(),
            page_size: DEFAULT_PAGE_SIZE,
            build_deadline: DEFAULT_BUILD_DEADLINE,
            build_attempts: DEFAULT_BUILD_ATTEMPTS,
            defaults: DefaultsConfig::default(),
            credentials: CredentialConfig::default(),
            http: ClientConfig {
                overall: Some(DEFAULT_OVERALL_RATE),
                ..ClientConfig::default()
            }
            .with_default_rates(DEFAULT_RATES),
        }
    }
}

impl AlibabaConfig {
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
        self.http.overall = self.http.overall.or(Some(DEFAULT_OVERALL_RATE));
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
            ("endpoint", Product::Eci, &self.endpoint),
            ("vpc_endpoint", Product::Vpc, &self.vpc_endpoint),
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
        if let Some(problem) = checks::region(&self.region, "cn-hangzhou", REGION_VARIABLE) {
            return Some(("region", problem));
        }
        if let Err(problem) = self.resolve_endpoints() {
            return Some(problem);
        }
        if !is_owner(&self.owner) {
            let (owner, limit) = (&self.owner, mark::MAX_VALUE_CHARS);
            let problem = format!("`{owner}` is longer than {limit} or holds more than printable ASCII characters");
            return Some(("owner", problem));
        }
        let actions: Vec<&str> = DEFAULT_RATES
            .iter()
            .map(|(action, _)| *action)
            .chain(OTHER_ACTIONS.iter().copied())
            .collect();
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
        if self.vswitch_ids.len() > MAX_VSWITCHES {
            let count = self.vswitch_ids.len();
            return Some((
                "defaults.vswitch_ids",
                format!("{count} vSwitches, at most {MAX_VSWITCHES} are allowed"),
            ));
        }
        let one = |id: &str| given(id).into_iter().collect::<Vec<_>>();
        for (key, ids, prefix) in [
            ("defaults.vswitch_ids", self.vswitch_ids.clone(), "vsw-"),
            ("defaults.security_group_id", one(&self.security_group_id), "sg-"),
            ("defaults.resource_group_id", one(&self.resource_group_id), "rg-"),
            ("defaults.eip_instance_id", one(&self.eip_instance_id), "eip-"),
        ] {
            if let Some(problem) = checks::ids(&ids, prefix) {
                return Some((key, problem));
            }
        }
        for (key, copies) in [
            ("defaults.flash_copies", self.flash_copies),
            ("defaults.standard_copies", self.standard_copies),
        ] {
            if copies == Some(0) {
                return Some((key, "0 copies hold nothing, give at least 1".to_owned()));
            }
        }
        if !matches!(self.elimination_strategy.as_str(), "" | LRU) {
            let problem = format!("`{}` is neither empty nor `{LRU}`", self.elimination_strategy);
            return Some(("defaults.elimination_strategy", problem));
        }
        if self.acr_instances.iter().any(|instance| instance.id.is_empty()) {
            return Some(("defaults.acr_instances", "an instance has no `id` (cri-…)".to_owned()));
        }
        checks::first([("defaults.tags", checks::tags(&self.tags, &TAG_RULES))])
    }
}

fn is_owner(text: &str) -> bool {
    text.len() <= mark::MAX_VALUE_CHARS && text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(mut table: serde_json::Value) -> Result<AlibabaConfig, String> {
        if table.get("region").is_none() {
            table["region"] = json!("cn-hangzhou");
        }
        let config: AlibabaConfig = serde_json::from_value(table).map_err(|error| error.to_string())?;
        config.checked(None).map_err(|error| error.to_string())
    }

    #[test]
    fn a_region_is_enough() {
        let config = read(json!({})).unwrap();
        assert_eq!(config.http.rates["CreateImageCache"], Rate::per_minute(200));
        assert_eq!(
            config.endpoints().unwrap().url(Product::Eci).host_str(),
            Some("eci.cn-hangzhou.aliyuncs.com")
        );
    }

    #[test]
    fn the_policy_of_the_deployment_allows_every_action() {
        let policy = include_str!("../../../config/deploy/overlays/alibaba-eci/ram-policy.json");
        let policy: serde_json::Value = serde_json::from_str(policy).unwrap();
        let statements = policy["Statement"].as_array().unwrap();
        let allowed: Vec<&serde_json::Value> = statements
            .iter()
            .filter_map(|statement| statement["Action"].as_array())
            .flatten()
            .collect();
        let caches = DEFAULT_RATES.iter().map(|(action, _)| format!("eci:{action}"));
        let addresses = OTHER_ACTIONS.iter().map(|action| format!("vpc:{action}"));
        for action in caches.chain(addresses) {
            assert!(allowed.iter().any(|allowed| **allowed == action), "{action}");
        }
    }

    #[test]
    fn the_environment_names_the_region_if_the_file_does_not() {
        let region = |file: &str, environment: Option<&str>| {
            let config = AlibabaConfig {
                region: file.to_owned(),
                ..AlibabaConfig::default()
            };
            config
                .checked(environment)
                .map(|config| config.region)
                .map_err(|error| error.to_string())
        };
        assert_eq!(region("", Some("us-east-1")).as_deref(), Ok("us-east-1"));
        assert_eq!(region("eu-west-1", Some("us-east-1")).as_deref(), Ok("eu-west-1"));
        let missing = region("", None).unwrap_err();
        for part in ["alibaba-eci.region", REGION_VARIABLE] {
            assert!(missing.contains(part), "{missing}");
        }
    }

    #[test]
    fn one_rate_of_ones_own_keeps_the_others() {
        let config = read(json!({"http": {"rates": {"CreateImageCache": "20/s"}}})).unwrap();
        assert_eq!(config.http.rates["CreateImageCache"], Rate::per_second(20));
        assert_eq!(config.http.rates["DescribeImageCaches"], Rate::per_second(10));
        assert_eq!(config.http.overall, Some(DEFAULT_OVERALL_RATE));
    }

    #[test]
    fn what_is_printed_is_read_again() {
        let config = read(json!({
            "network": "vpc", "owner": "me", "build_deadline": "90m",
            "defaults": {"vswitch_ids": ["vsw-1"], "tags": {"team": "a"}, "elimination_strategy": "LRU",
                "acr_instances": [{"id": "cri-1", "domains": ["a.example.com"]}]},
        }))
        .unwrap();
        let printed = serde_json::to_value(&config).unwrap();
        let again: AlibabaConfig = serde_json::from_value(printed.clone()).unwrap();
        assert_eq!(serde_json::to_value(again).unwrap(), printed);
        assert_eq!(printed["http"]["rates"]["CreateImageCache"], "200/min");
    }

    #[test]
    fn mistakes_name_key_and_value() {
        let many_tags: BTreeMap<String, String> = (0..15).map(|n| (format!("t{n}"), String::new())).collect();
        for (table, parts) in [
            (json!({"regoin": "x"}), vec!["unknown field `regoin`"]),
            (
                json!({"region": "cn hangzhou"}),
                vec!["alibaba-eci.region", "`cn hangzhou`"],
            ),
            (
                json!({"network": "lan"}),
                vec!["unknown variant `lan`", "`public`", "`vpc`"],
            ),
            (
                json!({"endpoint": "http://eci.example.com"}),
                vec!["alibaba-eci.endpoint", "plain HTTP", "https"],
            ),
            (json!({"vpc_endpoint": "x/y"}), vec!["vpc_endpoint", "`x/y`"]),
            (json!({"owner": "x".repeat(129)}), vec!["owner", "longer than 128"]),
            (json!({"owner": "two words"}), vec!["owner", "`two words`"]),
            (json!({"page_size": 0}), vec!["page_size", "0 is not 1 to 100"]),
            (json!({"build_attempts": 0}), vec!["build_attempts"]),
            (json!({"build_deadline": "60"}), vec!["`60` is not a duration"]),
            (
                json!({"http": {"rates": {"CreateCache": "1/s"}}}),
                vec!["http.rates", "`CreateCache`"],
            ),
            (
                json!({"defaults": {"vswitch_ids": vec!["vsw-1"; 11]}}),
                vec!["vswitch_ids", "11 vSwitches"],
            ),
            (
                json!({"defaults": {"vswitch_ids": ["sg-1"]}}),
                vec!["vswitch_ids", "`sg-1`", "`vsw-`"],
            ),
            (
                json!({"defaults": {"security_group_id": "x"}}),
                vec!["security_group_id", "`x`"],
            ),
            (json!({"defaults": {"flash_copies": 0}}), vec!["flash_copies"]),
            (json!({"defaults": {"standard_copies": 0}}), vec!["standard_copies"]),
            (
                json!({"defaults": {"elimination_strategy": "lru"}}),
                vec!["elimination_strategy", "`lru`"],
            ),
            (
                json!({"defaults": {"acr_instances": [{"name": "x"}]}}),
                vec!["acr_instances", "no `id`"],
            ),
            (
                json!({"defaults": {"tags": {"imagecache.dev/owner": "x"}}}),
                vec!["tags", "imagecache.dev/owner"],
            ),
            (json!({"defaults": {"tags": {"acs:x": "x"}}}), vec!["tags", "`acs:`"]),
            (
                json!({"defaults": {"tags": many_tags}}),
                vec!["tags", "15 tags, at most 14"],
            ),
        ] {
            let error = read(table.clone()).unwrap_err();
            for part in parts {
                assert!(error.contains(part), "{table}: {error}");
            }
        }
    }
}
