//! Runs the workspace's tests, and of the ignored ones those whose needs this machine meets.
//!
//! A test that cannot run everywhere is marked `#[ignore = "needs A and B"]`. The first pass runs the ordinary tests and
//! collects those reasons; the second runs exactly the ignored tests all of whose needs are met. What is left over is
//! printed with its reason: nothing is skipped in silence.

use std::collections::BTreeMap;

use anyhow::{Result, bail};

use crate::{packages, shell, workspace};

/// What a run came to.
#[derive(Default)]
pub struct Totals {
    passed: u64,
    failed: u64,
    left_out: usize,
}

/// Installs what tests need where possible and runs them.
pub fn run() -> Result<Totals> {
    let missing = packages::install(packages::TESTS)?;
    if !missing.is_empty() {
        let names: Vec<_> = missing.iter().map(|tool| tool.package).collect();
        println!(
            "test: not installed: {} (`apt-get install` them to run what needs them)",
            names.join(" ")
        );
    }
    let mut totals = Totals::default();
    let mut ignored: BTreeMap<String, String> = BTreeMap::new();
    let mut command = workspace::cargo();
    command.args(["test", "--locked", "--workspace", "--no-fail-fast"]);
    command.args(workspace::Profile::Dev.features());
    let first = shell::stream(&mut command, |line| {
        totals.count(line);
        if let Some((name, reason)) = ignored_test(line) {
            ignored.insert(name.to_owned(), reason.to_owned());
        }
    })?;

    let root = shell::is_root();
    let (run, left): (Vec<_>, Vec<_>) = ignored
        .iter()
        .partition(|(_, reason)| needs(reason).iter().all(|need| met(need, root)));
    let mut second = true;
    if !run.is_empty() {
        println!("\ntest: {} ignored tests can run here", run.len());
        let mut command = workspace::cargo();
        command.args(["test", "--locked", "--workspace", "--no-fail-fast", "--tests"]);
        command.args(workspace::Profile::Dev.features());
        command.args(["--", "--ignored", "--exact"]);
        command.args(run.iter().map(|(name, _)| name));
        second = shell::stream(&mut command, |line| totals.count(line))?;
    }
    totals.left_out = left.len();
    println!();
    for (name, reason) in left {
        println!("left out: {name}: {reason}");
    }
    println!(
        "test: {} passed, {} failed, {} left out",
        totals.passed, totals.failed, totals.left_out
    );
    if !first || !second {
        bail!("tests failed");
    }
    Ok(totals)
}

impl Totals {
    /// Adds what one `test result: …` line says.
    fn count(&mut self, line: &str) {
        let Some(counts) = line.strip_prefix("test result: ") else {
            return;
        };
        let number = |word: &str| {
            let before = counts.split(&format!(" {word}")).next().unwrap_or_default();
            before
                .rsplit(' ')
                .next()
                .and_then(|digits| digits.parse::<u64>().ok())
                .unwrap_or_default()
        };
        self.passed += number("passed");
        self.failed += number("failed");
    }
}

/// The name and reason in a line such as `test mount::works ... ignored, needs root`.
///
/// Examples in documentation that are marked `ignore` give no reason and are not meant to run: they are not tests.
fn ignored_test(line: &str) -> Option<(&str, &str)> {
    line.strip_prefix("test ")?.split_once(" ... ignored, ")
}

/// The needs that a reason lists: `needs root, umoci and skopeo` gives `root`, `umoci`, `skopeo`.
fn needs(reason: &str) -> Vec<&str> {
    let list = reason.strip_prefix("needs ").unwrap_or(reason);
    let words = list.split([',', ':']).flat_map(|part| part.split(" and "));
    words.map(str::trim).filter(|word| !word.is_empty()).collect()
}

/// Whether this machine meets one need: `root`, a program, or a Debian package from the list of tools.
fn met(need: &str, root: bool) -> bool {
    if need == "root" {
        return root;
    }
    let by_package = packages::TESTS.iter().find(|tool| tool.package == need);
    packages::present(by_package.map_or(need, |tool| tool.program))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_lines_are_added_up() {
        let mut totals = Totals::default();
        totals.count("test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.03s");
        totals.count("test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1s");
        totals.count("test a::b ... ok");
        assert_eq!((totals.passed, totals.failed), (15, 2));
    }

    #[test]
    fn reasons_name_needs() {
        let rows = [
            ("one", "needs root", vec!["root"]),
            ("two", "needs root and fsck.erofs", vec!["root", "fsck.erofs"]),
            ("three", "needs root, umoci and skopeo", vec!["root", "umoci", "skopeo"]),
            ("not a list", "slow", vec!["slow"]),
        ];
        for (name, reason, expected) in rows {
            assert_eq!(needs(reason), expected, "{name}");
        }
    }

    #[test]
    fn an_unknown_need_is_not_met() {
        assert!(!met("a cluster on the moon", true));
        assert!(!met("root", false));
    }

    #[test]
    fn ignored_lines_are_recognised() {
        assert_eq!(
            ignored_test("test a::b ... ignored, needs root"),
            Some(("a::b", "needs root"))
        );
        assert_eq!(ignored_test("test a::b ... ok"), None);
        assert_eq!(ignored_test("test src/lib.rs - x (line 3) ... ignored"), None);
    }
}
