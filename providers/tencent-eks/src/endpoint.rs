//! Where the services are: hosts by region and network.

use imagecache_cloud_http::{EndpointError, parse_endpoint};
use url::Url;

use crate::protocol::Product;

/// From where the services are called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// From anywhere.
    #[default]
    Public,
    /// From inside a VPC of the vendor, with no way to the internet.
    Internal,
}

/// Base URL of each service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoints {
    tke: Url,
    sts: Url,
}

impl Endpoints {
    /// The endpoints of a region.
    pub(crate) fn of(region: &str, network: Network) -> Result<Self, EndpointError> {
        let host = |product: Product| parse_endpoint(&default_host(product, region, network));
        Ok(Self {
            tke: host(Product::Tke)?,
            sts: host(Product::Sts)?,
        })
    }

    /// The same with another endpoint for one product.
    pub(crate) fn with(mut self, product: Product, endpoint: &str) -> Result<Self, EndpointError> {
        let url = parse_endpoint(endpoint)?;
        match product {
            Product::Tke => self.tke = url,
            Product::Sts => self.sts = url,
        }
        Ok(self)
    }

    /// Base URL of a product: scheme, host and port, path `/`.
    pub(crate) fn url(&self, product: Product) -> &Url {
        match product {
            Product::Tke => &self.tke,
            Product::Sts => &self.sts,
        }
    }
}

/// The region's own host where there is one: the vendor recommends it, and the host without a region goes wherever is near.
fn default_host(product: Product, region: &str, network: Network) -> String {
    let name = product.name();
    match (product, network) {
        (_, Network::Internal) => format!("{name}.internal.tencentcloudapi.com"),
        (Product::Tke, Network::Public) => format!("{name}.{region}.tencentcloudapi.com"),
        (Product::Sts, Network::Public) => format!("{name}.tencentcloudapi.com"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_follow_the_region() {
        for (product, region, network, host) in [
            (
                Product::Tke,
                "ap-guangzhou",
                Network::Public,
                "tke.ap-guangzhou.tencentcloudapi.com",
            ),
            (
                Product::Tke,
                "ap-guangzhou",
                Network::Internal,
                "tke.internal.tencentcloudapi.com",
            ),
            (Product::Sts, "ap-singapore", Network::Public, "sts.tencentcloudapi.com"),
            (
                Product::Sts,
                "ap-singapore",
                Network::Internal,
                "sts.internal.tencentcloudapi.com",
            ),
        ] {
            let endpoints = Endpoints::of(region, network).unwrap();
            assert_eq!(endpoints.url(product).as_str(), format!("https://{host}/"), "{region}");
        }
        let own = Endpoints::of("ap-guangzhou", Network::Public).unwrap();
        let own = own.with(Product::Tke, "tke.intl.tencentcloudapi.com").unwrap();
        assert_eq!(own.url(Product::Tke).host_str(), Some("tke.intl.tencentcloudapi.com"));
        assert_eq!(own.url(Product::Sts).host_str(), Some("sts.tencentcloudapi.com"));
    }
}
