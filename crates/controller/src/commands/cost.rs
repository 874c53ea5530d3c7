//! `cost`: what a cache costs to build, keep and use, with each provider.

use std::fmt::Write as _;

use imagecache_core::cost::{Estimate, Line, Money, Stage, Sum, Tariff, Usage, estimate};
use imagecache_core::{CacheId, DEFAULT_SIZE_GIB};
use serde::Serialize;

use super::{AnyError, find, provider};
use crate::cli::{CostArgs, Format};
use crate::config::Loaded;
use crate::cost_config::CostConfig;
use crate::output::{bytes, columns, print, render};

/// Decimals of amounts in tables; JSON and YAML have them all.
const DECIMALS: usize = 4;
/// Stands where a price would be.
const NO_PRICE: &str = "no price";

/// Nobody knows how this provider's caches are billed.
#[derive(Debug, thiserror::Error)]
#[error("how caches of provider `{0}` are billed is not known, choose one of: {known}", known = known_providers())]
struct NoRules(String);

fn known_providers() -> String {
    let mut names: Vec<&str> = Tariff::ALL.iter().map(|tariff| tariff.provider()).collect();
    names.dedup();
    names.join(", ")
}

/// The provider does not say how much is in a cache, and the flag was not given.
#[derive(Debug, thiserror::Error)]
#[error("provider `{provider}` does not tell how much `{id}` holds, give --content-gib")]
struct UnknownContent {
    id: CacheId,
    provider: &'static str,
}

/// The result.
#[derive(Serialize)]
struct Report<'a> {
    usage: Usage,
    /// What the amounts are in; none without prices.
    currency: Option<&'a str>,
    estimates: Vec<Row>,
}

/// One tariff's part. A sum with `unpriced` lines is the least that it can be.
#[derive(Serialize)]
struct Row {
    tariff: Tariff,
    provider: &'static str,
    build: Sum,
    keep: Sum,
    #[serde(rename = "use")]
    usage: Sum,
    total: Sum,
    lines: Vec<Line>,
    notes: &'static [&'static str],
}

impl From<Estimate> for Row {
    fn from(estimate: Estimate) -> Self {
        Self {
            tariff: estimate.tariff,
            provider: estimate.tariff.provider(),
            build: estimate.stage(Stage::Build),
            keep: estimate.stage(Stage::Keep),
            usage: estimate.stage(Stage::Use),
            total: estimate.total(),
            notes: estimate.tariff.notes(),
            lines: estimate.lines,
        }
    }
}

/// `only` is the provider that was asked for on the command line; a configured one does not narrow the comparison.
pub(super) async fn cost(loaded: &Loaded, format: Format, only: Option<&str>, args: &CostArgs) -> Result<(), AnyError> {
    let tariffs = tariffs(&loaded.config.cost, only)?;
    let currency = loaded.config.cost.checked_currency()?;
    let usage = usage(loaded, args).await?;
    let report = report(&loaded.config.cost, currency, &tariffs, usage)?;
    print(&render(format, &report, table)?)?;
    Ok(())
}

/// Whose rules to show. EBS is a way of keeping local caches: shown where it was asked for or has prices.
fn tariffs(config: &CostConfig, only: Option<&str>) -> Result<Vec<Tariff>, NoRules> {
    let shown = |tariff: &Tariff| match only {
        Some(provider) => tariff.provider() == provider,
        None => *tariff != Tariff::LocalEbs || !config.prices(*tariff).is_empty(),
    };
    let tariffs: Vec<Tariff> = Tariff::ALL.into_iter().filter(shown).collect();
    match only {
        Some(name) if tariffs.is_empty() => Err(NoRules(name.to_owned())),
        _ => Ok(tariffs),
    }
}

async fn usage(loaded: &Loaded, args: &CostArgs) -> Result<Usage, AnyError> {
    let (size_gib, content_bytes) = match &args.id {
        None => (
            args.size_gib.unwrap_or(DEFAULT_SIZE_GIB),
            args.content_bytes.unwrap_or_default(),
        ),
        Some(id) => {
            let provider = provider(loaded).await?;
            let state = find(provider.as_ref(), id).await?;
            let content = args.content_bytes.or(state.content_bytes);
            let unknown = || UnknownContent {
                id: id.clone(),
                provider: provider.name(),
            };
            (state.size_gib, content.ok_or_else(unknown)?)
        }
    };
    Ok(Usage {
        size_gib,
        content_bytes,
        build_seconds: args.build_seconds,
        keep_seconds: args.keep_seconds,
        pods: args.pods,
        pod_seconds: args.pod_seconds,
    })
}

fn report<'a>(
    config: &CostConfig,
    currency: Option<&'a str>,
    tariffs: &[Tariff],
    usage: Usage,
) -> Result<Report<'a>, AnyError> {
    let rows = tariffs
        .iter()
        .map(|tariff| estimate(*tariff, &usage, &config.prices(*tariff)).map(Row::from));
    Ok(Report {
        usage,
        currency,
        estimates: rows.collect::<Result<_, _>>()?,
    })
}

fn table(report: &Report<'_>) -> String {
    let usage = &report.usage;
    let mut text = format!(
        "One cache of {} GiB that holds {}: built in {}, kept for {}, used by {} for {}{}\n\n",
        usage.size_gib,
        bytes(usage.content_bytes),
        duration(usage.build_seconds),
        duration(usage.keep_seconds),
        if usage.pods == 1 {
            "1 pod".to_owned()
        } else {
            format!("{} pods", usage.pods)
        },
        duration(usage.pod_seconds),
        if usage.pods == 1 { "" } else { " each" },
    );
    let name = |row: &Row| row.tariff.as_str().to_owned();
    let sums = |row: &Row| {
        let sums = [row.build, row.keep, row.usage, row.total];
        std::iter::once(name(row)).chain(sums.map(shown_sum)).collect()
    };
    let total = match report.currency {
        Some(currency) => format!("TOTAL {currency}"),
        None => "TOTAL".to_owned(),
    };
    let rows: Vec<Vec<String>> = report.estimates.iter().map(sums).collect();
    text += &columns(&["PROVIDER", "BUILD", "KEEP", "USE", &total], &rows);
    text.push('\n');
    let lines = |row: &Row| {
        row.lines
            .iter()
            .map(|line| shown_line(row.tariff, line))
            .collect::<Vec<_>>()
    };
    let rows: Vec<Vec<String>> = report.estimates.iter().flat_map(lines).collect();
    text += &columns(&["PROVIDER", "STAGE", "ITEM", "QUANTITY", "PRICE", "AMOUNT"], &rows);
    text += "\nNotes:\n";
    for row in &report.estimates {
        for note in row.notes {
            let _infallible = writeln!(text, "  {}: {note}", row.tariff.as_str());
        }
    }
    text
}

fn shown_line(tariff: Tariff, line: &Line) -> Vec<String> {
    let price = match line.price {
        Some(price) => format!("{price} per {}", line.quantity.unit().as_str()),
        None => format!(
            "no price configured (cost.{}.{})",
            tariff.as_str(),
            line.price_name.as_str()
        ),
    };
    vec![
        tariff.as_str().to_owned(),
        line.stage.as_str().to_owned(),
        line.item.to_owned(),
        line.quantity.to_string(),
        price,
        line.amount.map_or_else(|| "-".to_owned(), shown_money),
    ]
}

/// A sum that lacks prices is the least that it can be, and says so.
fn shown_sum(sum: Sum) -> String {
    match sum {
        Sum {
            amount, unpriced: 0, ..
        } => shown_money(amount),
        Sum { priced: 0, .. } => NO_PRICE.to_owned(),
        Sum { amount, .. } => format!("≥ {}", shown_money(amount)),
    }
}

fn shown_money(amount: Money) -> String {
    if amount == Money::ZERO {
        "0".to_owned()
    } else {
        amount.rounded(DECIMALS)
    }
}

/// In the largest unit that says it exactly.
fn duration(seconds: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(86_400, "d"), (3_600, "h"), (60, "min")];
    let exact = UNITS
        .iter()
        .find(|(unit, _)| seconds >= *unit && seconds.is_multiple_of(*unit));
    exact.map_or_else(
        || format!("{seconds} s"),
        |(unit, name)| format!("{} {name}", seconds / unit),
    )
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use figment::value::Dict;

    use super::*;
    use crate::cli::{Cli, Command};

    /// Runs `imagecache cost` with this configuration as far as its text.
    fn run(config: &str, line: &str) -> Result<String, String> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("test.toml");
        std::fs::write(&file, config).unwrap();
        let args = ["imagecache", "--config", file.to_str().unwrap(), "cost"]
            .into_iter()
            .chain(line.split_whitespace());
        let cli = Cli::try_parse_from(args).map_err(|error| error.to_string())?;
        let Command::Cost(args) = &cli.command else {
            panic!("another command")
        };
        let loaded = Loaded::read(&cli.global, &Dict::new()).map_err(|error| error.to_string())?;
        let config = &loaded.config.cost;
        let tariffs = tariffs(config, cli.global.provider.as_deref()).map_err(|error| error.to_string())?;
        let currency = config.checked_currency().map_err(|error| error.to_string())?;
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let usage = runtime
            .block_on(usage(&loaded, args))
            .map_err(|error| error.to_string())?;
        let report = report(config, currency, &tariffs, usage).map_err(|error| error.to_string())?;
        render(cli.global.output, &report, table).map_err(|error| error.to_string())
    }

    const HANGZHOU: &str = "
        [cost]
        currency = \"CNY\"
        [cost.alibaba-eci]
        vcpu_second = 0.000049
        memory_gib_second = \"0.00000613\"
        disk_gib_hour = 0.0021
        snapshot_gib_month = 0.12
        [cost.tencent-eks]
        disk_gib_hour = 0.00042
    ";
    const EXAMPLE: &str = "--size-gib 40 --content-gib 2 --build-minutes 5 --keep-days 3 --pods 1 --pod-hours 3";

    #[test]
    fn the_comparison_reads_well() {
        let text = run(HANGZHOU, EXAMPLE).unwrap();
        let tables = text.split("\nNotes:\n").next().unwrap();
        let expected = "\
One cache of 40 GiB that holds 2.0 GiB: built in 5 min, kept for 3 d, used by 1 pod for 3 h

PROVIDER      BUILD      KEEP       USE      TOTAL CNY
alibaba-eci   0.0438     0.0240     0.2520   0.3198
tencent-eks   ≥ 0.0014   no price   0.0504   ≥ 0.0518
local         0          no price   0        no price

PROVIDER      STAGE   ITEM                QUANTITY        PRICE                                                       AMOUNT
alibaba-eci   build   instance, vCPU      600 vCPU·s      0.000049 per vCPU·s                                         0.0294
alibaba-eci   build   instance, memory    1200 GiB·s      0.00000613 per GiB·s                                        0.0074
alibaba-eci   build   disk                3.333 GiB·h     0.0021 per GiB·h                                            0.0070
alibaba-eci   keep    snapshot            0.2 GiB·month   0.12 per GiB·month                                          0.0240
alibaba-eci   use     disk of each pod    120 GiB·h       0.0021 per GiB·h                                            0.2520
tencent-eks   build   instance, vCPU      600 vCPU·s      no price configured (cost.tencent-eks.vcpu_second)          -
tencent-eks   build   instance, memory    1200 GiB·s      no price configured (cost.tencent-eks.memory_gib_second)    -
tencent-eks   build   disk                3.333 GiB·h     0.00042 per GiB·h                                           0.0014
tencent-eks   keep    snapshot            0.2 GiB·month   no price configured (cost.tencent-eks.snapshot_gib_month)   -
tencent-eks   use     disk of each pod    120 GiB·h       0.00042 per GiB·h                                           0.0504
local         keep    room in the store   0.2 GiB·month   no price configured (cost.local.store_gib_month)            -
";
        assert_eq!(tables, expected);
        assert!(
            text.contains("\n  tencent-eks: the snapshot is counted by what the cache holds"),
            "{text}"
        );
    }

    #[test]
    fn json_has_every_digit_and_quantity() {
        let text = run(HANGZHOU, &format!("{EXAMPLE} --provider alibaba-eci -o json")).unwrap();
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        for (pointer, expected) in [
            ("/currency", serde_json::json!("CNY")),
            ("/usage/content_bytes", serde_json::json!(2_147_483_648_u64)),
            ("/estimates/0/tariff", serde_json::json!("alibaba-eci")),
            ("/estimates/0/build/amount", serde_json::json!("0.043756")),
            ("/estimates/0/use/amount", serde_json::json!("0.252")),
            ("/estimates/0/total/amount", serde_json::json!("0.319756")),
            ("/estimates/0/total/unpriced", serde_json::json!(0)),
            ("/estimates/0/lines/2/quantity/amount", serde_json::json!("3.333333333")),
            ("/estimates/0/lines/2/quantity/unit", serde_json::json!("GiB·h")),
            ("/estimates/0/lines/2/price_name", serde_json::json!("disk_gib_hour")),
        ] {
            assert_eq!(json.pointer(pointer), Some(&expected), "{pointer}");
        }
        assert_eq!(
            json.pointer("/estimates/1"),
            None,
            "only the provider that was asked for"
        );
    }

    #[test]
    fn ebs_is_shown_where_it_is_of_interest() {
        let ebs = "[cost]\ncurrency = \"USD\"\n[cost.local-ebs]\nwrite_thousand = 0.006";
        for (config, flags, shown) in [
            ("", "", false),
            ("provider = \"local\"", "", false),
            ("", "--provider local", true),
            ("", "--provider tencent-eks", false),
            (ebs, "", true),
        ] {
            let text = run(config, &format!("--content-gib 1 {flags}")).unwrap();
            assert_eq!(text.contains("local-ebs"), shown, "{config} {flags}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (config, line, part) in [
            ("", "", "--content-gib"),
            ("", "--content-gib much", "`much` is not a decimal number"),
            ("", "--content-gib 21", "21 GiB does not fit into a cache of 20 GiB"),
            (
                "",
                "--content-gib 1 --pods 1000001",
                "1000001 pods are more than 1000000",
            ),
            ("", "--content-gib 1 --keep-days 65537", "longer than 65536 days"),
            (
                "",
                "--content-gib 1 --provider azure",
                "`azure` are billed is not known, choose one of: alibaba-eci, tencent-eks, local",
            ),
            ("", "imc-abc --size-gib 20", "cannot be used with"),
            (
                "[cost.local]\nstore_gib_month = 1",
                "--content-gib 1",
                "cost.currency is missing",
            ),
            ("[cost.alibaba-eci]\ndisk = 1", "--content-gib 1", "disk_gib_hour"),
        ] {
            let error = run(config, line).expect_err(line);
            assert!(error.contains(part), "{line}: {error}");
        }
    }

    #[test]
    fn durations_are_exact() {
        for (seconds, text) in [
            (0, "0 s"),
            (59, "59 s"),
            (300, "5 min"),
            (5_400, "90 min"),
            (7_200, "2 h"),
            (2_592_000, "30 d"),
        ] {
            assert_eq!(duration(seconds), text);
        }
    }
}
