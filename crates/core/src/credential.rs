//! Registry credentials as they travel in a cache spec.

use crate::Secret;

/// User name and password for one registry server.
///
/// `Debug` shows the server and user name, never the password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryCredential {
    /// Host and optional port, without a scheme: `registry.example.com:5000`.
    pub server: String,
    /// User name; the literal `<token>` marks `password` as an OAuth2 identity token, as Docker's config does.
    pub username: String,
    /// Password, access token or identity token.
    pub password: Secret<String>,
}
