use std::time::Duration;

use vice_core::Code;
use vice_core::port::target::{Observed, Target};
use vice_core::testkit::target_fixtures::workload;

use crate::support::{Ground, place};

/// Somebody waits for pods that never come, under epoch 1.
async fn at_work(ground: &Ground) -> tokio::task::JoinHandle<vice_core::Result<()>> {
    ground.place("1").await;
    let (op, first) = (place("first", 1, "bad", Some(&workload("1"))), ground.target());
    let waiting = tokio::spawn(async move { first.apply(&op, Some(&workload("bad"))).await });
    while ground.image() != "shop:bad" {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    waiting
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_operation_under_one_epoch_leaves_the_first_alone() {
    let ground = Ground::new().await;
    let waiting = at_work(&ground).await;
    let effects = ground.fake.effects();
    let second = place("second", 1, "2", Some(&workload("1")));
    let fault = ground.target().apply(&second, Some(&workload("2"))).await.unwrap_err();
    assert_eq!(fault.code(), Code::Conflict);
    assert!(fault.to_string().contains("first") && !fault.hints().is_empty(), "{fault:?}");
    assert_eq!(ground.target().undo(&second, None).await.unwrap_err().code(), Code::Conflict);
    let same = place("first", 1, "bad", Some(&workload("1")));
    let fault = ground.target().apply(&same, Some(&workload("bad"))).await.unwrap_err();
    assert_eq!(fault.code(), Code::InDoubt, "nobody can tell what becomes of it");
    assert!(matches!(ground.target().observe(&same).await.unwrap(), Observed::Unknown { .. }));
    assert_eq!(ground.fake.effects(), effects, "what was refused has an effect");
    assert_eq!(waiting.await.unwrap().unwrap_err().code(), Code::Unhealthy, "the first was disturbed");
    assert_eq!(ground.image(), "shop:1");
    ground.target().apply(&second, Some(&workload("2"))).await.unwrap();
    assert_eq!(ground.image(), "shop:2");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_operations_that_begin_at_one_moment_are_one_after_the_other_or_one_is_refused() {
    for round in 0..10 {
        let ground = Ground::new().await;
        ground.place("1").await;
        let run = |id: &'static str, version: &'static str| {
            let (target, op) = (ground.target(), place(id, 1, version, Some(&workload("1"))));
            async move { target.apply(&op, Some(&workload(version))).await }
        };
        let (one, other) = tokio::join!(run("one", "2"), run("other", "3"));
        let codes: Vec<Code> =
            [&one, &other].into_iter().filter_map(|end| end.as_ref().err()).map(vice_core::Fault::code).collect();
        assert!(codes.len() < 2 && codes.iter().all(|code| *code == Code::Conflict), "round {round}: {codes:?}");
        let version = ground.unit().await.unwrap().release.unwrap().version;
        assert_eq!(ground.image(), format!("shop:{version}"), "round {round}: the record and the cluster differ");
        let changes = ground.fake.effects().len();
        assert_eq!(changes, 3 - codes.len(), "round {round}: {:?}", ground.fake.effects());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fence_under_the_same_epoch_shuts_out_what_was_lost_sight_of() {
    let ground = Ground::new().await;
    let waiting = at_work(&ground).await;
    ground.target().fence(1).await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap_err().code(), Code::Fenced);
    assert_eq!(ground.image(), "shop:1");
    let first = place("first", 1, "bad", Some(&workload("1")));
    assert_eq!(ground.target().observe(&first).await.unwrap(), Observed::NotApplied);
    let second = place("second", 1, "2", Some(&workload("1")));
    ground.target().apply(&second, Some(&workload("2"))).await.unwrap();
    assert_eq!(ground.image(), "shop:2");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_target_object_does_one_thing_at_a_time() {
    let ground = Ground::new().await;
    ground.place("1").await;
    let target = ground.target();
    let run = |id: &str, version: &'static str| {
        let (target, op) = (target.clone(), place(id, 1, version, Some(&workload("1"))));
        async move { target.apply(&op, Some(&workload(version))).await }
    };
    let (one, other) = tokio::join!(run("one", "2"), run("other", "3"));
    assert_eq!(other.unwrap_err().code(), Code::Conflict);
    one.unwrap();
    assert_eq!(ground.image(), "shop:2");
}
