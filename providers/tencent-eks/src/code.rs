//! What the vendor's error codes mean to us: one table, most specific prefix first.
//!
//! From the error codes that TKE (API 2018-05-25) lists for its actions and the page "Common error codes" of API 3.0.
//! `InternalError` is no class of its own there: permissions, parameters, quotas and balances hide under it, so it stands for
//! the service's own trouble only where it stands alone or with a known word behind it.

use imagecache_cloud_http::{Meaning, RefusalClass};
use imagecache_core::ErrorKind;

use Meaning as M;

/// Signed in a way that a fresh credential does not mend.
const UNSIGNED: Meaning = Meaning::new(ErrorKind::Unauthenticated, RefusalClass::Final);

/// The table; the first row that the code begins with decides. `*` at the end: whatever begins so; `$`: exactly so.
const CODES: &[(&str, Meaning)] = &[
    // Rates.
    ("RequestLimitExceeded", M::THROTTLED),
    // Credentials and clock.
    ("AuthFailure.SignatureExpire", M::SKEW),
    ("AuthFailure.TokenFailure", M::CREDENTIAL),
    ("AuthFailure.SignatureFailure", M::CREDENTIAL),
    ("AuthFailure.InvalidSecretId", M::CREDENTIAL),
    ("AuthFailure.SecretIdNotFound", M::CREDENTIAL),
    ("AuthFailure.InvalidAuthorization", UNSIGNED),
    ("AuthFailure.MFAFailure", UNSIGNED),
    ("AuthFailure.UnauthorizedOperation", M::DENIED),
    ("AuthFailure", UNSIGNED),
    // Permissions.
    ("UnauthorizedOperation", M::DENIED),
    ("FailedOperation.CamNoAuth", M::DENIED),
    ("InternalError.CamNoAuth", M::DENIED),
    ("IpInBlacklist", M::DENIED),
    ("IpNotInWhitelist", M::DENIED),
    // Money and account.
    ("FailedOperation.TradeInsufficientBalance", M::DENIED),
    ("InternalError.InsufficientBalance", M::DENIED),
    ("InternalError.TradeInsufficientBalance", M::DENIED),
    ("InternalError.NoPaymentAccess", M::DENIED),
    ("FailedOperation.AccountUserNotAuthenticated", M::DENIED),
    ("InternalError.NotVerified", M::DENIED),
    // Not there.
    ("ResourceNotFound", M::NOT_FOUND),
    ("InvalidParameter.ResourceNotFound", M::NOT_FOUND),
    ("FailedOperation.RecordNotFound", M::NOT_FOUND),
    ("InternalError.DbRecordNotFound", M::NOT_FOUND),
    // Quotas and stock.
    ("LimitExceeded", M::QUOTA),
    ("InvalidParameterValue.LimitExceeded", M::QUOTA),
    ("FailedOperation.QuotaMax*", M::QUOTA),
    ("InternalError.QuotaMax*", M::QUOTA),
    ("ResourceInsufficient", M::STOCK),
    ("ResourcesSoldOut", M::STOCK),
    // What was asked for.
    ("InvalidParameter", M::INVALID),
    ("InvalidParameterValue", M::INVALID),
    ("MissingParameter", M::INVALID),
    ("UnknownParameter", M::INVALID),
    ("InternalError.Param", M::INVALID),
    ("FailedOperation.Param", M::INVALID),
    ("RequestSizeLimitExceeded", M::INVALID),
    // Status.
    ("ResourceInUse", M::STATUS),
    ("ResourceUnavailable", M::STATUS),
    ("OperationDenied", M::STATUS),
    ("UnsupportedOperation", M::STATUS),
    ("FailedOperation.TaskAlreadyRunning", M::STATUS),
    // Not at this endpoint, in this region or version.
    ("InvalidAction", M::UNSUPPORTED),
    ("NoSuchVersion", M::UNSUPPORTED),
    ("NoSuchProduct", M::UNSUPPORTED),
    ("ActionOffline", M::UNSUPPORTED),
    ("FailedOperation.DeprecatedAPI", M::UNSUPPORTED),
    ("UnsupportedRegion", M::UNSUPPORTED),
    ("UnsupportedProtocol", M::UNSUPPORTED),
    // The service's own trouble.
    ("ServiceUnavailable", M::DOWN),
    ("FailedOperation.UnexpectedError", M::DOWN),
    ("InternalError.UnexpectedInternal", M::DOWN),
    // The vendor's spelling, here and below.
    ("InternalError.UnexceptedInternal", M::DOWN),
    ("InternalError.Db$", M::DOWN),
    ("InternalError.ComponentClientHttp", M::DOWN),
    ("InternalError.ComponentClinetHttp", M::DOWN),
    ("InternalError$", M::DOWN),
];

/// What `code` means; `None` for a code that we do not know. The message counts for nothing: its language may change.
pub(crate) fn known(code: &str, _message: &str) -> Option<Meaning> {
    Meaning::of(code, CODES)
}

#[cfg(test)]
mod tests {
    use imagecache_cloud_http::begins_with;

    use super::*;
    use ErrorKind as Kind;
    use RefusalClass as Class;

    /// Every code of the reference, by hand: code, kind, class, seconds to wait.
    const EXPECTED: &[(&str, Kind, Class, u64)] = &[
        ("RequestLimitExceeded", Kind::RateLimited, Class::Throttled, 0),
        (
            "RequestLimitExceeded.UinLimitExceeded",
            Kind::RateLimited,
            Class::Throttled,
            0,
        ),
        (
            "RequestLimitExceeded.IPLimitExceeded",
            Kind::RateLimited,
            Class::Throttled,
            0,
        ),
        (
            "RequestLimitExceeded.GlobalRegionUinLimitExceeded",
            Kind::RateLimited,
            Class::Throttled,
            0,
        ),
        (
            "AuthFailure.SignatureExpire",
            Kind::Unauthenticated,
            Class::ClockSkew,
            0,
        ),
        ("AuthFailure.TokenFailure", Kind::Unauthenticated, Class::Credential, 0),
        (
            "AuthFailure.SignatureFailure",
            Kind::Unauthenticated,
            Class::Credential,
            0,
        ),
        (
            "AuthFailure.InvalidSecretId",
            Kind::Unauthenticated,
            Class::Credential,
            0,
        ),
        (
            "AuthFailure.SecretIdNotFound",
            Kind::Unauthenticated,
            Class::Credential,
            0,
        ),
        (
            "AuthFailure.InvalidAuthorization",
            Kind::Unauthenticated,
            Class::Final,
            0,
        ),
        ("AuthFailure.MFAFailure", Kind::Unauthenticated, Class::Final, 0),
        ("AuthFailure", Kind::Unauthenticated, Class::Final, 0),
        (
            "AuthFailure.UnauthorizedOperation",
            Kind::PermissionDenied,
            Class::Final,
            0,
        ),
        ("UnauthorizedOperation", Kind::PermissionDenied, Class::Final, 0),
        (
            "UnauthorizedOperation.CamNoAuth",
            Kind::PermissionDenied,
            Class::Final,
            0,
        ),
        ("FailedOperation.CamNoAuth", Kind::PermissionDenied, Class::Final, 0),
        ("InternalError.CamNoAuth", Kind::PermissionDenied, Class::Final, 0),
        ("IpInBlacklist", Kind::PermissionDenied, Class::Final, 0),
        ("IpNotInWhitelist", Kind::PermissionDenied, Class::Final, 0),
        (
            "FailedOperation.TradeInsufficientBalance",
            Kind::PermissionDenied,
            Class::Final,
            0,
        ),
        (
            "InternalError.InsufficientBalance",
            Kind::PermissionDenied,
            Class::Final,
            0,
        ),
        (
            "InternalError.TradeInsufficientBalance",
            Kind::PermissionDenied,
            Class::Final,
            0,
        ),
        ("InternalError.NoPaymentAccess", Kind::PermissionDenied, Class::Final, 0),
        (
            "FailedOperation.AccountUserNotAuthenticated",
            Kind::PermissionDenied,
            Class::Final,
            0,
        ),
        ("InternalError.NotVerified", Kind::PermissionDenied, Class::Final, 0),
        ("ResourceNotFound", Kind::NotFound, Class::Final, 0),
        ("ResourceNotFound.NotFound", Kind::NotFound, Class::Final, 0),
        ("InvalidParameter.ResourceNotFound", Kind::NotFound, Class::Final, 0),
        ("FailedOperation.RecordNotFound", Kind::NotFound, Class::Final, 0),
        ("InternalError.DbRecordNotFound", Kind::NotFound, Class::Final, 0),
        ("LimitExceeded", Kind::QuotaExceeded, Class::Final, 120),
        (
            "InvalidParameterValue.LimitExceeded",
            Kind::QuotaExceeded,
            Class::Final,
            120,
        ),
        (
            "FailedOperation.QuotaMaxClsLimit",
            Kind::QuotaExceeded,
            Class::Final,
            120,
        ),
        ("InternalError.QuotaMaxNodLimit", Kind::QuotaExceeded, Class::Final, 120),
        ("ResourceInsufficient", Kind::Unavailable, Class::Final, 300),
        ("ResourcesSoldOut", Kind::Unavailable, Class::Final, 300),
        ("InvalidParameter", Kind::InvalidSpec, Class::Final, 0),
        ("InvalidParameter.Param", Kind::InvalidSpec, Class::Final, 0),
        ("InvalidParameter.SubnetNotExist", Kind::InvalidSpec, Class::Final, 0),
        (
            "InvalidParameter.SubnetInvalidError",
            Kind::InvalidSpec,
            Class::Final,
            0,
        ),
        ("InvalidParameterValue", Kind::InvalidSpec, Class::Final, 0),
        (
            "InvalidParameterValue.ImageNotFound",
            Kind::InvalidSpec,
            Class::Final,
            0,
        ),
        ("InvalidParameterValue.Size", Kind::InvalidSpec, Class::Final, 0),
        ("MissingParameter", Kind::InvalidSpec, Class::Final, 0),
        ("UnknownParameter", Kind::InvalidSpec, Class::Final, 0),
        ("InternalError.Param", Kind::InvalidSpec, Class::Final, 0),
        ("FailedOperation.Param", Kind::InvalidSpec, Class::Final, 0),
        ("RequestSizeLimitExceeded", Kind::InvalidSpec, Class::Final, 0),
        ("ResourceInUse", Kind::Conflict, Class::Final, 0),
        ("ResourceUnavailable", Kind::Conflict, Class::Final, 0),
        (
            "ResourceUnavailable.EksContainerStatus",
            Kind::Conflict,
            Class::Final,
            0,
        ),
        ("OperationDenied", Kind::Conflict, Class::Final, 0),
        ("UnsupportedOperation", Kind::Conflict, Class::Final, 0),
        ("FailedOperation.TaskAlreadyRunning", Kind::Conflict, Class::Final, 0),
        ("InvalidAction", Kind::Unsupported, Class::Final, 0),
        ("NoSuchVersion", Kind::Unsupported, Class::Final, 0),
        ("NoSuchProduct", Kind::Unsupported, Class::Final, 0),
        ("ActionOffline", Kind::Unsupported, Class::Final, 0),
        ("FailedOperation.DeprecatedAPI", Kind::Unsupported, Class::Final, 0),
        ("UnsupportedRegion", Kind::Unsupported, Class::Final, 0),
        ("UnsupportedProtocol", Kind::Unsupported, Class::Final, 0),
        ("ServiceUnavailable", Kind::Unavailable, Class::Unavailable, 0),
        (
            "FailedOperation.UnexpectedError",
            Kind::Unavailable,
            Class::Unavailable,
            0,
        ),
        (
            "InternalError.UnexpectedInternal",
            Kind::Unavailable,
            Class::Unavailable,
            0,
        ),
        (
            "InternalError.UnexceptedInternal",
            Kind::Unavailable,
            Class::Unavailable,
            0,
        ),
        ("InternalError.Db", Kind::Unavailable, Class::Unavailable, 0),
        (
            "InternalError.ComponentClientHttp",
            Kind::Unavailable,
            Class::Unavailable,
            0,
        ),
        (
            "InternalError.ComponentClinetHttp",
            Kind::Unavailable,
            Class::Unavailable,
            0,
        ),
        ("InternalError", Kind::Unavailable, Class::Unavailable, 0),
    ];

    #[test]
    fn every_code_has_its_meaning() {
        for (code, kind, class, seconds) in EXPECTED {
            let expected = Meaning {
                kind: *kind,
                class: *class,
                wait: (*seconds > 0).then(|| std::time::Duration::from_secs(*seconds)),
            };
            assert_eq!(known(code, ""), Some(expected), "{code}");
        }
    }

    #[test]
    fn every_row_is_tested_and_can_be_reached() {
        for (index, (prefix, meaning)) in CODES.iter().enumerate() {
            let tested: Vec<&str> = EXPECTED
                .iter()
                .map(|(code, ..)| *code)
                .filter(|code| CODES.iter().position(|(prefix, _)| begins_with(code, prefix)) == Some(index))
                .collect();
            assert!(
                !tested.is_empty(),
                "{prefix} ({meaning:?}) has no row in the test, or is behind one that takes it"
            );
        }
    }

    #[test]
    fn nothing_is_guessed_from_a_family() {
        for code in [
            "",
            "Something",
            "InternalError.New",
            "InternalErrors",
            "FailedOperation",
            "FailedOperation.New",
        ] {
            assert_eq!(known(code, "InternalError"), None, "{code}");
        }
    }
}
