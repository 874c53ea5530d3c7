//! Logs, to stderr only: stdout is for results.

use std::io::IsTerminal as _;

use tracing::{Level, Metadata};
use tracing_subscriber::filter::{FilterExt as _, filter_fn};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, fmt};

use crate::config::{LogConfig, LogFormat};

/// Libraries that write what they send into their detailed logs. A cloud takes registry passwords in URLs, so these stay
/// quiet whatever the filter says.
const TALKATIVE: [&str; 5] = ["h2", "hyper", "hyper_util", "reqwest", "rustls"];

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
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = match config.format {
        LogFormat::Text => lines
            .with_ansi(std::io::stderr().is_terminal())
            .with_target(false)
            .boxed(),
        LogFormat::Json => lines.json().boxed(),
    };
    let lines = lines.with_filter(filter.and(filter_fn(is_discreet)));
    // A second call (tests in one process) keeps the first subscriber.
    let _already_started = tracing_subscriber::registry().with(lines).try_init();
    Ok(())
}

/// Whether a log line cannot hold what a library sends.
fn is_discreet(line: &Metadata<'_>) -> bool {
    let library = line.target().split("::").next().unwrap_or_default();
    *line.level() <= Level::INFO || !TALKATIVE.contains(&library)
}
