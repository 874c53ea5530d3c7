//! `[controller.pods]`: what the controller does about pods after they were created.

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

/// Automatic caches that are kept when nothing else is said: the number that Alibaba's own sample of its quota shows.
const DEFAULT_LIMIT: usize = 25;
/// How long an automatic cache is kept that no pod ever used (Alibaba, "Overview of image caches").
const DEFAULT_NEVER_USED_DAYS: u32 = 7;
/// How long one is kept after the last pod that used it.
const DEFAULT_UNUSED_DAYS: u32 = 30;

/// The table.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PodsConfig {
    /// Whether pods are followed at all.
    pub enabled: bool,
    /// Whether events on pods tell which cache they got.
    pub events: bool,
    /// Whether caches are made for pods that found none that holds all of their images; `None` is what suits the provider.
    pub automatic: Option<bool>,
    /// Most caches of that kind; for a new one the least recently used goes.
    pub automatic_limit: usize,
    /// Days after which an automatic cache is removed that no pod ever used.
    pub never_used_days: u32,
    /// Days after which an automatic cache is removed that no pod used any more.
    pub unused_days: u32,
}

impl Default for PodsConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            events: true,
            automatic: None,
            automatic_limit: DEFAULT_LIMIT,
            never_used_days: DEFAULT_NEVER_USED_DAYS,
            unused_days: DEFAULT_UNUSED_DAYS,
        }
    }
}

/// How pods are looked after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Whether events on pods tell which cache they got.
    pub events: bool,
    /// Whether and how caches are made for pods.
    pub automatic: Option<Automatic>,
    /// How long automatic caches live; those that are there are removed also when no new ones are made.
    pub lifetime: Lifetime,
}

/// How caches are made for pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Automatic {
    /// Most of them.
    pub limit: usize,
}

/// How long automatic caches live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// One that was never used, from its creation.
    pub never_used: SignedDuration,
    /// One that was used, from the last time.
    pub unused: SignedDuration,
}

impl PodsConfig {
    /// How pods are looked after, if at all, with a provider that makes automatic caches by itself or does not.
    pub fn settings(&self, provider_is_automatic: bool) -> Option<Settings> {
        let days = |days: u32| SignedDuration::from_hours(i64::from(days) * 24);
        let automatic = self.automatic.unwrap_or(!provider_is_automatic);
        self.enabled.then(|| Settings {
            events: self.events,
            automatic: automatic.then_some(Automatic {
                limit: self.automatic_limit,
            }),
            lifetime: Lifetime {
                never_used: days(self.never_used_days),
                unused: days(self.unused_days),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_makes_automatic_caches() {
        for (name, said, cloud_does, ours) in [
            ("by default we do", None, false, true),
            ("not where the cloud does it, and free of charge", None, true, false),
            ("unless it is asked for", Some(true), true, true),
            ("or forbidden", Some(false), false, false),
        ] {
            let config = PodsConfig {
                automatic: said,
                ..PodsConfig::default()
            };
            let settings = config.settings(cloud_does).unwrap();
            assert_eq!(settings.automatic.is_some(), ours, "{name}");
        }
        let off = PodsConfig {
            enabled: false,
            ..PodsConfig::default()
        };
        assert_eq!(off.settings(false), None);
    }
}
