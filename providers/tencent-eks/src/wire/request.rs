//! Parameters of each action.

use imagecache_cloud_http::mark::Tag;
use imagecache_core::RegistryCredential;
use serde_json::Value;

use crate::params::Parameters;

/// What creating and updating have in common.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    pub(crate) images: Vec<String>,
    /// Security groups of the build instance.
    pub(crate) security_group_ids: Vec<String>,
    /// Registry logins.
    pub(crate) credentials: Vec<RegistryCredential>,
    /// GiB.
    pub(crate) size_gib: Option<u32>,
    /// Days; 0 is for ever.
    pub(crate) retention_days: Option<u32>,
    pub(crate) tags: Vec<Tag>,
}

/// Public address of the build instance; each kind excludes the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Eip {
    /// One that exists.
    Existing(String),
    /// One that the service makes for the build.
    Automatic(EipAttribute),
}

/// How the address of a build is made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct EipAttribute {
    /// `Never` keeps the address after the build, anything else releases it. Required by the service.
    pub(crate) delete_policy: String,
    /// `BGP`, or a carrier's line for accounts that have it.
    pub(crate) isp: Option<String>,
    /// Mbit/s.
    pub(crate) bandwidth_mbps: Option<u32>,
}

/// `CreateImageCache`.
#[derive(Clone, Debug, Default)]
pub(crate) struct CreateImageCache {
    pub(crate) name: String,
    pub(crate) settings: Settings,
    pub(crate) vpc_id: String,
    pub(crate) subnet_id: String,
    pub(crate) eip: Option<Eip>,
    /// Hosts to contact over plain HTTP.
    pub(crate) plain_http_registries: Vec<String>,
    /// Hosts whose certificate is not checked.
    pub(crate) insecure_registries: Vec<String>,
    /// Text of the build host's `resolv.conf`.
    pub(crate) resolv_conf: Option<String>,
}

/// `UpdateImageCache`. Whether what is left out stays as it is, is not documented.
#[derive(Clone, Debug, Default)]
pub(crate) struct UpdateImageCache {
    pub(crate) id: String,
    pub(crate) name: Option<String>,
    pub(crate) settings: Settings,
}

/// `DescribeImageCaches`: every field narrows the list.
#[derive(Clone, Debug, Default)]
pub(crate) struct DescribeImageCaches {
    pub(crate) ids: Vec<String>,
    /// Whether they are compared exactly is not documented.
    pub(crate) names: Vec<String>,
    /// Filters by name of a filter, of which `image-cache-name` is the only documented one.
    pub(crate) filters: Vec<(String, Vec<String>)>,
    /// Page size, at most 50.
    pub(crate) limit: Option<u32>,
    /// Caches before the page.
    pub(crate) offset: Option<u64>,
}

impl Settings {
    fn write(&self, parameters: &mut Parameters) {
        parameters.set_list("Images", self.images.clone());
        parameters.set_list("SecurityGroupIds", self.security_group_ids.clone());
        parameters.set_list("ImageRegistryCredentials", self.credentials.iter().map(login));
        parameters.set_some("ImageCacheSize", self.size_gib);
        parameters.set_some("RetentionDays", self.retention_days);
        parameters.set_list("Tags", self.tags.iter().map(tag));
    }
}

fn login(credential: &RegistryCredential) -> Parameters {
    let mut login = Parameters::new();
    login.set("Server", credential.server.as_str());
    login.set("Username", credential.username.as_str());
    login.set("Password", credential.password.expose().as_str());
    login
}

fn tag(tag: &Tag) -> Parameters {
    let mut pair = Parameters::new();
    pair.set("Key", tag.key.as_str());
    pair.set("Value", tag.value.as_str());
    pair
}

impl Eip {
    fn write(&self, parameters: &mut Parameters) {
        match self {
            Self::Existing(id) => parameters.set("ExistedEipId", id.as_str()),
            Self::Automatic(attribute) => {
                let mut fields = Parameters::new();
                fields.set("DeletePolicy", attribute.delete_policy.as_str());
                fields.set_some("InternetServiceProvider", attribute.isp.as_deref());
                fields.set_some("InternetMaxBandwidthOut", attribute.bandwidth_mbps);
                parameters.set("AutoCreateEip", true);
                parameters.set("AutoCreateEipAttribute", fields);
            }
        }
    }
}

impl CreateImageCache {
    /// The parameters of the call.
    pub(crate) fn parameters(&self) -> Parameters {
        let mut parameters = Parameters::new();
        self.settings.write(&mut parameters);
        parameters.set("ImageCacheName", self.name.as_str());
        parameters.set("VpcId", self.vpc_id.as_str());
        parameters.set("SubnetId", self.subnet_id.as_str());
        if let Some(eip) = &self.eip {
            eip.write(&mut parameters);
        }
        parameters.set_list("RegistryHttpEndPointList", self.plain_http_registries.clone());
        parameters.set_list("RegistrySkipVerifyList", self.insecure_registries.clone());
        parameters.set_some("ResolveConfig", self.resolv_conf.as_deref());
        parameters
    }
}

impl UpdateImageCache {
    /// The parameters of the call.
    pub(crate) fn parameters(&self) -> Parameters {
        let mut parameters = Parameters::new();
        parameters.set("ImageCacheId", self.id.as_str());
        parameters.set_some("ImageCacheName", self.name.as_deref());
        self.settings.write(&mut parameters);
        parameters
    }
}

impl DescribeImageCaches {
    /// The parameters of the call.
    pub(crate) fn parameters(&self) -> Parameters {
        let mut parameters = Parameters::new();
        parameters.set_list("ImageCacheIds", self.ids.clone());
        parameters.set_list("ImageCacheNames", self.names.clone());
        let filter = |(name, values): &(String, Vec<String>)| {
            let mut filter = Parameters::new();
            filter.set("Name", name.as_str());
            filter.set_list("Values", values.clone());
            filter
        };
        parameters.set_list("Filters", self.filters.iter().map(filter));
        parameters.set_some("Limit", self.limit);
        parameters.set_some("Offset", self.offset);
        parameters
    }
}

/// The parameters of `DeleteImageCaches`.
pub(crate) fn delete_image_caches(ids: &[&str]) -> Parameters {
    let mut parameters = Parameters::new();
    parameters.set_list("ImageCacheIds", ids.iter().copied());
    parameters
}

/// The parameters of `GetMostSuitableImageCache`.
pub(crate) fn most_suitable_image_cache(images: &[String], snapshotter: Option<&str>) -> Parameters {
    let mut parameters = Parameters::new();
    parameters.set_list("Images", images.iter().map(|image| Value::from(image.as_str())));
    parameters.set_some("Snapshotter", snapshotter);
    parameters
}
