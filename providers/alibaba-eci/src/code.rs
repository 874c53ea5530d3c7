//! What the vendor's error codes mean to us: one table, most specific prefix first.
//!
//! From the error codes that the API's metadata (Eci 2018-08-08) lists for the image-cache actions, ECI's page "Common error
//! codes", and those of the gateway in front of every product.

use imagecache_cloud_http::{Meaning, RefusalClass};
use imagecache_core::ErrorKind;

use Meaning as M;

/// A new signature helps.
const NONCE_USED: Meaning = Meaning::new(ErrorKind::Unavailable, RefusalClass::NonceUsed);

/// The table; the first row that the code begins with decides.
const CODES: &[(&str, Meaning)] = &[
    // Account.
    ("Account.Arrearage", M::DENIED),
    ("Forbidden.AccessKeyDisabled", M::CREDENTIAL),
    ("Forbidden.UserBussinessStatus", M::DENIED),
    ("Forbidden.UserNotRealNameAuthentication", M::DENIED),
    ("Forbidden.RiskControl", M::DENIED),
    ("Forbidden.OnlyForInvitedTest", M::DENIED),
    ("Forbidden.SubUser", M::DENIED),
    ("Forbidden", M::DENIED),
    ("SecurityRisk.3DVerification", M::DENIED),
    ("NoPermission", M::DENIED),
    ("InvalidUser.PassRoleForbidden", M::DENIED),
    ("CreateServiceLinkedRole.Denied", M::DENIED),
    ("ServiceNotEnabled", M::DENIED),
    // Not for this account or this cloud at all.
    ("ImageCacheNotSupport", M::UNSUPPORTED),
    ("DiskVolume.NotSupport", M::UNSUPPORTED),
    ("RamRole.NotSupport", M::UNSUPPORTED),
    // Credentials and clock.
    ("SignatureNonceUsed", NONCE_USED),
    ("SignatureDoesNotMatch", M::CREDENTIAL),
    ("IncompleteSignature", M::CREDENTIAL),
    ("InvalidAccessKeyId", M::CREDENTIAL),
    ("InvalidSecurityToken", M::CREDENTIAL),
    ("InvalidTimeStamp.Expired", M::SKEW),
    ("IllegalTimestamp", M::SKEW),
    // Rates, quotas, stock.
    ("Throttling.Vcpu.PerDay", M::QUOTA),
    ("Throttling", M::THROTTLED),
    ("Degrade.Api", M::THROTTLED),
    ("EipPurchaseFlowControl", M::THROTTLED),
    ("QuotaExceeded", M::QUOTA),
    ("OperationDenied.NoStock", M::STOCK),
    ("Zone.NotOnSale", M::STOCK),
    ("InvalidVSwitchId.IpNotEnough", M::STOCK),
    ("EipAddressPoolIpNotEnough", M::STOCK),
    // Status and conflicts.
    ("IncorrectStatus", M::STATUS),
    ("ImageCache.IncorrectStatus", M::STATUS),
    ("IdempotentParameterMismatch", M::STATUS),
    ("OperationConflict", M::CONFLICT),
    // What was asked for.
    ("OperationDenied.VswZoneMisMatch", M::INVALID),
    ("OperationDenied.SecurityGroupMisMatch", M::INVALID),
    ("InvalidOperation.NotSupportedEndpoint", M::INVALID),
    ("InvalidParameter.NotFound", M::NOT_FOUND),
    ("InvalidParameter.CPU.Memory", M::INVALID),
    ("InvalidParameter", M::INVALID),
    ("MissingParameter", M::INVALID),
    ("InvalidVSwitchId", M::INVALID),
    ("InvalidSecurityGroupId", M::INVALID),
    ("NumberExceed.Tags", M::INVALID),
    // Public addresses (VPC 2016-04-28).
    ("TaskConflict", M::CONFLICT),
    ("IncorrectEipStatus", M::STATUS),
    ("InvalidAllocationId.NotFound", M::NOT_FOUND),
    ("COMMODITY.INVALID_COMPONENT", M::INVALID),
    ("FrequentPurchase.EIP", M::THROTTLED),
    // Never asked for by us, or handled before it is looked up here.
    ("DryRunOperation", M::OURS),
    ("NoNeedUpdate", M::OURS),
    // The service's own trouble.
    ("ServiceUnavailable", M::DOWN),
    ("containerRepositoryAuthorizationFailed", M::DOWN),
    ("InternalError", M::DOWN),
    ("UnknownError", M::DOWN),
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
        return Some(Meaning::QUOTA);
    }
    Meaning::of(code, CODES)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use imagecache_cloud_http::begins_with;

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
    fn nothing_is_guessed_from_a_beginning() {
        for code in ["", "Something", "InternalErrors", "QuotaExceededButNot"] {
            assert_eq!(known(code, ""), None, "{code}");
        }
    }

    #[test]
    fn an_exceeded_value_may_be_a_quota() {
        let quota = known("InvalidParameter.ValueExceeded", "the Quota of instances is used up").unwrap();
        assert_eq!(quota.kind, Kind::QuotaExceeded);
    }
}
