//! Public addresses (EIPs): the part of VPC 2016-04-28 that image caches touch.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::caches::Cache;
use super::gateway::{Eci, Fields, State, time_text};
use super::params::{Params, invalid};
use crate::cloud::{Caches, Entry as _, Refusal, Vendor as _};

pub(crate) const ACTIONS: &[&str] = &[
    "AllocateEipAddress",
    "DescribeEipAddresses",
    "ReleaseEipAddress",
    "AddCommonBandwidthPackageIp",
    "RemoveCommonBandwidthPackageIp",
    "TagResources",
];

/// One address.
pub(crate) struct Address {
    pub(crate) id: String,
    pub(crate) ip: String,
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) bandwidth: i32,
    pub(crate) charge: String,
    pub(crate) isp: String,
    pub(crate) resource_group: Option<String>,
    pub(crate) tags: Vec<(String, String)>,
    pub(crate) package: Option<String>,
    /// The build instance that has it, and that instance's image cache.
    pub(crate) used_by: Option<(String, String)>,
    pub(crate) allocated: Timestamp,
}

/// All addresses of the account.
#[derive(Default)]
pub(crate) struct Addresses {
    all: BTreeMap<u64, Address>,
    busy: BTreeSet<u64>,
    /// All that ever were.
    pub(crate) made: u64,
    /// Those of them that a test put there.
    pub(crate) foreign: u64,
}

impl Addresses {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Address> {
        self.all.values()
    }

    pub(crate) fn next_ip(&self) -> String {
        format!("203.0.{}.{}", (self.made / 250) % 250, self.made % 250 + 1)
    }

    pub(crate) fn insert(&mut self, address: Address) {
        self.all.insert(self.made, address);
        self.made += 1;
    }

    fn number(&self, id: &str) -> Option<u64> {
        self.all
            .iter()
            .find(|(_, address)| address.id == id)
            .map(|(number, _)| *number)
    }

    /// Gives an address to a build. One that is not in the books belongs to somebody else, and is free.
    pub(crate) fn occupy(&mut self, id: &str, instance: &str, cache: &str) -> Result<(), Refusal> {
        let Some(number) = self.number(id) else { return Ok(()) };
        if let Some(address) = self.all.get_mut(&number) {
            if address.used_by.is_some() {
                return Err(Refusal::new(400, "IncorrectStatus", "the EIP is in use"));
            }
            address.used_by = Some((instance.to_owned(), cache.to_owned()));
            self.busy.insert(number);
        }
        Ok(())
    }

    /// Takes addresses back from builds that are over.
    pub(crate) fn settle(&mut self, caches: &Caches<Cache>) {
        let all = &mut self.all;
        self.busy.retain(|number| {
            let Some(address) = all.get_mut(number) else {
                return false;
            };
            let builds = |(_, cache): &(String, String)| caches.find(cache).is_some_and(|cache| cache.builds());
            let busy = address.used_by.as_ref().is_some_and(builds);
            if !busy {
                address.used_by = None;
            }
            busy
        });
    }
}

impl Address {
    pub(crate) fn status(&self) -> &'static str {
        if self.used_by.is_some() { "InUse" } else { "Available" }
    }
}

pub(crate) fn call(state: &mut State, action: &str, params: Params, now: Timestamp) -> Result<Fields, Refusal> {
    match action {
        "AllocateEipAddress" => state.once(action, params, |state, params| allocate(state, params, now)),
        "DescribeEipAddresses" => describe(state, params),
        "ReleaseEipAddress" => release(state, params),
        "AddCommonBandwidthPackageIp" => state.once(action, params, |state, params| share(state, params, true)),
        "RemoveCommonBandwidthPackageIp" => state.once(action, params, |state, params| share(state, params, false)),
        _ => tag(state, params),
    }
}

fn allocate(state: &mut State, mut params: Params, now: Timestamp) -> Result<Fields, Refusal> {
    params.region(Eci::REGION)?;
    let charge = params.word("InternetChargeType", &["PayByBandwidth", "PayByTraffic"])?;
    let charge = charge.unwrap_or_else(|| "PayByBandwidth".to_owned());
    let most = if charge == "PayByTraffic" { 200 } else { 500 };
    let bandwidth = params.number("Bandwidth", 1..=most)?.unwrap_or(5);
    params.word("InstanceChargeType", &["PostPaid"])?;
    params.word("Netmode", &["public"])?;
    let isp = params.word("ISP", &["BGP", "BGP_PRO"])?;
    let name = params.text("Name").unwrap_or_default();
    let description = params.text("Description").unwrap_or_default();
    for (what, text, most) in [("Name", &name, 128), ("Description", &description, 256)] {
        if text.chars().count() > most || text.starts_with("http://") || text.starts_with("https://") {
            return Err(invalid(&format!("{what}.Malformed"), "the text is not allowed"));
        }
    }
    let resource_group = params.text("ResourceGroupId");
    let tags = params.tags()?;
    params.finish()?;
    let address = Address {
        id: format!("eip-2ze{}", state.mint.hex(17)),
        ip: state.own.addresses.next_ip(),
        name,
        description,
        bandwidth,
        charge,
        isp: isp.unwrap_or_else(|| "BGP".to_owned()),
        resource_group,
        tags,
        package: None,
        used_by: None,
        allocated: now,
    };
    let fields =
        json!({ "AllocationId": address.id, "EipAddress": address.ip, "ResourceGroupId": address.resource_group });
    state.own.addresses.insert(address);
    Ok(object(fields))
}

fn describe(state: &State, mut params: Params) -> Result<Fields, Refusal> {
    params.region(Eci::REGION)?;
    let page = params.number("PageNumber", 1..=1_000_000_usize)?.unwrap_or(1);
    let size = params.number("PageSize", 1..=100_usize)?.unwrap_or(10);
    let ids = params.commas("AllocationId", 50)?;
    let ips = params.commas("EipAddress", 50)?;
    let name = params.text("EipName");
    let status = params.word(
        "Status",
        &["Associating", "Unassociating", "InUse", "Available", "Releasing"],
    )?;
    let group = params.text("ResourceGroupId");
    let tags = params.tags()?;
    params.finish()?;
    let fits = |address: &&Address| {
        (ids.is_empty() || ids.contains(&address.id))
            && (ips.is_empty() || ips.contains(&address.ip))
            && name.as_ref().is_none_or(|name| *name == address.name)
            && status.as_ref().is_none_or(|status| status == address.status())
            && group
                .as_ref()
                .is_none_or(|group| Some(group) == address.resource_group.as_ref())
            && tags.iter().all(|(key, value)| {
                let same = |(known, text): &(String, String)| known == key && (value.is_empty() || text == value);
                address.tags.iter().any(same)
            })
    };
    let found: Vec<&Address> = state.own.addresses.all.values().rev().filter(fits).collect();
    let shown: Vec<Value> = found
        .iter()
        .skip((page - 1) * size)
        .take(size)
        .map(|address| show(address, Eci::REGION))
        .collect();
    Ok(object(json!({
        "TotalCount": found.len(),
        "PageNumber": page,
        "PageSize": size,
        "EipAddresses": { "EipAddress": shown },
    })))
}

fn show(address: &Address, region: &str) -> Value {
    let instance = address
        .used_by
        .as_ref()
        .map(|(instance, _)| instance.as_str())
        .unwrap_or_default();
    let tags: Vec<Value> = address
        .tags
        .iter()
        .map(|(key, value)| json!({ "Key": key, "Value": value }))
        .collect();
    json!({
        "AllocationId": address.id,
        "IpAddress": address.ip,
        "Name": address.name,
        "Descritpion": address.description,
        "Status": address.status(),
        "RegionId": region,
        "InstanceId": instance,
        "InstanceType": if instance.is_empty() { "" } else { "NetworkInterface" },
        "Bandwidth": address.bandwidth.to_string(),
        "InternetChargeType": address.charge,
        "ChargeType": "PostPaid",
        "ISP": address.isp,
        "ResourceGroupId": address.resource_group.as_deref().unwrap_or_default(),
        "BandwidthPackageId": address.package.as_deref().unwrap_or_default(),
        "AllocationTime": time_text(address.allocated),
        "Tags": { "Tag": tags },
    })
}

fn release(state: &mut State, mut params: Params) -> Result<Fields, Refusal> {
    params.region(Eci::REGION)?;
    let id = params.required("AllocationId")?;
    params.client_token()?;
    params.finish()?;
    let number = find(state, &id)?;
    let address = state.own.addresses.all.get(&number);
    if address.is_some_and(|address| address.used_by.is_some()) {
        let message = "Current elastic IP status does not support this operation.";
        return Err(Refusal::new(400, "IncorrectEipStatus", message));
    }
    if address.is_some_and(|address| address.package.is_some()) {
        // The code is not documented.
        let message = "the address is in a shared bandwidth";
        return Err(Refusal::new(400, "OperationDenied.EipInBandwidthPackage", message));
    }
    state.own.addresses.all.remove(&number);
    Ok(Fields::new())
}

fn find(state: &State, id: &str) -> Result<u64, Refusal> {
    let unknown = || {
        Refusal::new(
            404,
            "InvalidAllocationId.NotFound",
            "Specified allocation ID is not found",
        )
    };
    state.own.addresses.number(id).ok_or_else(unknown)
}

/// Puts an address into a shared bandwidth, or takes it out.
fn share(state: &mut State, mut params: Params, join: bool) -> Result<Fields, Refusal> {
    params.region(Eci::REGION)?;
    let package = params.required("BandwidthPackageId")?;
    let id = params.required("IpInstanceId")?;
    if join {
        params.word("IpType", &["EIP"])?;
    }
    params.finish()?;
    let number = find(state, &id)?;
    if let Some(address) = state.own.addresses.all.get_mut(&number) {
        if !join && address.package.as_ref() != Some(&package) {
            let message = "the address is not in this shared bandwidth";
            return Err(Refusal::new(400, "IpInstanceId.NotBandwidthPackage", message));
        }
        address.package = join.then_some(package);
    }
    Ok(Fields::new())
}

fn tag(state: &mut State, mut params: Params) -> Result<Fields, Refusal> {
    params.region(Eci::REGION)?;
    params.word("ResourceType", &["EIP"])?;
    let ids = params.list("ResourceId", 50)?;
    let tags = params.tags()?;
    params.finish()?;
    for id in ids {
        let number = find(state, &id)?;
        if let Some(address) = state.own.addresses.all.get_mut(&number) {
            address
                .tags
                .retain(|(known, _)| tags.iter().all(|(key, _)| key != known));
            address.tags.extend(tags.iter().cloned());
        }
    }
    Ok(Fields::new())
}

fn object(value: Value) -> Fields {
    match value {
        Value::Object(fields) => fields.into_iter().filter(|(_, value)| !value.is_null()).collect(),
        _ => Fields::new(),
    }
}
