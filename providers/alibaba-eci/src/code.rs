//! What the vendor's error codes mean to us: one table, most specific prefix first.
//!
//! From the error codes that the API's metadata (Eci 2018-08-08) lists for the image-cache actions, ECI's page "Common error
//! codes", and those of the gateway in front of every product.

use std::time::Duration;

use imagecache_cloud_http::RefusalClass;
use imagecache_core::ErrorKind;

/// What a code means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meaning {
    /// Whose problem it is.
    pub(crate) kind: ErrorKind,
    /// Whether sending the call again within seconds helps.
    pub(crate) class: RefusalClass,
    /// How long to wait before asking again, where seconds are pointless.
    pub(crate) wait: Option<Duration>,
}

/// Somebody has to raise the quota or remove something: looked at again after this.
const QUOTA_WAIT: Duration = Duration::from_secs(2 * 60);
/// Stock and addresses come back when others let go of theirs.
const STOCK_WAIT: Duration = Duration::from_secs(5 * 60);

const fn meaning(kind: ErrorKind, class: RefusalClass) -> Meaning {
    Meaning {
        kind,
        class,
        wait: None,
    }
}

const fn after(kind: ErrorKind, wait: Duration) -> Meaning {
    Meaning {
        kind,
        class: RefusalClass::Final,
        wait: Some(wait),
    }
}

const INVALID: Meaning = meaning(ErrorKind::InvalidSpec, RefusalClass::Final);
const DENIED: Meaning = meaning(ErrorKind::PermissionDenied, RefusalClass::Final);
const UNSUPPORTED: Meaning = meaning(ErrorKind::Unsupported, RefusalClass::Final);
const NOT_FOUND: Meaning = meaning(ErrorKind::NotFound, RefusalClass::Final);
const OURS: Meaning = meaning(ErrorKind::Internal, RefusalClass::Final);
/// The state has to change first, so the same call within seconds is pointless.
const STATUS: Meaning = meaning(ErrorKind::Conflict, RefusalClass::Final);
const CONFLICT: Meaning = meaning(ErrorKind::Conflict, RefusalClass::Conflict);
const THROTTLED: Meaning = meaning(ErrorKind::RateLimited, RefusalClass::Throttled);
const DOWN: Meaning = meaning(ErrorKind::Unavailable, RefusalClass::Unavailable);
const CREDENTIAL: Meaning = meaning(ErrorKind::Unauthenticated, RefusalClass::Credential);
const SKEW: Meaning = meaning(ErrorKind::Unauthenticated, RefusalClass::ClockSkew);
const QUOTA: Meaning = after(ErrorKind::QuotaExceeded, QUOTA_WAIT);
const STOCK: Meaning = after(ErrorKind::Unavailable, STOCK_WAIT);

/// The table; the first row that the code begins with decides.
const CODES: &[(&str, Meaning)] = &[
    // Account.
    ("Account.Arrearage", DENIED),
    ("Forbidden.AccessKeyDisabled", CREDENTIAL),
    ("Forbidden.UserBussinessStatus", DENIED),
    ("Forbidden.UserNotRealNameAuthentication", DENIED),
    ("Forbidden.RiskControl", DENIED),
    ("Forbidden.OnlyForInvitedTest", DENIED),
    ("Forbidden.SubUser", DENIED),
    ("Forbidden", DENIED),
    ("SecurityRisk.3DVerification", DENIED),
    ("NoPermission", DENIED),
    ("InvalidUser.PassRoleForbidden", DENIED),
    ("CreateServiceLinkedRole.Denied", DENIED),
    ("ServiceNotEnabled", DENIED),
    // Not for this account or this cloud at all.
    ("ImageCacheNotSupport", UNSUPPORTED),
    ("DiskVolume.NotSupport", UNSUPPORTED),
    ("RamRole.NotSupport", UNSUPPORTED),
    // Credentials and clock.
    (
        "SignatureNonceUsed",
        meaning(ErrorKind::Unavailable, RefusalClass::NonceUsed),
    ),
    ("SignatureDoesNotMatch", CREDENTIAL),
    ("IncompleteSignature", CREDENTIAL),
    ("InvalidAccessKeyId", CREDENTIAL),
    ("InvalidSecurityToken", CREDENTIAL),
    ("InvalidTimeStamp.Expired", SKEW),
    ("IllegalTimestamp", SKEW),
    // Rates, quotas, stock.
    ("Throttling.Vcpu.PerDay", QUOTA),
    ("Throttling", THROTTLED),
    ("Degrade.Api", THROTTLED),
    ("EipPurchaseFlowControl", THROTTLED),
    ("QuotaExceeded", QUOTA),
    ("OperationDenied.NoStock", STOCK),
    ("Zone.NotOnSale", STOCK),
    ("InvalidVSwitchId.IpNotEnough", STOCK),
    ("EipAddressPoolIpNotEnough", STOCK),
    // Status and conflicts.
    ("IncorrectStatus", STATUS),
    ("ImageCache.IncorrectStatus", STATUS),
    ("IdempotentParameterMismatch", STATUS),
    ("OperationConflict", CONFLICT),
    // What was asked for.
    ("OperationDenied.VswZoneMisMatch", INVALID),
    ("OperationDenied.SecurityGroupMisMatch", INVALID),
    ("InvalidOperation.NotSupportedEndpoint", INVALID),
    ("InvalidParameter.NotFound", NOT_FOUND),
    ("InvalidParameter.CPU.Memory", INVALID),
    ("InvalidParameter", INVALID),
    ("MissingParameter", INVALID),
    ("InvalidVSwitchId", INVALID),
    ("InvalidSecurityGroupId", INVALID),
    ("NumberExceed.Tags", INVALID),
    // Public addresses (VPC 2016-04-28).
    ("TaskConflict", CONFLICT),
    ("IncorrectEipStatus", STATUS),
    ("InvalidAllocationId.NotFound", NOT_FOUND),
    ("COMMODITY.INVALID_COMPONENT", INVALID),
    ("FrequentPurchase.EIP", THROTTLED),
    // Never asked for by us, or handled before it is looked up here.
    ("DryRunOperation", OURS),
    ("NoNeedUpdate", OURS),
    // The service's own trouble.
    ("ServiceUnavailable", DOWN),
    ("containerRepositoryAuthorizationFailed", DOWN),
    ("InternalError", DOWN),
    ("UnknownError", DOWN),
];

/// Nothing changed, so there was nothing to update: a success.
pub(crate) const NO_NEED_UPDATE: &str = "NoNeedUpdate";
/// The token was used before with other parameters.
pub(crate) const TOKEN_MISMATCH: &str = "IdempotentParameterMismatch";
/// The FAQ calls it a shortage of quota, the API a parameter out of range: the message tells.
const VALUE_EXCEEDED: &str = "InvalidParameter.ValueExceeded";

/// What `code` with its `message` means; `None` for a code that we do not know.
pub(crate) fn known(code: &str, message: &str) -> Option<Meaning> {
    if code.starts_with(VALUE_EXCEEDED) && message.to_ascii_lowercase().contains("quota") {
        return Some(QUOTA);
    }
    let row = CODES.iter().find(|(prefix, _)| begins_with(code, prefix));
    row.map(|(_, meaning)| *meaning)
}

/// Whether `code` is `prefix` or something below it: `NoPermission.Tag` is below `NoPermission`, `InternalErrors` is not below
/// `InternalError`.
fn begins_with(code: &str, prefix: &str) -> bool {
    code.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// What an answer with an unknown code, or none, means: a 5xx passes, a 4xx does not.
pub(crate) fn by_status(status: http::StatusCode) -> Meaning {
    match status {
        http::StatusCode::TOO_MANY_REQUESTS => THROTTLED,
        status if status.is_server_error() => DOWN,
        _ => OURS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ErrorKind as Kind;
    use RefusalClass as Class;

    /// Every code of the reference, by hand: code, kind, class, seconds to wait.
    const EXPECTED: &[(&str, Kind, Class, u64)] = &[
        ("Account.Arrearage", Kind::PermissionDenied, Class::Final, 0),
        ("DryRunOperation", Kind::Internal, Class::Final, 0),
        ("InvalidParameter.CPU.Memory", Kind::InvalidSpec, Class::Final, 0),
        ("IncorrectStatus", Kind::Conflict, Class::Final, 0),
        ("ImageCache.IncorrectStatus", Kind::Conflict, Class::Final, 0),
        ("ImageCacheNotSupport", Kind::Unsupported, Class::Final, 0),
        ("ServiceNotEnabled", Kind::PermissionDenied, Class::Final, 0),
        ("DiskVolume.NotSupport", Kind::Unsupported, Class::Final, 0),
        ("RamRole.NotSupport", Kind::Unsupported, Class::Final, 0),
        ("EipAddressPoolIpNotEnough", Kind::Unavailable, Class::Final, 300),
        ("OperationConflict", Kind::Conflict, Class::Conflict, 0),
        ("NoNeedUpdate", Kind::Internal, Class::Final, 0),
        ("QuotaExceeded", Kind::QuotaExceeded, Class::Final, 120),
        ("QuotaExceeded.ImageCache", Kind::QuotaExceeded, Class::Final, 120),
        ("OperationDenied.NoStock", Kind::Unavailable, Class::Final, 300),
        ("Zone.NotOnSale", Kind::Unavailable, Class::Final, 300),
        ("InvalidVSwitchId.IpNotEnough", Kind::Unavailable, Class::Final, 300),
        ("InvalidVSwitchId.NotFound", Kind::InvalidSpec, Class::Final, 0),
        ("OperationDenied.VswZoneMisMatch", Kind::InvalidSpec, Class::Final, 0),
        (
            "OperationDenied.SecurityGroupMisMatch",
            Kind::InvalidSpec,
            Class::Final,
            0,
        ),
        ("Forbidden.SubUser", Kind::PermissionDenied, Class::Final, 0),
        ("NoPermission", Kind::PermissionDenied, Class::Final, 0),
        ("NoPermission.Tag", Kind::PermissionDenied, Class::Final, 0),
        ("InvalidUser.PassRoleForbidden", Kind::PermissionDenied, Class::Final, 0),
        (
            "CreateServiceLinkedRole.Denied",
            Kind::PermissionDenied,
            Class::Final,
            0,
        ),
        ("Forbidden.UserBussinessStatus", Kind::PermissionDenied, Class::Final, 0),
        (
            "Forbidden.UserNotRealNameAuthentication",
            Kind::PermissionDenied,
            Class::Final,
            0,
        ),
        ("Forbidden.RiskControl", Kind::PermissionDenied, Class::Final, 0),
        ("Forbidden.OnlyForInvitedTest", Kind::PermissionDenied, Class::Final, 0),
        ("Forbidden.SomethingNew", Kind::PermissionDenied, Class::Final, 0),
        ("SecurityRisk.3DVerification", Kind::PermissionDenied, Class::Final, 0),
        ("Throttling", Kind::RateLimited, Class::Throttled, 0),
        ("Throttling.User", Kind::RateLimited, Class::Throttled, 0),
        ("Throttling.Vcpu.PerDay", Kind::QuotaExceeded, Class::Final, 120),
        ("Degrade.Api", Kind::RateLimited, Class::Throttled, 0),
        ("EipPurchaseFlowControl", Kind::RateLimited, Class::Throttled, 0),
        ("ServiceUnavailable", Kind::Unavailable, Class::Unavailable, 0),
        (
            "containerRepositoryAuthorizationFailed",
            Kind::Unavailable,
            Class::Unavailable,
            0,
        ),
        ("InternalError", Kind::Unavailable, Class::Unavailable, 0),
        ("UnknownError", Kind::Unavailable, Class::Unavailable, 0),
        ("IdempotentParameterMismatch", Kind::Conflict, Class::Final, 0),
        ("SignatureNonceUsed", Kind::Unavailable, Class::NonceUsed, 0),
        ("InvalidTimeStamp.Expired", Kind::Unauthenticated, Class::ClockSkew, 0),
        ("IllegalTimestamp", Kind::Unauthenticated, Class::ClockSkew, 0),
        ("SignatureDoesNotMatch", Kind::Unauthenticated, Class::Credential, 0),
        ("IncompleteSignature", Kind::Unauthenticated, Class::Credential, 0),
        (
            "InvalidAccessKeyId.NotFound",
            Kind::Unauthenticated,
            Class::Credential,
            0,
        ),
        (
            "Forbidden.AccessKeyDisabled",
            Kind::Unauthenticated,
            Class::Credential,
            0,
        ),
        (
            "InvalidSecurityToken.Expired",
            Kind::Unauthenticated,
            Class::Credential,
            0,
        ),
        (
            "InvalidSecurityToken.Malformed",
            Kind::Unauthenticated,
            Class::Credential,
            0,
        ),
        ("MissingParameter", Kind::InvalidSpec, Class::Final, 0),
        ("InvalidParameter", Kind::InvalidSpec, Class::Final, 0),
        ("InvalidParameter.Image", Kind::InvalidSpec, Class::Final, 0),
        ("InvalidParameter.ValueExceeded", Kind::InvalidSpec, Class::Final, 0),
        (
            "InvalidOperation.NotSupportedEndpoint",
            Kind::InvalidSpec,
            Class::Final,
            0,
        ),
        ("InvalidParameter.NotFound", Kind::NotFound, Class::Final, 0),
        ("NumberExceed.Tags", Kind::InvalidSpec, Class::Final, 0),
        ("InvalidSecurityGroupId.NotFound", Kind::InvalidSpec, Class::Final, 0),
        ("TaskConflict", Kind::Conflict, Class::Conflict, 0),
        ("IncorrectEipStatus", Kind::Conflict, Class::Final, 0),
        ("InvalidAllocationId.NotFound", Kind::NotFound, Class::Final, 0),
        ("COMMODITY.INVALID_COMPONENT", Kind::InvalidSpec, Class::Final, 0),
        ("FrequentPurchase.EIP", Kind::RateLimited, Class::Throttled, 0),
    ];

    #[test]
    fn every_code_has_its_meaning() {
        for (code, kind, class, seconds) in EXPECTED {
            let expected = Meaning {
                kind: *kind,
                class: *class,
                wait: (*seconds > 0).then(|| Duration::from_secs(*seconds)),
            };
            assert_eq!(known(code, "value exceeds the limit"), Some(expected), "{code}");
        }
    }

    #[test]
    fn every_row_is_tested_and_can_be_reached() {
        for (index, (prefix, _)) in CODES.iter().enumerate() {
            let hidden = CODES
                .iter()
                .take(index)
                .find(|(earlier, _)| begins_with(prefix, earlier));
            assert_eq!(hidden, None, "{prefix} is behind a row that takes it");
            let tested = EXPECTED.iter().any(|(code, ..)| begins_with(code, prefix));
            assert!(tested, "{prefix} has no row in the test");
        }
    }

    #[test]
    fn unknown_codes_go_by_their_status() {
        for code in ["", "Something", "InternalErrors", "QuotaExceededButNot"] {
            assert_eq!(known(code, ""), None, "{code}");
        }
        for (status, kind, class) in [
            (400, Kind::Internal, Class::Final),
            (404, Kind::Internal, Class::Final),
            (429, Kind::RateLimited, Class::Throttled),
            (500, Kind::Unavailable, Class::Unavailable),
            (503, Kind::Unavailable, Class::Unavailable),
        ] {
            let meaning = by_status(http::StatusCode::from_u16(status).unwrap());
            assert_eq!((meaning.kind, meaning.class), (kind, class), "{status}");
        }
    }

    #[test]
    fn an_exceeded_value_may_be_a_quota() {
        let quota = known("InvalidParameter.ValueExceeded", "the Quota of instances is used up").unwrap();
        assert_eq!(quota.kind, Kind::QuotaExceeded);
    }
}
