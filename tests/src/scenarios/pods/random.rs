//! Random pods on a real API server.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use serde_json::{Map, Value, json};

use super::{AUTO, AUTO_OLD, COUNT, ID, ID_OLD, INJECT, PERFECT, STORAGE, UNKNOWN, USE, with_cache};
use crate::context::Context;
use crate::pods::{Keeper, Pods, pod};

/// Random pods for the API server.
const RANDOM_PODS: u64 = 150;

/// Whatever a pod is and says, the API server takes the patch, and nothing of the pod is lost: it is the same as when the webhook
/// was not asked, but for the one annotation.
pub async fn random_pods_lose_nothing<K: Keeper>(context: Context) -> Result<()> {
    let keeper = K::start(&context).await?;
    let (pods, id) = with_cache(&context, &keeper).await?;
    let images = [keeper.image("a"), keeper.image("b"), keeper.image("a")];
    let mut random = Random(0x5eed);
    let (mut told, mut same) = (0, 0);
    for _ in 0..RANDOM_PODS {
        let object = random.pod(&images, &id);
        let Some(expected) = untouched(&pods, &object).await? else {
            continue;
        };
        let made = match pods.dry_run(&object).await {
            Ok(made) => comparable(&serde_json::to_value(made)?),
            // A cache that is named and does not exist.
            Err(error) if format!("{error:#}").contains("imagecache") => continue,
            Err(error) => return Err(error.context(format!("{object}"))),
        };
        told += usize::from(made["metadata"]["annotations"][K::BOUND] == json!(id));
        let (made, expected) = (without(&made, K::BOUND), without(&expected, K::BOUND));
        ensure!(made == expected, "{object} became {made} and should be {expected}");
        same += 1;
    }
    ensure!(told > 0, "no pod was told a cache, so nothing was tried");
    ensure!(same > RANDOM_PODS / 4, "the API server took only {same} of the pods");
    pods.finish().await
}

/// What the API server makes of a pod without asking the webhook; `None` when it refuses the pod.
async fn untouched(pods: &Pods, object: &Value) -> Result<Option<Value>> {
    let mut object = object.clone();
    object["metadata"]["labels"][INJECT] = json!("false");
    let Ok(made) = pods.dry_run(&object).await else {
        return Ok(None);
    };
    let mut made = comparable(&serde_json::to_value(made)?);
    if let Some(labels) = made["metadata"]["labels"].as_object_mut() {
        labels.remove(INJECT);
    }
    Ok(Some(made))
}

/// A pod without what is new each time.
fn comparable(pod: &Value) -> Value {
    let mut pod = pod.clone();
    if let Some(metadata) = pod["metadata"].as_object_mut() {
        for field in [
            "name",
            "uid",
            "creationTimestamp",
            "managedFields",
            "resourceVersion",
            "selfLink",
        ] {
            metadata.remove(field);
        }
    }
    pod
}

/// A pod without one annotation; without any it is as one that never had some. The same for its labels.
fn without(pod: &Value, annotation: &str) -> Value {
    let mut pod = pod.clone();
    if let Some(annotations) = pod["metadata"]["annotations"].as_object_mut() {
        annotations.remove(annotation);
    }
    for texts in ["annotations", "labels"] {
        let empty = pod["metadata"][texts].as_object().is_none_or(Map::is_empty);
        if let Some(metadata) = pod["metadata"].as_object_mut().filter(|_| empty) {
            metadata.remove(texts);
        }
    }
    pod
}

/// Pods of every kind, with annotations of every kind, also nonsense.
struct Random(u64);

impl Random {
    fn next(&mut self, below: u64) -> u64 {
        // xorshift: the same pods in every run.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.next(count) == 0
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        let index = usize::try_from(self.next(from.len() as u64)).unwrap_or_default();
        from.get(index).copied().unwrap_or_default()
    }

    fn annotations(&mut self, id: &str) -> BTreeMap<String, String> {
        let names = [
            AUTO,
            AUTO_OLD,
            ID,
            ID_OLD,
            PERFECT,
            COUNT,
            STORAGE,
            USE,
            "example.com/a_b.c-1",
            "plain",
        ];
        let values = [
            "true",
            "true",
            "auto",
            "false",
            "",
            "1",
            "-1",
            "20Gi",
            "imc-",
            "é\"\\\n~/",
            id,
            UNKNOWN,
        ];
        (0..self.next(5))
            .map(|_| (self.pick(&names).to_owned(), self.pick(&values).to_owned()))
            .collect()
    }

    fn pod(&mut self, images: &[String], id: &str) -> Value {
        let mut object = pod(&[], &[]);
        let annotations = self.annotations(id);
        if let Some(metadata) = object["metadata"].as_object_mut() {
            match self.next(3) {
                0 if annotations.is_empty() => metadata.remove("annotations"),
                _ => metadata.insert("annotations".to_owned(), json!(annotations)),
            };
        }
        if self.one_in(2) {
            object["metadata"]["labels"] = json!({ "app": self.pick(&["web", "", "a.b_c"]), "example.com/x": "1" });
        }
        object["spec"]["containers"] = self.containers("c", 1, images);
        if self.one_in(3) {
            object["spec"]["initContainers"] = self.containers("i", 1, images);
        }
        for (field, values) in [
            (
                "volumes",
                [
                    json!([{ "name": "v", "emptyDir": {} }]),
                    json!([{ "name": "v", "configMap": { "name": "m" } }]),
                ],
            ),
            ("restartPolicy", [json!("Never"), json!("OnFailure")]),
            ("hostNetwork", [json!(true), json!(false)]),
            (
                "securityContext",
                [
                    json!({}),
                    json!({ "runAsUser": 7, "fsGroup": 8, "supplementalGroups": [9, 10] }),
                ],
            ),
            (
                "tolerations",
                [json!([]), json!([{ "key": "e", "operator": "Exists" }])],
            ),
            (
                "hostAliases",
                [json!([{ "ip": "10.0.0.1", "hostnames": ["a", "b.c"] }]), json!([])],
            ),
            (
                "dnsConfig",
                [json!({ "options": [{ "name": "ndots", "value": "1" }] }), json!({})],
            ),
            ("imagePullSecrets", [json!([{ "name": "login" }]), json!([])]),
        ] {
            let [first, second] = values;
            match self.next(3) {
                0 => object["spec"][field] = first,
                1 => object["spec"][field] = second,
                _ => {}
            }
        }
        // Else the API server adds a volume of a new name each time.
        object["spec"]["automountServiceAccountToken"] = json!(false);
        object
    }

    fn containers(&mut self, prefix: &str, least: u64, images: &[String]) -> Value {
        let images: Vec<_> = images.iter().map(String::as_str).chain(["nginx", "a/b:é"]).collect();
        (0..least + self.next(4))
            .map(|number| {
                let mut container = json!({ "name": format!("{prefix}{number}"), "image": self.pick(&images) });
                for (field, value) in [
                    ("imagePullPolicy", json!(self.pick(&["Always", "IfNotPresent", "Never"]))),
                    ("command", json!(["sh", "-c", "echo \"$(A)\" é\n\t\\"])),
                    ("env", json!([{ "name": "A", "value": "~1/\u{7f}" }, { "name": "B", "valueFrom": { "fieldRef": { "fieldPath": "metadata.annotations['x']" } } }])),
                    ("resources", json!({ "limits": { "cpu": "1", "memory": "64Mi" } })),
                    ("ports", json!([{ "containerPort": 80 + number, "name": "http" }])),
                    ("securityContext", json!({ "readOnlyRootFilesystem": true, "capabilities": { "drop": ["ALL"] } })),
                ] {
                    if self.one_in(3) {
                        container[field] = value;
                    }
                }
                container
            })
            .collect()
    }
}
