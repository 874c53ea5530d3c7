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
    use super::*;

    /// Every code of the reference, by hand.
    const EXPECTED: &[(&str, Meaning)] = &[
        ("Account.Arrearage", M::DENIED),
        ("DryRunOperation", M::OURS),
        ("InvalidParameter.CPU.Memory", M::INVALID),
        ("IncorrectStatus", M::STATUS),
        ("ImageCache.IncorrectStatus", M::STATUS),
        ("ImageCacheNotSupport", M::UNSUPPORTED),
        ("ServiceNotEnabled", M::DENIED),
        ("DiskVolume.NotSupport", M::UNSUPPORTED),
        ("RamRole.NotSupport", M::UNSUPPORTED),
        ("EipAddressPoolIpNotEnough", M::STOCK),
        ("OperationConflict", M::CONFLICT),
        ("NoNeedUpdate", M::OURS),
        ("QuotaExceeded", M::QUOTA),
        ("QuotaExceeded.ImageCache", M::QUOTA),
        ("OperationDenied.NoStock", M::STOCK),
        ("Zone.NotOnSale", M::STOCK),
        ("InvalidVSwitchId.IpNotEnough", M::STOCK),
        ("InvalidVSwitchId.NotFound", M::INVALID),
        ("OperationDenied.VswZoneMisMatch", M::INVALID),
        ("OperationDenied.SecurityGroupMisMatch", M::INVALID),
        ("Forbidden.SubUser", M::DENIED),
        ("NoPermission", M::DENIED),
        ("NoPermission.Tag", M::DENIED),
        ("InvalidUser.PassRoleForbidden", M::DENIED),
        ("CreateServiceLinkedRole.Denied", M::DENIED),
        ("Forbidden.UserBussinessStatus", M::DENIED),
        ("Forbidden.UserNotRealNameAuthentication", M::DENIED),
        ("Forbidden.RiskControl", M::DENIED),
        ("Forbidden.OnlyForInvitedTest", M::DENIED),
        ("Forbidden.SomethingNew", M::DENIED),
        ("SecurityRisk.3DVerification", M::DENIED),
        ("Throttling", M::THROTTLED),
        ("Throttling.User", M::THROTTLED),
        ("Throttling.Vcpu.PerDay", M::QUOTA),
        ("Degrade.Api", M::THROTTLED),
        ("EipPurchaseFlowControl", M::THROTTLED),
        ("ServiceUnavailable", M::DOWN),
        ("containerRepositoryAuthorizationFailed", M::DOWN),
        ("InternalError", M::DOWN),
        ("UnknownError", M::DOWN),
        ("IdempotentParameterMismatch", M::STATUS),
        ("SignatureNonceUsed", NONCE_USED),
        ("InvalidTimeStamp.Expired", M::SKEW),
        ("IllegalTimestamp", M::SKEW),
        ("SignatureDoesNotMatch", M::CREDENTIAL),
        ("IncompleteSignature", M::CREDENTIAL),
        ("InvalidAccessKeyId.NotFound", M::CREDENTIAL),
        ("Forbidden.AccessKeyDisabled", M::CREDENTIAL),
        ("InvalidSecurityToken.Expired", M::CREDENTIAL),
        ("InvalidSecurityToken.Malformed", M::CREDENTIAL),
        ("MissingParameter", M::INVALID),
        ("InvalidParameter", M::INVALID),
        ("InvalidParameter.Image", M::INVALID),
        ("InvalidParameter.ValueExceeded", M::INVALID),
        ("InvalidOperation.NotSupportedEndpoint", M::INVALID),
        ("InvalidParameter.NotFound", M::NOT_FOUND),
        ("NumberExceed.Tags", M::INVALID),
        ("InvalidSecurityGroupId.NotFound", M::INVALID),
        ("TaskConflict", M::CONFLICT),
        ("IncorrectEipStatus", M::STATUS),
        ("InvalidAllocationId.NotFound", M::NOT_FOUND),
        ("COMMODITY.INVALID_COMPONENT", M::INVALID),
        ("FrequentPurchase.EIP", M::THROTTLED),
    ];

    #[test]
    fn every_code_has_its_meaning() {
        for (code, expected) in EXPECTED {
            assert_eq!(known(code, "value exceeds the limit"), Some(*expected), "{code}");
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
    fn nothing_is_guessed_from_a_beginning() {
        for code in ["", "Something", "InternalErrors", "QuotaExceededButNot"] {
            assert_eq!(known(code, ""), None, "{code}");
        }
    }

    #[test]
    fn an_exceeded_value_may_be_a_quota() {
        let quota = known("InvalidParameter.ValueExceeded", "the Quota of instances is used up").unwrap();
        assert_eq!(quota, M::QUOTA);
    }
}
