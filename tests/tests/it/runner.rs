//! The list of scenarios, and who is left out.

use std::collections::BTreeSet;

use imagecache_tests::context::Options;
use imagecache_tests::runner::{self, Api, Need, Scenario, Wanted};
use imagecache_tests::scenarios;

fn options() -> Options {
    Options {
        binary: "imagecache".into(),
        kubeconfig: None,
        node: false,
        registry: None,
        kubelet: None,
        kubectl: None,
        rounds: 1,
        caches: 1,
    }
}

fn scenario(needs: &'static [Need]) -> Scenario {
    Scenario {
        provider: "local",
        name: "area::behaviour",
        needs,
        run: |_| Box::pin(async { Ok(()) }),
    }
}

#[test]
fn names_are_unique() {
    let all = scenarios::all();
    let names: BTreeSet<&str> = all.iter().map(|scenario| scenario.name).collect();
    assert_eq!(names.len(), all.len());
}

#[test]
fn needs_are_judged() {
    let with_cluster = Options {
        kubeconfig: Some("kubeconfig".into()),
        ..options()
    };
    let with_node = Options {
        node: true,
        ..with_cluster.clone()
    };
    let on_node = scenario(&[Need::Api(Api::Cluster), Need::Node]);
    let rows = [
        ("a node, on a cluster without", on_node, with_cluster.clone(), false),
        ("a node, on a cluster with one", on_node, with_node, true),
        ("no needs", scenario(&[]), options(), true),
        ("no needs, on a cluster", scenario(&[]), with_cluster.clone(), false),
        ("either, alone", scenario(&[Need::Api(Api::Either)]), options(), true),
        (
            "either, on a cluster",
            scenario(&[Need::Api(Api::Either)]),
            with_cluster.clone(),
            true,
        ),
        (
            "standalone, on a cluster",
            scenario(&[Need::Api(Api::Standalone)]),
            with_cluster.clone(),
            false,
        ),
        ("cluster, alone", scenario(&[Need::Api(Api::Cluster)]), options(), false),
        (
            "cluster, on a cluster",
            scenario(&[Need::Api(Api::Cluster)]),
            with_cluster,
            true,
        ),
        (
            "no such tool",
            scenario(&[Need::Tool("no-such-tool-anywhere")]),
            options(),
            false,
        ),
        ("a tool", scenario(&[Need::Tool("sh")]), options(), true),
        ("no registry", scenario(&[Need::Registry]), options(), false),
        ("no kubectl", scenario(&[Need::Kubectl]), options(), false),
    ];
    for (row, scenario, options, runs) in rows {
        assert_eq!(runner::missing(&scenario, &options).is_none(), runs, "{row}");
    }
}

#[tokio::test]
async fn a_filter_that_matches_nothing_is_an_error() {
    let dir = tempfile::tempdir().expect("tempdir");
    for (name, provider) in [("no such scenario", None), ("", Some("no-such-provider"))] {
        let wanted = Wanted {
            name: name.to_owned(),
            provider: provider.map(str::to_owned),
        };
        let result = runner::run(&[scenario(&[])], &options(), &wanted, dir.path()).await;
        assert!(result.is_err(), "{wanted:?}");
    }
}

#[tokio::test]
async fn failures_are_counted_and_their_directory_is_kept() {
    let dir = tempfile::tempdir().expect("tempdir");
    let bad = Scenario {
        provider: "local",
        name: "area::bad",
        needs: &[],
        run: |context| {
            Box::pin(async move {
                std::fs::write(context.dir.join("evidence"), "")?;
                anyhow::bail!("on purpose")
            })
        },
    };
    let totals = runner::run(&[scenario(&[]), bad], &options(), &Wanted::default(), dir.path())
        .await
        .expect("the run itself works");
    assert_eq!((totals.passed, totals.failed), (1, vec!["area::bad"]));
    assert!(dir.path().join("area-bad/evidence").exists());
    assert!(!dir.path().join("area-behaviour").exists());
}
