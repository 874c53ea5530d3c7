//! What a person sees while a cache is built: a bar per layer on a terminal, plain lines otherwise. Always on stderr.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use imagecache_core::{CacheState, Digest, LayerProgress, LayerStage, Phase};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::output::{bytes, note};

/// How often a bar is redrawn from new state; faster than people read.
pub const REFRESH: Duration = Duration::from_millis(200);
/// How often a line says what is done besides.
const ACTIVITY: Duration = Duration::from_secs(2);
/// Characters of a layer digest that are shown, as Docker does.
const SHORT_DIGEST_CHARS: usize = 12;

/// Shows a build as its states come in.
#[derive(Debug)]
pub enum BuildView {
    /// A bar per layer.
    Bars {
        /// Draws all bars together.
        screen: MultiProgress,
        /// The bars by layer, in no order; the screen keeps theirs.
        bars: BTreeMap<Digest, ProgressBar>,
        /// What is done besides, below the bars.
        activity: Option<ProgressBar>,
    },
    /// A line per transition.
    Lines {
        /// What was said last of the whole.
        phase: Option<String>,
        /// What was said last of each layer.
        layers: BTreeMap<Digest, LayerStage>,
        /// When it was last said what is done besides.
        activity: Option<Instant>,
    },
}

impl BuildView {
    /// Bars when stderr is a terminal.
    pub fn for_stderr() -> Self {
        if std::io::stderr().is_terminal() {
            Self::Bars {
                screen: MultiProgress::new(),
                bars: BTreeMap::new(),
                activity: None,
            }
        } else {
            Self::Lines {
                phase: None,
                layers: BTreeMap::new(),
                activity: None,
            }
        }
    }

    /// Shows what changed.
    pub fn update(&mut self, state: &CacheState) {
        match self {
            Self::Bars { screen, bars, activity } => {
                for layer in &state.layers {
                    let bar = bars
                        .entry(layer.digest.clone())
                        .or_insert_with(|| screen.add(new_bar(layer)));
                    bar.set_position(layer.done_bytes.min(layer.total_bytes));
                    match layer.stage {
                        LayerStage::Waiting => bar.set_message("waiting"),
                        LayerStage::Fetching => bar.set_message(""),
                        LayerStage::Done => bar.finish_with_message("done"),
                        LayerStage::Reused => {
                            bar.set_position(layer.total_bytes);
                            bar.finish_with_message("reused");
                        }
                    }
                }
                if let Some(text) = &state.activity {
                    let line = activity.get_or_insert_with(|| screen.add(new_line()));
                    line.set_message(text.clone());
                }
            }
            Self::Lines {
                phase,
                layers,
                activity,
            } => {
                let now = state.phase.to_string();
                if phase.as_ref() != Some(&now) {
                    note(&format!("{} {now}", state.id));
                    *phase = Some(now);
                }
                for layer in &state.layers {
                    if layers.get(&layer.digest) != Some(&layer.stage) {
                        layers.insert(layer.digest.clone(), layer.stage);
                        if let Some(word) = said(layer.stage) {
                            note(&format!("{} {word} {}", short(&layer.digest), bytes(layer.total_bytes)));
                        }
                    }
                }
                if let Some(text) = &state.activity
                    && activity.is_none_or(|last| last.elapsed() >= ACTIVITY)
                {
                    *activity = Some(Instant::now());
                    note(&format!("{} {text}", state.id));
                }
            }
        }
    }

    /// Leaves the screen in order.
    pub fn finish(self, state: &CacheState) {
        if let Self::Bars { bars, activity, .. } = &self {
            activity.iter().for_each(ProgressBar::finish_and_clear);
            for bar in bars.values().filter(|bar| !bar.is_finished()) {
                match state.phase {
                    Phase::Ready => bar.finish_with_message("done"),
                    _ => bar.abandon(),
                }
            }
        }
    }
}

fn said(stage: LayerStage) -> Option<&'static str> {
    match stage {
        LayerStage::Waiting => None,
        LayerStage::Fetching => Some("fetching"),
        LayerStage::Done => Some("done"),
        LayerStage::Reused => Some("reused"),
    }
}

fn short(digest: &Digest) -> &str {
    digest.hex().get(..SHORT_DIGEST_CHARS).unwrap_or_default()
}

fn new_line() -> ProgressBar {
    let line = ProgressBar::new_spinner();
    match ProgressStyle::with_template("{msg}") {
        Ok(style) => line.with_style(style),
        Err(_) => line,
    }
}

fn new_bar(layer: &LayerProgress) -> ProgressBar {
    let bar = ProgressBar::new(layer.total_bytes).with_prefix(short(&layer.digest).to_owned());
    let template = "{prefix} [{bar:40}] {bytes:>11} / {total_bytes:11} {binary_bytes_per_sec:>13} {msg}";
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style.progress_chars("=> ")),
        Err(_) => bar,
    }
}
