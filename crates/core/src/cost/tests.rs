//! The vendors' printed example, the rules as a table, and what holds for every quantity and price.

use std::ops::Add;

use jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::{CacheKey, CacheSpec, CacheState, ImageRef, MAX_RETENTION_DAYS, MAX_SIZE_GIB};

const GIB: u64 = 1 << 30;
const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

fn prices(rows: &[(PriceName, &str)]) -> Prices {
    rows.iter().fold(Prices::default(), |prices, (name, text)| {
        prices.with(*name, text.parse().unwrap())
    })
}

/// The prices in CNY that Alibaba's example is calculated with (Hangzhou, "Image cache billing", 2024-10).
fn hangzhou() -> Prices {
    prices(&[
        (PriceName::VcpuSecond, "0.000049"),
        (PriceName::MemoryGibSecond, "0.00000613"),
        (PriceName::DiskGibHour, "0.0021"),
        (PriceName::SnapshotGibMonth, "0.12"),
    ])
}

/// Every price of every tariff at once.
fn all_prices(price: Price) -> Prices {
    Tariff::ALL
        .iter()
        .flat_map(|tariff| tariff.price_names())
        .fold(Prices::default(), |prices, name| prices.with(name, price))
}

/// Alibaba's example: a cache of 40 GiB, five minutes of build, a snapshot of 2 GiB for three days, a pod for three hours.
const EXAMPLE: Usage = Usage {
    size_gib: 40,
    content_bytes: 2 * GIB,
    build_seconds: 5 * MINUTE,
    keep_seconds: 3 * DAY,
    pods: 1,
    pod_seconds: 3 * HOUR,
};

#[test]
fn alibabas_example_comes_out_as_printed() {
    let estimate = estimate(Tariff::AlibabaEci, &EXAMPLE, &hangzhou()).unwrap();
    let shown: Vec<_> = estimate
        .lines
        .iter()
        .map(|line| (line.item, line.quantity.to_string(), line.amount.unwrap().to_string()))
        .collect();
    let expected = [
        ("instance, vCPU", "600 vCPU·s", "0.0294"),
        ("instance, memory", "1200 GiB·s", "0.007356"),
        ("disk", "3.333 GiB·h", "0.007"),
        ("snapshot", "0.2 GiB·month", "0.024"),
        ("disk of each pod", "120 GiB·h", "0.252"),
    ];
    assert_eq!(
        shown,
        expected.map(|(item, quantity, amount)| (item, quantity.into(), amount.into()))
    );
    let made = estimate.stage(Stage::Build).amount + estimate.stage(Stage::Keep).amount;
    assert_eq!(made.to_string(), "0.067756");
    assert_eq!(made.rounded(3), "0.068");
    assert_eq!(estimate.stage(Stage::Use).amount.rounded(3), "0.252");
    assert_eq!(estimate.total().amount.to_string(), "0.319756");
}

/// A 20 GB Premium disk for an hour, at the price in the sample answer of CBS InquiryPriceCreateDisks; and what the EBS
/// user guide says that 10 GiB of new blocks cost.
#[test]
fn other_printed_figures_come_out() {
    for (name, tariff, usage, price, amount) in [
        (
            "tencent disk",
            Tariff::TencentEks,
            Usage {
                size_gib: 20,
                pods: 1,
                pod_seconds: HOUR,
                ..Usage::default()
            },
            (PriceName::DiskGibHour, "0.00042"),
            "0.0084",
        ),
        (
            "ebs writes",
            Tariff::LocalEbs,
            Usage {
                size_gib: 10,
                content_bytes: 10 * GIB,
                ..Usage::default()
            },
            (PriceName::WriteThousand, "0.006"),
            "0.12288",
        ),
    ] {
        let total = estimate(tariff, &usage, &prices(&[price])).unwrap().total();
        assert_eq!(
            (total.amount.to_string().as_str(), total.unpriced),
            (amount, 0),
            "{name}"
        );
    }
}

#[test]
fn the_rules_as_a_table() {
    let usage = Usage { pods: 10, ..EXAMPLE };
    let one = all_prices("1".parse().unwrap());
    let mut table = String::new();
    for tariff in Tariff::ALL {
        for line in estimate(tariff, &usage, &one).unwrap().lines {
            table += &format!(
                "{} {}: {}, {}\n",
                tariff.as_str(),
                line.stage.as_str(),
                line.item,
                line.quantity
            );
        }
    }
    let expected = "\
alibaba-eci build: instance, vCPU, 600 vCPU·s
alibaba-eci build: instance, memory, 1200 GiB·s
alibaba-eci build: disk, 3.333 GiB·h
alibaba-eci keep: snapshot, 0.2 GiB·month
alibaba-eci use: disk of each pod, 1200 GiB·h
tencent-eks build: instance, vCPU, 600 vCPU·s
tencent-eks build: instance, memory, 1200 GiB·s
tencent-eks build: disk, 3.333 GiB·h
tencent-eks keep: snapshot, 0.2 GiB·month
tencent-eks use: disk of each pod, 1200 GiB·h
local keep: room in the store, 0.2 GiB·month
local-ebs build: block writes, 4096 requests
local-ebs keep: snapshot, 0.2 GiB·month
local-ebs use: volume of each pod, 1.667 GiB·month
";
    assert_eq!(table, expected);
}

/// What the sheets' billing sections name and no line counts is told: alibaba 7.4 and 5.3, tencent 7.5.
#[test]
fn what_is_billed_and_not_counted_is_noted() {
    let noted = |tariff: Tariff, part: &str| tariff.notes().iter().any(|note| note.contains(part));
    for (tariff, parts) in [
        (Tariff::AlibabaEci, &["(EIP)", "failed build", "flash"][..]),
        (
            Tariff::TencentEks,
            &["(EIP)", "failed build", "-disk-retain-minute", "free 80 GB"],
        ),
    ] {
        for part in parts {
            assert!(noted(tariff, part), "{}: {part}", tariff.as_str());
        }
    }
    for tariff in [Tariff::Local, Tariff::LocalEbs] {
        assert!(!noted(tariff, "EIP"), "{}", tariff.as_str());
    }
}

#[test]
fn without_a_price_the_quantity_is_told_and_the_sum_says_so() {
    let partly = prices(&[(PriceName::DiskGibHour, "0.0021")]);
    let estimate = estimate(Tariff::AlibabaEci, &EXAMPLE, &partly).unwrap();
    for line in &estimate.lines {
        let priced = line.price_name == PriceName::DiskGibHour;
        assert_eq!(line.amount.is_some(), priced, "{}", line.item);
        assert!(!line.quantity.is_zero(), "{}", line.item);
    }
    let Sum {
        amount,
        priced,
        unpriced,
    } = estimate.total();
    assert_eq!((amount.to_string().as_str(), priced, unpriced), ("0.259", 2, 3));
}

#[test]
fn quantities_out_of_range_are_named() {
    for (edit, part) in [
        ((|u| u.size_gib = 32_769) as fn(&mut Usage), "32769 GiB is above 32768"),
        (
            |u| u.content_bytes = 41 * GIB,
            "41 GiB does not fit into a cache of 40 GiB",
        ),
        (|u| u.content_bytes = 40 * GIB + GIB / 2, "40.5 GiB"),
        (|u| u.build_seconds = u64::MAX, "the build is longer than 65536 days"),
        (|u| u.keep_seconds = u64::MAX, "kept is longer"),
        (|u| u.pod_seconds = u64::MAX, "life of a pod is longer"),
        (|u| u.pods = u32::MAX, "4294967295 pods"),
    ] {
        let mut usage = EXAMPLE;
        edit(&mut usage);
        let error = estimate(Tariff::Local, &usage, &Prices::default())
            .expect_err(part)
            .to_string();
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn the_largest_amounts_are_exact() {
    let usage = Usage {
        size_gib: MAX_SIZE_GIB,
        content_bytes: u64::from(MAX_SIZE_GIB) * GIB,
        build_seconds: u64::from(MAX_RETENTION_DAYS) * DAY,
        keep_seconds: u64::from(MAX_RETENTION_DAYS) * DAY,
        pods: MAX_PODS,
        pod_seconds: u64::from(MAX_RETENTION_DAYS) * DAY,
    };
    let dearest = all_prices("1000000".parse().unwrap());
    for (tariff, stage, amount) in [
        // 32,768 GiB × 65,536 × 24 h × 1,000,000 pods × 1,000,000
        (Tariff::AlibabaEci, Stage::Use, "51539607552000000000000"),
        // 32,768 GiB × 65,536 days / 30 × 1,000,000
        (Tariff::Local, Stage::Keep, "71582788266666.666666666667"),
        (Tariff::LocalEbs, Stage::Use, "71582788266666666666.666666666667"),
    ] {
        let estimate = estimate(tariff, &usage, &dearest).unwrap();
        assert_eq!(estimate.stage(stage).amount.to_string(), amount, "{}", tariff.as_str());
    }
}

#[test]
fn amounts_of_people_become_bytes_and_seconds() {
    for (amount, text, expected) in [
        (Amount::Gib, "2", 2 * GIB),
        (Amount::Gib, "0.5", GIB / 2),
        (Amount::Minutes, "7.316", 439),
        (Amount::Hours, "0.25", 900),
        (Amount::Days, "0", 0),
    ] {
        assert_eq!(amount.parse(text), Ok(expected), "{text}");
    }
    for bad in ["", "-1", "five", "1e9", "99999999999999999999"] {
        assert!(Amount::Days.parse(bad).expect_err(bad).to_string().contains(bad));
    }
}

#[test]
fn a_hint_says_only_what_is_known() {
    let spec = CacheSpec::new(vec![ImageRef::parse("nginx").unwrap()]);
    let mut state = CacheState::requested(&CacheKey::new("a", &spec), &spec, Timestamp::UNIX_EPOCH);
    state.size_gib = 40;
    let pod = "an hour of each pod costs about 0.0840 CNY";
    let say = |tariff, state: &CacheState, prices: &Prices| hint(tariff, state, prices, "CNY");
    assert_eq!(say(Tariff::AlibabaEci, &state, &hangzhou()).as_deref(), Some(pod));
    state.content_bytes = Some(2 * GIB);
    assert_eq!(
        say(Tariff::AlibabaEci, &state, &hangzhou()),
        Some(format!("30 days of keeping costs about 0.2400 CNY, {pod}"))
    );
    let snapshot = prices(&[(PriceName::SnapshotGibMonth, "0.12")]);
    assert_eq!(
        say(Tariff::TencentEks, &state, &snapshot).as_deref(),
        Some("30 days of keeping costs about 0.2400 CNY")
    );
    assert_eq!(say(Tariff::AlibabaEci, &state, &Prices::default()), None);
    assert_eq!(say(Tariff::Local, &state, &hangzhou()), None, "no price of the store");
}

#[test]
fn names_are_the_same_everywhere() {
    for tariff in Tariff::ALL {
        assert_eq!(serde_json::to_value(tariff).unwrap(), tariff.as_str());
        for name in tariff.price_names() {
            assert_eq!(serde_json::to_value(name).unwrap(), name.as_str());
        }
        assert!(!tariff.notes().is_empty());
    }
}

fn usages() -> impl Strategy<Value = Usage> {
    let seconds = || prop_oneof![Just(0), 0..10 * DAY, 0..=u64::from(MAX_RETENTION_DAYS) * DAY];
    let size = prop_oneof![Just(0), 1..200_u32, 0..=MAX_SIZE_GIB];
    (size, 0..=1000_u64, seconds(), seconds(), 0..=MAX_PODS, seconds()).prop_map(
        |(size_gib, filled, build_seconds, keep_seconds, pods, pod_seconds)| Usage {
            size_gib,
            content_bytes: u64::from(size_gib) * GIB / 1000 * filled,
            build_seconds,
            keep_seconds,
            pods,
            pod_seconds,
        },
    )
}

/// Prices as text, and some missing.
fn some_prices() -> impl Strategy<Value = Prices> {
    let names: Vec<PriceName> = Tariff::ALL.iter().flat_map(|tariff| tariff.price_names()).collect();
    let price = (0..=1_000_000_u64, 0..1_000_000_000_000_u64)
        .prop_map(|(whole, picos)| format!("{}.{picos:012}", whole.min(999_999)).parse().unwrap());
    proptest::collection::vec(proptest::option::of(price), names.len()).prop_map(move |given| {
        let known = names
            .iter()
            .zip(given)
            .filter_map(|(name, price)| Some((*name, price?)));
        known.fold(Prices::default(), |prices, (name, price): (_, Price)| {
            prices.with(name, price)
        })
    })
}

proptest! {
    #[test]
    fn sums_equal_their_lines(usage in usages(), prices in some_prices()) {
        for tariff in Tariff::ALL {
            let estimate = estimate(tariff, &usage, &prices).unwrap();
            let lines = estimate.lines.iter().filter_map(|line| line.amount).fold(Money::ZERO, Add::add);
            let stages = Stage::ALL.iter().map(|stage| estimate.stage(*stage));
            let (amount, unpriced) = stages.fold((Money::ZERO, 0), |(amount, unpriced), sum| {
                (amount + sum.amount, unpriced + sum.unpriced)
            });
            prop_assert_eq!(estimate.total().amount, lines);
            prop_assert_eq!((amount, unpriced), (lines, estimate.total().unpriced));
        }
    }

    #[test]
    fn more_of_anything_never_costs_less(usage in usages(), prices in some_prices(), more in 1..100_000_u32) {
        let grown = [
            Usage { size_gib: usage.size_gib.saturating_add(more).min(MAX_SIZE_GIB), ..usage },
            Usage {
                content_bytes: (usage.content_bytes + u64::from(more)).min(u64::from(usage.size_gib) * GIB),
                ..usage
            },
            Usage { build_seconds: longer(usage.build_seconds, more), ..usage },
            Usage { keep_seconds: longer(usage.keep_seconds, more), ..usage },
            Usage { pods: (usage.pods + more).min(MAX_PODS), ..usage },
            Usage { pod_seconds: longer(usage.pod_seconds, more), ..usage },
        ];
        for tariff in Tariff::ALL {
            let before = estimate(tariff, &usage, &prices).unwrap();
            for larger in &grown {
                let after = estimate(tariff, larger, &prices).unwrap();
                for (less, more) in before.lines.iter().zip(&after.lines) {
                    // A line that grew out of zero may have lost its amount: it is not priced.
                    prop_assert!(more.amount.is_none() || less.amount <= more.amount, "{}: {:?}", less.item, larger);
                }
            }
        }
    }

    #[test]
    fn nothing_costs_nothing(usage in usages(), prices in some_prices()) {
        for tariff in Tariff::ALL {
            let free = estimate(tariff, &Usage::default(), &prices).unwrap().total();
            prop_assert_eq!(free, Sum::default());
            for (stage, usage) in [
                (Stage::Build, Usage { build_seconds: 0, content_bytes: 0, ..usage }),
                (Stage::Keep, Usage { keep_seconds: 0, ..usage }),
                (Stage::Keep, Usage { content_bytes: 0, ..usage }),
                (Stage::Use, Usage { pods: 0, ..usage }),
                (Stage::Use, Usage { pod_seconds: 0, ..usage }),
            ] {
                prop_assert_eq!(estimate(tariff, &usage, &prices).unwrap().stage(stage), Sum::default());
            }
        }
    }

    #[test]
    fn prices_survive_their_text(whole in 0..1_000_000_u64, picos in 0..1_000_000_000_000_u64) {
        let price: Price = format!("{whole}.{picos:012}").parse().unwrap();
        prop_assert_eq!(price.to_string().parse::<Price>(), Ok(price));
    }
}

fn longer(seconds: u64, by: u32) -> u64 {
    (seconds + u64::from(by)).min(u64::from(MAX_RETENTION_DAYS) * DAY)
}
