//! Whether what this process mounts reaches the host, where containers are started.

use std::fs;
use std::path::Path;

use super::{Finding, Grade, finding};

/// The mounts of this process, its mount namespace, and all processes.
const TABLE: &str = "/proc/self/mountinfo";
const OWN_NAMESPACE: &str = "/proc/self/ns/mnt";
const PROCESSES: &str = "/proc";
/// What has its mounts looked at.
const CONTAINERD: &str = "containerd";

/// Where containerd is, as seen from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Containerd {
    /// In this mount namespace.
    Here,
    /// In another one.
    Elsewhere,
    /// Not running, or hidden from this process, as from a pod.
    Unseen,
}

pub(super) fn check(root: &Path) -> Finding {
    let table = fs::read_to_string(TABLE).unwrap_or_default();
    let place = root.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let place = fs::canonicalize(place).unwrap_or_else(|_| place.to_owned());
    judge(root, is_shared(&table, &place), containerd())
}

fn containerd() -> Containerd {
    let Ok(own) = fs::read_link(OWN_NAMESPACE) else {
        return Containerd::Unseen;
    };
    let processes = fs::read_dir(PROCESSES).into_iter().flatten().flatten();
    let named = processes.map(|process| process.path()).filter(|process| {
        let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
        name.trim() == CONTAINERD
    });
    let namespaces: Vec<_> = named
        .filter_map(|process| fs::read_link(process.join("ns/mnt")).ok())
        .collect();
    match namespaces.as_slice() {
        [] => Containerd::Unseen,
        found if found.contains(&own) => Containerd::Here,
        _ => Containerd::Elsewhere,
    }
}

fn judge(root: &Path, shared: bool, containerd: Containerd) -> Finding {
    let subject = "mount propagation";
    let shown = root.display();
    let advice = format!("mount {shown} with `mountPropagation: Bidirectional`, or run in the host's mount namespace");
    match (shared, containerd) {
        (_, Containerd::Here) => finding(subject, Grade::Good, "containerd is in this mount namespace"),
        (true, _) => finding(
            subject,
            Grade::Good,
            format!("mounts below {shown} reach other mount namespaces"),
        ),
        (false, Containerd::Elsewhere) => finding(
            subject,
            Grade::Bad,
            format!(
                "containerd does not see mounts below {shown}, so containers would find empty directories: {advice}"
            ),
        ),
        (false, Containerd::Unseen) => finding(
            subject,
            Grade::Fair,
            format!(
                "mounts below {shown} stay in this mount namespace; should containerd run in another one: {advice}"
            ),
        ),
    }
}

/// Whether the mount that `place` is on is shared with a peer group.
fn is_shared(table: &str, place: &Path) -> bool {
    let mounts = table.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        let target = fields.nth(4)?.replace("\\040", " ");
        // Optional fields follow the options and end with a hyphen.
        let shared = fields
            .skip(1)
            .take_while(|field| *field != "-")
            .any(|field| field.starts_with("shared:"));
        place.starts_with(&target).then_some((target.len(), shared))
    });
    // The deepest one; of several on one place the last, which hides the others.
    mounts
        .max_by_key(|(length, _)| *length)
        .is_some_and(|(_, shared)| shared)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deepest_mount_decides() {
        let table = "1 0 8:1 / / rw shared:1 - ext4 /dev/a rw\n2 1 8:2 / /var rw,relatime - ext4 /dev/b rw\n\
                     3 2 8:3 / /var/lib/a\\040b rw shared:7 master:1 - ext4 /dev/c rw\n";
        for (place, expected) in [
            ("/", true),
            ("/var/lib", false),
            ("/var/lib/a b/c", true),
            ("/variety", true),
        ] {
            assert_eq!(is_shared(table, Path::new(place)), expected, "{place}");
        }
        assert!(!is_shared("", Path::new("/")));
    }

    #[test]
    fn a_pod_without_propagation_is_told() {
        let grade = |shared, containerd| judge(Path::new("/r"), shared, containerd).grade;
        for (shared, containerd, expected) in [
            (false, Containerd::Here, Grade::Good),
            (true, Containerd::Elsewhere, Grade::Good),
            (false, Containerd::Elsewhere, Grade::Bad),
            (true, Containerd::Unseen, Grade::Good),
            (false, Containerd::Unseen, Grade::Fair),
        ] {
            assert_eq!(grade(shared, containerd), expected, "{shared} {containerd:?}");
        }
    }
}
