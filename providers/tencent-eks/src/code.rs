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
    use super::*;

    /// Every code of the reference, by hand.
    const EXPECTED: &[(&str, Meaning)] = &[
        ("RequestLimitExceeded", M::THROTTLED),
        ("RequestLimitExceeded.UinLimitExceeded", M::THROTTLED),
        ("RequestLimitExceeded.IPLimitExceeded", M::THROTTLED),
        ("RequestLimitExceeded.GlobalRegionUinLimitExceeded", M::THROTTLED),
        ("AuthFailure.SignatureExpire", M::SKEW),
        ("AuthFailure.TokenFailure", M::CREDENTIAL),
        ("AuthFailure.SignatureFailure", M::CREDENTIAL),
        ("AuthFailure.InvalidSecretId", M::CREDENTIAL),
        ("AuthFailure.SecretIdNotFound", M::CREDENTIAL),
        ("AuthFailure.InvalidAuthorization", UNSIGNED),
        ("AuthFailure.MFAFailure", UNSIGNED),
        ("AuthFailure", UNSIGNED),
        ("AuthFailure.UnauthorizedOperation", M::DENIED),
        ("UnauthorizedOperation", M::DENIED),
        ("UnauthorizedOperation.CamNoAuth", M::DENIED),
        ("FailedOperation.CamNoAuth", M::DENIED),
        ("InternalError.CamNoAuth", M::DENIED),
        ("IpInBlacklist", M::DENIED),
        ("IpNotInWhitelist", M::DENIED),
        ("FailedOperation.TradeInsufficientBalance", M::DENIED),
        ("InternalError.InsufficientBalance", M::DENIED),
        ("InternalError.TradeInsufficientBalance", M::DENIED),
        ("InternalError.NoPaymentAccess", M::DENIED),
        ("FailedOperation.AccountUserNotAuthenticated", M::DENIED),
        ("InternalError.NotVerified", M::DENIED),
        ("ResourceNotFound", M::NOT_FOUND),
        ("ResourceNotFound.NotFound", M::NOT_FOUND),
        ("InvalidParameter.ResourceNotFound", M::NOT_FOUND),
        ("FailedOperation.RecordNotFound", M::NOT_FOUND),
        ("InternalError.DbRecordNotFound", M::NOT_FOUND),
        ("LimitExceeded", M::QUOTA),
        ("InvalidParameterValue.LimitExceeded", M::QUOTA),
        ("FailedOperation.QuotaMaxClsLimit", M::QUOTA),
        ("InternalError.QuotaMaxNodLimit", M::QUOTA),
        ("ResourceInsufficient", M::STOCK),
        ("ResourcesSoldOut", M::STOCK),
        ("InvalidParameter", M::INVALID),
        ("InvalidParameter.Param", M::INVALID),
        ("InvalidParameter.SubnetNotExist", M::INVALID),
        ("InvalidParameter.SubnetInvalidError", M::INVALID),
        ("InvalidParameterValue", M::INVALID),
        ("InvalidParameterValue.ImageNotFound", M::INVALID),
        ("InvalidParameterValue.Size", M::INVALID),
        ("MissingParameter", M::INVALID),
        ("UnknownParameter", M::INVALID),
        ("InternalError.Param", M::INVALID),
        ("FailedOperation.Param", M::INVALID),
        ("RequestSizeLimitExceeded", M::INVALID),
        ("ResourceInUse", M::STATUS),
        ("ResourceUnavailable", M::STATUS),
        ("ResourceUnavailable.EksContainerStatus", M::STATUS),
        ("OperationDenied", M::STATUS),
        ("UnsupportedOperation", M::STATUS),
        ("FailedOperation.TaskAlreadyRunning", M::STATUS),
        ("InvalidAction", M::UNSUPPORTED),
        ("NoSuchVersion", M::UNSUPPORTED),
        ("NoSuchProduct", M::UNSUPPORTED),
        ("ActionOffline", M::UNSUPPORTED),
        ("FailedOperation.DeprecatedAPI", M::UNSUPPORTED),
        ("UnsupportedRegion", M::UNSUPPORTED),
        ("UnsupportedProtocol", M::UNSUPPORTED),
        ("ServiceUnavailable", M::DOWN),
        ("FailedOperation.UnexpectedError", M::DOWN),
        ("InternalError.UnexpectedInternal", M::DOWN),
        ("InternalError.UnexceptedInternal", M::DOWN),
        ("InternalError.Db", M::DOWN),
        ("InternalError.ComponentClientHttp", M::DOWN),
        ("InternalError.ComponentClinetHttp", M::DOWN),
        ("InternalError", M::DOWN),
    ];

    #[test]
    fn every_code_has_its_meaning() {
        for (code, expected) in EXPECTED {
            assert_eq!(known(code, ""), Some(*expected), "{code}");
        }
    }

    #[test]
    fn every_row_is_tested_and_can_be_reached() {
        assert_eq!(
            Meaning::idle_rows(CODES, EXPECTED.iter().map(|(code, _)| *code)),
            [""; 0]
        );
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
