//! Where the services are: hosts by region, and what an endpoint of the user's own may be.

use imagecache_cloud_http::{EndpointError, parse_endpoint};
use url::Url;

use crate::protocol::Product;

/// Regions whose public ECI host is not the region's name (ECI API reference, "Endpoints"); their VPC hosts are regular.
const IRREGULAR_PUBLIC: [(&str, &str); 2] = [
    ("cn-shanghai-finance-1", "eci.cn-shanghai-finance.aliyuncs.com"),
    ("cn-shenzhen-finance-1", "eci.cn-shenzhen-finance.aliyuncs.com"),
];

/// From where the services are called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// From anywhere.
    #[default]
    Public,
    /// From inside a VPC of the region, with no way to the internet.
    Vpc,
}

/// Base URL of each service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoints {
    eci: Url,
    vpc: Url,
    sts: Url,
}

impl Endpoints {
    /// The endpoints of a region.
    pub(crate) fn of(region: &str, network: Network) -> Result<Self, EndpointError> {
        let host = |product: Product| parse_endpoint(&default_host(product, region, network));
        Ok(Self {
            eci: host(Product::Eci)?,
            vpc: host(Product::Vpc)?,
            sts: host(Product::Sts)?,
        })
    }

    /// The same with another endpoint for one product.
    pub(crate) fn with(mut self, product: Product, endpoint: &str) -> Result<Self, EndpointError> {
        let url = parse_endpoint(endpoint)?;
        match product {
            Product::Eci => self.eci = url,
            Product::Vpc => self.vpc = url,
            Product::Sts => self.sts = url,
        }
        Ok(self)
    }

    /// Base URL of a product: scheme, host and port, path `/`.
    pub(crate) fn url(&self, product: Product) -> &Url {
        match product {
            Product::Eci => &self.eci,
            Product::Vpc => &self.vpc,
            Product::Sts => &self.sts,
        }
    }
}

fn default_host(product: Product, region: &str, network: Network) -> String {
    let irregular = IRREGULAR_PUBLIC.iter().find(|(name, _)| *name == region);
    let name = product.name();
    match (product, network, irregular) {
        (Product::Eci, Network::Public, Some((_, host))) => (*host).to_owned(),
        (_, Network::Public, _) => format!("{name}.{region}.aliyuncs.com"),
        (_, Network::Vpc, _) => format!("{name}-vpc.{region}.aliyuncs.com"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_follow_the_region() {
        for (product, region, network, host) in [
            (
                Product::Eci,
                "cn-hangzhou",
                Network::Public,
                "eci.cn-hangzhou.aliyuncs.com",
            ),
            (
                Product::Eci,
                "cn-hangzhou",
                Network::Vpc,
                "eci-vpc.cn-hangzhou.aliyuncs.com",
            ),
            (
                Product::Eci,
                "cn-shanghai-finance-1",
                Network::Public,
                "eci.cn-shanghai-finance.aliyuncs.com",
            ),
            (
                Product::Eci,
                "cn-shenzhen-finance-1",
                Network::Public,
                "eci.cn-shenzhen-finance.aliyuncs.com",
            ),
            (
                Product::Eci,
                "cn-shenzhen-finance-1",
                Network::Vpc,
                "eci-vpc.cn-shenzhen-finance-1.aliyuncs.com",
            ),
            (
                Product::Vpc,
                "eu-central-1",
                Network::Public,
                "vpc.eu-central-1.aliyuncs.com",
            ),
            (
                Product::Vpc,
                "eu-central-1",
                Network::Vpc,
                "vpc-vpc.eu-central-1.aliyuncs.com",
            ),
            (Product::Sts, "us-east-1", Network::Public, "sts.us-east-1.aliyuncs.com"),
            (
                Product::Sts,
                "us-east-1",
                Network::Vpc,
                "sts-vpc.us-east-1.aliyuncs.com",
            ),
        ] {
            let endpoints = Endpoints::of(region, network).unwrap();
            assert_eq!(endpoints.url(product).as_str(), format!("https://{host}/"), "{region}");
        }
    }
}
