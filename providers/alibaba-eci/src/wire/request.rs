//! Parameters of each action.

use imagecache_cloud_http::mark::Tag;
use imagecache_core::RegistryCredential;

use crate::params::Parameters;

/// What creating and updating have in common.
///
/// Of the documented parameters only `Annotations` is missing: it is not for outside use.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    /// Images, 1 to 20.
    pub(crate) images: Vec<String>,
    /// Security group of the build instance.
    pub(crate) security_group_id: Option<String>,
    /// vSwitches to build in, up to 10, tried in order.
    pub(crate) vswitch_ids: Vec<String>,
    /// Existing public address for the build instance.
    pub(crate) eip_instance_id: Option<String>,
    /// Resource group to book on.
    pub(crate) resource_group_id: Option<String>,
    /// At most 64 ASCII characters; the same token gives the same answer.
    pub(crate) client_token: Option<String>,
    /// GiB.
    pub(crate) size_gib: Option<u32>,
    /// Days; absent is for ever.
    pub(crate) retention_days: Option<u32>,
    /// `AutoMatchImageCache`, which here means to reuse layers of existing caches while building.
    pub(crate) layer_reuse: Option<bool>,
    /// Registry logins, up to 10.
    pub(crate) credentials: Vec<RegistryCredential>,
    /// Up to 20.
    pub(crate) tags: Vec<Tag>,
    /// Usable from a temporary local snapshot before the lasting one is done.
    pub(crate) flash: Option<bool>,
    /// Copies of the local snapshot.
    pub(crate) flash_copies: Option<u32>,
    /// Copies of the lasting snapshot.
    pub(crate) standard_copies: Option<u32>,
    /// `LRU`: may be deleted by the system when the quota is full.
    pub(crate) elimination_strategy: Option<String>,
    /// Container Registry Enterprise instances to reach without a password.
    pub(crate) acr_registries: Vec<AcrRegistry>,
}

/// A Container Registry Enterprise instance.
#[derive(Clone, Debug, Default)]
pub(crate) struct AcrRegistry {
    pub(crate) instance_id: String,
    pub(crate) instance_name: Option<String>,
    pub(crate) region_id: Option<String>,
    /// All domains of the instance when empty.
    pub(crate) domains: Vec<String>,
    /// RAM role of the account that runs the build; not for an update.
    pub(crate) service_arn: Option<String>,
    /// RAM role of the account that owns the instance; not for an update.
    pub(crate) user_arn: Option<String>,
}

/// `CreateImageCache`.
#[derive(Clone, Debug, Default)]
pub(crate) struct CreateImageCache {
    pub(crate) name: String,
    pub(crate) settings: Settings,
    /// Must fit the vSwitch.
    pub(crate) zone_id: Option<String>,
    /// Hosts to contact over plain HTTP.
    pub(crate) plain_http_registries: Vec<String>,
    /// Hosts whose certificate is not checked.
    pub(crate) insecure_registries: Vec<String>,
}

/// `UpdateImageCache`. The images have to be sent again for the content to be built anew, even when they are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct UpdateImageCache {
    pub(crate) id: String,
    pub(crate) name: Option<String>,
    pub(crate) settings: Settings,
}

/// `DeleteImageCache`.
#[derive(Clone, Debug, Default)]
pub(crate) struct DeleteImageCache {
    pub(crate) id: String,
    pub(crate) client_token: Option<String>,
}

/// `DescribeImageCaches`: every field narrows the list.
#[derive(Clone, Debug, Default)]
pub(crate) struct DescribeImageCaches {
    pub(crate) id: Option<String>,
    /// Whether it is compared exactly is not documented.
    pub(crate) name: Option<String>,
    pub(crate) snapshot_id: Option<String>,
    pub(crate) image: Option<String>,
    pub(crate) resource_group_id: Option<String>,
    pub(crate) tags: Vec<Tag>,
    /// Asks for the caches that suit these images best.
    pub(crate) match_images: Vec<String>,
    pub(crate) full_match: Option<bool>,
    pub(crate) match_count: Option<u32>,
    /// Page size.
    pub(crate) limit: Option<u32>,
    /// From the page before.
    pub(crate) next_token: Option<String>,
}

impl Settings {
    fn write(&self, parameters: &mut Parameters, with_arns: WithArns) {
        parameters.set_list("Image", &self.images);
        parameters.set_some("SecurityGroupId", self.security_group_id.as_ref());
        parameters.set_joined("VSwitchId", &self.vswitch_ids);
        parameters.set_some("EipInstanceId", self.eip_instance_id.as_ref());
        parameters.set_some("ResourceGroupId", self.resource_group_id.as_ref());
        parameters.set_some("ClientToken", self.client_token.as_ref());
        parameters.set_some("ImageCacheSize", self.size_gib);
        parameters.set_some("RetentionDays", self.retention_days);
        parameters.set_some("AutoMatchImageCache", self.layer_reuse);
        for (index, credential) in (1..).zip(&self.credentials) {
            let index: usize = index;
            let name = |part: &str| format!("ImageRegistryCredential.{index}.{part}");
            parameters.set(name("Server"), &credential.server);
            parameters.set(name("UserName"), &credential.username);
            parameters.set(name("Password"), credential.password.expose());
        }
        write_tags(parameters, &self.tags);
        parameters.set_some("Flash", self.flash);
        parameters.set_some("FlashCopyCount", self.flash_copies);
        parameters.set_some("StandardCopyCount", self.standard_copies);
        parameters.set_some("EliminationStrategy", self.elimination_strategy.as_ref());
        for (index, registry) in (1..).zip(&self.acr_registries) {
            let index: usize = index;
            let name = |part: &str| format!("AcrRegistryInfo.{index}.{part}");
            parameters.set(name("InstanceId"), &registry.instance_id);
            parameters.set_some(name("InstanceName"), registry.instance_name.as_ref());
            parameters.set_some(name("RegionId"), registry.region_id.as_ref());
            parameters.set_list(&name("Domain"), &registry.domains);
            if with_arns == WithArns::Yes {
                parameters.set_some(name("ArnService"), registry.service_arn.as_ref());
                parameters.set_some(name("ArnUser"), registry.user_arn.as_ref());
            }
        }
    }
}

/// Whether the action knows the roles of a registry.
#[derive(Clone, Copy, PartialEq, Eq)]
enum WithArns {
    Yes,
    No,
}

fn write_tags(parameters: &mut Parameters, tags: &[Tag]) {
    for (index, tag) in (1..).zip(tags) {
        let index: usize = index;
        parameters.set(format!("Tag.{index}.Key"), &tag.key);
        parameters.set(format!("Tag.{index}.Value"), &tag.value);
    }
}

/// The one parameter that every action has.
pub(super) fn in_region(region: &str) -> Parameters {
    let mut parameters = Parameters::new();
    parameters.set("RegionId", region);
    parameters
}

impl CreateImageCache {
    /// The parameters of the call.
    pub(crate) fn parameters(&self, region: &str) -> Parameters {
        let mut parameters = in_region(region);
        parameters.set("ImageCacheName", &self.name);
        self.settings.write(&mut parameters, WithArns::Yes);
        parameters.set_some("ZoneId", self.zone_id.as_ref());
        parameters.set_joined("PlainHttpRegistry", &self.plain_http_registries);
        parameters.set_joined("InsecureRegistry", &self.insecure_registries);
        parameters
    }
}

impl UpdateImageCache {
    /// The parameters of the call.
    pub(crate) fn parameters(&self, region: &str) -> Parameters {
        let mut parameters = in_region(region);
        parameters.set("ImageCacheId", &self.id);
        parameters.set_some("ImageCacheName", self.name.as_ref());
        self.settings.write(&mut parameters, WithArns::No);
        parameters
    }
}

impl DeleteImageCache {
    /// The parameters of the call.
    pub(crate) fn parameters(&self, region: &str) -> Parameters {
        let mut parameters = in_region(region);
        parameters.set("ImageCacheId", &self.id);
        parameters.set_some("ClientToken", self.client_token.as_ref());
        parameters
    }
}

impl DescribeImageCaches {
    /// The parameters of the call.
    pub(crate) fn parameters(&self, region: &str) -> Parameters {
        let mut parameters = in_region(region);
        parameters.set_some("ImageCacheId", self.id.as_ref());
        parameters.set_some("ImageCacheName", self.name.as_ref());
        parameters.set_some("SnapshotId", self.snapshot_id.as_ref());
        parameters.set_some("Image", self.image.as_ref());
        parameters.set_some("ResourceGroupId", self.resource_group_id.as_ref());
        write_tags(&mut parameters, &self.tags);
        parameters.set_list("MatchImage", &self.match_images);
        parameters.set_some("ImageFullMatch", self.full_match);
        parameters.set_some("ImageMatchCountRequest", self.match_count);
        parameters.set_some("Limit", self.limit);
        parameters.set_some("NextToken", self.next_token.as_ref());
        parameters
    }
}
