//! Where the services are: hosts by region, and what an endpoint of the user's own may be.

use std::net::IpAddr;

use url::{Host, Url};

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

/// Why a text is no endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EndpointError {
    /// It is no URL of a host.
    #[error("`{0}` is no endpoint; write a host like `eci.cn-hangzhou.aliyuncs.com` or `https://` and a host")]
    NotAHost(String),
    /// It would send secrets in the clear.
    #[error(
        "`{0}` is plain HTTP, and access keys and registry passwords travel in the URL; use https, plain HTTP is accepted for this machine only"
    )]
    Plain(String),
}

impl Endpoints {
    /// The endpoints of a region.
    pub(crate) fn of(region: &str, network: Network) -> Result<Self, EndpointError> {
        let host = |product: Product| parse(&default_host(product, region, network));
        Ok(Self {
            eci: host(Product::Eci)?,
            vpc: host(Product::Vpc)?,
            sts: host(Product::Sts)?,
        })
    }

    /// The same with another endpoint for one product.
    pub(crate) fn with(mut self, product: Product, endpoint: &str) -> Result<Self, EndpointError> {
        let url = parse(endpoint)?;
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

/// Reads an endpoint: a host with optional port and scheme.
pub(crate) fn parse(text: &str) -> Result<Url, EndpointError> {
    let wrong = || EndpointError::NotAHost(text.to_owned());
    let full = if text.contains("://") {
        text.to_owned()
    } else {
        format!("https://{text}")
    };
    let url = Url::parse(&full).map_err(|_| wrong())?;
    let bare = matches!(url.path(), "" | "/")
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    if !bare || url.host().is_none() {
        return Err(wrong());
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_loopback(&url) => Ok(url),
        "http" => Err(EndpointError::Plain(text.to_owned())),
        _ => Err(wrong()),
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => IpAddr::from(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::from(address).is_loopback(),
        None => false,
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

    #[test]
    fn endpoints_of_ones_own() {
        for (text, expected) in [
            ("eci.example.com", Some("https://eci.example.com/")),
            ("eci.example.com:8443", Some("https://eci.example.com:8443/")),
            ("https://eci.example.com", Some("https://eci.example.com/")),
            ("http://127.0.0.1:1234", Some("http://127.0.0.1:1234/")),
            ("http://[::1]:1234", Some("http://[::1]:1234/")),
            ("http://localhost:1234/", Some("http://localhost:1234/")),
            ("http://eci.example.com", None),
            ("http://127.0.0.1.example.com", None),
            ("ftp://eci.example.com", None),
            ("https://eci.example.com/path", None),
            ("https://user:password@eci.example.com", None),
            ("https://eci.example.com?a=b", None),
            ("not a host", None),
            ("", None),
        ] {
            assert_eq!(parse(text).ok().map(String::from).as_deref(), expected, "{text}");
        }
        let plain = parse("http://eci.example.com").unwrap_err().to_string();
        assert!(plain.contains("registry passwords travel in the URL"), "{plain}");
    }
}
