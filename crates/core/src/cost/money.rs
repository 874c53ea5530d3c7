//! Prices and amounts as whole numbers of 10⁻¹² of the currency.

use std::fmt;
use std::ops::Add;
use std::str::FromStr;

use super::Quantity;
use crate::text_form::text_form;

/// Decimals that are kept. Prices a second come with eight (0.00000613), those of other services with ten.
const DECIMALS: usize = 12;
/// 10^[`DECIMALS`].
const ONE: u128 = 1_000_000_000_000;
/// Largest price of one unit: far above any, and small enough that no amount within the limits of a
/// [`Usage`](super::Usage) overflows.
const MAX_PRICE: u128 = 1_000_000;

/// The price of one [`Unit`](super::Unit): a decimal number, as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Price(u128);

/// A text that is no price.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a price: give a decimal number from 0 to {MAX_PRICE} with at most {DECIMALS} decimals, such as 0.0021"
)]
pub struct PriceError(String);

impl Price {
    /// Price × quantity, rounded half up to the last decimal that is kept.
    pub fn of(self, quantity: Quantity) -> Money {
        Money(multiply_divide(
            self.0,
            quantity.base(),
            quantity.unit().base_per_unit(),
        ))
    }
}

impl FromStr for Price {
    type Err = PriceError;

    fn from_str(text: &str) -> Result<Self, PriceError> {
        parse_fixed(text)
            .filter(|price| *price <= MAX_PRICE * ONE)
            .map(Self)
            .ok_or_else(|| PriceError(text.to_owned()))
    }
}

/// Exact, without trailing zeros.
impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&exact(self.0))
    }
}
text_form!(Price);

/// An amount of money.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Money(u128);

impl Money {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// Rounded half up for reading, with exactly so many decimals; what would be shown as zero but is not, as `<0.0001`.
    pub fn rounded(self, decimals: usize) -> String {
        rounded(self.0, 1, decimals)
    }
}

impl Add for Money {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

/// Exact, without trailing zeros.
impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&exact(self.0))
    }
}

impl serde::Serialize for Money {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// `factor` × `value` / `divisor`, rounded half up. Dividing first keeps the products small; the remainder is put back.
fn multiply_divide(factor: u128, value: u128, divisor: u128) -> u128 {
    let rest = factor.saturating_mul(value % divisor).saturating_add(divisor / 2) / divisor;
    factor.saturating_mul(value / divisor).saturating_add(rest)
}

/// A decimal number with at most [`DECIMALS`] decimals, in units of the last.
pub(super) fn parse_fixed(text: &str) -> Option<u128> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || fraction.len() > DECIMALS {
        return None;
    }
    let whole: u128 = whole.parse().ok()?;
    let fraction: u128 = format!("{fraction:0<DECIMALS$}").parse().ok()?;
    whole.checked_mul(ONE)?.checked_add(fraction)
}

/// `text` × `per_unit` as a whole number, rounded half up.
pub(super) fn parse_scaled(text: &str, per_unit: u64) -> Option<u64> {
    let fixed = parse_fixed(text)?;
    let scaled = fixed.checked_mul(u128::from(per_unit))?.checked_add(ONE / 2)? / ONE;
    u64::try_from(scaled).ok()
}

fn exact(value: u128) -> String {
    let text = format!("{}.{:0DECIMALS$}", value / ONE, value % ONE);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// `value` / `divisor`, where `value` is in units of 10⁻¹², with so many decimals, at most as many as are kept.
pub(super) fn rounded(value: u128, divisor: u128, decimals: usize) -> String {
    let decimals = decimals.min(DECIMALS);
    let scale = (decimals..DECIMALS).fold(1_u128, |scale, _| scale * 10);
    let step = divisor.saturating_mul(scale);
    let steps = value / step + u128::from(value % step >= step.div_ceil(2));
    let per_one = ONE / scale;
    let (sign, steps) = if steps == 0 && value != 0 {
        ("<", 1)
    } else {
        ("", steps)
    };
    if decimals == 0 {
        return format!("{sign}{steps}");
    }
    format!("{sign}{}.{:0decimals$}", steps / per_one, steps % per_one)
}

/// [`rounded`] for a whole `value`, without trailing zeros.
pub(super) fn ratio(value: u128, divisor: u128, decimals: usize) -> String {
    let Some(fixed) = value.checked_mul(ONE) else {
        return (value / divisor).to_string();
    };
    let text = rounded(fixed, divisor, decimals);
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_are_read_and_written_exactly() {
        for (text, shown) in [
            ("0", "0"),
            ("0.0", "0"),
            ("0.00000613", "0.00000613"),
            ("12.500", "12.5"),
            ("0.000000000001", "0.000000000001"),
            ("1000000", "1000000"),
        ] {
            assert_eq!(text.parse::<Price>().unwrap().to_string(), shown);
        }
        for bad in [
            "",
            ".",
            "1.",
            ".5",
            "-1",
            "+1",
            "1e3",
            "1,5",
            " 1",
            "NaN",
            "0.0000000000001",
            "1000000.1",
            "0x1",
            "١",
        ] {
            let error = bad.parse::<Price>().expect_err(bad).to_string();
            assert!(error.contains(&format!("`{bad}`")), "{error}");
        }
    }

    #[test]
    fn rounding_is_half_up_and_never_hides_money() {
        for (picos, decimals, shown) in [
            (0, 4, "0.0000"),
            (67_756_000_000, 3, "0.068"),
            (252_000_000_000, 3, "0.252"),
            (49_999_999, 4, "<0.0001"),
            (50_000_000, 4, "0.0001"),
            (999_950_000_000, 4, "1.0000"),
            (1, 12, "0.000000000001"),
            (1_500_000_000_000, 0, "2"),
            (1, 0, "<1"),
        ] {
            assert_eq!(Money(picos).rounded(decimals), shown, "{picos} with {decimals}");
        }
        assert_eq!(ratio(40 * 300, 3600, 3), "3.333");
        assert_eq!(ratio(2, 1, 3), "2");
        assert_eq!(ratio(1, 1_000_000, 3), "<0.001");
    }

    #[test]
    fn division_keeps_the_remainder() {
        assert_eq!(multiply_divide(7, 10, 4), 18); // 17.5
        assert_eq!(multiply_divide(1, 1, 3), 0);
        assert_eq!(multiply_divide(ONE, 1, 3), 333_333_333_333);
        assert_eq!(multiply_divide(2 * ONE, 1, 3), 666_666_666_667);
    }
}
