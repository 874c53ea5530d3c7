//! `[cost]`: the prices that `imagecache cost` calculates with. None is built in.

use std::fmt;

use imagecache_core::CacheState;
use imagecache_core::cost::{self, Price, PriceName, Prices, Tariff};
use serde::de::{Deserializer, Error as DeError, Visitor};
use serde::{Deserialize, Serialize};

/// Prices by provider, in one currency.
///
/// Names of environment variables have no dashes: a table whose name has one is also read with `_`, and wins then.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CostConfig {
    /// What the prices are in, shown as it is: `CNY`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    /// Alibaba ECI.
    #[serde(rename = "alibaba-eci", skip_serializing_if = "is_default")]
    pub alibaba_eci: CloudPrices,
    /// Tencent EKS.
    #[serde(rename = "tencent-eks", skip_serializing_if = "is_default")]
    pub tencent_eks: CloudPrices,
    /// The local provider with a directory.
    #[serde(skip_serializing_if = "is_default")]
    pub local: LocalPrices,
    /// The local provider with its blocks in AWS EBS.
    #[serde(rename = "local-ebs", skip_serializing_if = "is_default")]
    pub local_ebs: EbsPrices,
    #[serde(rename = "alibaba_eci", skip_serializing)]
    alibaba_eci_environment: CloudPrices,
    #[serde(rename = "tencent_eks", skip_serializing)]
    tencent_eks_environment: CloudPrices,
    #[serde(rename = "local_ebs", skip_serializing)]
    local_ebs_environment: EbsPrices,
}

/// A table of optional prices, whose keys are those of [`PriceName`].
macro_rules! price_table {
    ($(#[$doc:meta])* $table:ident { $($(#[$field_doc:meta])* $key:ident: $name:ident,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $table {
            $(
                $(#[$field_doc])*
                #[serde(deserialize_with = "price", skip_serializing_if = "Option::is_none")]
                pub $key: Option<Price>,
            )+
        }

        impl $table {
            fn add_to(&self, prices: Prices) -> Prices {
                [$((PriceName::$name, self.$key)),+]
                    .into_iter()
                    .filter_map(|(name, price)| Some((name, price?)))
                    .fold(prices, |prices, (name, price)| prices.with(name, price))
            }
        }
    };
}

price_table! {
    /// What the clouds bill.
    CloudPrices {
        /// One vCPU of the build instance for a second.
        vcpu_second: VcpuSecond,
        /// One GiB of the build instance's memory for a second.
        memory_gib_second: MemoryGibSecond,
        /// One GiB of disk for an hour.
        disk_gib_hour: DiskGibHour,
        /// One GiB of snapshot for 30 days.
        snapshot_gib_month: SnapshotGibMonth,
    }
}

price_table! {
    /// What a store on own disks costs.
    LocalPrices {
        /// One GiB of the store's disk for 30 days.
        store_gib_month: StoreGibMonth,
    }
}

price_table! {
    /// What a store in EBS costs.
    EbsPrices {
        /// A thousand writes of blocks.
        write_thousand: WriteThousand,
        /// One GiB of snapshot for 30 days.
        snapshot_gib_month: SnapshotGibMonth,
        /// One GiB of volume for 30 days.
        volume_gib_month: VolumeGibMonth,
    }
}

/// Prices without a currency.
#[derive(Debug, thiserror::Error)]
#[error("configuration: cost.currency is missing, name what the prices are in, such as \"CNY\"")]
pub struct NoCurrency;

impl CostConfig {
    /// The prices that one tariff uses.
    pub fn prices(&self, tariff: Tariff) -> Prices {
        let none = Prices::default();
        match tariff {
            Tariff::AlibabaEci => self.alibaba_eci_environment.add_to(self.alibaba_eci.add_to(none)),
            Tariff::TencentEks => self.tencent_eks_environment.add_to(self.tencent_eks.add_to(none)),
            Tariff::Local => self.local.add_to(none),
            Tariff::LocalEbs => self.local_ebs_environment.add_to(self.local_ebs.add_to(none)),
        }
    }

    /// What the statuses of caches under `tariff` say; `None` without prices for it.
    ///
    /// # Errors
    ///
    /// When there are prices and nobody said in what.
    pub fn hints(&self, tariff: Tariff) -> Result<Option<CostHints>, NoCurrency> {
        let prices = self.prices(tariff);
        let currency = self.checked_currency()?.filter(|_| !prices.is_empty());
        Ok(currency.map(|currency| CostHints {
            tariff,
            prices,
            currency: currency.to_owned(),
        }))
    }

    /// What the prices are in; `None` when there are no prices either.
    ///
    /// # Errors
    ///
    /// When there are prices and nobody said in what.
    pub fn checked_currency(&self) -> Result<Option<&str>, NoCurrency> {
        let currency = self.currency.as_deref().map(str::trim).filter(|text| !text.is_empty());
        let priced = Tariff::ALL.iter().any(|tariff| !self.prices(*tariff).is_empty());
        match currency {
            None if priced => Err(NoCurrency),
            currency => Ok(currency),
        }
    }
}

/// What the statuses of one provider's caches say of costs.
#[derive(Clone, Debug)]
pub struct CostHints {
    tariff: Tariff,
    prices: Prices,
    currency: String,
}

impl CostHints {
    /// One sentence about `state`; `None` where a price or the content is not known.
    pub fn of(&self, state: &CacheState) -> Option<String> {
        cost::hint(self.tariff, state, &self.prices, &self.currency)
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    value == &T::default()
}

/// A price as text or as a bare number. Environment variables and TOML turn `0.0021` into a floating-point number before
/// we see it; its shortest decimal text is what was written, and nothing is calculated with the number itself.
fn price<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Price>, D::Error> {
    struct PriceText;

    impl Visitor<'_> for PriceText {
        type Value = Option<Price>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a price such as \"0.0021\"")
        }

        fn visit_str<E: DeError>(self, text: &str) -> Result<Self::Value, E> {
            text.parse().map(Some).map_err(E::custom)
        }

        fn visit_u64<E: DeError>(self, number: u64) -> Result<Self::Value, E> {
            self.visit_str(&number.to_string())
        }

        fn visit_i64<E: DeError>(self, number: i64) -> Result<Self::Value, E> {
            self.visit_str(&number.to_string())
        }

        fn visit_f64<E: DeError>(self, number: f64) -> Result<Self::Value, E> {
            self.visit_str(&number.to_string())
        }
    }

    deserializer.deserialize_any(PriceText)
}

#[cfg(test)]
mod tests {
    use figment::Figment;
    use figment::providers::{Format as _, Toml};

    use super::*;

    fn parse(text: &str) -> Result<CostConfig, String> {
        Figment::from(Toml::string(text))
            .extract()
            .map_err(|error| error.to_string())
    }

    #[test]
    fn prices_are_exact_however_they_are_written() {
        for written in ["\"0.00000613\"", "0.00000613", "6.13e-6"] {
            let config = parse(&format!("[alibaba-eci]\nmemory_gib_second = {written}")).unwrap();
            let price = config.prices(Tariff::AlibabaEci).get(PriceName::MemoryGibSecond);
            assert_eq!(price.unwrap().to_string(), "0.00000613", "{written}");
        }
        assert_eq!(
            parse("[local]\nstore_gib_month = 1").unwrap().local.store_gib_month,
            "1".parse().ok()
        );
    }

    #[test]
    fn every_tariff_reads_exactly_its_prices() {
        for tariff in Tariff::ALL {
            let names = tariff.price_names();
            let lines: String = names
                .iter()
                .map(|name| format!("{} = \"2\"\n", name.as_str()))
                .collect();
            // As a file has it, and as an environment variable does.
            for table in [tariff.as_str().to_owned(), tariff.as_str().replace('-', "_")] {
                let config = parse(&format!("[{table}]\n{lines}")).unwrap();
                for other in Tariff::ALL {
                    let read = config.prices(other);
                    let expected = if other == tariff { names.len() } else { 0 };
                    let known = names.iter().filter(|name| read.get(**name).is_some()).count();
                    assert_eq!(known, expected, "{table} for {}", other.as_str());
                }
            }
        }
    }

    #[test]
    fn the_environment_wins_price_by_price() {
        let config =
            parse("[alibaba-eci]\nvcpu_second = 1\ndisk_gib_hour = 2\n[alibaba_eci]\ndisk_gib_hour = 3").unwrap();
        let prices = config.prices(Tariff::AlibabaEci);
        assert_eq!(prices.get(PriceName::VcpuSecond), "1".parse().ok());
        assert_eq!(prices.get(PriceName::DiskGibHour), "3".parse().ok());
    }

    #[test]
    fn mistakes_are_named() {
        for (text, parts) in [
            (
                "[alibaba-eci]\nstore_gib_month = 1",
                &["store_gib_month", "disk_gib_hour"][..],
            ),
            ("[alibaba]\nvcpu_second = 1", &["alibaba", "alibaba-eci"]),
            (
                "[local]\nstore_gib_month = -1",
                &["local.store_gib_month", "`-1` is not a price"],
            ),
            (
                "[local]\nstore_gib_month = \"cheap\"",
                &["`cheap` is not a price", "such as 0.0021"],
            ),
            ("[local]\nstore_gib_month = true", &["a price such as"]),
        ] {
            let error = parse(text).expect_err(text);
            for part in parts {
                assert!(error.contains(part), "{text}: {error}");
            }
        }
    }

    #[test]
    fn prices_need_a_currency() {
        assert_eq!(parse("").unwrap().checked_currency().unwrap(), None);
        assert!(
            parse("[local]\nstore_gib_month = 1")
                .unwrap()
                .checked_currency()
                .is_err()
        );
        assert!(
            parse("currency = \" \"\n[local]\nstore_gib_month = 1")
                .unwrap()
                .checked_currency()
                .is_err()
        );
        let config = parse("currency = \"CNY\"\n[local]\nstore_gib_month = 1").unwrap();
        assert_eq!(config.checked_currency().unwrap(), Some("CNY"));
    }

    #[test]
    fn nothing_is_written_that_was_not_given() {
        assert_eq!(toml::to_string(&CostConfig::default()).unwrap(), "");
        let text = "currency = \"CNY\"\n\n[alibaba-eci]\ndisk_gib_hour = \"0.0021\"\n";
        assert_eq!(toml::to_string(&parse(text).unwrap()).unwrap(), text);
    }
}
