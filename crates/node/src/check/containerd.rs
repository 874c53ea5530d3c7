//! What containerd is, and how it is configured.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Finding, Grade, Host, finding};
use crate::image_filesystem::{SNAPSHOTTER, image_filesystem};

/// Where containerd keeps its data unless it is told otherwise, and where k3s has it.
const ROOTS: [&str; 2] = ["/var/lib/containerd", "/var/lib/rancher/k3s/agent/containerd"];
/// Where containerd reads its configuration unless it is told otherwise.
const CONFIG: &str = "/etc/containerd/config.toml";
/// k3s writes this at every start, from a template beside it.
const K3S_CONFIG: &str = "/var/lib/rancher/k3s/agent/etc/containerd/config.toml";
/// Programs that say which containerd they are; k3s brings its own.
const PROGRAMS: [&str; 3] = [
    "containerd",
    "/usr/local/bin/containerd",
    "/var/lib/rancher/k3s/data/current/bin/containerd",
];
/// The first that has proxy snapshotters with the labels that we need.
const OLDEST: (u32, u32) = (1, 6);
/// The first that takes the disk of images from `exports`.
const EXPORTS: (u32, u32) = (2, 0);

/// The first whose CRI pulls through the transfer service.
const TRANSFER: (u32, u32) = (2, 1);

/// A version, as far as we care.
type Version = (u32, u32);

pub(super) fn check(host: &Host<'_>) -> Vec<Finding> {
    let version = PROGRAMS.iter().find_map(|program| version_of(program));
    let mut findings = vec![version_finding(version.as_ref())];
    let given = host.containerd_config.map(Path::to_owned);
    let config = given.or_else(|| {
        [K3S_CONFIG, CONFIG]
            .map(PathBuf::from)
            .into_iter()
            .find(|path| path.exists())
    });
    let config = config.unwrap_or_else(|| CONFIG.into());
    let text = fs::read_to_string(&config).ok();
    let number = version.map(|(number, _)| number);
    findings.extend(configured(&config, text.as_deref(), host.socket, number));
    let roots = match host.containerd_root {
        Some(root) => vec![root.to_owned()],
        None => ROOTS
            .map(PathBuf::from)
            .into_iter()
            .filter(|root| root.is_dir())
            .collect(),
    };
    let exports = text.is_some_and(|text| text.contains("exports"));
    findings.extend(roots.iter().map(|root| image_disk(root, number, exports)));
    findings
}

fn version_of(program: &str) -> Option<(Version, String)> {
    let output = Command::new(program).arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Some((parse_version(&text)?, text.split_whitespace().nth(2)?.to_owned()))
}

/// Reads `containerd github.com/containerd/containerd v1.6.20 2806…`.
fn parse_version(text: &str) -> Option<Version> {
    let word = text
        .split_whitespace()
        .find_map(|word| word.strip_prefix('v').or_else(|| numeric(word)))?;
    let mut numbers = word.split(['.', '-', '~', '+']).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// Debian leaves the `v` out.
fn numeric(word: &str) -> Option<&str> {
    (word.contains('.') && word.starts_with(|first: char| first.is_ascii_digit())).then_some(word)
}

fn version_finding(version: Option<&(Version, String)>) -> Finding {
    let subject = "containerd";
    match version {
        Some((number, text)) if *number < OLDEST => {
            let (major, minor) = OLDEST;
            finding(
                subject,
                Grade::Bad,
                format!("version {text}; {major}.{minor} is the oldest that works"),
            )
        }
        Some((_, text)) => finding(subject, Grade::Good, format!("version {text}")),
        None => finding(
            subject,
            Grade::Fair,
            "its program was not found, so its version is not known; it must be 1.6 or newer",
        ),
    }
}

fn configured(config: &Path, text: Option<&str>, socket: &Path, version: Option<Version>) -> Vec<Finding> {
    let subject = "containerd config";
    let shown = config.display();
    // k3s overwrites what is changed there.
    let change = match config == Path::new(K3S_CONFIG) {
        true => "config.toml.tmpl (config-v3.toml.tmpl from containerd 2 on) beside it".to_owned(),
        false => shown.to_string(),
    };
    let Some(text) = text else {
        let text = format!("{shown} cannot be read; name the socket in `proxy_plugins` there");
        return vec![finding(subject, Grade::Fair, text)];
    };
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.starts_with('#'))
        .collect();
    let sets = |key: &str, value: &str| {
        lines.iter().any(|line| {
            line.split_once('=').is_some_and(|(name, given)| {
                name.trim() == key && given.split('#').next().unwrap_or_default().contains(value)
            })
        })
    };
    let mut findings = Vec::new();
    let mut add = |grade, text: String| findings.push(finding(subject, grade, text));
    match (
        lines.iter().any(|line| line.contains(&*socket.to_string_lossy())),
        sets("snapshotter", SNAPSHOTTER),
    ) {
        (true, true) => add(Grade::Good, format!("{shown} uses the snapshotter")),
        (true, false) => add(
            Grade::Fair,
            format!("{shown} knows the socket; set `snapshotter = \"{SNAPSHOTTER}\"` in {change}"),
        ),
        (false, _) => add(
            Grade::Fair,
            format!(
                "{shown} does not name {}: add it to `proxy_plugins` in {change}",
                socket.display()
            ),
        ),
    }
    if !sets("disable_snapshot_annotations", "false") {
        add(
            Grade::Fair,
            format!(
                "set `disable_snapshot_annotations = false` in {change}, so that it says which image a layer is of"
            ),
        );
    }
    if sets("capabilities", "rebase") {
        add(
            Grade::Bad,
            format!(
                "take `rebase` out of `capabilities` in {change}: with it only the lowest layer comes from a cache"
            ),
        );
    }
    let transfers = version.is_some_and(|version| version >= TRANSFER) && !sets("use_local_image_pull", "true");
    if transfers && !sets("enable_remote_snapshot_annotations", "true") {
        add(
            Grade::Bad,
            format!(
                "set `enable_remote_snapshot_annotations = \"true\"` in `[proxy_plugins.{SNAPSHOTTER}.exports]` in {change}: without it \
                 all layers are pulled"
            ),
        );
    }
    findings
}

/// What kubelet measures.
fn image_disk(root: &Path, version: Option<Version>, exports: bool) -> Finding {
    let subject = "image filesystem";
    let path = image_filesystem(root);
    let shown = path.display();
    if path.exists() {
        return finding(subject, Grade::Good, format!("{shown} is there"));
    }
    if exports && version.is_some_and(|version| version >= EXPORTS) {
        return finding(subject, Grade::Good, "containerd's configuration says it");
    }
    finding(
        subject,
        Grade::Fair,
        format!(
            "{shown} is missing, so kubelet says `invalid capacity 0 on image filesystem` and collects no images: start with \
             --containerd-root {}, or from containerd 2 on set `exports.root`",
            root.display()
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_they_are_printed() {
        for (text, expected) in [
            (
                "containerd github.com/containerd/containerd v1.7.22 7f7fdf5fed64eb6a7caf99b3e12efcf9d60e311c",
                Some((1, 7)),
            ),
            (
                "containerd github.com/containerd/containerd/v2 v2.1.0-rc.1 abc",
                Some((2, 1)),
            ),
            (
                "containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+deb12u1",
                Some((1, 6)),
            ),
            ("containerd github.com/k3s-io/containerd v2.0.5-k3s1", Some((2, 0))),
            ("something else", None),
        ] {
            assert_eq!(parse_version(text), expected, "{text}");
        }
    }

    #[test]
    fn a_configuration_is_judged_line_by_line() {
        let socket = Path::new("/run/imagecache/node.sock");
        let right = "[proxy_plugins.imagecache]\n  address = \"/run/imagecache/node.sock\"\n[x]\n  \
                     snapshotter = \"imagecache\"\n  disable_snapshot_annotations = false\n";
        let judge = |text: Option<&str>| -> Vec<(Grade, String)> {
            let found = configured(Path::new("/etc/containerd/config.toml"), text, socket, Some((1, 7)));
            found.into_iter().map(|finding| (finding.grade, finding.text)).collect()
        };
        for (name, text, expected) in [
            (
                "right",
                Some(right.to_owned()),
                vec![(Grade::Good, "uses the snapshotter")],
            ),
            ("no file", None, vec![(Grade::Fair, "cannot be read")]),
            (
                "nothing of ours",
                Some(String::new()),
                vec![
                    (Grade::Fair, "does not name"),
                    (Grade::Fair, "disable_snapshot_annotations"),
                ],
            ),
            (
                "another default, which a runtime class may well have",
                Some(right.replace("snapshotter = \"imagecache\"", "# snapshotter = \"imagecache\"")),
                vec![(Grade::Fair, "set `snapshotter")],
            ),
            (
                "in parallel",
                Some(format!("{right}capabilities = [\"rebase\"]\n")),
                vec![(Grade::Good, "uses"), (Grade::Bad, "rebase")],
            ),
        ] {
            let found = judge(text.as_deref());
            assert_eq!(found.len(), expected.len(), "{name}: {found:?}");
            for ((grade, text), (expected_grade, part)) in found.iter().zip(expected) {
                assert!(
                    *grade == expected_grade && text.contains(part),
                    "{name}: {grade:?} {text}"
                );
            }
        }
        let k3s = configured(Path::new(K3S_CONFIG), Some(""), socket, None);
        assert!(
            k3s.iter().all(|finding| finding.text.contains("config-v3.toml.tmpl")),
            "{k3s:?}"
        );
    }

    #[test]
    fn the_transfer_service_must_say_which_image_a_layer_is_of() {
        let socket = Path::new("/run/imagecache/node.sock");
        let before = "[proxy_plugins.imagecache]\n  address = \"/run/imagecache/node.sock\"\n[x]\n  \
                      snapshotter = \"imagecache\"\n  disable_snapshot_annotations = false\n";
        for (name, version, more, expected) in [
            ("nothing of it", Some((2, 1)), "", 1),
            (
                "said",
                Some((2, 2)),
                "enable_remote_snapshot_annotations = \"true\"\n",
                0,
            ),
            ("the old way", Some((2, 1)), "use_local_image_pull = true\n", 0),
            ("an older one", Some((2, 0)), "", 0),
            ("an unknown one", None, "", 0),
        ] {
            let text = format!("{before}{more}");
            let found = configured(Path::new("/etc/containerd/config.toml"), Some(&text), socket, version);
            let bad = found.iter().filter(|finding| finding.grade == Grade::Bad);
            assert_eq!(bad.count(), expected, "{name}: {found:?}");
        }
    }

    #[test]
    fn the_disk_of_images_must_be_found() {
        let dir = tempfile::tempdir().unwrap();
        let grade = |version, exports| image_disk(dir.path(), Some(version), exports).grade;
        assert_eq!(grade((1, 7), true), Grade::Fair, "1.7 knows no exports");
        assert_eq!(grade((2, 1), true), Grade::Good);
        assert_eq!(grade((2, 1), false), Grade::Fair);
        fs::create_dir(image_filesystem(dir.path())).unwrap();
        assert_eq!(grade((1, 7), false), Grade::Good);
    }
}
