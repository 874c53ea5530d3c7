//! Markdown that says what was measured, and on what.

use anyhow::Result;

use crate::bench::measure::Sample;

/// One line of the table.
pub struct Row {
    name: String,
    sample: Sample,
    memory: bool,
}

impl Row {
    /// A row without memory: the work is done by another process than the one that was started.
    pub fn new(name: String, sample: Sample) -> Self {
        Self {
            name,
            sample,
            memory: false,
        }
    }

    /// Shows the peak memory too.
    pub fn with_memory(self) -> Self {
        Self { memory: true, ..self }
    }
}

/// Prints the table.
pub fn print(rows: &[Row], rounds: usize) -> Result<()> {
    println!("{}: medians of {rounds} rounds\n", machine()?);
    println!("| what | seconds | peak MiB |\n|---|---:|---:|");
    for Row { name, sample, memory } in rows {
        let peak = if *memory {
            format!("{:.0}", sample.peak_mib)
        } else {
            "–".into()
        };
        println!("| {name} | {:.2} | {peak} |", sample.seconds);
    }
    println!();
    Ok(())
}

/// The command that measures, and the machine that it measures on.
pub fn machine() -> Result<String> {
    let line = |path: &str, key: &str| -> Option<String> {
        let text = std::fs::read_to_string(path).ok()?;
        let found = text.lines().find(|line| line.starts_with(key))?;
        Some(found.split(':').next_back()?.trim().to_owned())
    };
    let cpu = line("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown CPU".into());
    let cores = std::thread::available_parallelism()?;
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let command: Vec<String> = std::env::args().skip(1).collect();
    Ok(format!(
        "`cargo xtask {}` on {cpu}, {cores} cores, Linux {}",
        command.join(" "),
        kernel.trim()
    ))
}

/// Prints what the rows say about each other, beside what is wanted of it.
pub fn ratios(ratios: &[(&str, f64, &str)]) {
    println!("| ratio | measured | wanted |\n|---|---:|---|");
    for (name, ratio, wanted) in ratios {
        println!("| {name} | {ratio:.2} | {wanted} |");
    }
}
