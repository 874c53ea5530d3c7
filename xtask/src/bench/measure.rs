//! One timed run of a program, with its peak memory.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::shell;

/// Between two looks at the child's high-water mark. The mark never falls, so only growth in the last interval is missed.
const POLL: Duration = Duration::from_millis(5);

/// What one run took.
#[derive(Clone, Copy)]
pub struct Sample {
    /// Wall time in seconds.
    pub seconds: f64,
    /// Peak resident memory of the process itself, in MiB.
    pub peak_mib: f64,
}

/// Runs a command to its end. Its output is shown only if it fails.
pub fn run(command: &mut Command) -> Result<Sample> {
    let log = tempfile::tempfile()?;
    command
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log.try_clone()?);
    let start = Instant::now();
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot start {}", shell::shown(command)))?;
    let status_file = format!("/proc/{}/status", child.id());
    let mut peak_kib = 0;
    let status = loop {
        peak_kib = high_water_kib(&status_file).unwrap_or(0).max(peak_kib);
        if let Some(status) = child.try_wait()? {
            break status;
        }
        std::thread::sleep(POLL);
    };
    let seconds = start.elapsed().as_secs_f64();
    if !status.success() {
        bail!("{} failed: {status}: {}", shell::shown(command), tail(log)?);
    }
    Ok(Sample {
        seconds,
        peak_mib: peak_kib as f64 / 1024.0,
    })
}

/// Times a closure; it has no memory of its own to speak of.
pub fn time(work: impl FnOnce() -> Result<()>) -> Result<Sample> {
    let start = Instant::now();
    work()?;
    Ok(Sample {
        seconds: start.elapsed().as_secs_f64(),
        peak_mib: 0.0,
    })
}

/// The middle of the samples by wall time, and the highest peak of memory.
pub fn median(samples: &[Sample]) -> Sample {
    let mut seconds: Vec<f64> = samples.iter().map(|sample| sample.seconds).collect();
    seconds.sort_by(f64::total_cmp);
    let middle = seconds.get(seconds.len() / 2).copied().unwrap_or(f64::NAN);
    Sample {
        seconds: middle,
        peak_mib: samples.iter().map(|sample| sample.peak_mib).fold(0.0, f64::max),
    }
}

fn high_water_kib(status_file: &str) -> Option<u64> {
    let status = std::fs::read_to_string(status_file).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

fn tail(mut log: std::fs::File) -> Result<String> {
    use std::io::{Read, Seek, SeekFrom};
    log.seek(SeekFrom::Start(0))?;
    let mut text = Vec::new();
    log.read_to_end(&mut text)?;
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().collect();
    Ok(lines[lines.len().saturating_sub(5)..].join(" | "))
}
