//! How a cloud is asked to build a cache.

/// Options that mean something where a cloud builds the cache.
///
/// A provider reads what it has a counterpart for and leaves the rest, so that a YAML written for one cloud runs with every
/// provider: wishes are for whoever can fulfil them, names of things in one cloud for that cloud alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BuildOptions {
    /// Reuse layers of existing caches while building. `None` leaves it to the provider's configuration.
    pub layer_reuse: Option<bool>,
    /// Make the cache usable from a temporary local snapshot before the lasting one is done.
    pub flash: Option<bool>,
    /// A public address made for the build, and removed after it.
    pub public_address: Option<PublicAddress>,
    /// Text of the `resolv.conf` to build with.
    pub resolv_conf: Option<String>,
    /// Things in Alibaba Cloud.
    pub alibaba: AlibabaResources,
    /// Things in Tencent Cloud.
    pub tencent: TencentResources,
}

/// A public address to make for a build.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PublicAddress {
    /// Bandwidth in Mbit/s; `None` is the cloud's default.
    pub bandwidth_mbps: Option<u32>,
    /// How it is charged; `None` is the cloud's default.
    pub charge: Option<AddressCharge>,
    /// Line type in the cloud's own word, such as `BGP`; `None` is the cloud's default.
    pub isp: Option<String>,
}

/// How a public address is charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressCharge {
    /// By the bandwidth that is set aside.
    Bandwidth,
    /// By the bytes that pass.
    Traffic,
}

/// Names of things in Alibaba Cloud (document "ImageCache annotations", edition 2024-11).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AlibabaResources {
    /// vSwitches (`vsw-…`) to build in, tried in order.
    pub vswitch_ids: Vec<String>,
    /// Security group (`sg-…`) of the build.
    pub security_group_id: Option<String>,
    /// Resource group (`rg-…`) that the cache is booked on.
    pub resource_group_id: Option<String>,
    /// An existing public address (`eip-…`) for the build.
    pub eip_instance_id: Option<String>,
    /// Shared bandwidth package (`cbwp-…`) that a public address made for the build joins.
    pub bandwidth_package_id: Option<String>,
    /// Container Registry instances to reach without a password.
    pub acr_instances: Vec<AcrInstance>,
}

/// A Container Registry Enterprise instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AcrInstance {
    /// Its id (`cri-…`).
    pub id: String,
    /// Its region, when it is not the cache's.
    pub region: Option<String>,
    /// Role (`acs:ram::…`) of the account that runs the build.
    pub service_arn: Option<String>,
    /// Role of the account that owns the instance.
    pub user_arn: Option<String>,
}

/// Names of things in Tencent Cloud.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TencentResources {
    /// VPC (`vpc-…`) to build in.
    pub vpc_id: Option<String>,
    /// Subnet (`subnet-…`) of that VPC to build in.
    pub subnet_id: Option<String>,
    /// Security groups (`sg-…`) of the build.
    pub security_group_ids: Vec<String>,
    /// The vendor's JSON description of a public address for the build.
    pub eip_attributes: Option<String>,
}

impl AlibabaResources {
    /// Takes from `defaults` what is not named here.
    pub fn fill(&mut self, defaults: &Self) {
        let one = |value: &mut Option<String>, default: &Option<String>| {
            if value.is_none() {
                value.clone_from(default);
            }
        };
        if self.vswitch_ids.is_empty() {
            self.vswitch_ids.clone_from(&defaults.vswitch_ids);
        }
        if self.acr_instances.is_empty() {
            self.acr_instances.clone_from(&defaults.acr_instances);
        }
        one(&mut self.security_group_id, &defaults.security_group_id);
        one(&mut self.resource_group_id, &defaults.resource_group_id);
        one(&mut self.eip_instance_id, &defaults.eip_instance_id);
        one(&mut self.bandwidth_package_id, &defaults.bandwidth_package_id);
    }
}

impl BuildOptions {
    /// Every option that is set, as name and values, in a fixed order: what a spec's digest covers. Names and order stay as
    /// they are, since every change would build all caches anew.
    pub(crate) fn fields(&self) -> Vec<(&'static str, Vec<String>)> {
        let one = |value: &Option<String>| value.iter().cloned().collect::<Vec<_>>();
        let flag = |value: Option<bool>| value.iter().map(bool::to_string).collect::<Vec<_>>();
        let address = self.public_address.iter().flat_map(PublicAddress::values).collect();
        let instances = self
            .alibaba
            .acr_instances
            .iter()
            .flat_map(AcrInstance::values)
            .collect();
        let all = vec![
            ("layer-reuse", flag(self.layer_reuse)),
            ("flash", flag(self.flash)),
            ("public-address", address),
            ("resolv-conf", one(&self.resolv_conf)),
            ("alibaba-vswitches", self.alibaba.vswitch_ids.clone()),
            ("alibaba-security-group", one(&self.alibaba.security_group_id)),
            ("alibaba-resource-group", one(&self.alibaba.resource_group_id)),
            ("alibaba-eip", one(&self.alibaba.eip_instance_id)),
            ("alibaba-bandwidth-package", one(&self.alibaba.bandwidth_package_id)),
            ("alibaba-acr-instances", instances),
            ("tencent-security-groups", self.tencent.security_group_ids.clone()),
            ("tencent-eip", one(&self.tencent.eip_attributes)),
            ("tencent-vpc", one(&self.tencent.vpc_id)),
            ("tencent-subnet", one(&self.tencent.subnet_id)),
        ];
        all.into_iter().filter(|(_, values)| !values.is_empty()).collect()
    }
}

impl PublicAddress {
    fn values(&self) -> [String; 3] {
        let charge = self.charge.map(|charge| match charge {
            AddressCharge::Bandwidth => "bandwidth".to_owned(),
            AddressCharge::Traffic => "traffic".to_owned(),
        });
        let bandwidth = self.bandwidth_mbps.map(|mbps| mbps.to_string());
        [bandwidth, charge, self.isp.clone()].map(Option::unwrap_or_default)
    }
}

impl AcrInstance {
    fn values(&self) -> [String; 4] {
        let optional = |value: &Option<String>| value.clone().unwrap_or_default();
        [
            self.id.clone(),
            optional(&self.region),
            optional(&self.service_arn),
            optional(&self.user_arn),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_set_is_a_field() {
        assert!(BuildOptions::default().fields().is_empty());
        let options = BuildOptions {
            flash: Some(false),
            public_address: Some(PublicAddress::default()),
            ..BuildOptions::default()
        };
        let names: Vec<_> = options.fields().into_iter().map(|(name, _)| name).collect();
        assert_eq!(
            names,
            ["flash", "public-address"],
            "said and left at the default are two things"
        );
    }
}
