//! What pods are told, one row a fact. `alibaba` and `tencent` are the fact sheets of the clouds' documentation, with the
//! section.

use imagecache_core::{CacheState, ErrorKind, Failure, Phase};
use serde_json::{Value, json};

use super::rig::{BOUND, admission, admitted, answer, cache, now, patch, pod, question};

const ALIBABA_AUTO: (&str, &str) = ("k8s.aliyun.com/eci-image-cache", "true");
const ALIBABA_ID: &str = "k8s.aliyun.com/eci-imc-id";
const PERFECT: (&str, &str) = ("k8s.aliyun.com/imc-perfect-match", "true");
const COUNT: &str = "k8s.aliyun.com/imc-match-count-request";
const TENCENT: &str = "eks.tke.cloud.tencent.com/use-image-cache";

/// Name, annotations, images, whether it is allowed, the patch, and a part of the refusal or of the first warning.
type Row<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [&'a str], bool, Value, &'a str);

#[test]
fn every_verdict() {
    let ready = cache(&["nginx:1", "redis:7"], Phase::Ready);
    let building = cache(&["building:1"], Phase::Creating);
    let failure = Failure {
        kind: ErrorKind::NotFound,
        message: "gone".to_owned(),
    };
    let failed = cache(&["failed:1"], Phase::Failed(failure));
    let updating = cache(&["updating:1"], Phase::Unknown("Updating".to_owned()));
    let expired = CacheState {
        expires_at: Some(now()),
        ..cache(&["expired:1"], Phase::Ready)
    };
    let all = [&ready, &building, &failed, &updating, &expired];
    let admission = admission(&all.map(Clone::clone));
    let [ready, building, failed, updating, expired] = all.map(|cache| cache.id.as_str());
    let unknown = "imc-00000000000000000000";
    let bound = |id: &str| json!([{ "op": "add", "path": "/metadata/annotations/example.com~1cache", "value": id }]);
    let nothing = json!([]);
    let images = &["nginx:1", "redis:7"][..];
    let rows: [Row<'_>; 23] = [
        (
            "alibaba 5.1, tencent 6.1: asks for nothing",
            &[("team", "a")],
            images,
            true,
            nothing.clone(),
            "",
        ),
        (
            "alibaba 5.1: automatic",
            &[ALIBABA_AUTO],
            images,
            true,
            bound(ready),
            "",
        ),
        (
            "tencent 6.1: auto",
            &[(TENCENT, "auto")],
            images,
            true,
            bound(ready),
            "",
        ),
        (
            "alibaba 7.1, match degree: another version is a partial match",
            &[ALIBABA_AUTO],
            &["nginx:2"],
            true,
            bound(ready),
            "",
        ),
        (
            "tencent 7.1 (1), miss: another version is none, and the pod starts anyway",
            &[(TENCENT, "auto")],
            &["nginx:2"],
            true,
            nothing.clone(),
            "",
        ),
        (
            "alibaba 7.1: on a miss the pod pulls normally",
            &[ALIBABA_AUTO],
            &["postgres"],
            true,
            nothing.clone(),
            "",
        ),
        (
            "alibaba 5.1: use this cache, whatever it holds",
            &[(ALIBABA_ID, ready)],
            &["postgres"],
            true,
            bound(ready),
            "",
        ),
        (
            "tencent 7.2: attached without checking images",
            &[(TENCENT, ready)],
            &["postgres"],
            true,
            bound(ready),
            "",
        ),
        (
            "alibaba 5.1, 7.5: pod creation fails if it is not Ready",
            &[(ALIBABA_ID, building)],
            images,
            false,
            nothing.clone(),
            "not Ready but Creating",
        ),
        (
            "tencent 7.2: not Ready, where nothing is documented: the pod starts",
            &[(TENCENT, building)],
            images,
            true,
            nothing.clone(),
            "not Ready but Creating",
        ),
        (
            "alibaba 7.5: failed",
            &[(ALIBABA_ID, failed)],
            images,
            false,
            nothing.clone(),
            "not Ready but Failed",
        ),
        (
            "alibaba 7.5: unknown",
            &[(ALIBABA_ID, unknown)],
            images,
            false,
            nothing.clone(),
            "there is no such cache",
        ),
        (
            "alibaba 5.1: no id at all, so nothing that could be refused",
            &[(ALIBABA_ID, "no id")],
            images,
            true,
            nothing.clone(),
            ALIBABA_ID,
        ),
        (
            "alibaba 5.1: perfect match demanded and nothing fits, the pod is created and pulls",
            &[ALIBABA_AUTO, PERFECT],
            &["nginx:1", "redis:8"],
            true,
            nothing.clone(),
            "",
        ),
        (
            "alibaba 5.1: perfect match",
            &[ALIBABA_AUTO, PERFECT],
            images,
            true,
            bound(ready),
            "",
        ),
        (
            "alibaba 5.1: perfect match over match count",
            &[ALIBABA_AUTO, PERFECT, (COUNT, "1")],
            &["nginx:1", "redis:8"],
            true,
            nothing.clone(),
            "",
        ),
        (
            "alibaba 5.1: match count",
            &[ALIBABA_AUTO, (COUNT, "1")],
            &["nginx:1", "redis:8"],
            true,
            bound(ready),
            "",
        ),
        (
            "alibaba 5.1: match count, too few",
            &[ALIBABA_AUTO, (COUNT, "2")],
            &["nginx:1", "redis:8"],
            true,
            nothing.clone(),
            "",
        ),
        (
            "alibaba 5.1, 7.1: the explicit id wins over automatic matching and avoids the competition",
            &[ALIBABA_AUTO, (ALIBABA_ID, updating)],
            images,
            false,
            nothing.clone(),
            "not Ready but Updating",
        ),
        (
            "alibaba 4: named and expired",
            &[(ALIBABA_ID, expired)],
            images,
            false,
            nothing.clone(),
            "it has expired",
        ),
        (
            "tencent 4.2: named and being updated",
            &[(TENCENT, updating)],
            images,
            true,
            nothing.clone(),
            "not Ready but Updating",
        ),
        (
            "tencent 7.2: unknown, where nothing is documented: the pod starts",
            &[(TENCENT, unknown)],
            images,
            true,
            nothing.clone(),
            "there is no such cache",
        ),
        (
            "tencent 6.1: neither auto nor an id",
            &[(TENCENT, "yes")],
            images,
            true,
            nothing.clone(),
            TENCENT,
        ),
    ];
    for (row, annotations, images, allowed, expected, part) in rows {
        let answer = answer(&admission, &question(&pod(annotations, images)));
        assert_eq!(answer["allowed"], allowed, "{row}: {answer}");
        assert_eq!(patch(&answer), expected, "{row}");
        let said = [&answer["status"]["message"], &answer["warnings"][0]];
        let said = said.iter().find_map(|text| text.as_str()).unwrap_or_default();
        assert!(said.contains(part), "{row}: {said}");
        assert_eq!(said.is_empty(), part.is_empty(), "{row}: {said}");
    }
}

/// Whether they count is open (alibaba 5.1); the row of `k8s-api` says that they are images of the pod.
#[test]
fn init_containers_count() {
    let ready = cache(&["nginx:1", "redis:7"], Phase::Ready);
    let admission = admission(std::slice::from_ref(&ready));
    for (row, rule, init, binds) in [
        ("alibaba 5.1: all container images", PERFECT, "redis:7", true),
        ("alibaba 5.1: all, the init container's too", PERFECT, "busybox", false),
        ("alibaba 5.1: the number of images", (COUNT, "2"), "redis:7", true),
        (
            "alibaba 5.1: the number, one is missing",
            (COUNT, "2"),
            "busybox",
            false,
        ),
    ] {
        let mut asking = pod(&[ALIBABA_AUTO, rule], &["nginx:1"]);
        asking["spec"]["initContainers"] = json!([{ "name": "i", "image": init }]);
        let after = admitted(&asking, &answer(&admission, &question(&asking)));
        assert_eq!(after["metadata"]["annotations"].get(BOUND).is_some(), binds, "{row}");
    }
}

/// What a pod says beside its cache is for the cloud. Where it will run is nobody's question here: the annotations count on
/// virtual nodes only (alibaba 5, tencent 6), and no node is chosen yet.
#[test]
fn everything_else_of_a_pod_passes_through() {
    let ready = cache(&["nginx:1"], Phase::Ready);
    let admission = admission(std::slice::from_ref(&ready));
    let mine = |name: &str| format!("eks.tke.cloud.tencent.com/{name}");
    for (row, path, value) in [
        (
            "tencent 6.1: the disk's type",
            "annotations",
            json!({ mine("image-cache-disk-type"): "CLOUD_SSD" }),
        ),
        (
            "tencent 6.1: the disk's size, larger or smaller than the cache's",
            "annotations",
            json!({ mine("image-cache-disk-size"): "50" }),
        ),
        (
            "tencent 6.1: how long the disk is kept",
            "annotations",
            json!({ mine("image-cache-disk-retain-minute"): "10" }),
        ),
        (
            "tencent 6.2: registries",
            "annotations",
            json!({ mine("registry-insecure-skip-verify"): "a,b", mine("registry-http-endpoint"): "c" }),
        ),
        (
            "tencent 6.3: reuse of a system disk can be used together with a cache",
            "annotations",
            json!({ mine("cbs-reuse-key"): "k" }),
        ),
        (
            "tencent 6.3: the system disk's size and a cache do not exclude each other",
            "annotations",
            json!({ mine("root-cbs-size"): "50", mine("root-cbs-type"): "CLOUD_PREMIUM" }),
        ),
        (
            "tencent 6.3: neighbours",
            "annotations",
            json!({ mine("image-gc-high-threshold"): "95", mine("eip-attributes"): "", mine("security-group-id"): "sg-a,sg-b" }),
        ),
        (
            "alibaba 5.2: the pod's network, registries and tags",
            "annotations",
            json!({ "k8s.aliyun.com/eci-vswitch": "vsw-a", "k8s.aliyun.com/plain-http-registry": "h",
                "k8s.aliyun.com/eci-custom-tags": "k:v", "k8s.aliyun.com/acr-instance-ids": "cri-a" }),
        ),
        (
            "tencent 7.1, region: any zone",
            "labels",
            json!({ "topology.kubernetes.io/zone": "ap-guangzhou-7" }),
        ),
        (
            "tencent 7.1, region: any workload; a DaemonSet's too, which is given the id and needs no match of the cloud's",
            "ownerReferences",
            json!([{ "apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d", "uid": "u", "controller": true }]),
        ),
    ] {
        let mut asking = pod(&[(TENCENT, "auto")], &["nginx:1"]);
        let metadata = &mut asking["metadata"];
        match (value.as_object(), metadata[path].as_object_mut()) {
            (Some(more), Some(there)) => there.extend(more.clone()),
            _ => metadata[path] = value,
        }
        let answer = answer(&admission, &question(&asking));
        let mut expected = asking.clone();
        expected["metadata"]["annotations"][BOUND] = json!(ready.id.as_str());
        assert_eq!(admitted(&asking, &answer), expected, "{row}");
        assert!(answer.get("warnings").is_none(), "{row}: {answer}");
    }
}

#[test]
fn a_refusal_names_the_cache_and_says_what_to_do() {
    let building = cache(&["nginx:1"], Phase::Creating);
    let pod = pod(&[(ALIBABA_ID, building.id.as_str())], &["nginx:1"]);
    let answer = answer(&admission(std::slice::from_ref(&building)), &question(&pod));
    let expected = format!(
        "image cache `{}`, which the pod names, cannot be used: it is not Ready but Creating; name one that is Ready",
        building.id
    );
    assert_eq!(
        answer["status"],
        json!({ "code": 403, "reason": "Forbidden", "message": expected })
    );
}

/// Alibaba 7.1 and Tencent 7.1, 7.3: the region may hold caches that were not made here, by whomever.
#[test]
fn a_cache_that_only_the_cloud_knows_is_left_to_it() {
    let mut admission = admission(&[]);
    admission.native = Some("alibaba");
    let named = pod(&[(ALIBABA_ID, "imc-00000000000000000000")], &["nginx:1"]);
    assert_eq!(answer(&admission, &question(&named))["allowed"], true);
    admission.native = Some("tencent");
    assert_eq!(answer(&admission, &question(&named))["allowed"], false);
}

/// Alibaba 7.1: `IfNotPresent` is recommended, `Always` still asks the registry. Tencent 8 says the same.
#[test]
fn containers_that_always_ask_the_registry_are_told() {
    let ready = cache(&["nginx:1"], Phase::Ready);
    let mut asking = pod(&[ALIBABA_AUTO], &["nginx:1", "nginx:1", "redis:7"]);
    for n in [0, 2] {
        asking["spec"]["containers"][n]["imagePullPolicy"] = json!("Always");
    }
    let answer = answer(&admission(std::slice::from_ref(&ready)), &question(&asking));
    let warnings = answer["warnings"].as_array().unwrap();
    assert_eq!(
        warnings.len(),
        1,
        "only c0 has the policy and an image of the cache: {warnings:?}"
    );
    let warning = warnings.first().unwrap().as_str().unwrap();
    for part in ["`c0`", "Always", ready.id.as_str()] {
        assert!(warning.contains(part), "{warning}");
    }
}
