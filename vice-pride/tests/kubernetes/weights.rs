use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use vice_core::manifest::{TargetSpec, TrafficSpec};
use vice_core::port::target::{Change, Op, Target, Traffic, UnitHealth, Weight, WeightTable};
use vice_core::testkit::target_fixtures::{releases, workload};
use vice_core::testkit::traffic;
use vice_core::{Code, Result};
use vice_kube_fake::Cut;
use vice_pride::target::kubernetes::KubernetesTarget;

use crate::support::{Ground, WEB};

pub(crate) const AROUND: &str = "\
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shop}
spec:
  parentRefs: [{name: gateway}]
  rules:
  - backendRefs: [{name: web, port: 80}]
";

fn route() -> TrafficSpec {
    TrafficSpec::Route("shop".to_owned())
}

async fn ground() -> Ground {
    let ground = Ground::new().await;
    ground.write("k8s/around.yaml", AROUND);
    ground.write("k8s/web.yaml", &WEB.replace("replicas: 2", "replicas: 10"));
    ground
}

fn splits(ground: &Ground, how: &TrafficSpec) -> Arc<KubernetesTarget> {
    ground.target_of(&TargetSpec { traffic: Some(how.clone()), ..TargetSpec::default() })
}

async fn place(target: &KubernetesTarget, unit: &str, version: &str, epoch: u64) -> Result<()> {
    let change = Change::Place(workload(version).release);
    let op = Op { id: format!("{unit}-{version}"), epoch, unit: unit.to_owned(), change, before: None };
    target.apply(&op, Some(&workload(version))).await
}

fn table(epoch: u64, weights: &[(&str, u32)]) -> WeightTable {
    let weight =
        |(version, basis_points): &(&str, u32)| Weight { version: (*version).to_owned(), basis_points: *basis_points };
    WeightTable { epoch, weights: weights.iter().map(weight).collect() }
}

/// Version 1 everywhere, and version 2 as its canary without traffic.
async fn begun(how: &TrafficSpec) -> Ground {
    let ground = ground().await;
    let target = splits(&ground, how);
    place(&target, "canary", "1", 1).await.unwrap();
    place(&target, "stable", "1", 1).await.unwrap();
    place(&target, "canary", "2", 1).await.unwrap();
    ground
}

fn replicas(ground: &Ground) -> (Value, Value) {
    let of = |name: &str| ground.get("Deployment", name)["spec"]["replicas"].clone();
    (of("web"), of("web-canary"))
}

fn backends(ground: &Ground) -> Vec<(String, u64)> {
    let route = ground.get("HTTPRoute", "shop");
    let refs = route["spec"]["rules"][0]["backendRefs"].as_array().unwrap().clone();
    refs.iter().map(|one| (one["name"].as_str().unwrap().to_owned(), one["weight"].as_u64().unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn both_ways_of_splitting_conform() {
    for how in [TrafficSpec::Replicas, route()] {
        let ground = ground().await;
        let target = splits(&ground, &how);
        traffic::suite_of(target.clone(), target, &releases(), ["canary", "stable"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn by_replicas_the_share_is_that_of_the_pods() {
    let ground = begun(&TrafficSpec::Replicas).await;
    let target = splits(&ground, &TrafficSpec::Replicas);
    assert_eq!(replicas(&ground), (json!(10), json!(0)), "a canary without a share has no pod behind the Service");
    target.set_weights(&table(1, &[("1", 8_000), ("2", 2_000)])).await.unwrap();
    assert_eq!(replicas(&ground), (json!(8), json!(2)));
    let ready = |name: &str| ground.get("Deployment", name)["status"]["availableReplicas"].clone();
    assert_eq!(ready("web-canary"), json!(2), "it waits until the pods are there");
    let fault = target.set_weights(&table(1, &[("1", 9_900), ("2", 100)])).await.unwrap_err();
    assert_eq!(fault.code(), Code::Usage);
    assert!(fault.hints()[0].contains("10 %, 20 %"), "{fault:?}");
    assert_eq!(replicas(&ground), (json!(8), json!(2)), "a refused share has an effect");
    target.set_weights(&table(1, &[])).await.unwrap();
    assert_eq!(replicas(&ground), (json!(10), json!(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn by_a_route_the_weights_are_written_by_a_manager_of_their_own() {
    let ground = begun(&route()).await;
    let target = splits(&ground, &route());
    assert_eq!((replicas(&ground), backends(&ground)), ((json!(10), json!(1)), vec![("web".to_owned(), 1)]));
    target.set_weights(&table(1, &[("1", 9_500), ("2", 500)])).await.unwrap();
    assert_eq!(backends(&ground), [("web".to_owned(), 9_500), ("web-canary".to_owned(), 500)]);
    assert_eq!(ground.get("Service", "web-canary")["spec"]["selector"], json!({"app": "web-canary"}));
    let managers = |kind: &str, name: &str| {
        let object = ground.get(kind, name);
        let fields = object["metadata"]["managedFields"].as_array().unwrap().clone();
        fields.iter().map(|entry| entry["manager"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(managers("HTTPRoute", "shop"), ["vice-traffic"]);
    assert_eq!(managers("Deployment", "web-canary"), ["vice"]);
    target.set_weights(&table(1, &[("1", 5_000), ("2", 5_000)])).await.unwrap();
    assert_eq!((replicas(&ground), backends(&ground)[1].1), ((json!(10), json!(5)), 5_000), "pods for its share");
    // It is over: the stable unit gets the version too, and the canary waits again.
    place(&target, "stable", "2", 1).await.unwrap();
    target.set_weights(&table(1, &[])).await.unwrap();
    assert_eq!((replicas(&ground), backends(&ground)), ((json!(10), json!(0)), vec![("web".to_owned(), 1)]));
    assert_eq!(ground.image(), "shop:2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_that_does_not_become_ready_is_taken_back_and_nothing_else_is_touched() {
    let ground = begun(&route()).await;
    let target = splits(&ground, &route());
    let effects = |ground: &Ground| {
        let effects = ground.fake.effects();
        effects.into_iter().filter(|line| line.ends_with("/web")).count()
    };
    let before = effects(&ground);
    let fault = place(&target, "canary", "bad", 1).await.unwrap_err();
    assert!(fault.to_string().contains("ImagePullBackOff"), "{fault}");
    assert_eq!((effects(&ground), backends(&ground)), (before, vec![("web".to_owned(), 1)]));
    let units = target.inventory().await.unwrap().units;
    let seen: Vec<_> = units.iter().map(|unit| (unit.name.as_str(), unit.health)).collect();
    assert_eq!(seen, [("canary", UnitHealth::Healthy), ("stable", UnitHealth::Healthy)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_that_vice_applied_before_its_traffic_was_split_changes_hands() {
    let ground = ground().await;
    ground.place("1").await;
    let target = splits(&ground, &route());
    place(&target, "canary", "2", 1).await.unwrap();
    let split = table(1, &[("1", 9_000), ("2", 1_000)]);
    target.set_weights(&split).await.unwrap();
    assert_eq!(backends(&ground), [("web".to_owned(), 9_000), ("web-canary".to_owned(), 1_000)]);
    // From now on a hand that changes the weights is not overruled.
    assert!(ground.fake.change("HTTPRoute", "shop", |route| {
        route["spec"]["rules"][0]["backendRefs"][0]["weight"] = json!(7);
    }));
    let fault = target.set_weights(&table(1, &[("1", 8_000), ("2", 2_000)])).await.unwrap_err();
    assert_eq!(fault.code(), Code::Conflict);
    assert!(fault.to_string().contains("somebody"), "{fault}");
}

/// Breaks the setting of weights off at one request; the next holder fences and sets them again.
async fn broken_off_at(request: usize, how: Cut, split: &TrafficSpec) -> bool {
    let ground = begun(split).await;
    let orphan = splits(&ground, split);
    let wanted = table(1, &[("1", 8_000), ("2", 2_000)]);
    orphan.table().await.unwrap();
    ground.fake.cut_after(request, how);
    let set = orphan.set_weights(&wanted).await;
    if !ground.fake.heal() {
        set.unwrap();
        return false;
    }
    let at = format!("request {request}, {how:?}, {split:?}");
    let next = splits(&ground, split);
    next.fence(2).await.unwrap_or_else(|fault| panic!("{at}: {fault:?}"));
    assert_eq!(orphan.set_weights(&wanted).await.unwrap_err().code(), Code::Fenced, "{at}");
    let before = (replicas(&ground), backends(&ground));
    next.set_weights(&WeightTable { epoch: 2, ..wanted }).await.unwrap_or_else(|fault| panic!("{at}: {fault:?}"));
    let share = if *split == TrafficSpec::Replicas { (json!(8), json!(2)) } else { (json!(10), json!(2)) };
    assert_eq!(replicas(&ground), share, "{at}, from {before:?}");
    next.set_weights(&table(2, &[])).await.unwrap();
    assert_eq!(backends(&ground), [("web".to_owned(), 1)], "{at}");
    true
}

#[tokio::test(flavor = "multi_thread")]
async fn shares_that_break_off_anywhere_are_brought_into_force_by_the_next_holder() {
    for split in [TrafficSpec::Replicas, route()] {
        for how in [Cut::Request, Cut::Reply] {
            let mut request = 1;
            while broken_off_at(request, how, &split).await {
                request += 1;
                assert!(request < 30, "setting weights has no end");
            }
            assert!(request > 3, "only {request} requests could be broken off");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_was_passed_over_while_moving_shares_moves_no_more() {
    let ground = begun(&route()).await;
    place(&splits(&ground, &route()), "canary", "unready", 1).await.unwrap_err();
    // The pods of the next share never come, so that the first holder waits.
    assert!(ground.fake.create(&json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "small"},
        "spec": {"hard": {"pods": "11"}}})));
    let orphan = splits(&ground, &route());
    let moving = tokio::spawn(async move { orphan.set_weights(&table(1, &[("1", 5_000), ("2", 5_000)])).await });
    while replicas(&ground).1 != json!(5) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    splits(&ground, &route()).fence(2).await.unwrap();
    assert_eq!(moving.await.unwrap().unwrap_err().code(), Code::Fenced);
    assert_eq!(backends(&ground), [("web".to_owned(), 1)], "no traffic for pods that are not there");
}
