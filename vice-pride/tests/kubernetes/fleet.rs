//! Several clusters as one target that splits its traffic.

use std::sync::Arc;

use serde_json::{Value, json};
use vice_core::manifest::{TargetSpec, TrafficSpec};
use vice_core::port::target::{Change, Op, Target, Traffic, Weight, WeightTable};
use vice_core::testkit::target_fixtures::workload;
use vice_core::{Code, Result};
use vice_kube_fake::Cut;
use vice_pride::backend::Backend;
use vice_pride::target::RoutedTarget;
use vice_pride::target::kubernetes::KubernetesTarget;

use crate::support::{Ground, WEB, options_at};
use crate::weights::AROUND;

struct Clusters {
    eu: Ground,
    us: Ground,
}

impl Clusters {
    async fn new() -> Self {
        let clusters = Self { eu: Ground::new().await, us: Ground::new().await };
        for (ground, replicas) in [(&clusters.eu, 10), (&clusters.us, 4)] {
            ground.write("k8s/around.yaml", AROUND);
            ground.write("k8s/web.yaml", &WEB.replace("replicas: 2", &format!("replicas: {replicas}")));
        }
        clusters
    }

    /// A new client, as every command makes one.
    fn target(&self, how: &TrafficSpec) -> RoutedTarget {
        let member = |name: &str, ground: &Ground| {
            let spec = TargetSpec { traffic: Some(how.clone()), ..TargetSpec::default() };
            let mut options = options_at(ground.dir.path(), "dev", &spec);
            options.part = Some(name.to_owned());
            let target = Arc::new(KubernetesTarget::new(options));
            let backend = Backend {
                target: target.clone(),
                traffic: Some(target.clone()),
                logs: Some(target),
                front: None,
                keepers: Vec::new(),
            };
            (name.to_owned(), backend)
        };
        RoutedTarget::new(vec![member("eu", &self.eu), member("us", &self.us)])
    }

    /// Version 1 everywhere, and version 2 as the canary of both.
    async fn begun(how: &TrafficSpec) -> Self {
        let clusters = Self::new().await;
        let target = clusters.target(how);
        for name in ["eu", "us"] {
            place(&target, &format!("{name}.canary"), "1").await.unwrap();
            place(&target, &format!("{name}.stable"), "1").await.unwrap();
            place(&target, &format!("{name}.canary"), "2").await.unwrap();
        }
        clusters
    }
}

async fn place(target: &RoutedTarget, unit: &str, version: &str) -> Result<()> {
    let change = Change::Place(workload(version).release);
    let op = Op { id: format!("{unit}-{version}"), epoch: 1, unit: unit.to_owned(), change, before: None };
    target.apply(&op, Some(&workload(version))).await
}

fn table(epoch: u64, weights: &[(&str, u32)]) -> WeightTable {
    let weight =
        |(version, basis_points): &(&str, u32)| Weight { version: (*version).to_owned(), basis_points: *basis_points };
    WeightTable { epoch, weights: weights.iter().map(weight).collect() }
}

fn replicas(ground: &Ground) -> (Value, Value) {
    let of = |name: &str| ground.get("Deployment", name)["spec"]["replicas"].clone();
    (of("web"), of("web-canary"))
}

fn shares(ground: &Ground) -> Vec<u64> {
    let route = ground.get("HTTPRoute", "shop");
    let refs = route["spec"]["rules"][0]["backendRefs"].as_array().unwrap().clone();
    refs.iter().map(|backend| backend["weight"].as_u64().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_share_is_one_in_every_cluster() {
    let how = TrafficSpec::Replicas;
    let clusters = Clusters::begun(&how).await;
    let target = clusters.target(&how);
    target.set_weights(&table(1, &[("1", 5_000), ("2", 5_000)])).await.unwrap();
    assert_eq!((replicas(&clusters.eu), replicas(&clusters.us)), ((json!(5), json!(5)), (json!(2), json!(2))));
    assert_eq!(target.table().await.unwrap().weights, table(1, &[("1", 5_000), ("2", 5_000)]).weights);
    // What only one of them can't express is refused with its name, before the rollout.
    let fault = target.check_share(1_000).await.unwrap_err();
    assert!(fault.code() == Code::Usage && fault.to_string().starts_with("The target us: "), "{fault}");
    target.set_weights(&table(1, &[])).await.unwrap();
    assert_eq!((replicas(&clusters.eu), replicas(&clusters.us)), ((json!(10), json!(0)), (json!(4), json!(0))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_breaks_off_does_not_stop_the_other_and_is_brought_there_later() {
    let how = TrafficSpec::Route("shop".to_owned());
    let clusters = Clusters::begun(&how).await;
    let wanted = table(1, &[("1", 9_000), ("2", 1_000)]);
    let orphan = clusters.target(&how);
    clusters.us.fake.cut_after(1, Cut::Reply);
    let fault = orphan.set_weights(&wanted).await.unwrap_err();
    assert!(fault.code() == Code::Unreachable && fault.to_string().starts_with("The target us: "), "{fault:?}");
    assert_eq!(shares(&clusters.eu), [9_000, 1_000], "the other one is asked to the end");
    assert!(clusters.us.fake.heal());
    let next = clusters.target(&how);
    next.fence(2).await.unwrap();
    assert_eq!(orphan.set_weights(&wanted).await.unwrap_err().code(), Code::Fenced);
    next.set_weights(&WeightTable { epoch: 2, ..wanted }).await.unwrap();
    assert_eq!((shares(&clusters.eu), shares(&clusters.us)), (vec![9_000, 1_000], vec![9_000, 1_000]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_that_fails_in_one_cluster_leaves_both_without_a_share() {
    let how = TrafficSpec::Route("shop".to_owned());
    let clusters = Clusters::begun(&how).await;
    let target = clusters.target(&how);
    let split = table(1, &[("1", 9_000), ("2", 1_000)]);
    target.set_weights(&split).await.unwrap();
    // In the second one the next share finds no room for its pods.
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "small"},
        "spec": {"hard": {"pods": "5"}}});
    assert!(clusters.us.fake.create(&quota));
    let fault = target.set_weights(&table(1, &[("1", 5_000), ("2", 5_000)])).await.unwrap_err();
    assert!(fault.to_string().starts_with("The target us: "), "{fault}");
    assert_eq!(shares(&clusters.us), [9_000, 1_000], "no traffic for pods that are not there");
    target.set_weights(&table(1, &[])).await.unwrap();
    assert_eq!((shares(&clusters.eu), shares(&clusters.us)), (vec![1], vec![1]));
}
