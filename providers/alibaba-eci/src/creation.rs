//! From a spec and the configured defaults to what the service is asked for. Pure.

use imagecache_cloud_http::build;
use imagecache_cloud_http::text::given;
use imagecache_core::{AcrInstance, CacheKey, CacheSpec, Error, ErrorKind, RegistryCredential, Result};
use sha2::{Digest as _, Sha256};

use crate::NAME;
use crate::config::{AcrConfig, DefaultsConfig, MAX_VSWITCHES};
use crate::mark::{self, Mark};
use crate::wire::{AcrRegistry, CreateImageCache, DeleteImageCache, Settings, UpdateImageCache};

/// Registry logins in one request (API metadata).
const MAX_CREDENTIALS: usize = 10;

/// Which of the calls to create one cache this is: each has a token of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Round {
    /// How often the build was begun, this time included; a tag of the cache.
    pub(crate) attempt: u32,
    /// Raised when the token of the round before leads to a cache that is gone.
    pub(crate) generation: u32,
}

/// Everything that a request is made from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Order<'a> {
    pub(crate) key: &'a CacheKey,
    pub(crate) spec: &'a CacheSpec,
    pub(crate) defaults: &'a DefaultsConfig,
    pub(crate) mark: &'a Mark,
    /// The public address that was made for this build, if one was.
    pub(crate) made_address: Option<&'a str>,
}

/// Whether a public address has to be made for the build: an existing one that the spec names is used instead.
pub(crate) fn wants_address(spec: &CacheSpec) -> bool {
    spec.options.public_address.is_some() && spec.options.alibaba.eip_instance_id.is_none()
}

/// Refuses a spec that the service can never fulfil.
///
/// # Errors
///
/// `InvalidSpec` and `Unsupported`, as the contract of the provider says.
pub(crate) fn check(spec: &CacheSpec) -> Result<()> {
    let fail = |kind, message: String| Err(Error::new(kind, NAME, "ensure", message));
    spec.validate(NAME)?;
    build::only_amd64(NAME, spec)?;
    let vswitches = spec.options.alibaba.vswitch_ids.len();
    if vswitches > MAX_VSWITCHES {
        return fail(
            ErrorKind::InvalidSpec,
            format!("the spec names {vswitches} vSwitches, at most {MAX_VSWITCHES} are allowed"),
        );
    }
    credentials(spec).map(drop)
}

/// The request that builds the cache.
pub(crate) fn create(order: &Order<'_>, round: Round, region: &str) -> Result<CreateImageCache> {
    let Order {
        key, spec, defaults, ..
    } = *order;
    let own_vswitches = !spec.options.alibaba.vswitch_ids.is_empty();
    let mut settings = settings(order, round.attempt)?;
    settings.client_token = Some(client_token(order.mark.new_owner(), key, round, region));
    Ok(CreateImageCache {
        name: key.to_string(),
        settings,
        // The configured zone is that of the configured vSwitches.
        zone_id: given(&defaults.zone_id).filter(|_| !own_vswitches),
        plain_http_registries: spec.plain_http_registries.clone(),
        insecure_registries: spec.insecure_registries.clone(),
    })
}

/// The request that builds the content of the cache `id` anew. Without a token: a later one must not be taken for this one.
pub(crate) fn update(order: &Order<'_>, attempt: u32, id: &str) -> Result<UpdateImageCache> {
    Ok(UpdateImageCache {
        id: id.to_owned(),
        name: None,
        settings: settings(order, attempt)?,
    })
}

/// The request that removes the cache `id`.
pub(crate) fn delete(id: &str) -> DeleteImageCache {
    DeleteImageCache {
        id: id.to_owned(),
        client_token: Some(token(&["delete", id])),
    }
}

fn settings(order: &Order<'_>, attempt: u32) -> Result<Settings> {
    let Order {
        key,
        spec,
        defaults,
        mark,
        made_address,
    } = *order;
    let own = &spec.options.alibaba;
    let first = |own: &Option<String>, default: &str| own.clone().or_else(|| given(default));
    let vswitch_ids = match own.vswitch_ids.is_empty() {
        true => &defaults.vswitch_ids,
        false => &own.vswitch_ids,
    };
    let acr_registries = match own.acr_instances.is_empty() {
        true => defaults.acr_instances.iter().map(AcrRegistry::from).collect(),
        false => own.acr_instances.iter().map(AcrRegistry::from).collect(),
    };
    Ok(Settings {
        images: spec.images.iter().map(imagecache_core::ImageRef::familiar).collect(),
        security_group_id: first(&own.security_group_id, &defaults.security_group_id),
        vswitch_ids: vswitch_ids.clone(),
        eip_instance_id: made_address
            .map(str::to_owned)
            .or_else(|| first(&own.eip_instance_id, &defaults.eip_instance_id)),
        resource_group_id: first(&own.resource_group_id, &defaults.resource_group_id),
        client_token: None,
        size_gib: Some(spec.size_gib),
        retention_days: spec.retention.days(),
        layer_reuse: spec.options.layer_reuse.or(defaults.layer_reuse),
        credentials: credentials(spec)?,
        tags: mark::tags(mark, key, spec, attempt, &defaults.tags),
        flash: spec.options.flash.or(defaults.flash),
        flash_copies: defaults.flash_copies,
        standard_copies: defaults.standard_copies,
        elimination_strategy: given(&defaults.elimination_strategy),
        acr_registries,
    })
}

/// The logins to send: all of them when they fit, else those for registries that the images are in.
fn credentials(spec: &CacheSpec) -> Result<Vec<RegistryCredential>> {
    if spec.credentials.len() <= MAX_CREDENTIALS {
        return Ok(spec.credentials.clone());
    }
    let host = |server: &str| server.split('/').next().unwrap_or_default().to_owned();
    let needed = |credential: &&RegistryCredential| {
        let server = host(&credential.server);
        spec.images.iter().any(|image| image.registry() == server)
    };
    let needed: Vec<RegistryCredential> = spec.credentials.iter().filter(needed).cloned().collect();
    if needed.len() > MAX_CREDENTIALS {
        let message = format!(
            "{} registry logins are for the registries of the images, at most {MAX_CREDENTIALS} are allowed; name fewer pull secrets",
            needed.len()
        );
        return Err(Error::new(ErrorKind::InvalidSpec, NAME, "ensure", message));
    }
    Ok(needed)
}

/// Two owners may have one key, on the command line: each gets a cache of its own.
fn client_token(owner: &str, key: &CacheKey, round: Round, region: &str) -> String {
    let Round { attempt, generation } = round;
    token(&[
        "create",
        region,
        owner,
        key.as_str(),
        &attempt.to_string(),
        &generation.to_string(),
    ])
}

/// 64 characters, the most that a token may have.
fn token(parts: &[&str]) -> String {
    hex::encode(Sha256::digest(parts.join("\n")))
}

impl From<&AcrConfig> for AcrRegistry {
    fn from(config: &AcrConfig) -> Self {
        Self {
            instance_id: config.id.clone(),
            instance_name: given(&config.name),
            region_id: given(&config.region),
            domains: config.domains.clone(),
            service_arn: given(&config.service_arn),
            user_arn: given(&config.user_arn),
        }
    }
}

impl From<&AcrInstance> for AcrRegistry {
    fn from(instance: &AcrInstance) -> Self {
        Self {
            instance_id: instance.id.clone(),
            instance_name: None,
            region_id: instance.region.clone(),
            domains: Vec::new(),
            service_arn: instance.service_arn.clone(),
            user_arn: instance.user_arn.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use imagecache_core::Secret;

    use super::*;

    fn spec() -> CacheSpec {
        CacheSpec::new(vec!["registry.example.com/a:1".parse().unwrap()])
    }

    fn logins(server: impl Fn(usize) -> String, count: usize) -> Vec<RegistryCredential> {
        (0..count)
            .map(|n| RegistryCredential {
                server: server(n),
                username: "u".to_owned(),
                password: Secret::new("p".to_owned()),
            })
            .collect()
    }

    #[test]
    fn every_round_has_a_token_of_its_own() {
        let key = CacheKey::new("uid", &spec());
        let other = CacheKey::new("other", &spec());
        let round = |attempt, generation| Round { attempt, generation };
        let tokens = [
            client_token("cli", &key, round(1, 0), "cn-hangzhou"),
            client_token("cli", &key, round(2, 0), "cn-hangzhou"),
            client_token("cli", &key, round(1, 1), "cn-hangzhou"),
            client_token("cli", &key, round(1, 0), "cn-beijing"),
            client_token("cli", &other, round(1, 0), "cn-hangzhou"),
            client_token("cluster", &key, round(1, 0), "cn-hangzhou"),
        ];
        for (n, token) in tokens.iter().enumerate() {
            assert!(token.len() == 64 && token.is_ascii(), "{token}");
            assert_eq!(
                tokens.iter().position(|other| other == token),
                Some(n),
                "{n} is like an earlier one"
            );
        }
        assert_eq!(
            tokens.first(),
            Some(&client_token("cli", &key, round(1, 0), "cn-hangzhou"))
        );
    }

    #[test]
    fn logins_beyond_the_limit_are_chosen_by_registry() {
        let mut many = spec();
        many.credentials = logins(|n| format!("r{n}.example.com"), 15);
        many.credentials
            .extend(logins(|_| "registry.example.com".to_owned(), 2));
        let sent = credentials(&many).unwrap();
        assert_eq!(sent.len(), 2);
        assert!(sent.iter().all(|login| login.server == "registry.example.com"));
        many.credentials = logins(|n| format!("registry.example.com/team{n}"), 11);
        let error = check(&many).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidSpec);
        assert!(error.message().contains("11 registry logins"), "{error}");
    }
}
