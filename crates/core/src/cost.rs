//! What a cache costs to build, keep and use, by each vendor's published rules and the prices that somebody configured.
//!
//! [`estimate`] applies the rules of a [`Tariff`] to a [`Usage`] and gives one [`Line`] for each thing that is billed.
//! No price is known here: a line without a configured price still tells its quantity, and the sums say that they are not
//! the whole. No floating-point number is involved.
//!
//! # Units
//!
//! | what | billed in | counted as |
//! |---|---|---|
//! | vCPU of the build instance | vCPU·s | vCPUs × seconds |
//! | memory of the build instance | GiB·s | GiB × seconds |
//! | disk, of the build and of each pod | GiB·h | GiB of the cache's *size* × seconds / 3,600 |
//! | snapshot, store, EBS volume | GiB·month | bytes × seconds / 2³⁰ / 2,592,000 |
//! | writes to EBS | 1,000 requests | blocks of 512 KiB / 1,000 |
//!
//! A month is 30 days of 24 hours: with it Alibaba's own example comes out as printed ("Image cache billing", 2024-10).
//! Snapshots are counted by what the cache *holds*, disks by its size. Time is whole seconds; a vendor's smallest billed
//! time, where there is one, is not published for image caches and not applied.
//!
//! # Rounding
//!
//! A line is price × quantity, rounded once, half up, to 10⁻¹² of the currency. Sums add lines and round nothing. Shown
//! figures are rounded for reading, each by itself, so that shown lines may differ from their shown sum in the last digit.
//!
//! # What is left out
//!
//! The pods' own CPU and memory, since they cost the same without a cache; public addresses and traffic; taxes; free tiers
//! and discounts; caches that a vendor makes by itself. [`Tariff::notes`] says what is uncertain.

mod hint;
mod money;
mod quantity;
mod tariff;
mod usage;

use serde::Serialize;

pub use hint::hint;
pub use money::{Money, Price, PriceError};
pub use quantity::{Quantity, Unit};
pub use tariff::{PriceName, Prices, Tariff};
pub use usage::{Amount, MAX_PODS, Usage, UsageError};

/// When in a cache's life something is billed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// From the start of the build to its end.
    Build,
    /// From then on, as long as the cache is kept.
    Keep,
    /// While pods run on it.
    Use,
}

impl Stage {
    /// All stages, in the order of a cache's life.
    pub const ALL: [Self; 3] = [Self::Build, Self::Keep, Self::Use];

    /// The name in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Build => "build",
            Self::Keep => "keep",
            Self::Use => "use",
        }
    }
}

/// One thing that is billed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// When.
    pub stage: Stage,
    /// What, in words.
    pub item: &'static str,
    /// How much of it.
    pub quantity: Quantity,
    /// Which price it takes.
    pub price_name: PriceName,
    /// The price of one unit, when it is configured.
    pub price: Option<Price>,
    /// Price × quantity. Nothing of anything is free; else `None` without a price.
    pub amount: Option<Money>,
}

/// A sum over lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sum {
    /// What the lines with an amount come to.
    pub amount: Money,
    /// Lines with an amount that is not zero.
    pub priced: usize,
    /// Lines without an amount. Unless there are none, the true sum is larger.
    pub unpriced: usize,
}

/// What a cache costs by one tariff.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Estimate {
    /// Whose rules.
    pub tariff: Tariff,
    /// Everything that is billed, in the order of a cache's life.
    pub lines: Vec<Line>,
}

impl Estimate {
    /// What one stage costs.
    pub fn stage(&self, stage: Stage) -> Sum {
        sum(self.lines.iter().filter(|line| line.stage == stage))
    }

    /// What everything costs.
    pub fn total(&self) -> Sum {
        sum(&self.lines)
    }
}

fn sum<'a>(lines: impl IntoIterator<Item = &'a Line>) -> Sum {
    lines.into_iter().fold(Sum::default(), |sum, line| match line.amount {
        None => Sum {
            unpriced: sum.unpriced + 1,
            ..sum
        },
        Some(amount) => Sum {
            amount: sum.amount + amount,
            priced: sum.priced + usize::from(amount != Money::ZERO),
            ..sum
        },
    })
}

/// What `usage` costs by the rules of `tariff` at `prices`.
///
/// # Errors
///
/// When a quantity is outside its range; see [`Usage::check`].
pub fn estimate(tariff: Tariff, usage: &Usage, prices: &Prices) -> Result<Estimate, UsageError> {
    usage.check()?;
    let lines = tariff.rules().iter().map(|rule| {
        let quantity = (rule.quantity)(usage);
        let price = prices.get(rule.price);
        let amount = match price {
            _ if quantity.is_zero() => Some(Money::ZERO),
            Some(price) => Some(price.of(quantity)),
            None => None,
        };
        Line {
            stage: rule.stage,
            item: rule.item,
            quantity,
            price_name: rule.price,
            price,
            amount,
        }
    });
    Ok(Estimate {
        tariff,
        lines: lines.collect(),
    })
}

#[cfg(test)]
mod tests;
