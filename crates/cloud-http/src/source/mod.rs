//! Where both clouds look for credentials; each adds its own names, files and services.

mod environment;
mod file;
mod ini;
mod reference;

pub use environment::{Environment, EnvironmentNames, EnvironmentSource};
pub use file::read_secret_file;
pub use ini::{IniFile, IniSection};
pub use reference::{KeyReference, ReferenceSource, SecretReference};
