//! Logs, to stderr only: stdout is for results.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

use crate::config::{LogConfig, LogFormat};

/// A log filter that cannot be parsed.
#[derive(Debug, thiserror::Error)]
#[error("log filter `{filter}` is invalid: {source}")]
pub struct FilterError {
    filter: String,
    source: tracing_subscriber::filter::ParseError,
}

/// Starts logging for the rest of the process.
///
/// # Errors
///
/// When the filter cannot be parsed.
pub fn start(config: &LogConfig) -> Result<(), FilterError> {
    let filter = EnvFilter::try_new(&config.filter).map_err(|source| FilterError {
        filter: config.filter.clone(),
        source,
    })?;
    let builder = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second call (tests in one process) keeps the first subscriber.
    let _already_started = match config.format {
        LogFormat::Text => builder
            .with_ansi(std::io::stderr().is_terminal())
            .with_target(false)
            .try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    Ok(())
}
