//! Where both clouds look for credentials; each adds its own names, files and services.

mod config_error;
mod environment;
mod file;
mod fixed;
mod ini;
mod json;
mod names;
mod oidc;
mod plain;
mod reference;
mod roles;

pub use config_error::CredentialConfigError;
pub use environment::{Environment, EnvironmentNames, EnvironmentSource};
pub use file::{read_secret_file, required_secret};
pub use ini::{IniFile, IniSection};
pub use json::parse_json;
pub use names::{SecretFile, VariableName, lenient_text};
pub use oidc::{OidcIdentity, OidcNames};
pub use plain::{PlainClient, PlainError};
pub use reference::{KeyPlaces, ReferenceSource, SecretPlace};
pub use roles::{Expectation, RoleHeader, RolePlace, RoleService, metadata_endpoint};
