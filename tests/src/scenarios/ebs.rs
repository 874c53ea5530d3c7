//! Snapshots in AWS EBS: what a user gets of them, and what becomes of them when anything goes wrong.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use imagecache_fakes::ebs::{Fault, Pages, Puts, Throttle};
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::binary::{Binary, tool_with};
use crate::context::Context;
use crate::ebs::{Ebs, JOURNALS, fresh_binary, journalled, same_bytes};
use crate::objects::Dialect;
use crate::plane::{BUILD_LIMIT, Plane};
use crate::registry::Registry;
use crate::scenarios::images;
use crate::{store, wait};

const ALIBABA: Dialect = Dialect::Alibaba;
const PUT: &str = "PutSnapshotBlock";
/// Few at a time, so that there is a middle of an upload.
const FEW_IN_FLIGHT: (&str, &str) = ("IMAGECACHE_LOCAL__EBS__IN_FLIGHT", "6");
const PUT_LATENCY: Duration = Duration::from_millis(30);
const COMPLETION_LAG: Duration = Duration::from_secs(2);

/// An image of some forty blocks.
async fn image() -> Result<Registry> {
    let layers = images::heavy(61, 4, 6)?;
    Registry::of(&[("base", &layers[..3]), ("more", &layers[..])]).await
}

pub async fn comes_back_byte_equal(context: Context) -> Result<()> {
    let registry = image().await?;
    let ebs = Ebs::start(Duration::ZERO).await?;
    let binary = fresh_binary(&context, &ebs, "store");
    let id = binary.create(&registry.image("base")).await?;
    let snapshot = ebs.only_snapshot()?;
    let once = snapshot.puts.values().all(|puts| puts.accepted == 1);
    ensure!(once, "a block was put more than once: {:?}", snapshot.puts);

    // The lists may come in any pieces.
    ebs.fake.set_pages(Pages::ShortAndEmpty(7));
    let exported = context.dir.join("exported");
    binary.run(&["export", &id, &exported.to_string_lossy()]).await?;
    ebs.holds(&snapshot.id, &exported)?;
    binary.run(&["verify", &id]).await?;

    // The same image in a directory is the same volume.
    let plain = context.binary_over(&context.dir.join("plain"));
    let plain_id = plain.create(&registry.image("base")).await?;
    let plain_export = context.dir.join("plain-export");
    plain
        .run(&["export", &plain_id, &plain_export.to_string_lossy()])
        .await?;
    same_bytes(&exported, &plain_export)?;

    // What EBS returns is believed no more than what a disk returns.
    ebs.fake.inject_every("GetSnapshotBlock", Fault::WrongBytes, 1);
    let damaged = context.dir.join("damaged");
    let said = binary.fails(&["export", &id, &damaged.to_string_lossy()]).await?;
    ensure!(
        said.contains(&snapshot.id),
        "the message does not name the snapshot: {said}"
    );
    ebs.fake.heal();

    delete_all(&ebs, &binary, &id).await
}

pub async fn coldsnap_downloads_the_same(context: Context) -> Result<()> {
    let registry = image().await?;
    let ebs = Ebs::start(Duration::ZERO).await?;
    let binary = fresh_binary(&context, &ebs, "store");
    let mut parent = None;
    for tag in ["base", "more"] {
        let id = binary.create(&registry.image(tag)).await?;
        let snapshots = ebs.fake.snapshots();
        let snapshot = snapshots.last().context("no snapshot was made")?;
        ensure!(
            snapshot.parent == parent,
            "the parent is {:?}, not {parent:?}",
            snapshot.parent
        );
        let (exported, downloaded) = (context.dir.join("exported"), context.dir.join("downloaded"));
        binary.run(&["export", &id, &exported.to_string_lossy()]).await?;
        let file = downloaded.to_string_lossy().into_owned();
        let args = ["download", "--no-progress", "--force", &snapshot.id, &file];
        tool_with("coldsnap", &args, ebs.fake.environment()).await?;
        same_bytes(&exported, &downloaded)?;
        parent = Some(snapshot.id.clone());
    }
    Ok(())
}

pub async fn status_names_the_snapshot(context: Context) -> Result<()> {
    let registry = image().await?;
    let ebs = Ebs::start(Duration::ZERO).await?;
    // As after AWS took its time.
    ebs.fake.set_completion_lag(Duration::from_secs(2));
    let mut plane = Plane::start_over(&context, ebs.binary(context.binary()), &[]).await?;
    let name = context.name("ebs");
    plane
        .create(ALIBABA, &name, json!({ "images": [registry.image("base")] }))
        .await?;
    let object = plane.wait_phase(ALIBABA, &name, "Ready").await?;
    let first = ebs.only_snapshot()?;
    let shown = ALIBABA.status(&object, "snapshotId");
    ensure!(shown == first.id, "status.snapshotId is {shown:?}, not {}", first.id);

    // One layer more: the new snapshot lies on the old one and holds little but that layer.
    let patch = json!({ "spec": { "images": [registry.image("more")] } });
    let api = ALIBABA.api(plane.client()?);
    api.patch(&name, &PatchParams::default(), &Patch::Merge(&patch)).await?;
    let second = wait::until("the new snapshot to be shown", BUILD_LIMIT, async || {
        let object = plane.get(ALIBABA, &name).await?;
        let (shown, phase) = (ALIBABA.status(&object, "snapshotId"), ALIBABA.phase(&object));
        Ok(if shown != first.id && phase == "Ready" {
            Ok(shown)
        } else {
            Err(format!("{shown} {phase}"))
        })
    })
    .await?;
    let second = ebs
        .fake
        .snapshot(&second)
        .context("status names a snapshot that is not there")?;
    ensure!(
        second.parent.as_ref() == Some(&first.id),
        "the parent is {:?}",
        second.parent
    );
    ensure!(
        second.blocks.len() < first.blocks.len(),
        "{} blocks were sent for a layer more, {} for all before",
        second.blocks.len(),
        first.blocks.len()
    );
    plane.delete(ALIBABA, &name).await?;
    ebs.wait_snapshots(0).await?;
    plane.finish().await
}

/// Kills uploads from before the first block to after the last; every third has a parent, and for every third AWS takes its
/// time to complete the snapshot.
pub async fn killed_uploads_go_on(context: Context) -> Result<()> {
    let registry = image().await?;
    let ebs = Ebs::start(PUT_LATENCY).await?;
    let (plain, child) = (Expected::whole(&context, &ebs, &registry).await?, {
        Expected::on_top(&context, &ebs, &registry).await?
    });
    let (mut acknowledged, mut again) = (0, 0);
    for round in 0..context.options.rounds {
        let expected = if round % 3 == 1 { &child } else { &plain };
        let lag = if round % 3 == 2 { COMPLETION_LAG } else { Duration::ZERO };
        ebs.fake.set_completion_lag(lag);
        let rounds = usize::try_from(context.options.rounds)?.max(2);
        let killed_after = usize::try_from(round)? * (expected.blocks + 1) / (rounds - 1);
        let at = format!(
            "round {round}, killed after {killed_after} of {} blocks",
            expected.blocks
        );
        let killed = kill_one(&context, &ebs, &registry, expected, (round, killed_after));
        let (known, resent) = killed.await.with_context(|| at)?;
        acknowledged += known;
        again += resent;
    }
    report!(
        "{} uploads were killed; of {acknowledged} blocks that EBS had acknowledged {again} were sent again, as many as the process \
         had not heard of",
        context.options.rounds
    );
    Ok(())
}

/// What an upload has to give.
struct Expected {
    /// Built before, so that it is the parent.
    below: Option<String>,
    image: String,
    id: String,
    blocks: usize,
    volume: PathBuf,
}

impl Expected {
    async fn whole(context: &Context, ebs: &Ebs, registry: &Registry) -> Result<Self> {
        Self::of(context, ebs, None, registry.image("base"), "whole").await
    }

    async fn on_top(context: &Context, ebs: &Ebs, registry: &Registry) -> Result<Self> {
        Self::of(
            context,
            ebs,
            Some(registry.image("base")),
            registry.image("more"),
            "child",
        )
        .await
    }

    async fn of(context: &Context, ebs: &Ebs, below: Option<String>, image: String, name: &str) -> Result<Self> {
        let binary = fresh_binary(context, ebs, name);
        let mut older = None;
        if let Some(below) = &below {
            older = Some(binary.create(below).await?);
        }
        let id = binary.create(&image).await?;
        let volume = context.dir.join(format!("{name}-exported"));
        binary.run(&["export", &id, &volume.to_string_lossy()]).await?;
        let snapshots = ebs.fake.snapshots();
        let blocks = snapshots.last().context("no snapshot was made")?.blocks.len();
        if let Some(older) = older {
            binary.run(&["delete", &older]).await?;
        }
        delete_all(ebs, &binary, &id).await?;
        Ok(Self {
            below,
            image,
            id,
            blocks,
            volume,
        })
    }
}

/// Kills one upload and has it finished by another process. How many blocks EBS had acknowledged when the process died, and
/// how many of those were sent again: never one that was written down, and no more than can have been on their way.
async fn kill_one(
    context: &Context,
    ebs: &Ebs,
    registry: &Registry,
    expected: &Expected,
    (round, killed_after): (u32, usize),
) -> Result<(usize, usize)> {
    let few = [(FEW_IN_FLIGHT.0, FEW_IN_FLIGHT.1.to_owned())];
    let binary = fresh_binary(context, ebs, &format!("store-{round}")).with_environment(few);
    let mut older = None;
    if let Some(below) = &expected.below {
        older = Some(binary.create(below).await?);
    }
    let parents = ebs.fake.snapshots().len();
    ensure!(
        parents == usize::from(older.is_some()),
        "{} is left over",
        registry.image("base")
    );
    let before = ebs.fake.bytes();
    let mut child = binary.spawn(&["create", "--wait", &expected.image], &context.dir.join("killed.log"))?;
    wait::until("enough blocks to be put", BUILD_LIMIT, async || {
        let put = usize::try_from((ebs.fake.bytes() - before) >> 19)?;
        let started = ebs.fake.snapshots().len() > parents;
        let ended = child.try_wait()?.is_some();
        Ok(if ended || (started && put >= killed_after) {
            Ok(())
        } else {
            Err(format!("{put} blocks"))
        })
    })
    .await?;
    child.kill().await.context("cannot kill the upload")?;
    let journalled = journalled(binary.store(), &expected.id)?;
    // What was on its way arrives, and its answers reach nobody.
    let settled = PUT_LATENCY * 4;
    tokio::time::sleep(settled).await;
    let at_kill = ebs.fake.snapshots();
    let known = at_kill.get(parents).cloned();
    ensure!(
        binary.create(&expected.image).await? == expected.id,
        "another id after the kill"
    );
    let snapshots = ebs.fake.snapshots();
    ensure!(
        snapshots.len() == parents + 1,
        "a snapshot was left behind: {snapshots:?}"
    );
    let snapshot = snapshots.last().context("no snapshot was made")?;
    ensure!(snapshot.status == "completed", "it is {}", snapshot.status);
    ensure!(
        snapshot.parent.is_some() == older.is_some(),
        "the parent is {:?}",
        snapshot.parent
    );
    if let Some(known) = &known {
        ensure!(known.id == snapshot.id, "the snapshot that was under way was given up");
    }
    for index in journalled {
        let puts = snapshot.puts.get(&index).copied().unwrap_or_default();
        ensure!(
            puts.accepted == 1,
            "block {index} was written down as acknowledged and sent again: {puts:?}"
        );
    }
    let had = known.iter().flat_map(|known| &known.puts);
    let had: Vec<_> = had.filter(|(_, puts)| puts.acknowledged > 0).collect();
    let again = |(index, puts): &&(&u32, &Puts)| {
        let now = snapshot.puts.get(*index).copied().unwrap_or_default();
        now.accepted > puts.accepted
    };
    let resent = had.iter().filter(again).count();
    ensure!(
        resent <= FEW_IN_FLIGHT.1.parse()?,
        "{resent} blocks that EBS had acknowledged were sent again, more than were on their way"
    );
    ebs.holds(&snapshot.id, &expected.volume)?;
    if let Some(older) = older {
        binary.run(&["delete", &older]).await?;
    }
    delete_all(ebs, &binary, &expected.id).await?;
    Ok((had.len(), resent))
}

/// Deletes a cache and fails if anything of it stays: a snapshot, a journal, a half-written file.
async fn delete_all(ebs: &Ebs, binary: &Binary, id: &str) -> Result<()> {
    binary.run(&["delete", id]).await?;
    ebs.wait_snapshots(0).await?;
    let store = binary.store();
    if let Some(path) = store::files(&store.join(JOURNALS))?.keys().next() {
        bail!("{JOURNALS}/{} was left over", path.display());
    }
    // The lock of a process that was on its way out is taken over by the next one.
    let unfinished = store::files(&store.join("tmp"))?;
    match unfinished.keys().find(|path| !path.ends_with("lock")) {
        Some(path) => bail!("tmp/{} was left over", path.display()),
        None => Ok(std::fs::remove_dir_all(store)?),
    }
}

pub async fn faults_are_waited_out(context: Context) -> Result<()> {
    let registry = image().await?;
    let image = registry.image("base");
    let ebs = Ebs::start(Duration::ZERO).await?;
    let timed_out = Fault::Refuse {
        status: 400,
        code: "ValidationException".to_owned(),
        reason: Some("WRITE_REQUEST_TIMEOUT".to_owned()),
    };
    let storm = Throttle::ALL.map(|throttle| (PUT, Fault::Throttled(throttle), 3));
    let others = [
        (PUT, Fault::ServerError(500), 4),
        (PUT, Fault::ServerError(503), 4),
        (PUT, Fault::ServerErrorAfter, 4),
        (PUT, Fault::Slow(Duration::from_secs(1)), 10),
        (PUT, Fault::Reset, 4),
        (PUT, Fault::LostAnswer, 4),
        (PUT, Fault::CutBody, 4),
        (PUT, Fault::WrongChecksum, 4),
        (PUT, Fault::NotFound, 4),
        (PUT, Fault::NoAnswer, 20),
        (PUT, timed_out, 4),
        ("StartSnapshot", Fault::LostAnswer, 2),
        ("StartSnapshot", Fault::ServerErrorAfter, 2),
        ("CompleteSnapshot", Fault::LostAnswer, 2),
        ("CompleteSnapshot", Fault::Throttled(Throttle::Account), 2),
        ("DescribeSnapshots", Fault::ServerError(503), 2),
        ("DescribeSnapshots", Fault::Throttled(Throttle::Account), 2),
    ];
    let exported = context.dir.join("exported");
    for (number, (action, fault, every)) in storm.into_iter().chain(others).enumerate() {
        let binary = fresh_binary(&context, &ebs, &format!("store-{number}"));
        ebs.fake.inject_every(action, fault.clone(), every);
        let outcome = async {
            let id = binary.create(&image).await?;
            ebs.fake.heal();
            if number == 0 {
                binary.run(&["export", &id, &exported.to_string_lossy()]).await?;
            }
            let snapshot = ebs.only_snapshot()?;
            ebs.holds(&snapshot.id, &exported)?;
            delete_all(&ebs, &binary, &id).await
        };
        outcome
            .await
            .with_context(|| format!("{fault:?} for one {action} in {every}"))?;
    }
    Ok(())
}

pub async fn refusals_are_said_at_once(context: Context) -> Result<()> {
    let registry = image().await?;
    let image = registry.image("base");
    let ebs = Ebs::start(Duration::ZERO).await?;
    for (action, fault, words) in [
        (PUT, Fault::AccessDenied, ["ebs:PutSnapshotBlock", "not authorized"]),
        (
            "StartSnapshot",
            Fault::AccessDenied,
            ["ebs:StartSnapshot", "not authorized"],
        ),
        (
            "CompleteSnapshot",
            Fault::AccessDenied,
            ["ebs:CompleteSnapshot", "not authorized"],
        ),
        (PUT, Fault::Quota, ["quota", "ServiceQuotaExceededException"]),
        (
            "StartSnapshot",
            Fault::ConcurrentLimit,
            ["pending", "ConcurrentLimitExceededException"],
        ),
    ] {
        let binary = fresh_binary(&context, &ebs, "store");
        ebs.fake.inject_every(action, fault.clone(), 1);
        let said = binary.fails(&["create", "--wait", &image]).await?;
        let missing: Vec<_> = words.iter().filter(|word| !said.contains(**word)).collect();
        ensure!(
            missing.is_empty(),
            "{fault:?} for {action} is told without {missing:?}: {said}"
        );
        let wrong = ebs
            .fake
            .snapshots()
            .into_iter()
            .find(|snapshot| snapshot.status == "completed");
        ensure!(wrong.is_none(), "{fault:?} for {action} left a completed snapshot");
        ebs.fake.heal();
        std::fs::remove_dir_all(binary.store())?;
    }
    // Blocks that were not sent are never part of a completed snapshot, whatever the service says of the ones that were.
    ebs.fake.inject_every(PUT, Fault::WrongChecksum, 1);
    let binary = fresh_binary(&context, &ebs, "lied-to");
    binary.fails(&["create", "--wait", &image]).await?;
    let completed = ebs
        .fake
        .snapshots()
        .into_iter()
        .any(|snapshot| snapshot.status == "completed");
    ensure!(
        !completed,
        "a snapshot was completed though no block was acknowledged truly"
    );
    Ok(())
}
