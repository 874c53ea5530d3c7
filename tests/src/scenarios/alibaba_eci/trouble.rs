//! A cloud that refuses, fails, hangs or breaks off: one clear message, and no harm.

use std::time::Duration;

use anyhow::{Result, ensure};
use imagecache_fakes::eci::{BuildEnd, Fault};

use super::spec;
use crate::context::Context;
use crate::eci::Cloud;
use crate::objects::{Dialect, messages};
use crate::plane::{BUILD_LIMIT, Plane};
use crate::wait;

const ALIBABA: Dialect = Dialect::Alibaba;

pub async fn a_full_quota_is_told_and_waited_for(context: Context) -> Result<()> {
    let cloud = Cloud::start().await;
    cloud.fake.set_quota(0);
    let mut plane = cloud.plane(&context).await?;
    let name = context.name("eci-quota");
    plane.create(ALIBABA, &name, spec("registry.example.com/app:1")).await?;
    wait_message(&plane, &name, "Failed", "0 of 0").await?;
    cloud.fake.set_quota(10);
    plane.delete(ALIBABA, &name).await?;
    plane.create(ALIBABA, &name, spec("registry.example.com/app:1")).await?;
    plane.wait_phase(ALIBABA, &name, "Ready").await?;
    plane.finish().await
}

pub async fn a_failed_build_says_why(context: Context) -> Result<()> {
    let cloud = Cloud::start().await;
    let message = "Failed to pull image registry.example.com/app:1: manifest unknown";
    cloud.fake.fail_next_build(BuildEnd::Failed {
        reason: "Failed".to_owned(),
        message: message.to_owned(),
    });
    let mut plane = cloud.plane(&context).await?;
    let name = context.name("eci-failed");
    plane.create(ALIBABA, &name, spec("registry.example.com/app:1")).await?;
    wait_message(&plane, &name, "Failed", message).await?;
    ensure!(cloud.fake.creations() == 1, "a failed build was started again");
    plane.finish().await
}

pub async fn a_stuck_build_shows_the_last_event(context: Context) -> Result<()> {
    let cloud = Cloud::start().await;
    cloud.fake.fail_next_build(BuildEnd::Hangs);
    let changes = [
        ("build_deadline = \"1h\"", "build_deadline = \"2s\""),
        ("build_attempts = 3", "build_attempts = 1"),
    ];
    let mut plane = cloud.plane_with(&context, &changes).await?;
    let name = context.name("eci-stuck");
    plane.create(ALIBABA, &name, spec("registry.example.com/app:1")).await?;
    wait_message(&plane, &name, "Failed", "start to pull images").await?;
    plane.finish().await
}

/// Each fault once for each call: everything becomes Ready all the same, and nothing is made twice.
pub async fn broken_answers_do_no_harm(context: Context) -> Result<()> {
    let cloud = Cloud::start().await;
    let changes = [("attempt_timeout = \"15s\"", "attempt_timeout = \"1s\"")];
    let mut plane = cloud.plane_with(&context, &changes).await?;
    let faults = [
        ("5xx-before", Fault::ServerErrorBefore),
        ("5xx-after", Fault::ServerErrorAfter),
        ("no-answer", Fault::NoAnswer),
        ("cut", Fault::CutBody),
        ("wrong-json", Fault::WrongJson),
        (
            "throttled",
            Fault::Throttled {
                retry_after_ms: Some(200),
            },
        ),
    ];
    for (count, (word, fault)) in faults.into_iter().enumerate() {
        for action in ["CreateImageCache", "DescribeImageCaches", "DeleteImageCache"] {
            cloud.fake.inject(action, fault.clone(), 1);
        }
        let name = context.name(&format!("eci-{word}"));
        plane.create(ALIBABA, &name, spec("registry.example.com/app:1")).await?;
        plane.wait_phase(ALIBABA, &name, "Ready").await?;
        ensure!(cloud.fake.creations() == count + 1, "{word}: a second cache was made");
        plane.delete(ALIBABA, &name).await?;
        cloud.wait_caches(0).await?;
    }
    plane.finish().await
}

async fn wait_message(plane: &Plane, name: &str, phase: &str, part: &str) -> Result<()> {
    wait::until(
        &format!("{name} to be {phase} with {part:?}"),
        BUILD_LIMIT,
        async || {
            let object = plane.get(ALIBABA, name).await?;
            let (seen, said) = (ALIBABA.phase(&object), messages(&object));
            let told = said.iter().any(|message| message.contains(part));
            tokio::time::sleep(Duration::from_millis(50)).await;
            Ok(if seen == phase && told {
                Ok(())
            } else {
                Err(format!("{seen} {said:?}"))
            })
        },
    )
    .await
}
