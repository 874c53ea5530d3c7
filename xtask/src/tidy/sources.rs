//! Source files: each says what it is for, none is too long, none is there by mistake.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::{shell, workspace};

/// Past this, a file has a second role.
const MAX_LINES: usize = 500;

/// Files that may be longer, and why.
const LONG: &[(&str, &str)] = &[];

/// Larger than this is data that belongs elsewhere, or a build product.
const MAX_BYTES: u64 = 1 << 20;

/// Endings of files that an editor, a merge or a tool left behind.
const LEFTOVERS: &[&str] = &[
    ".orig",
    ".rej",
    ".swp",
    ".bak",
    "~",
    ".log",
    ".profraw",
    ".DS_Store",
    ".rs.bk",
];

/// Breaches in the files that git knows or would add.
pub fn check() -> Result<Vec<String>> {
    let root = workspace::root();
    let list = ["ls-files", "--cached", "--others", "--exclude-standard"];
    let files = shell::capture(Command::new("git").current_dir(root).args(list))?;
    let mut breaches = Vec::new();
    for file in files.lines() {
        let path = root.join(file);
        // A file that was deleted and not yet committed is still listed.
        if path.is_file() {
            breaches.extend(judge(file, &path)?);
        }
    }
    Ok(breaches)
}

fn judge(file: &str, path: &Path) -> Result<Vec<String>> {
    let mut breaches = Vec::new();
    if LEFTOVERS.iter().any(|ending| file.ends_with(ending)) {
        breaches.push(format!("{file}: looks like a leftover"));
    }
    let size = path.metadata()?.len();
    if size > MAX_BYTES {
        breaches.push(format!(
            "{file}: {size} bytes; nothing in this repository needs more than {MAX_BYTES}"
        ));
    } else if file.ends_with(".rs") {
        breaches.extend(judge_source(file, &std::fs::read_to_string(path)?));
    }
    Ok(breaches)
}

fn judge_source(file: &str, text: &str) -> Vec<String> {
    let mut breaches = Vec::new();
    if !text.starts_with("//! ") {
        breaches.push(format!(
            "{file}: the first line must be `//! ` and say what the file is for"
        ));
    }
    let lines = text.lines().count();
    if lines > MAX_LINES && !LONG.iter().any(|(long, _)| *long == file) {
        breaches.push(format!(
            "{file}: {lines} lines; past {MAX_LINES}, find the second role and move it out"
        ));
    }
    breaches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_judged() {
        let long = format!("//! Long.\n{}", "\n".repeat(MAX_LINES));
        let rows = [
            ("good", "//! Good.\n", 0),
            ("no header", "fn main() {}\n", 1),
            ("empty", "", 1),
            ("long", &long, 1),
        ];
        for (row, text, expected) in rows {
            assert_eq!(judge_source("a.rs", text).len(), expected, "{row}");
        }
    }
}
