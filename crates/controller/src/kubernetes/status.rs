//! Turns what is known of an object into its [`Report`], and into the notice that a change deserves. Pure.

use imagecache_core::{CacheEvent, CacheKey, CacheState, EventSeverity, Failure, Phase, Progress};
use imagecache_k8s_api::{Memory, Report, ReportPhase};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::events::Notice;
use super::names::{FALSE, PROGRESSING, READY, TRUE, reason};
use super::policy::policy;
use super::previous::Previous;

/// Everything that a report depends on.
#[derive(Debug)]
pub(super) struct Situation<'a> {
    /// What is written down after this pass.
    pub(super) memory: Memory,
    /// Key of the present spec; `None` when it is invalid.
    pub(super) desired: Option<&'a CacheKey>,
    /// State of the cache that the object uses.
    pub(super) serving: Option<&'a CacheState>,
    /// State of the cache of the present spec.
    pub(super) wanted: Option<&'a CacheState>,
    /// What is wrong with the spec, its secrets, or the last call to the provider.
    pub(super) problem: Option<Failure>,
    /// The cache lived as long as it was asked to.
    pub(super) expired: bool,
    /// Generation of the spec.
    pub(super) generation: Option<i64>,
    /// What the status said before.
    pub(super) previous: &'a Previous,
    /// What the cache that the object uses costs.
    pub(super) cost: Option<String>,
    /// The present.
    pub(super) now: Timestamp,
}

/// What to show.
pub(super) fn report(situation: Situation<'_>) -> Report {
    let Situation {
        memory,
        desired,
        serving,
        wanted,
        problem,
        expired,
        generation,
        previous,
        cost,
        now,
    } = situation;
    let replacing = memory.cache_key.is_some() && memory.cache_key.as_ref() != desired;
    let serves = serving.is_some_and(|state| state.phase == Phase::Ready);
    let shown = shown_phase(wanted, problem.as_ref(), expired);
    let phase = if replacing && serves {
        while_replacing(shown)
    } else {
        shown
    };
    let mut events = wanted.or(serving).map(|state| state.events.clone()).unwrap_or_default();
    if expired {
        events.clone_from(&previous.events);
    }
    if let Some(problem) = &problem {
        events.push(problem_event(problem, previous, now));
    }
    let problem = problem.or_else(|| wanted.and_then(|state| state.phase.failure().cloned()));
    let subject = serving.or(wanted);
    let id = subject
        .map(|state| state.id.clone())
        .or_else(|| previous.id.clone().filter(|_| expired));
    let summary = summary(
        &phase,
        problem.as_ref(),
        id.as_ref().map(imagecache_core::CacheId::as_str),
    );
    let summary = match wanted.and_then(|state| state.activity.as_ref()) {
        Some(activity) if phase == ReportPhase::Creating && problem.is_none() => Summary {
            message: format!("{}: {activity}", summary.message),
            ..summary
        },
        _ => summary,
    };
    let summary = match wanted.and_then(last_setback) {
        // A build that is tried again is Pending, and people still want to read what stopped it.
        Some(message) if phase == ReportPhase::Pending && problem.is_none() => Summary {
            message: format!("{message}; trying again"),
            ..summary
        },
        _ => summary,
    };
    let conditions = conditions(&phase, &summary, generation, previous, now);
    Report {
        progress: wanted.map_or(if expired { previous.progress } else { Progress::ZERO }, |state| {
            state.progress
        }),
        snapshot_id: subject.and_then(|state| state.snapshot_id.clone()),
        created_at: subject
            .map(|state| state.created_at)
            .or(previous.created_at.filter(|_| expired)),
        updated_at: wanted
            .or(subject)
            .map(|state| state.updated_at)
            .or(previous.updated_at.filter(|_| expired)),
        // A cache that is gone for the moment keeps its date, or its end would be taken for a loss.
        expires_at: if serving.is_some() {
            serving.and_then(|state| state.expires_at)
        } else {
            memory.expires_at
        },
        phase,
        problem,
        id,
        events,
        conditions,
        cost,
        observed_generation: generation,
        memory,
    }
}

/// What stopped a build that is about to be tried again.
fn last_setback(state: &CacheState) -> Option<&str> {
    let last = state.events.last()?;
    (state.phase == Phase::Pending && last.severity == EventSeverity::Warning).then_some(last.message.as_str())
}

fn shown_phase(wanted: Option<&CacheState>, problem: Option<&Failure>, expired: bool) -> ReportPhase {
    if expired {
        return ReportPhase::Expired;
    }
    if let Some(problem) = problem {
        return policy(problem.kind).phase;
    }
    match wanted.map(|state| (&state.phase, state.progress)) {
        None | Some((Phase::Pending, _)) => ReportPhase::Pending,
        Some((Phase::Creating, _)) => ReportPhase::Creating,
        Some((Phase::Ready, _)) => ReportPhase::Ready,
        Some((Phase::Failed(_), _)) => ReportPhase::Failed,
        Some((Phase::Stalled(failure), progress)) => match policy(failure.kind).phase {
            ReportPhase::Pending if progress > Progress::ZERO => ReportPhase::Creating,
            other => other,
        },
        Some((Phase::Unknown(raw), _)) => ReportPhase::Unknown(raw.clone()),
    }
}

/// How a phase looks while the cache of an earlier spec still serves.
fn while_replacing(phase: ReportPhase) -> ReportPhase {
    match phase {
        ReportPhase::Failed | ReportPhase::UpdateFailed => ReportPhase::UpdateFailed,
        ReportPhase::Pending | ReportPhase::Creating | ReportPhase::Updating | ReportPhase::Unknown(_) => {
            ReportPhase::Updating
        }
        ReportPhase::Ready | ReportPhase::Expired => phase,
    }
}

/// Reason and message of the conditions.
struct Summary {
    reason: &'static str,
    message: String,
}

fn summary(phase: &ReportPhase, problem: Option<&Failure>, id: Option<&str>) -> Summary {
    let id = id.unwrap_or("the cache");
    if let Some(problem) = problem {
        return Summary {
            reason: problem.kind.reason(),
            message: problem.message.clone(),
        };
    }
    let (reason, message) = match phase {
        ReportPhase::Pending => (reason::PENDING, "the build has not started yet".to_owned()),
        ReportPhase::Creating => (reason::CREATING, format!("{id} is being built")),
        ReportPhase::Ready => (reason::READY, format!("{id} is ready")),
        ReportPhase::Failed => (reason::FAILED, format!("{id} could not be built")),
        ReportPhase::Updating => (
            reason::UPDATING,
            format!("the spec changed; {id} serves until the new cache is ready"),
        ),
        ReportPhase::UpdateFailed => (
            reason::UPDATE_FAILED,
            format!("the new cache failed; {id} still serves"),
        ),
        ReportPhase::Expired => (
            reason::EXPIRED,
            format!("{id} reached the end of its retention and was removed"),
        ),
        ReportPhase::Unknown(raw) => (reason::UNKNOWN, format!("the provider calls its state `{raw}`")),
    };
    Summary { reason, message }
}

fn conditions(
    phase: &ReportPhase,
    summary: &Summary,
    generation: Option<i64>,
    previous: &Previous,
    now: Timestamp,
) -> Vec<Condition> {
    let ready = *phase == ReportPhase::Ready;
    let progressing = matches!(
        phase,
        ReportPhase::Pending | ReportPhase::Creating | ReportPhase::Updating | ReportPhase::Unknown(_)
    );
    [(PROGRESSING, progressing), (READY, ready)]
        .into_iter()
        .map(|(type_, holds)| {
            let status = if holds { TRUE } else { FALSE };
            let since = previous.condition(type_).filter(|old| old.status == status);
            Condition {
                type_: type_.to_owned(),
                status: status.to_owned(),
                reason: summary.reason.to_owned(),
                message: summary.message.clone(),
                observed_generation: generation,
                last_transition_time: since.map_or(Time(whole_seconds(now)), |old| old.last_transition_time.clone()),
            }
        })
        .collect()
}

/// The event in the status for a problem that the provider knows nothing of. It keeps its time while it lasts.
fn problem_event(problem: &Failure, previous: &Previous, now: Timestamp) -> CacheEvent {
    let same = |event: &&CacheEvent| event.reason == problem.kind.reason() && event.message == problem.message;
    previous.events.last().filter(same).cloned().unwrap_or_else(|| {
        CacheEvent::new(
            EventSeverity::Warning,
            problem.kind.reason(),
            problem.message.clone(),
            whole_seconds(now),
        )
    })
}

/// What a status can hold: a time that survives being written and read.
fn whole_seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

/// Whether the conditions say the same, apart from what a build does just now.
pub(super) fn same_but_for_activity(report: &Report, previous: &Previous) -> bool {
    let is_building = report.phase == ReportPhase::Creating;
    report.conditions.len() == previous.conditions.len()
        && report.conditions.iter().zip(&previous.conditions).all(|(new, old)| {
            let mut old = old.clone();
            if is_building && old.reason == new.reason {
                old.message.clone_from(&new.message);
            }
            old == *new
        })
}

/// What to tell people when the status goes from `previous` to `report`; nothing while only progress was made.
pub(super) fn notice(previous: &Previous, report: &Report) -> Option<Notice> {
    let new = report.conditions.iter().find(|condition| condition.type_ == READY)?;
    let old = previous.condition(READY);
    // What a build does just now is part of the message.
    let is_same = |old: &Condition| old.message == new.message || report.phase == ReportPhase::Creating;
    if old.is_some_and(|old| old.reason == new.reason && is_same(old)) {
        return None;
    }
    let was_replacing = old.is_some_and(|old| [reason::UPDATING, reason::UPDATE_FAILED].contains(&old.reason.as_str()))
        || previous.was_replacing;
    let note = new.message.clone();
    let normal = |reason| {
        Some(Notice {
            severity: EventSeverity::Normal,
            reason,
            note: note.clone(),
        })
    };
    let warning = |reason| {
        Some(Notice {
            severity: EventSeverity::Warning,
            reason,
            note: note.clone(),
        })
    };
    match (&report.problem, &report.phase) {
        (Some(problem), _) => warning(problem.kind.reason()),
        (None, ReportPhase::Pending) => None,
        (None, ReportPhase::Creating) => normal(reason::CREATING),
        (None, ReportPhase::Ready) if was_replacing => normal(reason::UPDATED),
        (None, ReportPhase::Ready) => normal(reason::READY),
        (None, ReportPhase::Updating) => normal(reason::UPDATING),
        (None, ReportPhase::Expired) => normal(reason::EXPIRED),
        (None, ReportPhase::Failed | ReportPhase::UpdateFailed) => warning(reason::FAILED),
        (None, ReportPhase::Unknown(_)) => normal(reason::UNKNOWN),
    }
}
