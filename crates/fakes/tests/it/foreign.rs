//! Caches that somebody else made, in both clouds.

use std::time::Duration;

use imagecache_fakes::eci::Eci;
use imagecache_fakes::tke::Tke;
use imagecache_fakes::{Fake, Foreign, Vendor};

async fn are_there_and_count_for_nobody<V: Vendor>() {
    let fake = Fake::<V>::start().await;
    let rows = [
        Foreign::named("by-hand"),
        Foreign {
            name: "untagged",
            ..Foreign::default()
        },
        Foreign {
            automatic: true,
            ..Foreign::default()
        },
    ];
    for row in &rows {
        let id = fake.add_foreign(row);
        let found = fake.caches().into_iter().find(|cache| cache.id == id).unwrap();
        let tags: Vec<(&str, &str)> = found.tags.iter().map(|(key, value)| (&**key, &**value)).collect();
        assert_eq!((&*found.name, &*tags, &*found.status), (row.name, row.tags, "Ready"));
        assert!(found.snapshot.is_some(), "{found:?}");
    }
    fake.age(Duration::from_secs(365 * 24 * 3_600));
    assert_eq!((fake.caches().len(), fake.creations()), (rows.len(), 0));
}

#[tokio::test]
async fn of_eci_are_there_and_count_for_nobody() {
    are_there_and_count_for_nobody::<Eci>().await;
}

#[tokio::test]
async fn of_tke_are_there_and_count_for_nobody() {
    are_there_and_count_for_nobody::<Tke>().await;
}
