//! How a client behaves: the table `http` of a signed cloud's configuration.

use std::collections::BTreeMap;
use std::time::Duration;

use imagecache_core::duration_text;
use serde::{Deserialize, Serialize};

use crate::{Rate, RateLimiter};

/// How a [`Client`](crate::Client) behaves. The defaults suit both clouds; rates are theirs to add.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClientConfig {
    /// Longest time for one attempt, from connecting to the last byte.
    #[serde(with = "duration_text")]
    pub attempt_timeout: Duration,
    /// Attempts for one call, the first included; none counts as one.
    pub attempts: u32,
    /// Longest time for one call with all its attempts, waiting for its turn not counted.
    #[serde(with = "duration_text")]
    pub total_timeout: Duration,
    /// The rate of each action, by its name in any case of letters; an action that is not named has none of its own.
    pub rates: BTreeMap<String, Rate>,
    /// The rate of all actions together.
    pub overall: Option<Rate>,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            attempt_timeout: Duration::from_secs(15),
            attempts: 5,
            total_timeout: Duration::from_secs(30),
            rates: BTreeMap::new(),
            overall: None,
        }
    }
}

impl ClientConfig {
    /// How a service that hands out credentials is called: a refresh starts long before the old one ends.
    pub fn for_credentials() -> Self {
        const ATTEMPTS: u32 = 3;
        const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);
        Self {
            attempts: ATTEMPTS,
            attempt_timeout: ATTEMPT_TIMEOUT,
            total_timeout: ATTEMPT_TIMEOUT * ATTEMPTS,
            ..Self::default()
        }
    }

    /// The same with these rates for actions that it does not name.
    #[must_use]
    pub fn with_default_rates(mut self, defaults: &[(&str, Rate)]) -> Self {
        for (action, rate) in defaults {
            if !self.rates.keys().any(|name| name.eq_ignore_ascii_case(action)) {
                self.rates.insert((*action).to_owned(), *rate);
            }
        }
        self
    }

    /// A name in `rates` that is none of `actions`: a slip that would leave the action meant without its rate.
    pub fn unknown_action(&self, actions: &[&str]) -> Option<&str> {
        let known = |name: &&String| actions.iter().any(|action| action.eq_ignore_ascii_case(name));
        self.rates.keys().find(|name| !known(name)).map(String::as_str)
    }

    /// A limiter with these rates.
    pub fn limiter(&self) -> RateLimiter {
        RateLimiter::new(self.rates.clone(), self.overall)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<ClientConfig, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn everything_has_a_default_and_round_trips() {
        assert_eq!(read("{}").unwrap(), ClientConfig::default());
        let config = read(
            r#"{"attempt_timeout":"2s","attempts":3,"total_timeout":"1m","rates":{"CreateThing":"200/min"},"overall":"50/s"}"#,
        )
        .unwrap();
        assert_eq!(config.total_timeout, Duration::from_secs(60));
        assert_eq!(config.rates["CreateThing"], Rate::per_minute(200));
        assert_eq!(read(&serde_json::to_string(&config).unwrap()).unwrap(), config);
    }

    #[test]
    fn mistakes_are_named() {
        for (json, part) in [
            (r#"{"atempts":3}"#, "unknown field `atempts`"),
            (r#"{"attempt_timeout":"2"}"#, "`2` is not a duration"),
            (r#"{"overall":"lots"}"#, "`lots` is not a rate"),
        ] {
            let error = read(json).unwrap_err();
            assert!(error.contains(part), "{json}: {error}");
        }
        let config = read(r#"{"rates":{"creatething":"1/s","Crate":"1/s"}}"#).unwrap();
        assert_eq!(config.unknown_action(&["CreateThing"]), Some("Crate"));
    }

    #[test]
    fn own_rates_win_over_defaults() {
        let config = read(r#"{"rates":{"creatething":"1/s"}}"#)
            .unwrap()
            .with_default_rates(&[
                ("CreateThing", Rate::per_second(9)),
                ("ListThings", Rate::per_second(7)),
            ]);
        assert_eq!(config.rates.len(), 2);
        assert_eq!(config.rates["creatething"], Rate::per_second(1));
        assert_eq!(config.rates["ListThings"], Rate::per_second(7));
        assert_eq!(config.unknown_action(&["CreateThing", "ListThings"]), None);
    }
}
