//! What a vendor's error code means to us: rows of a table that each cloud brings.

use std::collections::HashSet;
use std::time::Duration;

use imagecache_core::ErrorKind;

use crate::RefusalClass;

/// What a code means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meaning {
    /// Whose problem it is.
    pub kind: ErrorKind,
    /// Whether sending the call again within seconds helps.
    pub class: RefusalClass,
    /// How long to wait before asking again, where seconds are pointless.
    pub wait: Option<Duration>,
}

/// Somebody has to raise the quota or remove something: looked at again after this.
const QUOTA_WAIT: Duration = Duration::from_secs(2 * 60);
/// Stock and addresses come back when others let go of theirs.
const STOCK_WAIT: Duration = Duration::from_secs(5 * 60);

impl Meaning {
    /// The spec asks for what cannot be.
    pub const INVALID: Self = Self::new(ErrorKind::InvalidSpec, RefusalClass::Final);
    /// The account may not do it.
    pub const DENIED: Self = Self::new(ErrorKind::PermissionDenied, RefusalClass::Final);
    /// Not for this account or this cloud at all.
    pub const UNSUPPORTED: Self = Self::new(ErrorKind::Unsupported, RefusalClass::Final);
    /// There is no such thing.
    pub const NOT_FOUND: Self = Self::new(ErrorKind::NotFound, RefusalClass::Final);
    /// We did what we never should.
    pub const OURS: Self = Self::new(ErrorKind::Internal, RefusalClass::Final);
    /// The state has to change first, so the same call within seconds is pointless.
    pub const STATUS: Self = Self::new(ErrorKind::Conflict, RefusalClass::Final);
    /// Something else is going on that ends within seconds.
    pub const CONFLICT: Self = Self::new(ErrorKind::Conflict, RefusalClass::Conflict);
    /// Too many calls.
    pub const THROTTLED: Self = Self::new(ErrorKind::RateLimited, RefusalClass::Throttled);
    /// The service's own trouble.
    pub const DOWN: Self = Self::new(ErrorKind::Unavailable, RefusalClass::Unavailable);
    /// The credential is not accepted.
    pub const CREDENTIAL: Self = Self::new(ErrorKind::Unauthenticated, RefusalClass::Credential);
    /// The clocks differ.
    pub const SKEW: Self = Self::new(ErrorKind::Unauthenticated, RefusalClass::ClockSkew);
    /// A quota is full.
    pub const QUOTA: Self = Self::after(ErrorKind::QuotaExceeded, QUOTA_WAIT);
    /// The service has nothing left to give.
    pub const STOCK: Self = Self::after(ErrorKind::Unavailable, STOCK_WAIT);

    /// A meaning without a wait of its own.
    pub const fn new(kind: ErrorKind, class: RefusalClass) -> Self {
        Self {
            kind,
            class,
            wait: None,
        }
    }

    const fn after(kind: ErrorKind, wait: Duration) -> Self {
        Self {
            kind,
            class: RefusalClass::Final,
            wait: Some(wait),
        }
    }

    /// What the first row of `table` that `code` begins with says.
    pub fn of(code: &str, table: &[(&str, Self)]) -> Option<Self> {
        let (_, meaning) = table.get(Self::row(code, table)?)?;
        Some(*meaning)
    }

    /// Which row of `table` decides about `code`.
    fn row(code: &str, table: &[(&str, Self)]) -> Option<usize> {
        table.iter().position(|(prefix, _)| begins_with(code, prefix))
    }

    /// The prefixes of `table` that decide about none of `codes`: without a test, or behind a row that takes theirs.
    pub fn idle_rows<'a>(table: &[(&'a str, Self)], codes: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
        let deciding: HashSet<_> = codes.into_iter().filter_map(|code| Self::row(code, table)).collect();
        let idle = table.iter().enumerate().filter(|(row, _)| !deciding.contains(row));
        idle.map(|(_, (prefix, _))| *prefix).collect()
    }

    /// What an answer with an unknown code, or none, means: a 5xx passes, a 4xx does not.
    pub fn of_status(status: http::StatusCode) -> Self {
        match status {
            http::StatusCode::TOO_MANY_REQUESTS => Self::THROTTLED,
            status if status.is_server_error() => Self::DOWN,
            _ => Self::OURS,
        }
    }
}

/// Whether `code` is `prefix` or something below it: `NoPermission.Tag` is below `NoPermission`, `InternalErrors` is not below
/// `InternalError`. A prefix that ends in `*` stands for whatever begins so, one that ends in `$` for itself alone.
fn begins_with(code: &str, prefix: &str) -> bool {
    if let Some(start) = prefix.strip_suffix('*') {
        return code.starts_with(start);
    }
    if let Some(whole) = prefix.strip_suffix('$') {
        return code == whole;
    }
    code.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_row_that_fits_decides() {
        let table = &[
            ("A.Quota*", Meaning::QUOTA),
            ("A.B", Meaning::DENIED),
            ("A", Meaning::DOWN),
            ("E$", Meaning::OURS),
        ];
        for (code, expected) in [
            ("A", Some(Meaning::DOWN)),
            ("A.C", Some(Meaning::DOWN)),
            ("A.B", Some(Meaning::DENIED)),
            ("A.B.C", Some(Meaning::DENIED)),
            ("A.BC", Some(Meaning::DOWN)),
            ("A.QuotaMaxNodes", Some(Meaning::QUOTA)),
            ("AB", None),
            ("E", Some(Meaning::OURS)),
            ("E.F", None),
            ("", None),
        ] {
            assert_eq!(Meaning::of(code, table), expected, "{code}");
        }
        assert_eq!(Meaning::idle_rows(table, ["A.C", "A.B.C", "E"]), ["A.Quota*"]);
    }

    #[test]
    fn every_meaning_has_its_kind_and_what_to_do() {
        use RefusalClass::{ClockSkew, Conflict, Credential, Final, Throttled, Unavailable};
        for (meaning, kind, class, seconds) in [
            (Meaning::INVALID, ErrorKind::InvalidSpec, Final, None),
            (Meaning::DENIED, ErrorKind::PermissionDenied, Final, None),
            (Meaning::UNSUPPORTED, ErrorKind::Unsupported, Final, None),
            (Meaning::NOT_FOUND, ErrorKind::NotFound, Final, None),
            (Meaning::OURS, ErrorKind::Internal, Final, None),
            (Meaning::STATUS, ErrorKind::Conflict, Final, None),
            (Meaning::CONFLICT, ErrorKind::Conflict, Conflict, None),
            (Meaning::THROTTLED, ErrorKind::RateLimited, Throttled, None),
            (Meaning::DOWN, ErrorKind::Unavailable, Unavailable, None),
            (Meaning::CREDENTIAL, ErrorKind::Unauthenticated, Credential, None),
            (Meaning::SKEW, ErrorKind::Unauthenticated, ClockSkew, None),
            (Meaning::QUOTA, ErrorKind::QuotaExceeded, Final, Some(120)),
            (Meaning::STOCK, ErrorKind::Unavailable, Final, Some(300)),
        ] {
            let wait = seconds.map(Duration::from_secs);
            assert_eq!(meaning, Meaning { kind, class, wait });
        }
    }

    #[test]
    fn unknown_codes_go_by_their_status() {
        for (status, kind, class) in [
            (400, ErrorKind::Internal, RefusalClass::Final),
            (404, ErrorKind::Internal, RefusalClass::Final),
            (429, ErrorKind::RateLimited, RefusalClass::Throttled),
            (500, ErrorKind::Unavailable, RefusalClass::Unavailable),
            (503, ErrorKind::Unavailable, RefusalClass::Unavailable),
        ] {
            let meaning = Meaning::of_status(http::StatusCode::from_u16(status).unwrap());
            assert_eq!((meaning.kind, meaning.class), (kind, class), "{status}");
        }
    }
}
