//! How much of something is billed, in the unit that its price is for.

use std::fmt;

use serde::{Serialize, Serializer, ser::SerializeStruct as _};

use super::money::ratio;
use super::usage::{GIB_BYTES, MONTH_SECONDS};

/// Seconds of an hour.
const HOUR_SECONDS: u128 = 3_600;
/// Decimals of a quantity for people.
const SHOWN_DECIMALS: usize = 3;
/// Decimals of a quantity in JSON and YAML.
const WRITTEN_DECIMALS: usize = 9;

/// What a price is for one of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// One vCPU for one second.
    VcpuSecond,
    /// One GiB of memory for one second.
    GibSecond,
    /// One GiB of disk for one hour.
    GibHour,
    /// One GiB for 30 days.
    GibMonth,
    /// A thousand API requests.
    ThousandRequests,
}

impl Unit {
    /// The name in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::VcpuSecond => "vCPU·s",
            Self::GibSecond => "GiB·s",
            Self::GibHour => "GiB·h",
            Self::GibMonth => "GiB·month",
            Self::ThousandRequests => "1000 requests",
        }
    }

    /// How many of the whole numbers that a [`Quantity`] counts make one unit: vCPU·s, GiB·s, GiB·s, byte·s, requests.
    pub(super) fn base_per_unit(self) -> u128 {
        match self {
            Self::VcpuSecond | Self::GibSecond => 1,
            Self::GibHour => HOUR_SECONDS,
            Self::GibMonth => GIB_BYTES * MONTH_SECONDS,
            Self::ThousandRequests => 1_000,
        }
    }
}

/// An exact quantity: a whole number of a small base unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quantity {
    base: u128,
    unit: Unit,
}

impl Quantity {
    /// `base` counts what [`Unit::base_per_unit`] says.
    pub(super) fn new(base: u128, unit: Unit) -> Self {
        Self { base, unit }
    }

    pub(super) fn base(self) -> u128 {
        self.base
    }

    /// The unit.
    pub fn unit(self) -> Unit {
        self.unit
    }

    /// Whether it is nothing.
    pub fn is_zero(self) -> bool {
        self.base == 0
    }
}

/// For people: `20 GiB·h`, rounded half up to three decimals.
impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let amount = ratio(self.base, self.unit.base_per_unit(), SHOWN_DECIMALS);
        match self.unit {
            Unit::ThousandRequests => write!(f, "{} requests", self.base),
            unit => write!(f, "{amount} {}", unit.as_str()),
        }
    }
}

/// `amount` as text with up to nine decimals, and `unit`.
impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Quantity", 2)?;
        fields.serialize_field("amount", &ratio(self.base, self.unit.base_per_unit(), WRITTEN_DECIMALS))?;
        fields.serialize_field("unit", self.unit.as_str())?;
        fields.end()
    }
}
