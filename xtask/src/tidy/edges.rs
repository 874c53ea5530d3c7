//! Which package may depend on which.

use anyhow::Result;

use crate::workspace::{self, Edge, Kind, Member};

/// For each package, the packages of this workspace that it may use. One that is missing here is a breach: a new package,
/// like a new edge, is a decision to write down.
const ALLOWED: &[(&str, &[&str])] = &[
    ("imagecache-core", &[]),
    ("imagecache-k8s-api", &["imagecache-core"]),
    ("imagecache-oci", &["imagecache-core"]),
    ("imagecache-erofs", &["imagecache-core"]),
    ("imagecache-blocks", &["imagecache-core", "imagecache-erofs"]),
    ("imagecache-ebs", &["imagecache-blocks", "imagecache-core"]),
    ("imagecache-node", &["imagecache-blocks", "imagecache-core"]),
    ("imagecache-apiserver", &["imagecache-core", "imagecache-k8s-api"]),
    ("imagecache-cloud-http", &["imagecache-core"]),
    ("imagecache-alibaba-eci", &["imagecache-cloud-http", "imagecache-core"]),
    ("imagecache-tencent-eks", &["imagecache-cloud-http", "imagecache-core"]),
    (
        "imagecache-local",
        &[
            "imagecache-blocks",
            "imagecache-core",
            "imagecache-ebs",
            "imagecache-erofs",
            "imagecache-oci",
        ],
    ),
    (
        "imagecache-controller",
        &[
            "imagecache-alibaba-eci",
            "imagecache-apiserver",
            "imagecache-blocks",
            "imagecache-core",
            "imagecache-k8s-api",
            "imagecache-local",
            "imagecache-node",
            "imagecache-oci",
            "imagecache-tencent-eks",
        ],
    ),
    ("imagecache-conformance", &["imagecache-core"]),
    ("imagecache-fakes", &[]),
    (
        "imagecache-tests",
        &[
            "imagecache-core",
            "imagecache-fakes",
            "imagecache-k8s-api",
            "imagecache-oci",
        ],
    ),
    ("xtask", &[]),
];

/// What only tests use: a `[dev-dependencies]` entry everywhere but in `imagecache-tests`.
const TEST_ONLY: &[&str] = &["imagecache-conformance", "imagecache-fakes"];

/// Outside packages that a package must stay free of, and why. `*` ends a prefix.
const FORBIDDEN: &[(&str, &[&str], &str)] = &[
    ("imagecache-core", NO_IO, "core does no I/O"),
    ("imagecache-erofs", NO_IO, "erofs does no I/O of its own"),
    ("imagecache-alibaba-eci", KUBERNETES, "providers do not know Kubernetes"),
    ("imagecache-tencent-eks", KUBERNETES, "providers do not know Kubernetes"),
    ("imagecache-cloud-http", KUBERNETES, "providers do not know Kubernetes"),
    ("imagecache-local", KUBERNETES, "providers do not know Kubernetes"),
    ("imagecache-blocks", KUBERNETES, "stores do not know Kubernetes"),
    ("imagecache-ebs", KUBERNETES, "stores do not know Kubernetes"),
    ("imagecache-node", KUBERNETES, "the snapshotter needs no cluster"),
    ("imagecache-oci", KUBERNETES, "sources do not know Kubernetes"),
    ("imagecache-conformance", KUBERNETES, "providers do not know Kubernetes"),
];
const NO_IO: &[&str] = &["kube", "k8s-openapi", "reqwest", "hyper", "tokio", "rustix"];
const KUBERNETES: &[&str] = &["kube", "k8s-openapi"];

/// Crates that no package may use: TLS is rustls with ring.
const BANNED: &[&str] = &["openssl", "openssl-sys", "native-tls", "aws-lc-rs", "aws-lc-sys"];

/// Every edge of the workspace that the rules do not allow.
pub fn check() -> Result<Vec<String>> {
    let members = workspace::members()?;
    let names: Vec<&str> = members.iter().map(|member| member.name.as_str()).collect();
    let mut breaches: Vec<String> = members
        .iter()
        .flat_map(|member| {
            member
                .dependencies
                .iter()
                .filter_map(|edge| breach(member, edge, &names))
        })
        .collect();
    let lock = std::fs::read_to_string(workspace::root().join("Cargo.lock"))?;
    for banned in BANNED {
        if lock.lines().any(|line| line == format!("name = \"{banned}\"")) {
            breaches.push(format!("Cargo.lock: {banned} came in: TLS is rustls with ring here"));
        }
    }
    Ok(breaches)
}

fn breach(from: &Member, edge: &Edge, names: &[&str]) -> Option<String> {
    let (name, to) = (from.name.as_str(), edge.to.as_str());
    let wrong = |why: &str| Some(format!("{name} -> {to}: {why}"));
    if !names.contains(&to) {
        let (_, _, why) = FORBIDDEN
            .iter()
            .find(|(package, banned, _)| *package == name && edge.kind == Kind::Normal && banned.contains(&to))?;
        return wrong(why);
    }
    let Some((_, allowed)) = ALLOWED.iter().find(|(package, _)| *package == name) else {
        return wrong("the package is not in the table of allowed edges (xtask/src/tidy/edges.rs)");
    };
    let test_only = TEST_ONLY.contains(&to);
    match edge.kind {
        // A package may test itself with a feature on.
        Kind::Dev if test_only || to == name || allowed.contains(&to) => None,
        Kind::Dev => wrong("not an allowed edge, in tests neither"),
        Kind::Normal if allowed.contains(&to) => None,
        Kind::Normal if test_only => wrong("only a dev-dependency may be this"),
        Kind::Normal => wrong("not an allowed edge (xtask/src/tidy/edges.rs says which are)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_are_judged() {
        let names = [
            "imagecache-core",
            "imagecache-local",
            "imagecache-fakes",
            "imagecache-controller",
            "imagecache-new",
        ];
        let rows = [
            (
                "provider to core",
                "imagecache-local",
                "imagecache-core",
                Kind::Normal,
                true,
            ),
            (
                "provider to controller",
                "imagecache-local",
                "imagecache-controller",
                Kind::Normal,
                false,
            ),
            (
                "provider to controller in tests",
                "imagecache-local",
                "imagecache-controller",
                Kind::Dev,
                false,
            ),
            (
                "provider to fakes",
                "imagecache-local",
                "imagecache-fakes",
                Kind::Normal,
                false,
            ),
            (
                "provider to fakes in tests",
                "imagecache-local",
                "imagecache-fakes",
                Kind::Dev,
                true,
            ),
            ("provider to kube", "imagecache-local", "kube", Kind::Normal, false),
            (
                "controller to kube",
                "imagecache-controller",
                "kube",
                Kind::Normal,
                true,
            ),
            ("core to tokio", "imagecache-core", "tokio", Kind::Normal, false),
            ("core to tokio in tests", "imagecache-core", "tokio", Kind::Dev, true),
            (
                "core to anything of ours",
                "imagecache-core",
                "imagecache-local",
                Kind::Normal,
                false,
            ),
            (
                "a package nobody has written down",
                "imagecache-new",
                "imagecache-core",
                Kind::Normal,
                false,
            ),
        ];
        for (row, from, to, kind, fine) in rows {
            let member = Member {
                name: from.into(),
                dir: Default::default(),
                dependencies: Vec::new(),
            };
            let edge = Edge { to: to.into(), kind };
            assert_eq!(breach(&member, &edge, &names).is_none(), fine, "{row}");
        }
    }
}
