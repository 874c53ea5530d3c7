//! `bench match`: how long the choice of a cache takes, what the index of all caches needs, and how long a pod waits for it.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::bench::{MatchArgs, report};
use crate::{shell, workspace};

/// Runs the bench programs of `imagecache-core` and `imagecache-controller`, release builds, and prints Markdown tables.
pub fn run(args: &MatchArgs) -> Result<()> {
    let flags = [("--caches", args.caches), ("--matches", args.matches)];
    let matching = measured("imagecache-core", "matching", &flags)?;
    println!("{}\n", report::machine()?);
    println!(
        "| {} caches hold, processor time of one match | p50 µs | p99 µs | max µs | hits of {} | index MiB |",
        args.caches, args.matches
    );
    println!("|---|---:|---:|---:|---:|---:|");
    for row in &matching {
        println!(
            "| {} | {:.0} | {:.0} | {:.0} | {} | {:.0} |",
            row.name,
            row.number("p50_ns")? / 1e3,
            row.number("p99_ns")? / 1e3,
            row.number("max_ns")? / 1e3,
            row.number("hits")?,
            row.number("index_kib")? / 1024.0,
        );
    }
    println!("\nPods have ten containers; the rules of both vendors take turns. Wanted: p99 below 1,000 µs.\n");

    let flags = [
        ("--caches", args.caches),
        ("--reviews", args.reviews),
        ("--per-second", args.per_second),
        ("--storm", args.storm),
    ];
    let admission = measured("imagecache-controller", "admission", &flags)?;
    println!(
        "| {} caches, {} reviews a second over TLS, while | p50 ms | p99 ms | p99.9 ms | max ms | hits of {} |",
        args.caches, args.per_second, args.reviews
    );
    println!("|---|---:|---:|---:|---:|---:|");
    for row in &admission {
        println!(
            "| {} | {:.2} | {:.2} | {:.2} | {:.2} | {} |",
            row.name,
            row.number("p50_us")? / 1e3,
            row.number("p99_us")? / 1e3,
            row.number("p999_us")? / 1e3,
            row.number("max_us")? / 1e3,
            row.number("bound")?,
        );
    }
    println!(
        "\nController, API server and client share this machine. Wanted: p99 below 5 ms, and below 20 ms in the storm."
    );
    Ok(())
}

/// One line of what a bench program printed.
struct Row {
    name: String,
    numbers: Value,
}

impl Row {
    fn number(&self, key: &str) -> Result<f64> {
        let number = self.numbers.get(key).and_then(Value::as_f64);
        number.with_context(|| format!("the bench does not tell {key}"))
    }
}

fn measured(package: &str, bench: &str, flags: &[(&str, usize)]) -> Result<Vec<Row>> {
    let mut command = workspace::cargo();
    command.args([
        "bench",
        "--quiet",
        "--locked",
        "--package",
        package,
        "--bench",
        bench,
        "--",
    ]);
    for (flag, number) in flags {
        command.args([*flag, &number.to_string()]);
    }
    let printed = shell::capture(&mut command)?;
    let rows = printed.lines().map(|line| {
        let numbers: Value = serde_json::from_str(line).context("the bench printed what is not JSON")?;
        let name = numbers
            .get("name")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        Ok(Row { name, numbers })
    });
    rows.collect()
}
