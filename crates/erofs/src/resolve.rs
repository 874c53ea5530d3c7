//! Paths as containerd reads them: cleaned lexically, symlinks followed but never out of the root.

use std::collections::VecDeque;

use crate::error::{Error, Result};

/// Links followed for one path before it counts as a loop, as in containerd.
const MAX_LINKS: usize = 255;

/// What a directory holds under a name.
pub(crate) enum Step<N> {
    Missing,
    Directory(N),
    Link(Vec<u8>),
    Other(N),
}

/// Something in which paths can be resolved.
pub(crate) trait Namespace {
    type Node: Copy;
    fn root(&self) -> Self::Node;
    fn step(&self, directory: Self::Node, name: &[u8]) -> Result<Step<Self::Node>>;
}

/// Where a path leads.
pub(crate) struct Resolved<N> {
    /// The deepest directory that exists.
    pub(crate) directory: N,
    /// Names above and including `directory`.
    pub(crate) found: Vec<Vec<u8>>,
    /// Names below it that do not exist yet.
    pub(crate) missing: Vec<Vec<u8>>,
    /// The last name, if it exists and is no directory; then it is not in `missing`.
    pub(crate) other: Option<N>,
}

/// The names of a path, `.`, `..` and double slashes removed lexically; it cannot rise above the root.
pub(crate) fn clean(path: &[u8]) -> Vec<&[u8]> {
    let mut names = Vec::new();
    push_clean(&mut names, path, |name| name);
    names
}

fn push_clean<'a, T>(names: &mut Vec<T>, path: &'a [u8], make: impl Fn(&'a [u8]) -> T) {
    for name in path.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => drop(names.pop()),
            _ => names.push(make(name)),
        }
    }
}

/// Bytes of a path made of these names, without a leading slash.
pub(crate) fn path_bytes<T: AsRef<[u8]>>(names: &[T]) -> usize {
    names
        .iter()
        .map(|name| name.as_ref().len() + 1)
        .sum::<usize>()
        .saturating_sub(1)
}

/// Follows `names` from the root; every symlink, the last one too, is taken relative to the root.
///
/// A link's target is joined lexically, as containerd does: `a/../b` in a target is `b` whatever `a` is.
///
/// # Errors
/// Fails on too many links, on a path that grows beyond `max_path_bytes`, and on a file in the middle of the path.
pub(crate) fn resolve<S: Namespace, T: AsRef<[u8]>>(
    space: &S,
    names: &[T],
    max_path_bytes: usize,
) -> Result<Resolved<S::Node>> {
    let mut links = 0;
    let mut todo: VecDeque<Vec<u8>> = names.iter().map(|name| name.as_ref().to_vec()).collect();
    let mut found: Vec<Vec<u8>> = Vec::new();
    let mut directory = space.root();
    while let Some(name) = todo.pop_front() {
        match space.step(directory, &name)? {
            Step::Missing => {
                todo.push_front(name);
                break;
            }
            Step::Directory(next) => {
                found.push(name);
                directory = next;
            }
            Step::Other(other) => {
                if !todo.is_empty() {
                    found.push(name);
                    return Err(Error::entry(
                        &found.join(&b'/'),
                        "it is a file, but used as a directory",
                    ));
                }
                return Ok(Resolved {
                    directory,
                    found,
                    missing: Vec::new(),
                    other: Some(other),
                });
            }
            Step::Link(target) => {
                links += 1;
                if links > MAX_LINKS {
                    return Err(Error::entry(&name, "too many symbolic links, probably a loop"));
                }
                if target.starts_with(b"/") {
                    found.clear();
                }
                push_clean(&mut found, &target, <[u8]>::to_vec);
                let bytes = path_bytes(&found) + 1 + todo.iter().map(|name| name.len() + 1).sum::<usize>();
                if bytes > max_path_bytes {
                    let path = found.join(&b'/');
                    return Err(Error::limit("path bytes", &path, bytes as u64, max_path_bytes as u64));
                }
                found.drain(..).rev().for_each(|name| todo.push_front(name));
                directory = space.root();
            }
        }
    }
    Ok(Resolved {
        directory,
        found,
        missing: todo.into(),
        other: None,
    })
}

#[cfg(test)]
mod tests {
    use super::clean;

    #[test]
    fn cleaning_stays_inside_the_root() {
        let rows: &[(&str, &str)] = &[
            ("a/b", "a/b"),
            ("./a//b/", "a/b"),
            ("/etc/passwd", "etc/passwd"),
            ("../../etc", "etc"),
            ("a/../../b", "b"),
            ("..", ""),
            ("./", ""),
            ("", ""),
            ("a/./b/../c", "a/c"),
            ("...", "..."),
        ];
        for (path, expected) in rows {
            assert_eq!(clean(path.as_bytes()).join(&b'/'), expected.as_bytes(), "{path:?}");
        }
    }
}
