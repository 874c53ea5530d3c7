//! What every cloud must hold: written once, run for each of them against a fake that checks every signature.

pub mod command_line;
pub mod crash;
pub mod kubectl;
pub mod lifecycle;
pub mod many;
pub mod ownership;
pub mod secrets;
pub mod trouble;

use serde_json::{Value, json};

/// What most scenarios ask for; the cloud pulls, so nothing has to be there.
pub fn spec(image: &str) -> Value {
    json!({ "images": [image], "imageCacheSize": 25, "retentionDays": 7 })
}

/// The shared scenarios for one cloud, under names that begin with its module's.
macro_rules! of_cloud {
    ($cloud:ty, $provider:literal, $module:literal) => {
        $crate::scenarios::clouds::of_cloud!(@list $cloud, $provider, $module;
            command_line::create_get_list_match_delete, &[];
            command_line::mistakes_are_named, &[];
            lifecycle::both_dialects_become_ready, &[EITHER];
            lifecycle::edited_deleted_and_restarted_at_each_step, &[EITHER];
            lifecycle::the_clouds_own_words_are_shown, &[EITHER];
            kubectl::shows_what_the_vendors_publish, &[EITHER, Need::Kubectl];
            trouble::a_full_quota_is_told_and_waited_for, &[EITHER];
            trouble::a_missing_permission_is_told_and_not_stormed, &[EITHER];
            trouble::a_failed_build_says_why, &[EITHER];
            trouble::a_stuck_build_shows_the_last_event, &[EITHER];
            trouble::broken_answers_do_no_harm, &[EITHER];
            crash::killed_between_create_and_status, &[EITHER];
            crash::a_lost_answer_makes_one_cache, &[EITHER];
            ownership::orphans_are_removed_and_others_stay, &[EITHER];
            ownership::what_others_made_is_never_touched, &[EITHER];
            secrets::appear_nowhere, &[EITHER];
            many::all_become_ready_within_the_rate, &[EITHER];
        )
    };
    (@list $cloud:ty, $provider:literal, $module:literal; $($area:ident :: $name:ident, $needs:expr;)*) => {
        &[$(Scenario {
            provider: $provider,
            name: concat!($module, "::", stringify!($area), "::", stringify!($name)),
            needs: $needs,
            run: |context| Box::pin(clouds::$area::$name::<$cloud>(context)),
        }),*]
    };
}
pub(crate) use of_cloud;
