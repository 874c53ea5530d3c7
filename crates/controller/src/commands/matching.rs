//! `match`: which cache a pod with these images would start from, and why.

use std::collections::HashMap;
use std::fmt::Write as _;

use imagecache_core::matching::{Candidate, Held, MatchIndex, RegistryAliases, Verdict};
use imagecache_core::{CacheKey, CacheState, ImageRef, MatchOrder, MatchRules, Need, PodRequest, PodWish, chain};
use imagecache_k8s_api::{ImageCacheDialect as _, alibaba, tencent};
use jiff::Timestamp;
use serde::Serialize;

use super::AnyError;
use crate::cli::{Format, MatchArgs, MatchDialect};
use crate::config::Loaded;
use crate::output::{columns, note, print, render};
use crate::registry::{self, Opened};

/// What is asked for when no vendor's rules are: any image in any version, smaller caches first.
const NO_VENDOR: MatchRules = MatchRules {
    need: Need::Any,
    order: MatchOrder::SmallestSize,
    storage_gib: None,
};

pub(super) async fn best_match(loaded: &Loaded, format: Format, args: &MatchArgs) -> Result<(), AnyError> {
    let opened = registry::open(loaded, None).await?;
    let states = opened.provider.list().await?;
    let (dialect, rules) = rules(args, opened.native_dialect);
    let aliases = loaded.config.matching.registry_aliases.clone();
    let ours = compare(&states, aliases, args, dialect, rules, Timestamp::now());
    let cloud = ask_cloud(&opened, &ours).await;
    if args.explain {
        let explained = Explained { ours, cloud };
        print(&render(format, &explained, explained_table)?)?;
        return Ok(());
    }
    let usable = ours
        .candidates
        .iter()
        .filter(|row| row.verdict != Verdict::Rejected.as_str());
    let rows: Vec<Row> = usable.map(Row::of).collect();
    let mut text = render(format, &rows, |rows| table(rows, args.images.len()))?;
    match (cloud, format) {
        (Some(cloud), Format::Table) => {
            let _infallible = writeln!(text, "\n{}", cloud.says);
        }
        (Some(cloud), Format::Json | Format::Yaml) => note(&cloud.says),
        (None, _) => {}
    }
    print(&text)?;
    Ok(())
}

/// The rules that the flags ask for, and whose they are.
fn rules(args: &MatchArgs, native: Option<&'static str>) -> (Option<&'static str>, MatchRules) {
    let dialect = match args.dialect {
        Some(MatchDialect::Alibaba) => Some(alibaba::ImageCache::DIALECT),
        Some(MatchDialect::Tencent) => Some(tencent::ImageCache::DIALECT),
        None => native,
    };
    let vendors = match dialect {
        Some(alibaba::ImageCache::DIALECT) => MatchRules::ALIBABA,
        Some(tencent::ImageCache::DIALECT) => MatchRules::TENCENT,
        _ => NO_VENDOR,
    };
    let need = match (args.perfect, args.count) {
        (true, _) => Need::All,
        (false, Some(count)) => Need::Exactly(count),
        (false, None) => vendors.need,
    };
    let rules = MatchRules {
        need,
        storage_gib: args.storage_gib.or(vendors.storage_gib),
        ..vendors
    };
    (dialect, rules)
}

/// One row without `--explain`.
#[derive(Serialize)]
struct Row {
    id: String,
    full: usize,
    partial: usize,
    images: Vec<String>,
}

impl Row {
    fn of(candidate: &Shown) -> Self {
        Self {
            id: candidate.id.clone(),
            full: candidate.full,
            partial: candidate.partial,
            images: candidate.images.clone(),
        }
    }
}

/// The result of `--explain`.
#[derive(Serialize)]
struct Explained {
    #[serde(flatten)]
    ours: Ours,
    #[serde(skip_serializing_if = "Option::is_none")]
    cloud: Option<CloudChoice>,
}

/// What the rules say.
#[derive(Serialize)]
struct Ours {
    /// Whose rules they are.
    dialect: Option<&'static str>,
    /// The rules in words.
    rules: String,
    images: Vec<ImageRef>,
    chosen: Option<String>,
    candidates: Vec<Shown>,
}

/// One row of `--explain`.
#[derive(Serialize)]
struct Shown {
    id: String,
    verdict: &'static str,
    why: String,
    full: usize,
    partial: usize,
    /// What it holds of each image that was asked for.
    held: Vec<Held>,
    phase: String,
    size_gib: u32,
    created_at: Timestamp,
    images: Vec<String>,
}

/// What the cloud says that it would choose.
#[derive(Serialize)]
struct CloudChoice {
    id: Option<String>,
    agrees: bool,
    says: String,
}

fn compare(
    states: &[CacheState],
    aliases: RegistryAliases,
    args: &MatchArgs,
    dialect: Option<&'static str>,
    rules: MatchRules,
    now: Timestamp,
) -> Ours {
    let mut index = MatchIndex::new(aliases);
    for state in states {
        index.put(state);
    }
    let images: HashMap<&CacheKey, &[ImageRef]> = states
        .iter()
        .map(|state| (&state.key, state.images.as_slice()))
        .collect();
    let request = PodRequest {
        dialect: dialect.unwrap_or("none"),
        images: args.images.clone(),
        uncounted: Vec::new(),
        wish: PodWish::Automatic(rules),
    };
    let shown = |candidate: Candidate<'_>| {
        let images = images.get(&candidate.cache.key).copied().unwrap_or_default();
        Shown {
            id: candidate.cache.id.to_string(),
            verdict: candidate.verdict.as_str(),
            why: candidate.why,
            full: candidate.degree.full,
            partial: candidate.degree.partial,
            held: candidate.held,
            phase: candidate.cache.phase.to_string(),
            size_gib: candidate.cache.size_gib,
            created_at: candidate.cache.created_at,
            images: images.iter().map(ToString::to_string).collect(),
        }
    };
    let candidates: Vec<Shown> = index.explain(&request, now).into_iter().map(shown).collect();
    let chosen = candidates.iter().find(|row| row.verdict == Verdict::Chosen.as_str());
    Ours {
        dialect,
        rules: in_words(&rules),
        images: request.images,
        chosen: chosen.map(|row| row.id.clone()),
        candidates,
    }
}

fn in_words(rules: &MatchRules) -> String {
    let need = match rules.need {
        Need::Any => "at least one image in any version".to_owned(),
        Need::Exactly(count) => format!("at least {count} images exactly"),
        Need::All => "all images exactly".to_owned(),
    };
    let (fits, order) = match (rules.storage_gib, rules.order) {
        (Some(storage), MatchOrder::ClosestSize) => (
            format!(", at most {storage} GiB"),
            format!("the size closest to {storage} GiB"),
        ),
        (Some(storage), MatchOrder::SmallestSize) => (format!(", at most {storage} GiB"), "the smallest".to_owned()),
        (None, _) => (String::new(), "the smallest".to_owned()),
    };
    format!("{need}{fits}; of these the best match, then {order}, then the newest")
}

/// Asks the cloud, where it tells, and compares. A cloud that does not answer does not spoil the rest.
async fn ask_cloud(opened: &Opened, ours: &Ours) -> Option<CloudChoice> {
    let cloud = opened.chooser.as_ref()?;
    let provider = opened.provider.name();
    let rules = ours.dialect.unwrap_or("these");
    let choice = match cloud.choose(&ours.images).await {
        Ok(choice) => choice.map(|id| id.to_string()),
        Err(error) => {
            return Some(CloudChoice {
                id: None,
                agrees: false,
                says: format!(
                    "{provider} does not tell which cache it would choose: {}",
                    chain(&error)
                ),
            });
        }
    };
    let agrees = choice == ours.chosen;
    let says = match (&choice, &ours.chosen) {
        (Some(id), _) if agrees => format!("{provider} itself would choose {id} too."),
        (None, _) if agrees => format!("{provider} itself would choose none either."),
        (Some(id), None) => format!("{provider} itself would choose {id}; by {rules} rules there is none."),
        (Some(id), Some(ours)) => format!("{provider} itself would choose {id}; by {rules} rules it is {ours}."),
        (None, ours) => format!(
            "{provider} itself would choose none; by {rules} rules it is {}.",
            ours.as_deref().unwrap_or("none")
        ),
    };
    Some(CloudChoice {
        id: choice,
        agrees,
        says,
    })
}

fn table(rows: &[Row], wanted: usize) -> String {
    let cells = |row: &Row| {
        let full = format!("{}/{wanted}", row.full);
        vec![row.id.clone(), full, row.partial.to_string(), row.images.join(",")]
    };
    let rows: Vec<Vec<String>> = rows.iter().map(cells).collect();
    columns(&["ID", "FULL", "PARTIAL", "IMAGES"], &rows)
}

fn explained_table(explained: &Explained) -> String {
    let ours = &explained.ours;
    let whose = ours.dialect.map_or_else(String::new, |dialect| format!(" ({dialect})"));
    let mut text = format!("Rules{whose}: {}.\n\n", ours.rules);
    if ours.candidates.is_empty() {
        text += "No cache has any of these images, in any version.\n";
    } else {
        let cells = |row: &Shown| {
            let full = format!("{}/{}", row.full, ours.images.len());
            let size = format!("{} GiB", row.size_gib);
            let verdict = row.verdict.to_owned();
            vec![
                row.id.clone(),
                verdict,
                full,
                row.partial.to_string(),
                size,
                row.why.clone(),
            ]
        };
        let rows: Vec<Vec<String>> = ours.candidates.iter().map(cells).collect();
        text += &columns(&["ID", "VERDICT", "FULL", "PARTIAL", "SIZE", "WHY"], &rows);
    }
    if let Some(cloud) = &explained.cloud {
        let _infallible = writeln!(text, "\n{}", cloud.says);
    }
    text
}
