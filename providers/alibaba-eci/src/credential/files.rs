//! Files that hold secrets, read anew each time: whoever renews them writes to the same path.

use std::io::ErrorKind;
use std::path::Path;

use imagecache_cloud_http::CredentialError;
use imagecache_core::Secret;

/// The whole file; `None` when there is none.
pub(super) async fn read(name: &str, path: &Path) -> Result<Option<Vec<u8>>, CredentialError> {
    match tokio::fs::read(path).await {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(CredentialError::Invalid {
            name: name.to_owned(),
            message: format!("file `{}` cannot be read", path.display()),
            source: Some(error.into()),
        }),
    }
}

/// The file's text without the white space around it: files end in a newline. It must be there.
pub(super) async fn secret(name: &str, path: &Path) -> Result<Secret<String>, CredentialError> {
    let wrong = |what: &str| super::keys::invalid(name, format!("file `{}` {what}", path.display()));
    let bytes = read(name, path).await?.ok_or_else(|| wrong("does not exist"))?;
    let text = String::from_utf8(bytes).map_err(|_| wrong("is not text"))?;
    match text.trim() {
        "" => Err(wrong("is empty")),
        secret => Ok(Secret::new(secret.to_owned())),
    }
}
