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
    /// Whether caches are made for pods that found none that holds all of their images; `None` is for those for which the
    /// provider's cloud makes none by itself.
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
    /// The dialect whose pods get theirs from the provider's cloud.
    pub except: Option<&'static str>,
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
    /// How pods are looked after, if at all, with a provider whose cloud makes automatic caches by itself for pods of the
    /// dialect `provided`.
    pub fn settings(&self, provided: Option<&'static str>) -> Option<Settings> {
        let days = |days: u32| SignedDuration::from_hours(i64::from(days) * 24);
        self.enabled.then(|| Settings {
            events: self.events,
            automatic: self.automatic.unwrap_or(true).then_some(Automatic {
                limit: self.automatic_limit,
                except: provided.filter(|_| self.automatic.is_none()),
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
        let alibaba = Some("alibaba");
        for (name, said, provided, ours) in [
            ("by default we do", None, None, Some(None)),
            (
                "not for pods that get theirs from the cloud, and free of charge",
                None,
                alibaba,
                Some(alibaba),
            ),
            ("unless it is asked for", Some(true), alibaba, Some(None)),
            ("or forbidden", Some(false), None, None),
            ("also there", Some(false), alibaba, None),
        ] {
            let config = PodsConfig {
                automatic: said,
                ..PodsConfig::default()
            };
            let automatic = config.settings(provided).unwrap().automatic;
            assert_eq!(automatic.map(|automatic| automatic.except), ours, "{name}");
        }
        let off = PodsConfig {
            enabled: false,
            ..PodsConfig::default()
        };
        assert_eq!(off.settings(None), None);
    }
}
