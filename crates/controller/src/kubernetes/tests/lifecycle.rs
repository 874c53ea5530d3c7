//! What happens to an object in a life without trouble.

use std::time::Duration;

use imagecache_core::Progress;
use kube::runtime::controller::Action;
use serde_json::json;

use super::rig::Rig;

#[tokio::test(start_paused = true)]
async fn a_new_object_becomes_ready() {
    let rig = Rig::new(json!(["nginx"]));
    rig.expect_status(|status| {
        assert_eq!(status["phase"], "Pending");
        assert!(
            status["cacheKey"].is_string(),
            "the key is written down before anything exists"
        );
        assert!(status["imageCacheId"].is_null());
    });
    rig.expect_status(|status| {
        assert_eq!(status["phase"], "Pending");
        assert!(status["imageCacheId"].as_str().unwrap().starts_with("imc-"));
    });
    rig.pass("the first pass").await;
    assert_eq!(rig.provider.builds_started(), 1);

    rig.pass("nothing changed").await;

    rig.provider.advance_builds(Progress::from_percent(10));
    rig.expect_status(|status| {
        assert_eq!(
            (&status["phase"], &status["progress"]),
            (&json!("Creating"), &json!("10%"))
        );
    });
    rig.expect_event("Normal", "Creating", "imc-");
    rig.pass("building").await;

    rig.provider.finish_builds();
    rig.expect_status(|status| {
        assert_eq!(
            (&status["phase"], &status["progress"]),
            (&json!("Ready"), &json!("100%"))
        );
        assert_eq!(status["observedGeneration"], 1);
        for (type_, expected) in [("Ready", "True"), ("Progressing", "False")] {
            let conditions = status["conditions"].as_array().unwrap();
            let found = conditions.iter().find(|condition| condition["type"] == type_).unwrap();
            assert_eq!(found["status"], expected, "{type_}");
            assert_eq!(found["observedGeneration"], 1);
        }
    });
    rig.expect_event("Normal", "Ready", "is ready");
    let action = rig.pass("ready").await;
    assert_eq!(action, Action::await_change());
    rig.pass("still ready").await;
    assert_eq!(rig.provider.builds_started(), 1);
}

#[tokio::test(start_paused = true)]
async fn progress_is_written_at_most_once_a_second() {
    let rig = Rig::new(json!(["nginx"]));
    rig.expect_phase("Pending");
    rig.expect_phase("Pending");
    rig.pass("the first pass").await;
    rig.provider.advance_builds(Progress::from_percent(1));
    rig.expect_phase("Creating");
    rig.expect_event("Normal", "Creating", "");
    rig.pass("a new phase is written at once").await;
    for percent in 2..10 {
        rig.provider.advance_builds(Progress::from_percent(percent));
        let action = rig.pass("too soon").await;
        assert_ne!(action, Action::await_change(), "the write is only put off");
        rig.advance(Duration::from_millis(100)).await;
    }
    rig.advance(Duration::from_millis(300)).await;
    rig.expect_status(|status| assert_eq!(status["progress"], "9%"));
    rig.pass("a second later").await;
}

#[tokio::test(start_paused = true)]
async fn what_a_build_does_is_in_the_message_and_makes_no_events() {
    let rig = Rig::new(json!(["nginx"]));
    rig.expect_phase("Pending");
    rig.expect_phase("Pending");
    rig.pass("the first pass").await;
    rig.provider.advance_builds(Progress::from_percent(50));
    rig.expect_phase("Creating");
    rig.expect_event("Normal", "Creating", "");
    rig.pass("building").await;
    for text in ["sending 1 of 9 MiB", "sending 5 of 9 MiB, 2 MiB/s, 2 s left"] {
        rig.provider.say(text);
        let action = rig.pass("too soon").await;
        assert_ne!(action, Action::await_change(), "the write is only put off");
        rig.advance(Duration::from_millis(1_100)).await;
        rig.expect_status(move |status| {
            let message = status["conditions"][0]["message"].as_str().unwrap();
            assert!(message.ends_with(&format!("is being built: {text}")), "{message}");
        });
        rig.pass("a second later").await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_stale_watch_does_no_harm() {
    let rig = Rig::new(json!(["nginx"]));
    let before = rig.object.lock().unwrap().clone();
    rig.expect_phase("Pending");
    rig.expect_phase("Pending");
    rig.pass("the first pass").await;
    let after = std::mem::replace(&mut *rig.object.lock().unwrap(), before);
    rig.pass("the watch still shows the object without a status").await;
    *rig.object.lock().unwrap() = after;
    rig.pass("the watch has caught up").await;
}

#[tokio::test(start_paused = true)]
async fn a_restart_at_any_point_starts_no_second_build() {
    let mut rig = Rig::new(json!(["nginx"]));
    rig.expect_phase("Pending");
    rig.expect_phase("Pending");
    rig.pass("the first pass").await;
    rig.restart();
    rig.pass("after a restart while building").await;
    rig.provider.finish_builds();
    rig.restart();
    rig.expect_phase("Ready");
    rig.expect_event("Normal", "Ready", "");
    rig.pass("finished while the controller was down").await;
    rig.restart();
    rig.pass("after a restart when ready").await;
    assert_eq!(rig.provider.builds_started(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_crash_before_anything_was_written_down_finds_the_cache_again() {
    let mut rig = Rig::new(json!(["nginx"]));
    let before = rig.object.lock().unwrap().clone();
    rig.expect_phase("Pending");
    rig.expect_phase("Pending");
    rig.pass("the first pass").await;
    *rig.object.lock().unwrap() = before;
    rig.restart();
    rig.expect_phase("Pending");
    rig.pass("the status was lost").await;
    assert_eq!(rig.provider.builds_started(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_old_cache_serves_until_the_new_one_is_ready() {
    let rig = Rig::new(json!(["nginx"]));
    rig.build().await;
    let old = rig.status();
    rig.edit(json!({ "images": ["redis"] }));
    let (id, key) = (old["imageCacheId"].clone(), old["cacheKey"].clone());
    rig.expect_status(move |status| {
        assert_eq!(status["phase"], "Updating");
        assert_eq!(
            (&status["imageCacheId"], &status["cacheKey"]),
            (&id, &key),
            "the old one serves"
        );
        assert_eq!(
            status["otherCacheKeys"].as_array().unwrap().len(),
            1,
            "the new one is written down"
        );
    });
    rig.expect_event("Normal", "Updating", "the spec changed");
    rig.pass("the spec changed").await;
    assert_eq!(rig.caches().await.len(), 2);

    rig.provider.finish_builds();
    let key = old["cacheKey"].clone();
    rig.expect_status(move |status| {
        assert_eq!(status["phase"], "Ready");
        assert_eq!(
            status["otherCacheKeys"],
            json!([key]),
            "the old one is written down until it is removed"
        );
        assert_eq!(status["observedGeneration"], 2);
    });
    rig.expect_event("Normal", "Updated", "");
    rig.expect_status(|status| assert!(status["otherCacheKeys"].is_null()));
    rig.pass("the new one is ready").await;
    let caches = rig.caches().await;
    assert_eq!(caches.len(), 1);
    assert_eq!(rig.status()["imageCacheId"], caches[0].id.as_str());
    assert_ne!(rig.status()["imageCacheId"], old["imageCacheId"]);
}

#[tokio::test(start_paused = true)]
async fn a_second_edit_leaves_no_cache_behind() {
    let mut rig = Rig::new(json!(["nginx"]));
    rig.build().await;
    let old = rig.status();
    rig.edit(json!({ "images": ["redis"] }));
    rig.expect_phase("Updating");
    rig.expect_event("Normal", "Updating", "");
    rig.pass("the first edit").await;
    // Also when the controller did not see the two edits in one life.
    rig.restart();
    rig.edit(json!({ "images": ["mariadb"] }));
    rig.expect_phase("Updating");
    rig.pass("the second edit").await;
    let kept: Vec<_> = rig
        .caches()
        .await
        .iter()
        .map(|state| state.images[0].to_string())
        .collect();
    assert_eq!(kept.len(), 2, "{kept:?}");
    assert!(!kept.iter().any(|image| image.contains("redis")), "{kept:?}");

    rig.edit(json!({ "images": ["nginx"] }));
    rig.expect_phase("Ready");
    rig.expect_event("Normal", "Updated", "");
    rig.pass("back to the first spec").await;
    assert_eq!(rig.status()["imageCacheId"], old["imageCacheId"]);
    assert_eq!(rig.caches().await.len(), 1);
    assert_eq!(rig.provider.builds_started(), 3, "the first cache was kept");
}

#[tokio::test(start_paused = true)]
async fn an_unfinished_cache_does_not_outlive_its_spec() {
    let rig = Rig::new(json!(["nginx"]));
    rig.expect_phase("Pending");
    rig.expect_phase("Pending");
    rig.pass("the first pass").await;
    rig.edit(json!({ "images": ["redis"] }));
    rig.expect_phase("Pending");
    rig.expect_phase("Pending");
    rig.pass("edited while building").await;
    let caches = rig.caches().await;
    assert_eq!(caches.len(), 1);
    assert!(caches[0].images[0].to_string().contains("redis"));
}

#[tokio::test(start_paused = true)]
async fn an_expired_cache_is_told_and_not_built_again() {
    let rig = Rig::new(json!(["nginx"]));
    rig.edit(json!({ "images": ["nginx"], "retentionDays": 1 }));
    rig.build().await;
    let id = rig.status()["imageCacheId"].clone();
    rig.advance(Duration::from_secs(24 * 60 * 60 + 1)).await;
    rig.expect_status(move |status| {
        assert_eq!(status["phase"], "Expired");
        assert_eq!(status["imageCacheId"], id, "people want to know which");
    });
    rig.expect_event("Normal", "Expired", "retention");
    rig.pass("a day later").await;
    rig.pass("still expired").await;
    assert_eq!(rig.provider.builds_started(), 1);
}

#[tokio::test(start_paused = true)]
async fn deletion_removes_every_cache_of_the_object_and_no_other() {
    let rig = Rig::new(json!(["nginx"]));
    let foreign = imagecache_core::CacheSpec::new(vec!["busybox".parse().unwrap()]);
    let key = imagecache_core::CacheKey::new("made-by-hand", &foreign);
    imagecache_core::CacheProvider::ensure(&rig.provider, &key, &foreign)
        .await
        .unwrap();
    rig.build().await;
    rig.edit(json!({ "images": ["redis"] }));
    rig.expect_phase("Updating");
    rig.expect_event("Normal", "Updating", "");
    rig.pass("a second cache is being built").await;
    assert_eq!(rig.caches().await.len(), 3);
    rig.expect_event("Normal", "Deleting", "");
    rig.cleanup().await.unwrap();
    rig.script.assert_done("deleted");
    let left = rig.caches().await;
    assert_eq!(left.iter().map(|state| &state.key).collect::<Vec<_>>(), [&key]);
}

#[tokio::test(start_paused = true)]
async fn a_ready_cache_tells_what_it_costs() {
    let mut rig = Rig::new(json!(["nginx"]));
    let prices = json!({ "currency": "CNY", "alibaba-eci": { "disk_gib_hour": "0.0021" } });
    rig.show_costs(&serde_json::from_value(prices).unwrap());
    for when in ["the key is written down", "the build was started"] {
        rig.expect_status(move |status| assert!(status["estimatedCost"].is_null(), "{when}"));
    }
    rig.pass("the first pass").await;
    rig.provider.finish_builds();
    rig.expect_status(|status| {
        assert_eq!(status["estimatedCost"], "an hour of each pod costs about 0.0420 CNY");
    });
    rig.expect_event("Normal", "Ready", "is ready");
    rig.pass("ready").await;
    rig.pass("nothing changed").await;
}
