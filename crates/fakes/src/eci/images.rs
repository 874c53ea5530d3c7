//! The image cache operations of ECI 2018-08-08.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::caches::{Cache, Stage, days_after};
use super::gateway::{Eci, Fields, State, time_text};
use super::params::{Params, invalid, missing};
use crate::cloud::{Entry as _, Pace, Refusal, Vendor as _, is_visible};

pub(crate) const ACTIONS: &[&str] = &[
    "CreateImageCache",
    "DescribeImageCaches",
    "UpdateImageCache",
    "DeleteImageCache",
    "ListUsage",
];
const SMALLEST: i32 = 20;

pub(crate) fn call(state: &mut State, action: &str, mut params: Params, now: Timestamp) -> Result<Fields, Refusal> {
    if action == "DescribeImageCaches" || action == "ListUsage" {
        params.region(Eci::REGION)?;
    }
    match action {
        "CreateImageCache" => state.once(action, params, |state, params| create(state, params, now)),
        "DescribeImageCaches" => describe(state, params, now),
        "UpdateImageCache" => state.once(action, params, |state, params| update(state, params, now)),
        "DeleteImageCache" => state.once(action, params, delete),
        _ => usage(state, params),
    }
}

/// The parameters that making and changing have in common.
struct Wanted {
    name: Option<String>,
    images: Vec<String>,
    size: Option<i32>,
    retention_days: Option<i32>,
    elimination: Option<String>,
    flash: Option<bool>,
    eip: Option<String>,
    resource_group: Option<String>,
    tags: Vec<(String, String)>,
}

impl Wanted {
    fn read(state: &mut State, params: &mut Params) -> Result<Self, Refusal> {
        let _security_group = params.text("SecurityGroupId");
        params.commas("VSwitchId", 10)?;
        params.flag("AutoMatchImageCache")?;
        params.number("FlashCopyCount", 1..=i32::MAX)?;
        params.number("StandardCopyCount", 1..=i32::MAX)?;
        for credential in params.groups("ImageRegistryCredential", &["Server", "UserName", "Password"], 10)? {
            let [Some(server), Some(user), Some(password)] = credential.as_slice() else {
                return Err(missing("ImageRegistryCredential.N"));
            };
            if server.contains("://") || server.is_empty() || user.is_empty() {
                return Err(invalid(
                    "ImageRegistryCredential",
                    "a registry is named without its scheme",
                ));
            }
            state.received_secrets.insert(password.clone());
        }
        let images = params.list("Image", 20)?;
        if let Some(image) = images.iter().find(|image| image.contains("://") || image.contains(' ')) {
            return Err(invalid("Image", &format!("{image} is not the name of an image")));
        }
        Ok(Self {
            name: params.text("ImageCacheName"),
            images,
            size: params
                .number("ImageCacheSize", 1..=32_768)?
                .map(|size| SMALLEST.max(size)),
            retention_days: params.number("RetentionDays", 1..=65_536)?,
            elimination: params
                .word("EliminationStrategy", &["", "LRU"])?
                .filter(|word| !word.is_empty()),
            flash: params.flag("Flash")?,
            eip: params.text("EipInstanceId"),
            resource_group: params.text("ResourceGroupId"),
            tags: params.tags()?,
        })
    }
}

fn acr(params: &mut Params, fields: &[&str]) -> Result<(), Refusal> {
    for number in 1.. {
        let prefix = format!("AcrRegistryInfo.{number}");
        let values: Vec<Option<String>> = fields
            .iter()
            .map(|field| params.text(&format!("{prefix}.{field}")))
            .collect();
        let domains = params.list(&format!("{prefix}.Domain"), 100)?;
        if values.iter().all(Option::is_none) && domains.is_empty() {
            break;
        }
        if values.first().and_then(Option::as_deref).unwrap_or_default().is_empty() {
            return Err(missing("AcrRegistryInfo.N.InstanceId"));
        }
    }
    Ok(())
}

fn create(state: &mut State, mut params: Params, now: Timestamp) -> Result<Fields, Refusal> {
    let all: BTreeMap<String, String> = params.all().into_iter().collect();
    params.region(Eci::REGION)?;
    let wanted = Wanted::read(state, &mut params)?;
    acr(
        &mut params,
        &["InstanceId", "InstanceName", "RegionId", "ArnService", "ArnUser"],
    )?;
    for name in ["PlainHttpRegistry", "InsecureRegistry"] {
        params.commas(name, 100)?;
    }
    for name in ["ZoneId", "Annotations", "OsType"] {
        params.text(name);
    }
    params.finish()?;
    let name = wanted
        .name
        .filter(|name| !name.is_empty())
        .ok_or_else(|| missing("ImageCacheName"))?;
    if wanted.images.is_empty() {
        return Err(missing("Image"));
    }
    if state.caches.len() >= state.rules.quota {
        make_room(state)?;
    }
    let size = wanted.size.unwrap_or(SMALLEST);
    let mut cache = Cache::new(name, wanted.images, size, now, &mut state.mint);
    let (id, container_group) = (cache.id.clone(), cache.container_group.clone());
    if let Some(eip) = &wanted.eip {
        state.own.addresses.occupy(eip, &container_group, &id)?;
    }
    cache.tags = wanted.tags;
    cache.resource_group = wanted.resource_group;
    cache.retention_days = wanted.retention_days;
    cache.elimination = wanted.elimination;
    cache.flash = wanted.flash.unwrap_or(false);
    cache.eip = wanted.eip;
    cache.parameters = all;
    cache.expires = wanted.retention_days.map(|days| days_after(now, days));
    state.caches.insert(cache);
    state.tick();
    Ok(Fields::from_iter([
        ("ImageCacheId".to_owned(), Value::String(id)),
        ("ContainerGroupId".to_owned(), Value::String(container_group)),
    ]))
}

/// Deletes the least used cache that allows it.
fn make_room(state: &mut State) -> Result<(), Refusal> {
    let allows = |(_, cache): &(u64, &Cache)| cache.elimination.is_some() && !cache.builds();
    let candidates = state.caches.iter().rev().filter(allows);
    let least = candidates
        .min_by_key(|(_, cache)| (cache.last_matched, cache.created))
        .map(|(number, _)| number);
    let number = least.ok_or_else(|| Refusal::new(403, "QuotaExceeded", "ImageCache quota exceeded."))?;
    state.caches.remove(number);
    Ok(())
}

fn describe(state: &mut State, mut params: Params, now: Timestamp) -> Result<Fields, Refusal> {
    let limit = params.number("Limit", 1..=100_usize)?.unwrap_or(20);
    let start = match params.text("NextToken").filter(|token| !token.is_empty()) {
        None => u64::MAX,
        Some(token) => read_token(&token).ok_or_else(|| invalid("NextToken", "the token is not one of ours"))?,
    };
    let id = params.text("ImageCacheId");
    let name = params.text("ImageCacheName").unwrap_or_default();
    let snapshot = params.text("SnapshotId");
    let image = params.text("Image").unwrap_or_default();
    let group = params.text("ResourceGroupId");
    let tags = params.tags()?;
    let matched = params.list("MatchImage", 100)?;
    let full = params.flag("ImageFullMatch")?.unwrap_or(false);
    let count = params.number("ImageMatchCountRequest", 1..=100_usize)?.unwrap_or(1);
    params.finish()?;
    let lag = state.rules.visibility_lag;
    let hits = |cache: &Cache| matched.iter().filter(|image| cache.images.contains(image)).count();
    let fits = |cache: &Cache| {
        is_visible(cache, lag, now)
            && cache.name.contains(&name)
            && (image.is_empty() || cache.images.iter().any(|known| known.contains(&image)))
            && snapshot
                .as_ref()
                .is_none_or(|wanted| cache.snapshot.as_ref() == Some(wanted))
            && group
                .as_ref()
                .is_none_or(|wanted| cache.resource_group.as_ref() == Some(wanted))
            && tags.iter().all(|(key, value)| {
                let same = |(known, text): &(String, String)| known == key && (value.is_empty() || text == value);
                cache.tags.iter().any(same)
            })
            && (matched.is_empty() || hits(cache) >= if full { matched.len() } else { count })
    };
    let mut found: Vec<(u64, &Cache)> = match &id {
        Some(id) => {
            let one = state.caches.number(id).zip(state.caches.find(id));
            one.into_iter().filter(|(_, cache)| fits(cache)).collect()
        }
        None => state.caches.iter().rev().filter(|(_, cache)| fits(cache)).collect(),
    };
    let total = found.len();
    if matched.is_empty() {
        let from = found.partition_point(|(number, _)| *number >= start);
        found.drain(..from);
    } else {
        found.sort_by_key(|(_, cache)| std::cmp::Reverse(hits(cache)));
    }
    let more = found.len() > limit;
    found.truncate(limit);
    let pace = state.caches.pace;
    let listed: Vec<Value> = found
        .iter()
        .map(|(_, cache)| show(cache, Eci::REGION, now, pace))
        .collect();
    let mut fields = Fields::from_iter([
        ("TotalCount".to_owned(), json!(total)),
        ("ImageCaches".to_owned(), Value::Array(listed)),
    ]);
    if let Some((last, _)) = found.last().filter(|_| more && matched.is_empty()) {
        fields.insert("NextToken".to_owned(), Value::String(write_token(*last)));
    }
    Ok(fields)
}

fn write_token(number: u64) -> String {
    STANDARD.encode(format!("AAAA\u{1}{number:x}"))
}

fn read_token(token: &str) -> Option<u64> {
    let text = String::from_utf8(STANDARD.decode(token).ok()?).ok()?;
    u64::from_str_radix(text.strip_prefix("AAAA\u{1}")?, 16).ok()
}

/// A cache as the list shows it; what has no value is left out.
fn show(cache: &Cache, region: &str, now: Timestamp, pace: Pace) -> Value {
    let tags: Vec<Value> = cache
        .tags
        .iter()
        .map(|(key, value)| json!({ "Key": key, "Value": value }))
        .collect();
    let event = |event: &super::caches::Event| {
        json!({
            "Type": if event.warning { "Warning" } else { "Normal" },
            "Reason": event.reason,
            "Message": event.message,
            "Name": event.name,
            "Count": 1,
            "FirstTimestamp": time_text(event.at),
            "LastTimestamp": time_text(event.at),
        })
    };
    let mut shown = json!({
        "ImageCacheId": cache.id,
        "ImageCacheName": cache.name,
        "RegionId": region,
        "ContainerGroupId": cache.container_group,
        "Status": cache.stage.as_str(),
        "Progress": format!("{}%", cache.progress(now, pace)),
        "ImageCacheSize": cache.size,
        "Images": cache.images,
        "CreationTime": time_text(cache.created),
        "Tags": tags,
        "Events": cache.events.iter().map(event).collect::<Vec<_>>(),
    });
    let optional = [
        ("ResourceGroupId", cache.resource_group.clone()),
        ("SnapshotId", cache.snapshot.clone()),
        ("FlashSnapshotId", cache.flash_snapshot.clone()),
        ("ExpireDateTime", cache.expires.map(time_text)),
        ("LastMatchedTime", cache.last_matched.map(time_text)),
        ("EliminationStrategy", cache.elimination.clone()),
    ];
    if let Some(fields) = shown.as_object_mut() {
        for (name, value) in optional {
            if let Some(value) = value {
                fields.insert(name.to_owned(), Value::String(value));
            }
        }
    }
    shown
}

fn update(state: &mut State, mut params: Params, now: Timestamp) -> Result<Fields, Refusal> {
    params.region(Eci::REGION)?;
    let id = params.required("ImageCacheId")?;
    let wanted = Wanted::read(state, &mut params)?;
    acr(&mut params, &["InstanceId", "InstanceName", "RegionId"])?;
    params.finish()?;
    let not_found = || Refusal::new(404, "InvalidParameter.NotFound", "the image cache does not exist");
    let number = state.caches.number(&id).ok_or_else(not_found)?;
    let cache = state.caches.find(&id).ok_or_else(not_found)?;
    if !matches!(cache.stage, Stage::Ready | Stage::UpdateFailed) {
        return Err(incorrect_status());
    }
    let same = wanted.images.is_empty()
        && wanted.name.as_ref().is_none_or(|name| *name == cache.name)
        && wanted.size.is_none_or(|size| size == cache.size)
        && wanted
            .retention_days
            .is_none_or(|days| Some(days) == cache.retention_days)
        && wanted
            .elimination
            .as_ref()
            .is_none_or(|word| Some(word) == cache.elimination.as_ref())
        && wanted
            .resource_group
            .as_ref()
            .is_none_or(|group| Some(group) == cache.resource_group.as_ref())
        && wanted.flash.is_none_or(|flash| flash == cache.flash)
        && (wanted.tags.is_empty() || wanted.tags == cache.tags);
    if same {
        return Err(Refusal::new(400, "NoNeedUpdate", "nothing changed"));
    }
    if let (Some(eip), false) = (&wanted.eip, wanted.images.is_empty()) {
        let group = cache.container_group.clone();
        state.own.addresses.occupy(eip, &group, &id)?;
    }
    state.caches.change(number, |cache| {
        if let Some(name) = wanted.name {
            cache.name = name;
        }
        if let Some(days) = wanted.retention_days {
            cache.retention_days = Some(days);
            cache.expires = Some(days_after(cache.created, days));
        }
        cache.size = wanted.size.unwrap_or(cache.size);
        cache.flash = wanted.flash.unwrap_or(cache.flash);
        cache.resource_group = wanted.resource_group.or(cache.resource_group.take());
        cache.elimination = wanted.elimination.or(cache.elimination.take());
        if !wanted.tags.is_empty() {
            cache.tags = wanted.tags;
        }
        if !wanted.images.is_empty() {
            cache.images = wanted.images;
            cache.eip = wanted.eip;
            cache.stage = Stage::Updating;
            cache.since = now;
            cache.copying = false;
        }
    });
    state.tick();
    Ok(Fields::new())
}

fn incorrect_status() -> Refusal {
    let message = "the image cache is not in a status that allows this";
    Refusal::new(400, "ImageCache.IncorrectStatus", message)
}

fn delete(state: &mut State, mut params: Params) -> Result<Fields, Refusal> {
    params.region(Eci::REGION)?;
    let id = params.required("ImageCacheId")?;
    params.finish()?;
    match state.caches.find(&id) {
        None if state.own.unknown_delete_refused => Err(Refusal::new(
            404,
            "InvalidParameter.NotFound",
            "the image cache does not exist",
        )),
        Some(cache) if cache.builds() && state.rules.building_delete_refused => Err(incorrect_status()),
        _ => {
            if let Some(number) = state.caches.number(&id) {
                state.caches.remove(number);
            }
            state.tick();
            Ok(Fields::new())
        }
    }
}

fn usage(state: &State, params: Params) -> Result<Fields, Refusal> {
    params.finish()?;
    let attributes = json!({
        "UsedImageCacheCount": state.caches.len(),
        "MaxImageCacheCount": state.rules.quota,
        "UsedAutoImageCacheCount": 0,
        "MaxAutoImageCacheCount": 25,
        "UsedCpu": 0.0,
        "MaxCpu": 1000,
        "UsedDataCacheCount": 0,
        "MaxDataCacheCount": 10,
    });
    Ok(Fields::from_iter([("Attributes".to_owned(), attributes)]))
}
