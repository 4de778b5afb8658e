use vice_core::Code;
use vice_core::port::target::{Observed, Target, UnitHealth};
use vice_core::testkit::target_fixtures::workload;
use vice_kube_fake::Cut;

use crate::support::{Ground, place};

/// Breaks the second deploy off at one request, takes over with a higher epoch and carries on. Says whether anything
/// was left to break.
async fn broken_off_at(request: usize, how: Cut) -> bool {
    let ground = Ground::new().await;
    ground.write("k8s/a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: 'a-{{version}}'}\n");
    ground.place("1").await;
    let op = place("second", 1, "2", Some(&workload("1")));
    ground.fake.cut_after(request, how);
    let orphan = ground.target();
    let applied = orphan.apply(&op, Some(&workload("2"))).await;
    if !ground.fake.heal() {
        applied.unwrap();
        return false;
    }
    let at = format!("request {request}, {how:?}");
    let next = ground.target();
    next.fence(2).await.unwrap_or_else(|fault| panic!("{at}: {fault:?}"));
    let seen = next.observe(&op).await.unwrap();
    assert!(matches!(seen, Observed::Applied | Observed::NotApplied), "{at}: {seen:?}");
    let version = if seen == Observed::Applied { "2" } else { "1" };
    let unit = ground.unit().await.unwrap();
    assert_eq!(unit.release.unwrap().version, version, "{at}");
    assert_eq!(unit.health, UnitHealth::Healthy, "{at}");
    assert_eq!(ground.image(), format!("shop:{version}"), "{at}");
    let late = orphan.apply(&op, Some(&workload("2"))).await;
    assert_eq!(late.unwrap_err().code(), Code::Fenced, "{at}");
    let again = vice_core::port::target::Op { epoch: 2, ..op };
    next.apply(&again, Some(&workload("2"))).await.unwrap_or_else(|fault| panic!("{at}: {fault:?}"));
    assert_eq!(ground.image(), "shop:2", "{at}");
    assert!(ground.fake.get("ConfigMap", "a-1").is_none() && ground.fake.get("ConfigMap", "a-2").is_some(), "{at}");
    next.undo(&again, Some(&workload("1"))).await.unwrap();
    assert_eq!(ground.image(), "shop:1", "{at}");
    true
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deploy_that_breaks_off_anywhere_is_settled_by_the_next_holder() {
    for how in [Cut::Request, Cut::Reply] {
        let mut request = 1;
        while broken_off_at(request, how).await {
            request += 1;
            assert!(request < 50, "a deploy of two objects has no end");
        }
        assert!(request > 5, "only {request} requests could be broken off");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_was_passed_over_in_the_middle_writes_nothing_more() {
    let ground = Ground::new().await;
    ground.place("1").await;
    // The first holder waits for pods that never come, while the next one takes over.
    let (op, orphan) = (place("slow", 1, "bad", Some(&workload("1"))), ground.target());
    let waiting = tokio::spawn(async move { orphan.apply(&op, Some(&workload("bad"))).await });
    while ground.image() != "shop:bad" {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    ground.target().fence(2).await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap_err().code(), Code::Fenced);
    assert_eq!(ground.image(), "shop:1");
    assert_eq!(ground.unit().await.unwrap().health, UnitHealth::Healthy);
    let effects = ground.fake.effects();
    ground.target().fence(2).await.unwrap();
    assert_eq!(ground.fake.effects(), effects, "a repeated fence has an effect");
}
