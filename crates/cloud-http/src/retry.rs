//! When a call is tried again, as a table, and how long to wait first.

use std::time::Duration;

use fastrand::Rng;

use crate::{Effect, RefusalClass};

/// Why an attempt did not succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The service was not reached; nothing was done.
    NotSent,
    /// No complete answer; whether anything was done is unknown.
    NoAnswer,
    /// The service refused.
    Refused(RefusalClass),
}

/// Whether the call is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// Nothing was done: a second call cannot do it twice.
    Always,
    /// Something may have been done: only a call that may be sent twice is.
    IfRepeatable,
    /// It would not help.
    Never,
}

/// How long to wait first, unless the service asks for longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Not at all: what was wrong is set right by the new signature.
    AtOnce,
    /// Longer each time.
    BackOff,
}

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What happened.
    pub cause: Cause,
    /// Whether to repeat.
    pub repeat: Repeat,
    /// How long to wait first.
    pub wait: Wait,
    /// Repeats for this cause within one call; the attempts of the whole call are limited as well.
    pub times: u32,
}

/// As often as the attempts of the whole call allow.
const ANY: u32 = u32::MAX;
/// Another change of the same thing takes its time; the caller knows better when to look again.
const CONFLICT_TIMES: u32 = 2;

/// The retry table: every cause has one row.
pub const RULES: [Rule; 10] = [
    rule(Cause::NotSent, Repeat::Always, Wait::BackOff, ANY),
    rule(Cause::NoAnswer, Repeat::IfRepeatable, Wait::BackOff, ANY),
    rule(
        Cause::Refused(RefusalClass::Throttled),
        Repeat::Always,
        Wait::BackOff,
        ANY,
    ),
    rule(
        Cause::Refused(RefusalClass::Unavailable),
        Repeat::IfRepeatable,
        Wait::BackOff,
        ANY,
    ),
    rule(
        Cause::Refused(RefusalClass::Conflict),
        Repeat::Always,
        Wait::BackOff,
        CONFLICT_TIMES,
    ),
    rule(
        Cause::Refused(RefusalClass::NonceUsed),
        Repeat::Always,
        Wait::AtOnce,
        ANY,
    ),
    rule(Cause::Refused(RefusalClass::ClockSkew), Repeat::Always, Wait::AtOnce, 1),
    rule(
        Cause::Refused(RefusalClass::Credential),
        Repeat::Always,
        Wait::AtOnce,
        1,
    ),
    rule(
        Cause::Refused(RefusalClass::Undecodable),
        Repeat::Never,
        Wait::AtOnce,
        0,
    ),
    rule(Cause::Refused(RefusalClass::Final), Repeat::Never, Wait::AtOnce, 0),
];

const fn rule(cause: Cause, repeat: Repeat, wait: Wait, times: u32) -> Rule {
    Rule {
        cause,
        repeat,
        wait,
        times,
    }
}

/// Wait before the second attempt, before jitter; it doubles each time.
const BASE_DELAY: Duration = Duration::from_millis(500);
/// Longest wait that we choose ourselves.
const MAX_DELAY: Duration = Duration::from_secs(8);

/// The wait before repeat number `repeat` (from 1): half of it fixed, half by chance, so that clients that failed
/// together do not come back together.
pub(crate) fn back_off(repeat: u32, rng: &mut Rng) -> Duration {
    let doublings = repeat.saturating_sub(1).min(16);
    let half = BASE_DELAY.saturating_mul(1 << doublings).min(MAX_DELAY) / 2;
    half + half.mul_f64(rng.f64())
}

/// How often one call was tried, and why again. Pure: time and chance are arguments.
#[derive(Debug)]
pub(crate) struct Persistence {
    effect: Effect,
    attempts_left: u32,
    back_offs: u32,
    causes: Vec<Cause>,
}

impl Persistence {
    /// For a call that may be attempted `attempts` times.
    pub(crate) fn new(effect: Effect, attempts: u32) -> Self {
        Self {
            effect,
            attempts_left: attempts.saturating_sub(1),
            back_offs: 0,
            causes: Vec::new(),
        }
    }

    /// How long to wait until the next attempt; `None` gives up. The service asked to wait for `asked`, and `left` is
    /// what remains of the call's time.
    pub(crate) fn next(
        &mut self,
        cause: Cause,
        asked: Option<Duration>,
        left: Duration,
        rng: &mut Rng,
    ) -> Option<Duration> {
        let rule = RULES.iter().find(|rule| rule.cause == cause)?;
        let sensible = match rule.repeat {
            Repeat::Always => true,
            Repeat::IfRepeatable => self.effect == Effect::Repeatable,
            Repeat::Never => false,
        };
        let times = self.causes.iter().filter(|earlier| **earlier == cause).count();
        if !sensible || self.attempts_left == 0 || times >= rule.times as usize {
            return None;
        }
        let own = match rule.wait {
            Wait::AtOnce => Duration::ZERO,
            Wait::BackOff => back_off(self.back_offs + 1, rng),
        };
        let wait = asked.unwrap_or_default().max(own);
        if wait >= left {
            return None;
        }
        self.attempts_left -= 1;
        self.back_offs += u32::from(rule.wait == Wait::BackOff);
        self.causes.push(cause);
        Some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(1000);

    #[test]
    fn every_cause_has_one_row_and_what_may_have_been_done_is_never_done_twice() {
        for (index, rule) in RULES.iter().enumerate() {
            assert!(RULES[..index].iter().all(|other| other.cause != rule.cause), "{rule:?}");
            let certain = !matches!(
                rule.cause,
                Cause::NoAnswer | Cause::Refused(RefusalClass::Unavailable | RefusalClass::Undecodable)
            );
            assert!(certain || rule.repeat != Repeat::Always, "{rule:?}");
        }
    }

    #[test]
    fn waits_longer_each_time_up_to_a_limit() {
        let mut rng = Rng::with_seed(1);
        for (repeat, longest) in [(1, 500), (2, 1000), (3, 2000), (5, 8000), (6, 8000), (u32::MAX, 8000)] {
            let longest = Duration::from_millis(longest);
            let waits: Vec<Duration> = (0..200).map(|_| back_off(repeat, &mut rng)).collect();
            assert!(
                waits.iter().all(|wait| (longest / 2..=longest).contains(wait)),
                "{repeat}: {waits:?}"
            );
            assert!(
                waits.iter().any(|wait| *wait != waits[0]),
                "{repeat}: there is no jitter"
            );
        }
    }

    #[test]
    fn is_as_persistent_as_it_may_be() {
        let asked = Some(Duration::from_secs(20));
        let throttled = Cause::Refused(RefusalClass::Throttled);
        let nonce = Cause::Refused(RefusalClass::NonceUsed);
        for (name, cause, asked, left, expected) in [
            ("asked for more than its own", throttled, asked, LONG, asked),
            (
                "asked for what is not left",
                throttled,
                asked,
                Duration::from_secs(20),
                None,
            ),
            ("at once", nonce, None, LONG, Some(Duration::ZERO)),
            ("at once, but asked to wait", nonce, asked, LONG, asked),
            ("no time left", nonce, None, Duration::ZERO, None),
            ("final", Cause::Refused(RefusalClass::Final), None, LONG, None),
        ] {
            let mut persistence = Persistence::new(Effect::Once, 5);
            assert_eq!(
                persistence.next(cause, asked, left, &mut Rng::with_seed(1)),
                expected,
                "{name}"
            );
        }
    }

    #[test]
    fn causes_are_counted_apart_and_attempts_together() {
        let mut rng = Rng::with_seed(1);
        let mut persistence = Persistence::new(Effect::Repeatable, 5);
        let mut goes_on = |cause| persistence.next(cause, None, LONG, &mut rng).is_some();
        let credential = Cause::Refused(RefusalClass::Credential);
        assert!(goes_on(credential));
        assert!(!goes_on(credential), "once only");
        assert!(goes_on(Cause::NoAnswer));
        assert!(goes_on(Cause::NotSent));
        assert!(goes_on(Cause::Refused(RefusalClass::ClockSkew)));
        assert!(!goes_on(Cause::NotSent), "five attempts were made");
    }
}
