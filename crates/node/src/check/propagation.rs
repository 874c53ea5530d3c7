//! Whether what this process mounts reaches the host, where containers are started.

use std::fs;
use std::path::Path;

use super::{Finding, Grade, finding};

/// The mounts of this process, and its and the first process's mount namespaces.
const TABLE: &str = "/proc/self/mountinfo";
const OWN_NAMESPACE: &str = "/proc/self/ns/mnt";
const FIRST_NAMESPACE: &str = "/proc/1/ns/mnt";
const FIRST_NAME: &str = "/proc/1/comm";
/// What runs as process 1 on a host; in a container it is something else.
const HOST_NAMES: [&str; 3] = ["systemd", "init", "runit"];

pub(super) fn check(root: &Path) -> Finding {
    let table = fs::read_to_string(TABLE).unwrap_or_default();
    let place = root.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let place = fs::canonicalize(place).unwrap_or_else(|_| place.to_owned());
    let same = match (fs::read_link(OWN_NAMESPACE), fs::read_link(FIRST_NAMESPACE)) {
        (Ok(own), Ok(first)) => own == first,
        _ => false,
    };
    let first = fs::read_to_string(FIRST_NAME).unwrap_or_default();
    let on_host = same && HOST_NAMES.contains(&first.trim());
    judge(root, is_shared(&table, &place), on_host)
}

fn judge(root: &Path, shared: bool, on_host: bool) -> Finding {
    let subject = "mount propagation";
    let shown = root.display();
    match (shared, on_host) {
        (true, _) => finding(
            subject,
            Grade::Good,
            format!("mounts below {shown} reach other mount namespaces"),
        ),
        (false, true) => finding(subject, Grade::Good, "this process is in the host's mount namespace"),
        (false, false) => finding(
            subject,
            Grade::Fair,
            format!(
                "mounts below {shown} stay in this mount namespace; if containerd runs in another one, as it does for a pod, \
                 containers find empty directories: mount {shown} with `mountPropagation: Bidirectional`"
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
        let grade = |shared, on_host| judge(Path::new("/r"), shared, on_host).grade;
        assert_eq!(grade(true, false), Grade::Good);
        assert_eq!(grade(false, true), Grade::Good);
        assert_eq!(grade(false, false), Grade::Fair);
    }
}
