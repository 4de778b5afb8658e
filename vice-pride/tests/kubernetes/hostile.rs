//! What clusters do that a deploy has to live with: storms of conflicts, objects that vanish, quotas, fields that can't
//! be changed, and servers that are too busy.

use std::time::Duration;

use serde_json::json;
use vice_core::manifest::TargetSpec;
use vice_core::port::target::{Target, UnitHealth};
use vice_core::testkit::target_fixtures::workload;
use vice_core::{Code, Fault};

use crate::support::{Ground, WEB, place};

async fn refused(ground: &Ground, version: &str) -> Fault {
    let op = place(&format!("try-{version}"), 1, version, Some(&workload("1")));
    ground.target().apply(&op, Some(&workload(version))).await.unwrap_err()
}

const DB: &str = "\
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  replicas: 1
  serviceName: db
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec: {containers: [{name: db, image: 'db:1'}]}
";

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_conflicts_is_sat_out_and_one_without_end_is_an_error() {
    let ground = Ground::new().await;
    ground.place("1").await;
    ground.fake.storm("Deployment", "web", 8);
    ground.place("2").await;
    assert_eq!((ground.fake.storm_left(), ground.image()), (0, "shop:2".to_owned()));
    let effects = ground.fake.effects();
    ground.fake.storm("Deployment", "web", usize::MAX);
    let fault = refused(&ground, "3").await;
    assert_eq!(fault.code(), Code::Conflict);
    assert!(fault.to_string().contains("changes Deployment web all the time"), "{fault}");
    assert_eq!(ground.fake.effects(), effects);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_that_somebody_deletes_in_the_middle_comes_back_as_it_was() {
    let ground = Ground::new().await;
    ground.place("1").await;
    ground.write("k8s/web.yaml", &WEB.replace("progressDeadlineSeconds: 1", "progressDeadlineSeconds: 600"));
    let (op, target) = (place("b", 1, "unready", Some(&workload("1"))), ground.target());
    let waiting = tokio::spawn(async move { target.apply(&op, Some(&workload("unready"))).await });
    while ground.image() != "shop:unready" || !ground.fake.requests().iter().any(|line| line.contains("watch=true")) {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert!(ground.fake.delete("Deployment", "web"));
    let fault = waiting.await.unwrap().unwrap_err();
    assert_eq!(fault.code(), Code::Unhealthy);
    assert!(fault.to_string().contains("removed by somebody else"), "{fault}");
    assert_eq!((ground.image().as_str(), ground.unit().await.unwrap().health), ("shop:1", UnitHealth::Healthy));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_being_deleted_is_not_changed() {
    let ground = Ground::new().await;
    ground.place("1").await;
    assert!(ground.fake.change("Deployment", "web", |web| {
        web["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        web["metadata"]["finalizers"] = json!(["foregroundDeletion"]);
    }));
    let effects = ground.fake.effects();
    let fault = refused(&ground, "2").await;
    assert_eq!(fault.code(), Code::Conflict);
    assert!(fault.to_string().contains("is being deleted"), "{fault}");
    assert!(fault.hints()[0].contains("foregroundDeletion"), "{fault:?}");
    assert_eq!((ground.fake.effects(), ground.unit().await.unwrap().health), (effects, UnitHealth::Unhealthy));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_is_called_a_quota() {
    let ground = Ground::new().await;
    ground.place("1").await;
    ground.write("k8s/a.yaml", "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 80}]}\n");
    assert!(ground.fake.create(&json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "small"},
        "spec": {"hard": {"count/services": "0"}}})));
    let fault = refused(&ground, "2").await;
    assert!(fault.to_string().contains("Service a: A quota of the namespace"), "{fault}");
    assert!(fault.chain().join(" ").contains("exceeded quota: small"), "{fault:?}");
    assert_eq!(ground.image(), "shop:1", "it is found out before anything has changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_that_a_quota_lets_make_no_pod_says_so() {
    let ground = Ground::new().await;
    ground.write("k8s/web.yaml", DB);
    assert!(ground.fake.create(&json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "small"},
        "spec": {"hard": {"pods": "0"}}})));
    let spec = TargetSpec { timeout: Some(vice_core::Millis(1_000)), ..TargetSpec::default() };
    let target = ground.target_of(&spec);
    let fault = target.apply(&place("a", 1, "1", None), Some(&workload("1"))).await.unwrap_err();
    assert_eq!(fault.code(), Code::Unhealthy);
    assert!(fault.chain().join(" ").contains("event FailedCreate: pods"), "{fault:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_that_stays_as_it_was_made_is_refused_with_what_to_do() {
    let ground = Ground::new().await;
    ground.write("k8s/db.yaml", DB);
    ground.place("1").await;
    let effects = ground.fake.effects();
    for (file, text) in [
        ("k8s/db.yaml", DB.replace("serviceName: db", "serviceName: other")),
        ("k8s/web.yaml", WEB.replace("app: web", "app: other")),
    ] {
        let before = std::fs::read_to_string(ground.dir.path().join(file)).unwrap();
        ground.write(file, &text);
        let fault = refused(&ground, "2").await;
        assert_eq!(fault.code(), Code::Backend);
        assert!(fault.hints().iter().any(|hint| hint.contains("a new name")), "{fault:?}");
        ground.write(file, &before);
    }
    assert_eq!(ground.fake.effects(), effects);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_object_in_two_documents_is_refused_however_it_is_written() {
    let ground = Ground::new().await;
    let map = |namespace: &str| {
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a{namespace}}}\ndata: {{a: '{namespace}'}}\n")
    };
    ground.write("k8s/web.yaml", &format!("{}---\n{}", map(""), map(", namespace: default")));
    let fault = refused(&ground, "1").await;
    assert_eq!(fault.code(), Code::ManifestInvalid);
    assert!(fault.to_string().contains("have ConfigMap a twice, with no namespace and with default"), "{fault}");
    assert!(ground.fake.get("ConfigMap", "a").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_that_is_missing_is_named_with_what_helps() {
    let ground = Ground::new().await;
    let elsewhere = ground.target_of(&TargetSpec { namespace: Some("absent".to_owned()), ..TargetSpec::default() });
    let op = place("a", 1, "1", None);
    let fault = elsewhere.apply(&op, Some(&workload("1"))).await.unwrap_err();
    assert!(fault.hints()[0].contains("kubectl create namespace absent"), "{fault:?}");
    ground.write("k8s/web.yaml", &WEB.replace("  name: web\n", "  name: web\n  namespace: other\n"));
    let fault = ground.target().apply(&op, Some(&workload("1"))).await.unwrap_err();
    assert!(fault.to_string().contains("\"other\"") && fault.hints()[0].contains("Add a Namespace"), "{fault:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_too_busy_or_not_well_is_asked_again() {
    let ground = Ground::new().await;
    ground.fake.refuse_next(2, 429);
    ground.place("1").await;
    ground.fake.refuse_next(2, 503);
    assert_eq!(ground.unit().await.unwrap().health, UnitHealth::Healthy);
    ground.fake.refuse_next(2, 500);
    assert_eq!(ground.unit().await.unwrap().health, UnitHealth::Healthy);
}
