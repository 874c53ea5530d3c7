//! Results on stdout, errors on stderr.

use std::error::Error;
use std::fmt::Write as _;
use std::io::{ErrorKind, Write as _};
use std::process::ExitCode;

use imagecache_core::{CacheState, chain};
use jiff::Timestamp;
use serde::Serialize;

use crate::cli::Format;

/// Writes `text` to stdout. A reader that went away (`imagecache list | head`) is no error.
pub fn print(text: &str) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Writes one line to stderr; a closed stderr is nobody's problem.
pub fn note(line: &str) {
    let _closed = writeln!(std::io::stderr().lock(), "{line}");
}

/// Reports an error with its causes in one line, and gives the exit code for it.
pub fn report(error: &(dyn Error + 'static)) -> ExitCode {
    note(&format!("imagecache: {}", chain(error)));
    ExitCode::FAILURE
}

/// Renders a value as JSON or YAML; `table` is called for people.
pub fn render<T: Serialize>(
    format: Format,
    value: &T,
    table: impl FnOnce(&T) -> String,
) -> Result<String, Box<dyn Error>> {
    Ok(match format {
        Format::Table => table(value),
        Format::Json => serde_json::to_string_pretty(value)? + "\n",
        Format::Yaml => serde_yaml_ng::to_string(value)?,
    })
}

/// Rows in aligned columns under a header, as kubectl prints them.
pub fn columns(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = header.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    let mut line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut padded = String::new();
        for (cell, width) in cells.zip(&widths) {
            let _infallible = write!(padded, "{cell:width$}   ");
        }
        text.push_str(padded.trim_end());
        text.push('\n');
    };
    line(&mut header.iter().copied());
    for row in rows {
        line(&mut row.iter().map(String::as_str));
    }
    text
}

/// Caches as a table.
pub fn caches(states: &[CacheState], now: Timestamp) -> String {
    let rows: Vec<Vec<String>> = states
        .iter()
        .map(|state| {
            let images: Vec<String> = state.images.iter().map(ToString::to_string).collect();
            vec![
                state.id.to_string(),
                state.display_name.clone().unwrap_or_else(|| "-".to_owned()),
                state.phase.to_string(),
                state.progress.to_string(),
                state.content_bytes.map_or_else(|| "-".to_owned(), bytes),
                age(state.created_at, now),
                images.join(","),
            ]
        })
        .collect();
    columns(&["ID", "NAME", "PHASE", "PROGRESS", "CONTENT", "AGE", "IMAGES"], &rows)
}

/// One cache in full.
pub fn cache(state: &CacheState, now: Timestamp) -> String {
    let mut text = String::new();
    let mut field = |name: &str, value: String| {
        let _infallible = writeln!(text, "{name:<14}{value}");
    };
    field("Id:", state.id.to_string());
    if let Some(name) = &state.display_name {
        field("Name:", name.clone());
    }
    field("Phase:", format!("{} ({})", state.phase, state.progress));
    if let Some(failure) = state.phase.failure() {
        field("Reason:", format!("{}: {}", failure.kind.reason(), failure.message));
    }
    for image in &state.images {
        field("Image:", image.to_string());
        if let Some(found) = state.resolved.iter().find(|found| &found.reference == image) {
            field("", format!("{}", found.manifest));
        }
    }
    field("Size:", format!("{} GiB", state.size_gib));
    if let Some(content) = state.content_bytes {
        field("Content:", bytes(content));
    }
    if let Some(snapshot) = &state.snapshot_id {
        field("Snapshot:", snapshot.clone());
    }
    field(
        "Created:",
        format!(
            "{} ({} ago)",
            state.created_at.strftime("%FT%TZ"),
            age(state.created_at, now)
        ),
    );
    field(
        "Expires:",
        state
            .expires_at
            .map_or_else(|| "never".to_owned(), |at| at.strftime("%FT%TZ").to_string()),
    );
    if !state.events.is_empty() {
        field("Events:", String::new());
        let rows: Vec<Vec<String>> = state
            .events
            .iter()
            .map(|event| {
                let age = age(event.last_at, now);
                vec![
                    age,
                    event.severity.as_str().to_owned(),
                    event.reason.clone(),
                    event.message.clone(),
                ]
            })
            .collect();
        for line in columns(&["AGE", "TYPE", "REASON", "MESSAGE"], &rows).lines() {
            let _infallible = writeln!(text, "  {line}");
        }
    }
    text
}

/// Bytes with a binary unit and one decimal: `386.2 MiB`.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    // A display value: losing the low bits of an exabyte is fine.
    #[allow(clippy::cast_precision_loss)]
    let mut value = count as f64;
    let mut units = UNITS.iter();
    let mut unit = units.next().copied().unwrap_or_default();
    for larger in units {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = larger;
    }
    if unit == "B" {
        format!("{count} B")
    } else {
        format!("{value:.1} {unit}")
    }
}

/// How long ago, in kubectl's short form: `35s`, `12m`, `5h`, `3d`.
pub fn age(then: Timestamp, now: Timestamp) -> String {
    let seconds = (now.as_second() - then.as_second()).max(0);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_without_trailing_space() {
        let text = columns(
            &["A", "LONG"],
            &[vec!["wide cell".into(), "x".into()], vec!["y".into(), String::new()]],
        );
        assert_eq!(text, "A           LONG\nwide cell   x\ny\n");
    }

    #[test]
    fn sizes_and_ages_are_short() {
        for (count, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (404_959_232, "386.2 MiB"),
        ] {
            assert_eq!(bytes(count), text);
        }
        let now = Timestamp::from_second(1_000_000).unwrap();
        for (seconds, text) in [
            (5, "5s"),
            (119, "119s"),
            (600, "10m"),
            (7_200, "2h"),
            (200_000, "2d"),
            (-5, "0s"),
        ] {
            assert_eq!(age(Timestamp::from_second(1_000_000 - seconds).unwrap(), now), text);
        }
    }

    #[test]
    fn a_chain_does_not_repeat_itself() {
        let inner = std::io::Error::other("disk full");
        let outer =
            imagecache_core::Error::new(imagecache_core::ErrorKind::Internal, "local", "get", "read: disk full")
                .with_source(inner);
        assert_eq!(chain(&outer), "local.get: read: disk full (internal)");
    }
}
