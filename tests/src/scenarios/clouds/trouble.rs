//! A cloud that refuses, fails, hangs or breaks off: one clear message, and no harm.

use anyhow::{Result, ensure};
use imagecache_fakes::{BuildEnd, Fault};

use super::spec;
use crate::cloud::{Cloud, Vendor};
use crate::context::Context;
use crate::objects::messages;
use crate::plane::{BUILD_LIMIT, Plane};
use crate::wait;

const IMAGE: &str = "registry.example.com/app:1";

pub async fn a_full_quota_is_told_and_waited_for<V: Vendor>(context: Context) -> Result<()> {
    let cloud = Cloud::<V>::start().await;
    cloud.fake.set_quota(0);
    let mut plane = cloud.plane(&context).await?;
    let name = cloud.name(&context, "quota");
    plane.create(V::DIALECT, &name, spec(IMAGE)).await?;
    wait_message::<V>(&plane, &name, "Failed", V::QUOTA).await?;
    cloud.fake.set_quota(10);
    plane.delete(V::DIALECT, &name).await?;
    plane.create(V::DIALECT, &name, spec(IMAGE)).await?;
    plane.wait_phase(V::DIALECT, &name, "Ready").await?;
    plane.finish().await
}

/// What only somebody with rights can mend is told at once, and the service is left in peace.
pub async fn a_missing_permission_is_told_and_not_stormed<V: Vendor>(context: Context) -> Result<()> {
    let cloud = Cloud::<V>::start().await;
    let (status, code) = V::DENIED;
    let refusal = Fault::Refuse {
        status,
        code: code.to_owned(),
        message: "you are not authorized to do this".to_owned(),
    };
    cloud.fake.inject("CreateImageCache", refusal, usize::MAX);
    let mut plane = cloud.plane(&context).await?;
    let name = cloud.name(&context, "denied");
    plane.create(V::DIALECT, &name, spec(IMAGE)).await?;
    wait_message::<V>(&plane, &name, "Failed", code).await?;
    let calls = cloud.fake.calls("CreateImageCache");
    ensure!(calls == 1, "{calls} calls were made for what none may do");
    plane.delete(V::DIALECT, &name).await?;
    cloud.made(0)?;
    plane.finish().await
}

pub async fn a_failed_build_says_why<V: Vendor>(context: Context) -> Result<()> {
    let cloud = Cloud::<V>::start().await;
    let message = "Failed to pull image registry.example.com/app:1: manifest unknown";
    cloud.fake.fail_next_build(BuildEnd::Failed {
        reason: "Failed".to_owned(),
        message: message.to_owned(),
    });
    let mut plane = cloud.plane(&context).await?;
    let name = cloud.name(&context, "failed");
    plane.create(V::DIALECT, &name, spec(IMAGE)).await?;
    wait_message::<V>(&plane, &name, "Failed", message).await?;
    cloud.made(1)?;
    plane.finish().await
}

pub async fn a_stuck_build_shows_the_last_event<V: Vendor>(context: Context) -> Result<()> {
    let cloud = Cloud::<V>::start().await;
    cloud.fake.fail_next_build(BuildEnd::Hangs);
    let changes = [
        ("build_deadline = \"1h\"", "build_deadline = \"2s\""),
        ("build_attempts = 3", "build_attempts = 1"),
    ];
    let mut plane = cloud.plane_with(&context, &changes).await?;
    let name = cloud.name(&context, "stuck");
    plane.create(V::DIALECT, &name, spec(IMAGE)).await?;
    wait_message::<V>(&plane, &name, "Failed", V::LAST_EVENT).await?;
    plane.finish().await
}

/// Each fault once for each call: everything becomes Ready all the same, and nothing is made twice.
pub async fn broken_answers_do_no_harm<V: Vendor>(context: Context) -> Result<()> {
    let cloud = Cloud::<V>::start().await;
    let changes = [("attempt_timeout = \"15s\"", "attempt_timeout = \"1s\"")];
    let mut plane = cloud.plane_with(&context, &changes).await?;
    let throttled = Fault::Throttled {
        retry_after_ms: Some(200),
    };
    let faults = [
        ("5xx-before", Fault::ServerErrorBefore, 1),
        ("5xx-after", Fault::ServerErrorAfter, 1),
        ("no-answer", Fault::NoAnswer, 1),
        ("no-answer-before", Fault::NoAnswerBefore, 1),
        ("cut", Fault::CutBody, 1),
        ("wrong-json", Fault::WrongJson, 1),
        ("throttled", throttled, 3),
    ];
    for (count, (word, fault, times)) in faults.into_iter().enumerate() {
        for action in ["CreateImageCache", "DescribeImageCaches", V::DELETE] {
            cloud.fake.inject(action, fault.clone(), times);
        }
        let name = cloud.name(&context, word);
        plane.create(V::DIALECT, &name, spec(IMAGE)).await?;
        plane.wait_phase(V::DIALECT, &name, "Ready").await?;
        plane.delete(V::DIALECT, &name).await?;
        cloud.wait_caches(0).await?;
        cloud.made(count + 1)?;
    }
    plane.finish().await
}

async fn wait_message<V: Vendor>(plane: &Plane, name: &str, phase: &str, part: &str) -> Result<()> {
    let what = format!("{name} to be {phase} with {part:?}");
    wait::until(&what, BUILD_LIMIT, async || {
        let object = plane.get(V::DIALECT, name).await?;
        let (seen, said) = (V::DIALECT.phase(&object), messages(&object));
        let told = said.iter().any(|message| message.contains(part));
        Ok(if seen == phase && told {
            Ok(())
        } else {
            Err(format!("{seen} {said:?}"))
        })
    })
    .await
}
