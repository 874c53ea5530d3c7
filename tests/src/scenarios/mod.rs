//! Every scenario, in the order in which they run: what a user meets first comes first.

mod alibaba_eci;
mod api;
mod command_line;
mod concurrency;
mod crash;
mod deploy;
mod filesystem;
mod full_disk;
pub mod images;
mod kubectl;
mod lifecycle;
mod tencent_eks;
mod wrong_specs;

use crate::runner::{Api, Need, Scenario};

const EITHER: Need = Need::Api(Api::Either);
const CLUSTER: Need = Need::Api(Api::Cluster);
const STANDALONE: Need = Need::Api(Api::Standalone);

macro_rules! scenario {
    ($area:ident :: $name:ident, $needs:expr) => {
        Scenario {
            provider: "local",
            name: concat!(stringify!($area), "::", stringify!($name)),
            needs: $needs,
            run: |context| Box::pin($area::$name(context)),
        }
    };
}

macro_rules! tke {
    ($name:ident, $needs:expr) => {
        Scenario {
            provider: "tencent-eks",
            name: concat!("tencent_eks::", stringify!($name)),
            needs: $needs,
            run: |context| Box::pin(tencent_eks::$name(context)),
        }
    };
}

macro_rules! eci {
    ($area:ident :: $name:ident, $needs:expr) => {
        Scenario {
            provider: "alibaba-eci",
            name: concat!("alibaba_eci::", stringify!($area), "::", stringify!($name)),
            needs: $needs,
            run: |context| Box::pin(alibaba_eci::$area::$name(context)),
        }
    };
}

/// The list.
pub const ALL: &[Scenario] = &[
    scenario!(command_line::create_get_list_match_delete, &[]),
    scenario!(command_line::prints_config_without_secrets, &[]),
    scenario!(command_line::verify_names_damage, &[]),
    scenario!(api::both_dialects_become_ready, &[EITHER]),
    scenario!(api::status_says_what_the_vendors_say, &[EITHER]),
    scenario!(api::private_image_with_pull_secret, &[EITHER]),
    scenario!(api::schema_refuses_what_is_out_of_range, &[EITHER]),
    scenario!(wrong_specs::each_gives_one_clear_message, &[EITHER]),
    scenario!(lifecycle::deleted_while_building, &[EITHER]),
    scenario!(lifecycle::changed_spec_builds_anew, &[EITHER]),
    scenario!(lifecycle::restarted_at_any_moment, &[EITHER]),
    scenario!(lifecycle::state_survives_a_restart, &[STANDALONE]),
    scenario!(lifecycle::delete_leaves_a_mount_alone, &[EITHER, Need::Root]),
    scenario!(kubectl::vendor_pages_hold, &[EITHER, Need::Kubectl]),
    scenario!(filesystem::basic_image_equals_umoci, &[Need::Root, Need::Tool("umoci")]),
    scenario!(filesystem::whiteouts_equal_umoci, &[Need::Root, Need::Tool("umoci")]),
    scenario!(filesystem::links_below_equal_umoci, &[Need::Root, Need::Tool("umoci")]),
    scenario!(
        filesystem::cross_layer_cases_equal_containerd,
        &[Need::Root, Need::Tool("containerd")]
    ),
    scenario!(filesystem::fsck_accepts_every_image, &[Need::Tool("fsck.erofs")]),
    scenario!(
        filesystem::exported_volume_mounts_plainly,
        &[Need::Root, Need::Tool("skopeo")]
    ),
    scenario!(crash::killed_builds_finish, &[]),
    scenario!(
        full_disk::completes_once_there_is_room,
        &[Need::Root, Need::Tool("mkfs.ext4")]
    ),
    scenario!(concurrency::two_processes_build_one_image, &[]),
    scenario!(concurrency::deletes_race_builds, &[]),
    scenario!(
        filesystem::big_images_equal_umoci,
        &[Need::Root, Need::Registry, Need::Tool("umoci"), Need::Tool("skopeo")]
    ),
    scenario!(crash::killed_builds_of_a_big_image_finish, &[Need::Registry]),
    eci!(command_line::create_get_list_match_delete, &[]),
    eci!(command_line::mistakes_are_named, &[]),
    eci!(lifecycle::both_dialects_become_ready, &[EITHER]),
    eci!(lifecycle::edited_deleted_and_restarted_at_each_step, &[EITHER]),
    eci!(lifecycle::the_clouds_own_words_are_shown, &[EITHER]),
    eci!(options::annotations_become_parameters, &[EITHER]),
    eci!(options::the_profile_gives_the_network, &[EITHER]),
    eci!(options::an_address_is_made_and_released, &[EITHER]),
    eci!(trouble::a_full_quota_is_told_and_waited_for, &[EITHER]),
    eci!(trouble::a_failed_build_says_why, &[EITHER]),
    eci!(trouble::a_stuck_build_shows_the_last_event, &[EITHER]),
    eci!(trouble::broken_answers_do_no_harm, &[EITHER]),
    eci!(crash::killed_between_create_and_status, &[EITHER]),
    eci!(ownership::orphans_are_removed_and_others_stay, &[EITHER]),
    eci!(secrets::appear_nowhere, &[EITHER]),
    eci!(many::all_become_ready_within_the_rate, &[EITHER]),
    tke!(create_get_list_delete, &[]),
    tke!(both_dialects_become_ready, &[EITHER]),
    tke!(killed_between_create_and_status, &[EITHER]),
    scenario!(deploy::roles_are_enough, &[CLUSTER, Need::Kubectl]),
    scenario!(
        deploy::runs_on_a_node,
        &[CLUSTER, Need::Kubectl, Need::Registry, Need::Root]
    ),
    Scenario {
        provider: "alibaba-eci",
        name: "deploy::alibaba_eci_runs_on_a_node",
        needs: &[CLUSTER, Need::Kubectl, Need::Registry],
        run: |context| Box::pin(deploy::alibaba_eci_runs_on_a_node(context)),
    },
];
