//! Ends between the call that makes a cache and the write of its id: never a second billed cache, never an orphan.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use imagecache_fakes::Fault;

use super::spec;
use crate::cloud::{Cloud, Vendor};
use crate::context::Context;
use crate::plane::{BUILD_LIMIT, Plane};

const CREATE: &str = "CreateImageCache";
/// How long an answer is waited for, so that many can be lost in a short time.
const IMPATIENT: (&str, &str) = ("attempt_timeout = \"15s\"", "attempt_timeout = \"1s\"");

/// `kill -9`, each third time while the answer is on its way, right after the effect, and the same with a cloud that lags.
pub async fn killed_between_create_and_status<V: Vendor>(context: Context) -> Result<()> {
    let cloud = Cloud::<V>::start().await;
    let mut plane = cloud.plane(&context).await?;
    for round in 0..context.options.rounds {
        match round % 3 {
            0 => cloud.fake.inject(CREATE, Fault::NoAnswer, 1),
            1 => cloud.fake.set_visibility_lag(Duration::ZERO),
            _ => cloud.fake.set_visibility_lag(V::LAG),
        }
        let before = cloud.fake.creations();
        let name = ask(&cloud, &mut plane, &context, "killed", round).await?;
        let start = Instant::now();
        while cloud.fake.creations() == before {
            if start.elapsed() > BUILD_LIMIT {
                bail!("round {round}: no create call within {BUILD_LIMIT:?}");
            }
            tokio::task::yield_now().await;
        }
        plane.kill().await?;
        plane.launch().await?;
        one_cache(&cloud, &plane, &name, before + 1)
            .await
            .with_context(|| format!("round {round}"))?;
    }
    plane.finish().await
}

/// The call has its effect, and its answer comes too late, breaks off, is no answer, or says that the service failed.
pub async fn a_lost_answer_makes_one_cache<V: Vendor>(context: Context) -> Result<()> {
    let faults = [
        Fault::NoAnswer,
        Fault::CutBody,
        Fault::WrongJson,
        Fault::ServerErrorAfter,
    ];
    let cloud = Cloud::<V>::start().await;
    let mut plane = cloud.plane_with(&context, &[IMPATIENT]).await?;
    for (round, fault) in (0..context.options.rounds).zip(faults.iter().cycle()) {
        cloud.fake.inject(CREATE, fault.clone(), 1);
        let before = cloud.fake.creations();
        let name = ask(&cloud, &mut plane, &context, "lost", round).await?;
        one_cache(&cloud, &plane, &name, before + 1)
            .await
            .with_context(|| format!("round {round}, {fault:?}"))?;
    }
    plane.finish().await
}

async fn ask<V: Vendor>(
    cloud: &Cloud<V>,
    plane: &mut Plane,
    context: &Context,
    word: &str,
    round: u32,
) -> Result<String> {
    let name = cloud.name(context, &format!("{word}-{round}"));
    let spec = spec(&format!("registry.example.com/app:{round}"));
    plane.create(V::DIALECT, &name, spec).await?;
    Ok(name)
}

/// The object becomes Ready with the only billed cache, the last of `made`, and nothing is left when it goes.
async fn one_cache<V: Vendor>(cloud: &Cloud<V>, plane: &Plane, name: &str, made: usize) -> Result<()> {
    let id = V::DIALECT.id(&plane.wait_phase(V::DIALECT, name, "Ready").await?);
    let billed = cloud.only_cache()?.id;
    ensure!(billed == id, "the status names {id}, and {billed} is billed");
    plane.delete(V::DIALECT, name).await?;
    cloud.wait_caches(0).await?;
    cloud.made(made)
}
