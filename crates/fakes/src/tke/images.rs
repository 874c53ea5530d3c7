//! The image cache operations of TKE 2018-05-25.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::caches::{Cache, Stage};
use super::gateway::{Fields, State};
use super::params::{Params, is_id};
use super::shape;
use crate::cloud::{Entry as _, Refusal, is_visible};

pub(crate) const ACTIONS: &[&str] = &[
    "CreateImageCache",
    "DescribeImageCaches",
    "UpdateImageCache",
    "DeleteImageCaches",
    "GetMostSuitableImageCache",
];
const SMALLEST: u64 = 20;
const LARGEST: u64 = 32_000;
const LONGEST_RETENTION: u64 = 3_650;
const LONGEST_NAME: usize = 63;
/// Caches in one page of answers.
const PAGE: u64 = 50;
/// Caches that one call deletes; the vendor names no number.
const DELETED_AT_ONCE: usize = 100;

pub(crate) fn call(state: &mut State, action: &str, params: Params, now: Timestamp) -> Result<Fields, Refusal> {
    match action {
        "CreateImageCache" => create(state, params, now),
        "DescribeImageCaches" => describe(state, params, now),
        "UpdateImageCache" => update(state, params, now),
        "DeleteImageCaches" => delete(state, params),
        _ => most_suitable(state, params, now),
    }
}

/// The parameters that making and changing have in common; `None` was not given.
struct Wanted {
    name: Option<String>,
    size: Option<u64>,
    retention_days: Option<u64>,
    credentials: Option<Vec<Value>>,
    tags: Option<Vec<(String, String)>>,
}

impl Wanted {
    fn read(state: &mut State, params: &mut Params) -> Result<Self, Refusal> {
        params.ids("SecurityGroupIds", "sg-")?;
        let name = params.text("ImageCacheName")?;
        if name.as_ref().is_some_and(|name| name.chars().count() > LONGEST_NAME) {
            return Err(params.invalid("ImageCacheName", "the name is too long"));
        }
        Ok(Self {
            name,
            size: params.number("ImageCacheSize", SMALLEST..=LARGEST)?,
            retention_days: params.number("RetentionDays", 0..=LONGEST_RETENTION)?,
            credentials: credentials(state, params)?,
            tags: tags(params)?,
        })
    }
}

fn credentials(state: &mut State, params: &mut Params) -> Result<Option<Vec<Value>>, Refusal> {
    let Some(given) = params.objects("ImageRegistryCredentials")? else {
        return Ok(None);
    };
    let mut credentials = Vec::new();
    for mut one in given {
        let server = one.text("Server")?.unwrap_or_default();
        if server.contains("://") || server.contains(' ') {
            return Err(one.invalid("Server", "a registry is named without its scheme"));
        }
        let password = one.text("Password")?.unwrap_or_default();
        if !password.is_empty() {
            state.received_secrets.insert(password.clone());
        }
        credentials.push(json!({
            "Server": server,
            "Username": one.text("Username")?.unwrap_or_default(),
            "Password": password,
            "Name": one.text("Name")?.unwrap_or_default(),
        }));
        one.finish()?;
    }
    Ok(Some(credentials))
}

fn tags(params: &mut Params) -> Result<Option<Vec<(String, String)>>, Refusal> {
    let Some(given) = params.objects("Tags")? else {
        return Ok(None);
    };
    let mut tags: Vec<(String, String)> = Vec::new();
    for mut one in given {
        let (key, value) = (one.required("Key")?, one.required("Value")?);
        let twice = tags.iter().any(|(known, _)| *known == key);
        if key.is_empty() || key.chars().count() > 127 || value.chars().count() > 255 || twice {
            return Err(one.invalid("Key", "this tag is not allowed"));
        }
        one.finish()?;
        tags.push((key, value));
    }
    Ok(Some(tags))
}

fn check_images(params: &Params, images: &[String]) -> Result<(), Refusal> {
    let wrong = |image: &&String| image.contains("://") || image.contains(char::is_whitespace);
    match images.iter().find(wrong) {
        Some(image) => Err(params.invalid("Images", &format!("{image} is not the name of an image"))),
        None => Ok(()),
    }
}

/// A public address is one that exists, or one made for the build, never both.
fn check_address(params: &mut Params) -> Result<(), Refusal> {
    let existing = params.text("ExistedEipId")?;
    let automatic = params.flag("AutoCreateEip")?.unwrap_or(false);
    let attributes = params.object("AutoCreateEipAttribute")?;
    if existing.is_some() && (automatic || attributes.is_some()) {
        return Err(params.invalid("ExistedEipId", "it excludes an automatic EIP"));
    }
    if existing.is_some_and(|id| !is_id(&id, "eip-")) {
        return Err(params.invalid("ExistedEipId", "it is not an id"));
    }
    let Some(mut attributes) = attributes else {
        return Ok(());
    };
    attributes.required("DeletePolicy")?;
    let provider = attributes
        .text("InternetServiceProvider")?
        .unwrap_or_else(|| "BGP".to_owned());
    if !["BGP", "CMCC", "CTCC", "CUCC"].contains(&provider.as_str()) {
        return Err(attributes.invalid("InternetServiceProvider", "it is not known"));
    }
    attributes.number("InternetMaxBandwidthOut", 1..=u64::from(u32::MAX))?;
    attributes.finish()
}

/// Makes another cache each time: there is nothing by which a second call could be recognised.
fn create(state: &mut State, mut params: Params, now: Timestamp) -> Result<Fields, Refusal> {
    let all = params.all();
    let images = params.required_texts("Images")?;
    check_images(&params, &images)?;
    for (name, prefix) in [("SubnetId", "subnet-"), ("VpcId", "vpc-")] {
        if !is_id(&params.required(name)?, prefix) {
            return Err(params.invalid(name, "it is not an id"));
        }
    }
    let wanted = Wanted::read(state, &mut params)?;
    check_address(&mut params)?;
    for name in ["RegistrySkipVerifyList", "RegistryHttpEndPointList"] {
        if params.texts(name)?.iter().any(|host| host.contains(['/', ' ', ','])) {
            return Err(params.invalid(name, "a registry is named by its host alone"));
        }
    }
    params.text("ResolveConfig")?;
    params.finish()?;
    if state.caches.len() >= state.rules.quota {
        let message = "The number of image caches reached its limit.";
        return Err(Refusal::new(200, state.own.quota_code.clone(), message));
    }
    let name = wanted.name.unwrap_or_default();
    let mut cache = Cache::new(name, images, wanted.size.unwrap_or(SMALLEST), now, &mut state.mint);
    cache.tags = wanted.tags.unwrap_or_default();
    cache.credentials = wanted.credentials.unwrap_or_default();
    cache.retain_for(wanted.retention_days.unwrap_or(0), now);
    cache.parameters = all;
    let id = cache.id.clone();
    state.caches.insert(cache);
    state.tick();
    Ok(Fields::from_iter([("ImageCacheId".to_owned(), Value::String(id))]))
}

/// Newest first, so that pages shift when somebody makes a cache in between.
fn describe(state: &mut State, mut params: Params, now: Timestamp) -> Result<Fields, Refusal> {
    let ids = params.texts("ImageCacheIds")?;
    let mut names: Vec<Vec<String>> = Vec::new();
    names.extend(Some(params.texts("ImageCacheNames")?).filter(|names| !names.is_empty()));
    let limit = params.number("Limit", 1..=PAGE)?.unwrap_or(20);
    let offset = params.number("Offset", 0..=u64::MAX)?.unwrap_or(0);
    for mut filter in params.objects("Filters")?.unwrap_or_default() {
        if filter.required("Name")? != "image-cache-name" {
            return Err(filter.invalid("Name", "there is no such filter"));
        }
        names.push(filter.required_texts("Values")?);
        filter.finish()?;
    }
    params.finish()?;
    if !ids.is_empty() || !names.is_empty() {
        state.lookups += 1;
    }
    let (lag, loose) = (state.rules.visibility_lag, state.own.loose_names);
    let same = |cache: &Cache, name: &String| match loose {
        true => cache.name.contains(name.as_str()),
        false => cache.name == *name,
    };
    let fits = |cache: &Cache| {
        is_visible(cache, lag, now)
            && (ids.is_empty() || ids.contains(&cache.id))
            && names.iter().all(|any| any.iter().any(|name| same(cache, name)))
    };
    let candidates: BTreeSet<u64> = match names.first() {
        _ if !ids.is_empty() => ids.iter().filter_map(|id| state.caches.number(id)).collect(),
        Some(names) if !loose => names.iter().flat_map(|name| state.caches.named(name)).collect(),
        _ => state.caches.iter().map(|(number, _)| number).collect(),
    };
    let found: Vec<(u64, &Cache)> = candidates
        .into_iter()
        .rev()
        .filter_map(|number| Some((number, state.caches.get(number)?)))
        .filter(|(_, cache)| fits(cache))
        .collect();
    let page = found
        .iter()
        .skip(usize::try_from(offset).unwrap_or(usize::MAX))
        .take(usize::try_from(limit).unwrap_or(usize::MAX));
    let caches: Vec<Value> = page
        .map(|(number, cache)| shape::cache(state.own.shape, *number, cache))
        .collect();
    Ok(Fields::from_iter([
        ("TotalCount".to_owned(), json!(found.len())),
        ("ImageCaches".to_owned(), Value::Array(caches)),
    ]))
}

/// Keeps what is not given. Builds again when images or size are.
fn update(state: &mut State, mut params: Params, now: Timestamp) -> Result<Fields, Refusal> {
    let id = params.required("ImageCacheId")?;
    let images = params.given_texts("Images")?;
    if let Some(images) = &images {
        check_images(&params, images)?;
        if images.is_empty() {
            return Err(params.invalid("Images", "the list is empty"));
        }
    }
    let wanted = Wanted::read(state, &mut params)?;
    params.finish()?;
    let number = state.caches.number(&id).ok_or_else(|| not_found(&id))?;
    let stage = state.caches.get(number).map(|cache| &cache.stage);
    if !matches!(stage, Some(Stage::Ready | Stage::UpdateFailed)) {
        let message = "The image cache cannot be updated in its present status.";
        return Err(Refusal::new(200, "UnsupportedOperation", message));
    }
    let State { caches, mint, .. } = state;
    caches.change(number, |cache| {
        let rebuilds = images.is_some() || wanted.size.is_some();
        cache.name = wanted.name.unwrap_or_else(|| cache.name.clone());
        cache.images = images.unwrap_or_else(|| cache.images.clone());
        cache.size = wanted.size.unwrap_or(cache.size);
        cache.tags = wanted.tags.unwrap_or_else(|| cache.tags.clone());
        cache.credentials = wanted.credentials.unwrap_or_else(|| cache.credentials.clone());
        if let Some(days) = wanted.retention_days {
            cache.retain_for(days, now);
        }
        if rebuilds {
            cache.rebuild(now, mint);
        }
    });
    state.tick();
    Ok(Fields::new())
}

/// Deletes those that are there; says so if one was not.
fn delete(state: &mut State, mut params: Params) -> Result<Fields, Refusal> {
    let ids = params.required_texts("ImageCacheIds")?;
    if ids.len() > DELETED_AT_ONCE {
        return Err(params.invalid("ImageCacheIds", "these are too many at once"));
    }
    params.finish()?;
    let mut problem = None;
    for id in ids {
        let Some(number) = state.caches.number(&id) else {
            problem.get_or_insert_with(|| not_found(&id));
            continue;
        };
        let builds = state.caches.get(number).is_some_and(Cache::builds);
        if builds && state.rules.building_delete_refused {
            let message = format!("The image cache {id} is being built.");
            problem.get_or_insert_with(|| Refusal::new(200, "ResourceInUse", message));
            continue;
        }
        state.caches.remove(number);
    }
    problem.map_or_else(|| Ok(Fields::new()), Err)
}

/// The cache that holds all images, word for word: the smallest, then the newest.
fn most_suitable(state: &mut State, mut params: Params, now: Timestamp) -> Result<Fields, Refusal> {
    let images = params.required_texts("Images")?;
    let snapshotter = params.text("Snapshotter")?;
    params.finish()?;
    let lag = state.rules.visibility_lag;
    let overlay = snapshotter.is_none_or(|name| name.is_empty() || name == "overlay");
    let fits = |cache: &Cache| {
        overlay
            && cache.stage == Stage::Ready
            && is_visible(cache, lag, now)
            && images.iter().all(|image| cache.images.contains(image))
    };
    let found = state.caches.iter().filter(|(_, cache)| fits(cache));
    let best = found
        .min_by_key(|(number, cache)| (cache.size, std::cmp::Reverse(*number)))
        .map(|(number, _)| number);
    let mut shown = Value::Null;
    if let Some(number) = best {
        state.caches.change(number, |cache| cache.last_matched = Some(now));
        let cache = state.caches.get(number);
        shown = cache.map_or(Value::Null, |cache| shape::cache(state.own.shape, number, cache));
    }
    Ok(Fields::from_iter([
        ("Found".to_owned(), json!(best.is_some())),
        ("ImageCache".to_owned(), shown),
    ]))
}

fn not_found(id: &str) -> Refusal {
    Refusal::new(200, "ResourceNotFound", format!("The image cache {id} does not exist."))
}
