//! How long one match takes, and what memory the index needs. Run by `cargo xtask bench match`, which reads the JSON.

// Printing is this program's purpose; a failure ends it.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::hint::black_box;
use std::time::Instant;

use fastrand::Rng;
use imagecache_core::matching::{Decision, MatchIndex, RegistryAliases};
use imagecache_core::{
    CacheKey, CacheSpec, CacheState, CachedImage, Digest, ImageRef, MatchRules, Need, Phase, PodRequest, PodWish,
};
use jiff::Timestamp;

/// Containers of a pod, as the goal says.
const CONTAINERS: usize = 10;
/// Images that stand in most caches and pods, as sidecars do.
const SIDECARS: [&str; 3] = ["istio/proxyv2:1.24", "fluent/fluent-bit:3.2", "otel/collector:0.115"];

/// What the caches hold and the pods ask for.
struct Shape {
    name: &'static str,
    /// Repositories that images are drawn from.
    repositories: usize,
    /// Versions of each that are cached.
    versions: usize,
    /// Most images of a cache, sidecars apart.
    images: usize,
    /// Whether every cache and every pod has the sidecars too.
    sidecars: bool,
    /// Whether pods ask for versions that no cache has.
    unseen: bool,
}

const SHAPES: [Shape; 5] = [
    Shape {
        name: "5,000 repositories, 1 to 5 images a cache",
        repositories: 5_000,
        versions: 50,
        images: 5,
        sidecars: false,
        unseen: false,
    },
    Shape {
        name: "the same, and three sidecars in every cache and pod",
        repositories: 5_000,
        versions: 50,
        images: 5,
        sidecars: true,
        unseen: false,
    },
    Shape {
        name: "100 repositories, 1 to 20 images a cache",
        repositories: 100,
        versions: 1_000,
        images: 20,
        sidecars: false,
        unseen: false,
    },
    Shape {
        name: "10 repositories in every cache, versions cached",
        repositories: 10,
        versions: 100,
        images: 20,
        sidecars: false,
        unseen: false,
    },
    Shape {
        name: "10 repositories in every cache, versions new",
        repositories: 10,
        versions: 100,
        images: 20,
        sidecars: false,
        unseen: true,
    },
];

/// Rules that take turns.
const RULES: [MatchRules; 4] = [
    MatchRules::ALIBABA,
    MatchRules::TENCENT,
    MatchRules {
        need: Need::Exactly(3),
        ..MatchRules::ALIBABA
    },
    MatchRules {
        need: Need::All,
        ..MatchRules::ALIBABA
    },
];

fn main() {
    let number = |flag: &str, default: usize| {
        let mut args = std::env::args().skip_while(|arg| arg != flag);
        args.nth(1).map_or(default, |value| value.parse().unwrap())
    };
    let (caches, matches) = (number("--caches", 100_000), number("--matches", 20_000));
    for shape in &SHAPES {
        shape.run(caches, matches);
    }
}

impl Shape {
    fn run(&self, caches: usize, matches: usize) {
        let mut rng = Rng::with_seed(1);
        let before = resident_kib();
        let start = Instant::now();
        let mut index = MatchIndex::new(RegistryAliases::default());
        for number in 0..caches {
            index.put(&self.cache(number, &mut rng));
        }
        let built = start.elapsed();
        let index_kib = resident_kib().saturating_sub(before);
        let again = self.cache(0, &mut Rng::with_seed(1));
        let start = Instant::now();
        for _ in 0..1_000 {
            index.put(black_box(&again));
        }
        let unchanged = start.elapsed() / 1_000;
        let pods: Vec<PodRequest> = (0..matches).map(|number| self.pod(number, &mut rng)).collect();
        let now = Timestamp::UNIX_EPOCH;
        let mut hits = 0;
        let mut nanoseconds: Vec<i64> = pods
            .iter()
            .map(|pod| {
                let start = processor_time();
                let decision = black_box(index.decide(black_box(pod), now));
                let took = processor_time() - start;
                hits += usize::from(matches!(decision, Decision::Use { .. }));
                took
            })
            .collect();
        nanoseconds.sort_unstable();
        let at = |percent: usize| nanoseconds.get((matches * percent / 100).min(matches - 1)).unwrap();
        println!(
            r#"{{"name":"{}","caches":{caches},"matches":{matches},"hits":{hits},"p50_ns":{},"p99_ns":{},"max_ns":{},"index_kib":{index_kib},"build_ms":{},"put_unchanged_ns":{}}}"#,
            self.name,
            at(50),
            at(99),
            at(100),
            built.as_millis(),
            unchanged.as_nanos(),
        );
    }

    fn cache(&self, number: usize, rng: &mut Rng) -> CacheState {
        let count = rng.usize(1..=self.images);
        let images = self.images(count, self.versions, rng);
        let key: CacheKey = format!("5c8aa1cc-7d0f-4f0a-9a0a-{number:012x}-0123456789ab")
            .parse()
            .unwrap();
        let spec = CacheSpec::new(images);
        let resolved = |image: &ImageRef| CachedImage {
            reference: image.clone(),
            manifest: Digest::sha256_of(image.to_string().as_bytes()),
            index: None,
        };
        CacheState {
            phase: Phase::Ready,
            resolved: spec.images.iter().map(resolved).collect(),
            size_gib: rng.u32(20..=60),
            created_at: Timestamp::from_second(rng.i64(0..1_000_000)).unwrap(),
            ..CacheState::requested(&key, &spec, Timestamp::UNIX_EPOCH)
        }
    }

    fn pod(&self, number: usize, rng: &mut Rng) -> PodRequest {
        let versions = if self.unseen { usize::MAX } else { self.versions };
        let own = CONTAINERS - if self.sidecars { SIDECARS.len() } else { 0 };
        let rules = RULES.get(number % RULES.len()).unwrap();
        PodRequest {
            dialect: "bench",
            images: self.images(own, versions, rng),
            uncounted: Vec::new(),
            wish: PodWish::Automatic(*rules),
        }
    }

    /// So many random images, and the sidecars.
    fn images(&self, count: usize, versions: usize, rng: &mut Rng) -> Vec<ImageRef> {
        let sidecars = SIDECARS.iter().filter(|_| self.sidecars);
        let mut image = || {
            format!(
                "team/app-{}:v{}",
                rng.usize(0..self.repositories),
                rng.usize(0..versions)
            )
        };
        let mut images: Vec<ImageRef> = std::iter::repeat_with(|| image().parse().unwrap())
            .take(count)
            .collect();
        images.extend(sidecars.map(|image| image.parse::<ImageRef>().unwrap()));
        images.sort();
        images.dedup();
        images
    }
}

/// What this thread has used of its processor, in nanoseconds: other programs do not count.
fn processor_time() -> i64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok())
        .unwrap_or(0)
}
