//! Every scenario, in the order in which they run: what a user meets first comes first.

mod alibaba_eci;
mod api;
mod clouds;
mod command_line;
mod concurrency;
mod crash;
mod daemonset;
mod deploy;
mod ebs;
mod filesystem;
mod full_disk;
pub mod images;
mod kubectl;
mod lifecycle;
mod manifests;
mod matching;
mod mirror;
mod node;
mod node_pods;
mod overlays;
pub mod pods;
mod tencent_eks;
mod wrong_specs;

use clouds::of_cloud;
use pods::of_provider;

use crate::eci::Eci;
use crate::pods::{InCloud, Local};
use crate::runner::{Api, Need, Scenario};
use crate::tke::Tke;

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

macro_rules! of_one_cloud {
    ($area:ident :: $name:ident, $provider:literal, $needs:expr) => {
        Scenario {
            provider: $provider,
            ..scenario!($area::$name, $needs)
        }
    };
}

/// The list.
pub fn all() -> Vec<Scenario> {
    [
        LOCAL,
        EBS,
        ECI_LIKE_ALL,
        ECI,
        TKE_LIKE_ALL,
        TKE,
        LOCAL_PODS,
        NODE_PODS,
        ECI_PODS,
        TKE_PODS,
        KUBELET_PODS,
        DEPLOY,
    ]
    .concat()
}

/// What the cloud ECI does as every cloud.
const ECI_LIKE_ALL: &[Scenario] = of_cloud!(Eci, "alibaba-eci", "alibaba_eci");
/// What the cloud TKE does as every cloud.
const TKE_LIKE_ALL: &[Scenario] = of_cloud!(Tke, "tencent-eks", "tencent_eks");

/// Pods with each provider.
const NODE_PODS: &[Scenario] = &[scenario!(
    pods::a_pod_runs_without_the_controller,
    &[CLUSTER, Need::Registry, Need::Node]
)];
const LOCAL_PODS: &[Scenario] = of_provider!(Local, "local", "pods");
const ECI_PODS: &[Scenario] = of_provider!(InCloud<Eci>, "alibaba-eci", "alibaba_eci::pods");
const TKE_PODS: &[Scenario] = of_provider!(InCloud<Tke>, "tencent-eks", "tencent_eks::pods");

const ECI: &[Scenario] = &[
    of_one_cloud!(alibaba_eci::annotations_become_parameters, "alibaba-eci", &[EITHER]),
    of_one_cloud!(alibaba_eci::the_profile_gives_the_network, "alibaba-eci", &[EITHER]),
    of_one_cloud!(alibaba_eci::an_address_is_made_and_released, "alibaba-eci", &[EITHER]),
];

const TKE: &[Scenario] = &[
    of_one_cloud!(tencent_eks::the_object_says_where_and_how, "tencent-eks", &[EITHER]),
    of_one_cloud!(
        tencent_eks::defaults_are_for_what_the_object_leaves_out,
        "tencent-eks",
        &[EITHER]
    ),
    of_one_cloud!(
        tencent_eks::every_throttling_code_is_waited_for,
        "tencent-eks",
        &[EITHER]
    ),
    of_one_cloud!(
        matching::candidates_are_explained_and_compared_with_the_cloud,
        "tencent-eks",
        &[]
    ),
];

/// What the snapshotter needs to be tried.
const NODE: &[Need] = &[Need::Root, Need::Tool("containerd"), Need::Tool("runc")];

const LOCAL: &[Scenario] = &[
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
    scenario!(node::cached_image_starts_without_its_layers, NODE),
    scenario!(node::uncached_and_half_cached_images_work, NODE),
    scenario!(node::roots_equal_a_plain_pull, NODE),
    scenario!(node::writes_behave_as_on_overlayfs, NODE),
    scenario!(node::damaged_layer_is_pulled, NODE),
    scenario!(node::exported_volume_serves_layers, NODE),
    scenario!(node::survives_kills, NODE),
    scenario!(mirror::public_image_starts_without_its_registry, NODE),
    scenario!(mirror::private_image_starts_for_who_may_have_it, NODE),
    scenario!(command_line::check_says_what_a_node_lacks, &[]),
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
];

/// What pods on a node of our own need.
const KUBELET: &[Need] = &[
    CLUSTER,
    Need::Kubelet,
    Need::Root,
    Need::Tool("containerd"),
    Need::Tool("runc"),
];

/// Pods on a node with the snapshotter.
const KUBELET_PODS: &[Scenario] = &[
    scenario!(node_pods::a_pod_starts_without_its_layers, KUBELET),
    scenario!(node_pods::a_pod_starts_while_its_registry_is_away, KUBELET),
    scenario!(node_pods::a_hundred_pods_share_ten_images, KUBELET),
    scenario!(node_pods::damage_after_the_pull_is_repaired, KUBELET),
    scenario!(node_pods::killed_while_pods_come_and_go, KUBELET),
    scenario!(
        node_pods::big_images_run,
        &[
            CLUSTER,
            Need::Kubelet,
            Need::Root,
            Need::Registry,
            Need::Tool("containerd"),
            Need::Tool("runc")
        ]
    ),
];

/// The local provider with its snapshots in AWS EBS.
const EBS: &[Scenario] = &[
    scenario!(ebs::comes_back_byte_equal, &[]),
    scenario!(ebs::coldsnap_downloads_the_same, &[Need::Tool("coldsnap")]),
    scenario!(ebs::status_names_the_snapshot, &[EITHER]),
    scenario!(ebs::killed_uploads_go_on, &[]),
    scenario!(ebs::faults_are_waited_out, &[]),
    scenario!(ebs::refusals_are_said_at_once, &[]),
];

const DEPLOY: &[Scenario] = &[
    scenario!(overlays::aws_ebs_is_complete, &[Need::Kubectl]),
    scenario!(manifests::every_directory_is_accepted, &[Need::Kubectl]),
    scenario!(manifests::the_node_daemonset_fits_the_node, &[Need::Kubectl]),
    scenario!(deploy::roles_are_enough, &[CLUSTER, Need::Kubectl]),
    scenario!(
        deploy::runs_on_a_node,
        &[CLUSTER, Need::Kubectl, Need::Registry, Need::Root, Need::Node]
    ),
    scenario!(
        daemonset::snapshotter_runs_on_a_node,
        &[CLUSTER, Need::Kubectl, Need::Registry, Need::Root, Need::Node]
    ),
    of_one_cloud!(
        deploy::alibaba_eci_runs_on_a_node,
        "alibaba-eci",
        &[CLUSTER, Need::Kubectl, Need::Registry, Need::Node]
    ),
    of_one_cloud!(
        deploy::tencent_eks_runs_on_a_node,
        "tencent-eks",
        &[CLUSTER, Need::Kubectl, Need::Registry, Need::Node]
    ),
];
