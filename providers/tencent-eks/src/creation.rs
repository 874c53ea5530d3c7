//! From a spec and the configured defaults to what the service is asked for. Pure.

use imagecache_cloud_http::build;
use imagecache_cloud_http::text::given;
use imagecache_core::{CacheKey, CacheSpec, Error, ErrorKind, ImageRef, PublicAddress, Result};
use serde::Deserialize;

use crate::NAME;
use crate::config::DefaultsConfig;
use crate::mark::{self, Mark};
use crate::wire::{CreateImageCache, Eip, EipAttribute, Settings, UpdateImageCache};

/// Line types that the service knows (API reference, `EipAttribute`).
const LINES: [&str; 4] = ["BGP", "CMCC", "CTCC", "CUCC"];

/// Everything that a request is made from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Order<'a> {
    pub(crate) key: &'a CacheKey,
    pub(crate) spec: &'a CacheSpec,
    pub(crate) defaults: &'a DefaultsConfig,
    pub(crate) mark: &'a Mark,
    /// How often the build was begun, this time included; a tag of the cache.
    pub(crate) attempt: u32,
}

/// Refuses a spec that the service can never fulfil.
///
/// # Errors
///
/// `InvalidSpec` and `Unsupported`, as the contract of the provider says.
pub(crate) fn check(spec: &CacheSpec) -> Result<()> {
    spec.validate(NAME)?;
    build::only_amd64(NAME, spec)?;
    named_address(spec).map(drop)
}

/// The request that builds the cache.
pub(crate) fn create(order: &Order<'_>) -> Result<CreateImageCache> {
    let (spec, defaults) = (order.spec, order.defaults);
    Ok(CreateImageCache {
        name: order.key.to_string(),
        settings: Settings {
            // For ever is what the service does by itself.
            retention_days: spec.retention.days(),
            ..settings(order)
        },
        vpc_id: own_or(&spec.options.tencent.vpc_id, &defaults.vpc_id),
        subnet_id: own_or(&spec.options.tencent.subnet_id, &defaults.subnet_id),
        eip: address(spec, defaults)?,
        plain_http_registries: merged(&spec.plain_http_registries, &defaults.plain_http_registries),
        insecure_registries: merged(&spec.insecure_registries, &defaults.insecure_registries),
        resolv_conf: spec
            .options
            .resolv_conf
            .clone()
            .or_else(|| given(&defaults.resolv_conf)),
    })
}

/// The request that builds the content of the cache `id` anew. It says everything again, since nobody knows what becomes of
/// what is left out.
pub(crate) fn update(order: &Order<'_>, id: &str) -> UpdateImageCache {
    UpdateImageCache {
        id: id.to_owned(),
        name: Some(order.key.to_string()),
        settings: settings(order),
    }
}

fn settings(order: &Order<'_>) -> Settings {
    let Order {
        spec, defaults, mark, ..
    } = *order;
    let security_groups = match spec.options.tencent.security_group_ids.is_empty() {
        true => &defaults.security_group_ids,
        false => &spec.options.tencent.security_group_ids,
    };
    Settings {
        images: spec.images.iter().map(ImageRef::familiar).collect(),
        security_group_ids: security_groups.clone(),
        credentials: spec.credentials.clone(),
        size_gib: Some(spec.size_gib),
        retention_days: Some(spec.retention.days().unwrap_or(0)),
        tags: mark::tags(mark, spec, order.attempt, &defaults.tags),
    }
}

/// The address for the build: what the object says in this cloud's words, what it wishes for, then what is configured.
fn address(spec: &CacheSpec, defaults: &DefaultsConfig) -> Result<Option<Eip>> {
    if let Some(attribute) = named_address(spec)? {
        return Ok(Some(Eip::Automatic(attribute)));
    }
    let bandwidth_mbps = defaults.eip_bandwidth_mbps;
    Ok(match &spec.options.public_address {
        Some(wanted) => Some(Eip::Automatic(wished_address(wanted, bandwidth_mbps))),
        None if defaults.auto_create_eip => Some(Eip::Automatic(EipAttribute {
            bandwidth_mbps,
            ..EipAttribute::default()
        })),
        None => given(&defaults.eip_id).map(Eip::Existing),
    })
}

/// How it is charged is not to be chosen here, and a line of another cloud is none of this one.
fn wished_address(wanted: &PublicAddress, bandwidth_mbps: Option<u32>) -> EipAttribute {
    EipAttribute {
        delete_policy: String::new(),
        isp: wanted.isp.clone().filter(|isp| LINES.contains(&isp.as_str())),
        bandwidth_mbps: wanted.bandwidth_mbps.or(bandwidth_mbps),
    }
}

/// What the annotation `eip-attributes` says: the vendor's JSON, or nothing at all for an address with every default.
fn named_address(spec: &CacheSpec) -> Result<Option<EipAttribute>> {
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "PascalCase", deny_unknown_fields, default)]
    struct Written {
        delete_policy: Option<String>,
        internet_service_provider: Option<String>,
        internet_max_bandwidth_out: Option<u32>,
    }
    let Some(text) = &spec.options.tencent.eip_attributes else {
        return Ok(None);
    };
    let written: Written = match text.trim() {
        "" => Written::default(),
        json => serde_json::from_str(json).map_err(|error| {
            let message = format!("eip-attributes `{json}` is no description of an address: {error}");
            Error::new(ErrorKind::InvalidSpec, NAME, "ensure", message)
        })?,
    };
    Ok(Some(EipAttribute {
        delete_policy: written.delete_policy.unwrap_or_default(),
        isp: written.internet_service_provider,
        bandwidth_mbps: written.internet_max_bandwidth_out,
    }))
}

fn own_or(own: &Option<String>, default: &str) -> String {
    own.clone().unwrap_or_else(|| default.to_owned())
}

/// Both lists, each entry once.
fn merged(own: &[String], defaults: &[String]) -> Vec<String> {
    let mut all = own.to_vec();
    all.extend(defaults.iter().filter(|host| !own.contains(host)).cloned());
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> CacheSpec {
        CacheSpec::new(vec!["registry.example.com/a:1".parse().unwrap()])
    }

    fn attribute(policy: &str, isp: Option<&str>, bandwidth_mbps: Option<u32>) -> Option<Eip> {
        Some(Eip::Automatic(EipAttribute {
            delete_policy: policy.to_owned(),
            isp: isp.map(str::to_owned),
            bandwidth_mbps,
        }))
    }

    #[test]
    fn an_address_is_found_in_the_order_that_is_documented() {
        let made = DefaultsConfig {
            auto_create_eip: true,
            eip_bandwidth_mbps: Some(5),
            ..DefaultsConfig::default()
        };
        let existing = DefaultsConfig {
            eip_id: "eip-1".to_owned(),
            ..DefaultsConfig::default()
        };
        let wish = |isp: &str| PublicAddress {
            isp: Some(isp.to_owned()),
            ..PublicAddress::default()
        };
        let none = DefaultsConfig::default();
        for (written, wished, defaults, expected) in [
            (None, None, &none, None),
            (None, None, &made, attribute("", None, Some(5))),
            (None, None, &existing, Some(Eip::Existing("eip-1".to_owned()))),
            (None, Some(wish("BGP")), &existing, attribute("", Some("BGP"), None)),
            (None, Some(wish("BGP_PRO")), &made, attribute("", None, Some(5))),
            (Some(""), None, &existing, attribute("", None, None)),
            (
                Some("{\"InternetMaxBandwidthOut\":2}"),
                Some(wish("BGP")),
                &made,
                attribute("", None, Some(2)),
            ),
            (
                Some("{\"DeletePolicy\":\"Never\",\"InternetServiceProvider\":\"CMCC\"}"),
                None,
                &none,
                attribute("Never", Some("CMCC"), None),
            ),
        ] {
            let mut spec = spec();
            spec.options.tencent.eip_attributes = written.map(str::to_owned);
            spec.options.public_address = wished;
            assert_eq!(address(&spec, defaults).unwrap(), expected, "{written:?} {defaults:?}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused_before_anything_is_called() {
        for (text, part) in [
            ("2", "invalid type"),
            ("{\"Bandwidth\":2}", "`Bandwidth`"),
            ("{\"InternetMaxBandwidthOut\":\"2\"}", "invalid type"),
            ("{", "EOF"),
        ] {
            let mut spec = spec();
            spec.options.tencent.eip_attributes = Some(text.to_owned());
            let error = check(&spec).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidSpec, "{text}");
            assert!(error.message().contains(part), "{text}: {error}");
        }
    }
}
