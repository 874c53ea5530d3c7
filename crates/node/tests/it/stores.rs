//! Stores that appear, change and vanish while they are followed.

use std::fs;
use std::future::pending;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use imagecache_blocks::{DirectoryStore, Store as _, export};
use imagecache_core::Digest;
use imagecache_node::{Error, Follower, Labels, Snapshotter, Source};

use crate::support::{Place, Root, adopt, adopt_all, damage, put_cache};

/// How long a look may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(30);

/// Writes the volume of a cache to a file that nobody writes to any more.
fn volume(place: &Place, name: &str) -> Vec<Digest> {
    let store = DirectoryStore::open(place.path("built")).unwrap();
    let (id, chains) = put_cache(&store, "registry.test/app:1", &["low", "top"]);
    let record = store.record(&id).unwrap().unwrap();
    let manifest = store.snapshot(&record.snapshot.unwrap()).unwrap().unwrap();
    let path = place.path(name);
    let file = fs::File::create_new(&path).unwrap();
    export(&store, &store, &manifest, None, &file, &path).unwrap();
    settle(&path, 60);
    chains
}

/// Makes a file look as if it was written so many seconds ago.
fn settle(path: &Path, seconds: u64) {
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(seconds))
        .unwrap();
}

async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(LIMIT, async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("{what} never happened"));
}

async fn follower(place: &Place, source: &str) -> (Arc<Snapshotter>, Follower) {
    let snapshotter = Arc::new(place.open());
    let source = Source::Path(place.path(source));
    let follower = Follower::start(Arc::clone(&snapshotter), vec![source]).await;
    (snapshotter, follower)
}

fn volumes(place: &Place) -> usize {
    let below = place.path("root/volumes");
    place.mounts().iter().filter(|path| path.starts_with(&below)).count()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root"]
async fn what_a_volume_holds_is_known_before_the_first_question() {
    let place = Place::new();
    let chains = volume(&place, "volume");
    let (snapshotter, follower) = follower(&place, "volume").await;
    let top = adopt_all(&snapshotter, &chains);
    snapshotter.prepare("one", Some(&top), Labels::new()).unwrap();
    drop(follower);
    drop(snapshotter);
    // After a restart nothing was looked at yet, and what is mounted serves.
    let snapshotter = place.open();
    assert!(
        Root::of(&snapshotter.mounts("one").unwrap())
            .read("low")
            .starts_with("low")
    );
    drop(snapshotter);
    // After a reboot nothing is mounted.
    place.unmount_all();
    let snapshotter = place.open();
    let early = snapshotter.mounts("one").unwrap_err();
    assert!(
        matches!(&early, Error::Unavailable(text) if text.contains("not all read yet")),
        "{early}"
    );
    drop(snapshotter);
    let (snapshotter, _follower) = self::follower(&place, "volume").await;
    assert!(
        Root::of(&snapshotter.mounts("one").unwrap())
            .read("low")
            .starts_with("low")
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root"]
async fn a_volume_that_is_written_to_is_hashed_again_and_one_that_is_gone_offers_nothing() {
    let place = Place::new();
    let chains = volume(&place, "volume");
    let (snapshotter, follower) = follower(&place, "volume").await;
    let following = tokio::spawn(follower.follow(Arc::default(), pending()));
    until("mounting ahead", || snapshotter.size().1 == 2).await;
    let low = adopt(&snapshotter, &chains[0], None).unwrap();
    let root = Root::of(&snapshotter.prepare("one", Some(&low), Labels::new()).unwrap());
    assert!(root.read("low").starts_with("low"));
    // One bit of the file, under everything that is mounted.
    let bytes = fs::read(place.path("volume")).unwrap();
    let at = bytes.windows(9).position(|window| window == b"lowlowlow").unwrap();
    let mut damaged = bytes.clone();
    damaged[at] ^= 1;
    fs::write(place.path("volume"), &damaged).unwrap();
    assert!(
        matches!(snapshotter.mounts("one"), Err(Error::Unavailable(_))),
        "before any look"
    );
    settle(&place.path("volume"), 50);
    until("the damage", || !snapshotter.supply().damage().is_empty()).await;
    assert_eq!(adopt(&snapshotter, &chains[0], None), None, "it is pulled");
    fs::write(place.path("volume"), &bytes).unwrap();
    settle(&place.path("volume"), 40);
    until("the repair", || snapshotter.mounts("one").is_ok()).await;
    let again = Root::of(&snapshotter.mounts("one").unwrap());
    fs::remove_file(place.path("volume")).unwrap();
    until("the end of the volume", || volumes(&place) == 0).await;
    assert_eq!(adopt(&snapshotter, &chains[1], Some(&low)), None, "it is pulled");
    assert!(again.read("low").starts_with("low"), "a container lost its files");
    following.abort();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root"]
async fn a_volume_that_is_being_copied_is_waited_for() {
    let place = Place::new();
    let chains = volume(&place, "whole");
    let bytes = fs::read(place.path("whole")).unwrap();
    fs::write(place.path("volume"), &bytes[..bytes.len() / 2]).unwrap();
    let (snapshotter, follower) = follower(&place, "volume").await;
    assert_eq!(volumes(&place), 0, "half a volume is mounted");
    let following = tokio::spawn(follower.follow(Arc::default(), pending()));
    fs::write(place.path("volume"), &bytes).unwrap();
    until("the whole volume", || snapshotter.size().1 == 2).await;
    assert!(snapshotter.supply().damage().is_empty());
    adopt_all(&snapshotter, &chains);
    following.abort();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root"]
async fn volumes_of_sources_that_are_no_more_are_unmounted() {
    let place = Place::new();
    volume(&place, "volume");
    let (snapshotter, follower) = follower(&place, "volume").await;
    assert_eq!(volumes(&place), 1);
    drop((follower, snapshotter));
    let store = place.store();
    put_cache(&store, "registry.test/app:1", &["low"]);
    let (_snapshotter, _follower) = self::follower(&place, "store").await;
    assert_eq!(volumes(&place), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_ends_when_it_is_told_to() {
    let place = Place::new();
    fs::create_dir(place.path("store")).unwrap();
    let (snapshotter, follower) = follower(&place, "store").await;
    tokio::time::timeout(LIMIT, follower.follow(Arc::default(), std::future::ready(())))
        .await
        .unwrap();
    assert_eq!(snapshotter.size(), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root"]
async fn a_damaged_layer_that_is_replaced_is_used_again() {
    let place = Place::new();
    let store = place.store();
    let (_, chains) = put_cache(&store, "registry.test/app:1", &["low", "top"]);
    damage(&crate::support::image_file(&store, &chains[0]));
    let (snapshotter, follower) = follower(&place, "store").await;
    let following = tokio::spawn(follower.follow(Arc::default(), pending()));
    until("the damage", || {
        store.layer(&chains[0]).is_ok_and(|layer| layer.is_none())
    })
    .await;
    put_cache(&store, "registry.test/app:1", &["low", "top"]);
    until("the repair", || snapshotter.size().1 == 2).await;
    assert!(snapshotter.supply().damage().is_empty());
    adopt_all(&snapshotter, &chains);
    following.abort();
}
