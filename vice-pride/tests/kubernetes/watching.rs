use std::time::Duration;

use vice_core::port::target::{Target, UnitHealth};
use vice_core::testkit::target_fixtures::workload;

use crate::support::{Ground, WEB, place};

fn watches(ground: &Ground) -> usize {
    ground.fake.requests().iter().filter(|line| line.contains("watch=true")).count()
}

fn reads(ground: &Ground) -> usize {
    ground.fake.requests().iter().filter(|line| *line == "GET /apis/apps/v1/namespaces/default/deployments/web").count()
}

async fn until(done: impl Fn() -> bool) {
    while !done() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_is_watched_and_not_asked_for_again_and_again() {
    let ground = Ground::new().await;
    ground.place("1").await;
    assert_eq!(watches(&ground), 1);
    assert!(reads(&ground) <= 4, "{:?}", ground.fake.requests());
    let asked = ground.fake.requests();
    let watch = asked.iter().find(|line| line.contains("watch=true")).unwrap();
    assert!(watch.contains("resourceVersion=") && watch.contains("allowWatchBookmarks=true"), "{watch}");
    assert!(watch.contains("metadata.name%3Dweb"), "{watch}");
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_that_break_off_are_taken_up_where_they_were() {
    let ground = Ground::new().await;
    ground.write("k8s/web.yaml", &WEB.replace("replicas: 2", "replicas: 12"));
    let (op, target) = (place("a", 1, "1", None), ground.target());
    let waiting = tokio::spawn(async move { target.apply(&op, Some(&workload("1"))).await });
    for times in 1..=3 {
        until(|| watches(&ground) >= times || waiting.is_finished()).await;
        ground.fake.drop_watches();
    }
    waiting.await.unwrap().unwrap();
    assert!(watches(&ground) >= 2, "{:?}", ground.fake.requests());
    assert_eq!(ground.unit().await.unwrap().health, UnitHealth::Healthy);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_is_gone_is_read_again() {
    let ground = Ground::new().await;
    ground.place("1").await;
    // Pods that never come: the wait ends with the progress deadline, however often history is forgotten.
    let (op, target) = (place("b", 1, "bad", Some(&workload("1"))), ground.target());
    let waiting = tokio::spawn(async move { target.apply(&op, Some(&workload("bad"))).await });
    let before = watches(&ground);
    until(|| watches(&ground) > before).await;
    let read = reads(&ground);
    ground.fake.forget();
    ground.fake.drop_watches();
    until(|| reads(&ground) > read).await;
    let fault = waiting.await.unwrap().unwrap_err();
    assert!(fault.to_string().contains("ImagePullBackOff"), "{fault}");
    assert_eq!(ground.image(), "shop:1");
}
