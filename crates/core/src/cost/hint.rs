//! One sentence about what a cache costs, for its status.

use super::usage::MONTH_SECONDS;
use super::{Prices, Stage, Sum, Tariff, Usage, estimate};
use crate::CacheState;

const HOUR_SECONDS: u64 = 3_600;
/// Decimals of the figures.
const DECIMALS: usize = 4;

/// What going on costs: keeping the cache for a month, and an hour of one pod on it. `None` where nothing can be said
/// because prices are not configured, or the provider does not tell what the cache holds and pods cost nothing.
///
/// The sentence depends on the cache's size and content alone, so that it does not change from pass to pass.
pub fn hint(tariff: Tariff, state: &CacheState, prices: &Prices, currency: &str) -> Option<String> {
    let usage = Usage {
        size_gib: state.size_gib,
        content_bytes: state.content_bytes.unwrap_or_default(),
        keep_seconds: u64::try_from(MONTH_SECONDS).ok()?,
        pods: 1,
        pod_seconds: HOUR_SECONDS,
        ..Usage::default()
    };
    let estimate = estimate(tariff, &usage, prices).ok()?;
    let shown = |stage, what| {
        let Sum {
            amount,
            priced,
            unpriced,
        } = estimate.stage(stage);
        (priced > 0 && unpriced == 0).then(|| format!("{what} costs about {} {currency}", amount.rounded(DECIMALS)))
    };
    let parts: Vec<String> = [
        shown(Stage::Keep, "30 days of keeping"),
        shown(Stage::Use, "an hour of each pod"),
    ]
    .into_iter()
    .flatten()
    .collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}
