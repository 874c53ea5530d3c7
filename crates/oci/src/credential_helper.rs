//! Docker's credential helpers: `docker-credential-<name> get` gives the login for a host.

use std::process::Stdio;
use std::time::Duration;

use imagecache_core::{Error, ErrorKind, Secret};
use serde::Deserialize;
use tokio::io::AsyncWriteExt;

use crate::error::fail;
use crate::keyring::{Keyring, Login};

/// Helpers may ask a cloud for a token, not a person for a password.
const TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

/// Asks the helper that is configured for `host`; `None` when there is none or when it knows nothing.
pub(crate) async fn login(keyring: &Keyring, host: &str) -> Result<Option<Login>, Error> {
    let hub = matches!(host, "registry-1.docker.io" | "index.docker.io");
    let name = if hub { "docker.io" } else { host };
    let Some(helper) = keyring.helpers.get(name).or(keyring.default_helper.as_ref()) else {
        return Ok(None);
    };
    // The name becomes part of a program name: no paths.
    if !helper
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
    {
        let message = format!(
            "credential helper name `{}` is malformed",
            crate::media_type::clip(helper)
        );
        return Err(fail(ErrorKind::InvalidSpec, "credentials", message));
    }
    let server = if hub { "https://index.docker.io/v1/" } else { host };
    let program = format!("docker-credential-{helper}");
    let failed = |problem: &str| {
        fail(
            ErrorKind::Unauthenticated,
            "credentials",
            format!("credential helper `{program}` for `{host}` {problem}"),
        )
    };
    let mut child = match tokio::process::Command::new(&program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
    {
        Ok(child) => child,
        // A default helper that is not installed here must not stop anonymous pulls.
        Err(error) => {
            tracing::warn!(%program, %error, "credential helper cannot be started");
            return Ok(None);
        }
    };
    let talk = async {
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(server.as_bytes()).await?;
        }
        child.wait_with_output().await
    };
    let output = tokio::time::timeout(TIMEOUT, talk)
        .await
        .map_err(|_| failed("did not answer in time"))?
        .map_err(|error| failed("cannot be talked to").with_source(error))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stdout);
        // The protocol's only way to say "not found" is this text.
        return if said.contains("credentials not found") {
            Ok(None)
        } else {
            Err(failed("failed"))
        };
    }
    let answer: Answer = serde_json::from_slice(&output.stdout).map_err(|_| failed("gives a malformed answer"))?;
    Ok(Some(match answer.username.as_str() {
        "<token>" => Login::Identity(Secret::new(answer.secret)),
        _ => Login::Password {
            username: answer.username,
            password: Secret::new(answer.secret),
        },
    }))
}
