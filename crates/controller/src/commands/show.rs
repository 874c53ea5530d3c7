//! `crd` and `config`: what this binary would use.

use super::AnyError;
use crate::cli::Format;
use crate::config::Loaded;
use crate::output::print;
use crate::registry;

/// The CRDs as a multi-document YAML for `kubectl apply -f -`, or a JSON list.
pub(super) fn crd(format: Format) -> Result<(), AnyError> {
    let crds = imagecache_k8s_api::crds();
    let text = match format {
        Format::Json => serde_json::to_string_pretty(&crds)? + "\n",
        Format::Table | Format::Yaml => {
            let documents: Result<Vec<String>, _> = crds.iter().map(serde_yaml_ng::to_string).collect();
            documents?.join("---\n")
        }
    };
    print(&text)?;
    Ok(())
}

/// The effective configuration. It holds where secrets are, never the secrets, so there is nothing to redact.
pub(super) fn config(loaded: &Loaded, format: Format) -> Result<(), AnyError> {
    let effective = registry::effective_config(loaded)?;
    let text = match format {
        Format::Table => toml::to_string_pretty(&effective)?,
        Format::Json => serde_json::to_string_pretty(&effective)? + "\n",
        Format::Yaml => serde_yaml_ng::to_string(&effective)?,
    };
    print(&text)?;
    Ok(())
}
