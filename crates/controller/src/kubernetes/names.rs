//! Words that other programs see: field manager, finalizer, conditions and reasons.

/// Owner of every status field that we write.
pub(super) const FIELD_MANAGER: &str = "imagecache";
/// Who our events say they come from.
pub(super) const REPORTER: &str = "imagecache";
/// Keeps an object until its caches are removed.
pub(super) const FINALIZER: &str = "imagecache.dev/remove-caches";

/// Condition: the cache of the present spec can be used.
pub(super) const READY: &str = "Ready";
/// Condition: the controller or the provider is working, or tries again by itself.
pub(super) const PROGRESSING: &str = "Progressing";

/// Value of a condition that holds.
pub(super) const TRUE: &str = "True";
/// Value of a condition that does not hold.
pub(super) const FALSE: &str = "False";

/// Reasons of both conditions and of events; a problem's reason is that of its `ErrorKind`.
pub(super) mod reason {
    pub(in crate::kubernetes) const PENDING: &str = "Pending";
    pub(in crate::kubernetes) const CREATING: &str = "Creating";
    pub(in crate::kubernetes) const READY: &str = "Ready";
    pub(in crate::kubernetes) const FAILED: &str = "Failed";
    pub(in crate::kubernetes) const UPDATING: &str = "Updating";
    pub(in crate::kubernetes) const UPDATED: &str = "Updated";
    pub(in crate::kubernetes) const UPDATE_FAILED: &str = "UpdateFailed";
    pub(in crate::kubernetes) const EXPIRED: &str = "Expired";
    pub(in crate::kubernetes) const UNKNOWN: &str = "Unknown";
    pub(in crate::kubernetes) const DELETING: &str = "Deleting";
    pub(in crate::kubernetes) const INVALID_PROFILE: &str = "InvalidProfile";
}
