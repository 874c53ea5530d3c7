//! Files that hold secrets, read anew each time: whoever renews them writes to the same path.

use std::io::ErrorKind;
use std::path::Path;

use imagecache_core::{BoxError, Secret};
use tokio::io::AsyncReadExt as _;

use crate::CredentialError;

/// No secret is longer; a path to something else is refused instead of read.
const MAX_BYTES: u64 = 1024 * 1024;

/// A whole text file; `None` when there is none.
///
/// # Errors
///
/// When it is there and cannot be read. Names the path and holds nothing of the content.
pub async fn read_secret_file(path: &Path) -> Result<Option<Secret<String>>, BoxError> {
    let wrong = |what: String| BoxError::from(format!("file `{}` {what}", path.display()));
    let file = match tokio::fs::File::open(path).await {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
        Err(error) => return Err(wrong(format!("cannot be read: {error}"))),
    };
    let mut bytes = Vec::new();
    let read = file.take(MAX_BYTES + 1).read_to_end(&mut bytes).await;
    read.map_err(|error| wrong(format!("cannot be read: {error}")))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(wrong("is longer than 1 MiB".to_owned()));
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Some(Secret::new(text))),
        Err(_) => Err(wrong("is not UTF-8 text".to_owned())),
    }
}

/// The text of a file without the white space around it: files end in a newline. It must be there, for the source `name`.
///
/// # Errors
///
/// When there is none or nothing in it, besides those of [`read_secret_file`].
pub async fn required_secret(name: &str, path: &Path) -> Result<Secret<String>, CredentialError> {
    let wrong = |what: &str| CredentialError::invalid(name, format!("file `{}` {what}", path.display()));
    let read = read_secret_file(path).await;
    let text = read.map_err(|error| CredentialError::invalid(name, error.to_string()))?;
    match text.ok_or_else(|| wrong("does not exist"))?.expose().trim() {
        "" => Err(wrong("is empty")),
        secret => Ok(Secret::new(secret.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn says_what_is_wrong_and_nothing_of_the_content() {
        let dir = tempfile::tempdir().unwrap();
        for (name, content, expected) in [
            ("absent", None, Ok(None)),
            ("text", Some(b"hunter2\n".to_vec()), Ok(Some("hunter2\n"))),
            ("binary", Some(b"hunter2\xff".to_vec()), Err("is not UTF-8 text")),
            ("long", Some(b"hunter2".repeat(200_000)), Err("is longer than 1 MiB")),
        ] {
            let path = dir.path().join(name);
            if let Some(content) = content {
                std::fs::write(&path, content).unwrap();
            }
            match (read_secret_file(&path).await, expected) {
                (Ok(found), Ok(expected)) => {
                    assert_eq!(found.as_ref().map(|text| text.expose().as_str()), expected, "{name}");
                }
                (Err(error), Err(part)) => {
                    let text = format!("{error} {error:?}");
                    assert!(
                        text.contains(part) && text.contains(name) && !text.contains("hunter"),
                        "{text}"
                    );
                }
                (found, _) => panic!("{name}: {found:?}"),
            }
        }
        assert!(read_secret_file(dir.path()).await.is_err(), "a directory");
    }
}
