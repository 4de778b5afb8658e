use std::time::Duration;

use serde_json::json;
use vice_core::Code;
use vice_core::manifest::TargetSpec;
use vice_core::port::target::{Target, UnitHealth};
use vice_core::testkit::target_fixtures::workload;
use vice_kube_fake::Fake;

use crate::support::{Ground, WEB, image_of, place, target_at};

async fn refused(ground: &Ground, version: &str) -> vice_core::Fault {
    let op = place(&format!("try-{version}"), 1, version, Some(&workload("1")));
    ground.target().apply(&op, Some(&workload(version))).await.unwrap_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_line_says_what_the_pods_wait_for() {
    let ground = Ground::new().await;
    ground.place("1").await;
    for (version, reason, also) in [
        ("bad", "ImagePullBackOff", "event ImagePullBackOff"),
        ("crash", "CrashLoopBackOff", "log: panic: it always crashes"),
        ("huge", "Unschedulable", "Insufficient memory"),
        ("unready", "NotReady", "event Unhealthy: Readiness probe failed"),
    ] {
        let fault = refused(&ground, version).await;
        assert_eq!(fault.code(), Code::Unhealthy);
        let chain = fault.chain();
        assert!(
            chain[0].starts_with(&format!("Deployment web did not become ready: {reason} in pod web-")),
            "{chain:?}"
        );
        assert!(chain.join("\n").contains(also), "{chain:?}");
        assert_eq!(ground.image(), "shop:1");
        assert_eq!(ground.unit().await.unwrap().health, UnitHealth::Healthy);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_that_lets_no_pod_be_made_is_named() {
    let ground = Ground::new().await;
    assert!(ground.fake.create(&json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "small"},
        "spec": {"hard": {"pods": "0"}}})));
    let fault = refused(&ground, "1").await;
    assert_eq!(fault.code(), Code::Unhealthy);
    assert!(fault.to_string().contains("FailedCreate"), "{fault}");
    assert!(fault.chain().join(" ").contains("exceeded quota: small"), "{fault:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_cluster_refuses_is_refused_before_anything_has_changed() {
    let ground = Ground::new().await;
    ground.write("k8s/a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n");
    ground.write("k8s/web.yaml", &WEB.replace("labels: {app: web}", "labels: {app: other}"));
    let fault = refused(&ground, "1").await;
    assert_eq!(fault.code(), Code::Backend);
    assert!(fault.chain().join(" ").contains("`selector` does not match"), "{fault:?}");
    assert!(ground.fake.names("ConfigMap").is_empty() && ground.fake.effects().is_empty());
    ground.write("k8s/web.yaml", "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: w}\n");
    let fault = refused(&ground, "2").await;
    assert!(fault.to_string().contains("no kind Widget"), "{fault}");
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_of_argo_cd_and_flux_and_of_other_projects_are_left_alone() {
    let ground = Ground::new().await;
    for (labels, said) in [
        (json!({"argocd.argoproj.io/instance": "shop"}), "Argo CD"),
        (json!({"kustomize.toolkit.fluxcd.io/name": "shop"}), "Flux"),
    ] {
        let fake = Fake::start().await.unwrap();
        let kept = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kept", "labels": labels}});
        assert!(fake.create(&kept));
        let ground = Ground::with(fake);
        ground.write("k8s/a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: kept}\ndata: {a: b}\n");
        let fault = refused(&ground, "1").await;
        assert_eq!(fault.code(), Code::Conflict);
        assert!(fault.to_string().contains(said) && !fault.hints().is_empty(), "{fault:?}");
        assert!(ground.fake.effects().is_empty() && ground.get("ConfigMap", "kept")["data"].is_null());
    }
    ground.place("1").await;
    let other = target_at(ground.dir.path(), "prod", &TargetSpec::default());
    let fault = other.apply(&place("b", 1, "2", None), Some(&workload("2"))).await.unwrap_err();
    assert!(fault.to_string().contains("belongs to shop/dev"), "{fault}");
    assert_eq!(ground.image(), "shop:1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_of_somebody_else_is_named_with_its_owner_and_can_be_taken_over() {
    let ground = Ground::new().await;
    ground.place("1").await;
    assert!(ground.fake.change("Deployment", "web", |web| web["spec"]["replicas"] = json!(5)));
    let fault = refused(&ground, "2").await;
    assert_eq!(fault.code(), Code::Conflict);
    assert!(fault.to_string().contains(".spec.replicas") && fault.to_string().contains("somebody"), "{fault}");
    assert_eq!(ground.image(), "shop:1");
    let forced = ground.target_of(&TargetSpec { force: Some(true), ..TargetSpec::default() });
    forced.apply(&place("c", 1, "2", Some(&workload("1"))), Some(&workload("2"))).await.unwrap();
    assert_eq!((ground.image().as_str(), &ground.get("Deployment", "web")["spec"]["replicas"]), ("shop:2", &json!(2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_image_in_the_second_of_two_clusters_leaves_both_as_they_were() {
    let (first, second) = (Ground::new().await, Ground::new().await);
    let bystander = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "bystander"},
        "spec": {"selector": {"matchLabels": {"app": "b"}}, "template": {"metadata": {"labels": {"app": "b"}},
            "spec": {"containers": [{"name": "b", "image": "other:1"}]}}}});
    assert!(second.fake.create(&bystander));
    let pod_of = |ground: &Ground| ground.fake.names("Pod").into_iter().find(|name| name.starts_with("bystander"));
    for ground in [&first, &second] {
        ground.place("1").await;
    }
    let before = pod_of(&second);
    // The same version, which only one of the two can pull.
    second.write("k8s/web.yaml", &WEB.replace("shop:", "bad-registry/shop:"));
    let op = place("two", 2, "2", Some(&workload("1")));
    first.target().apply(&op, Some(&workload("2"))).await.unwrap();
    second.target().apply(&op, Some(&workload("2"))).await.unwrap_err();
    first.target().undo(&op, Some(&workload("1"))).await.unwrap();
    for ground in [&first, &second] {
        assert_eq!(image_of(&ground.fake), "shop:1");
        let unit = ground.unit().await.unwrap();
        assert_eq!((unit.health, unit.release.unwrap().version.as_str()), (UnitHealth::Healthy, "1"));
    }
    assert_eq!(pod_of(&second), before, "a bystander was harmed");
    assert_eq!(second.get("Deployment", "bystander")["metadata"]["generation"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_or_a_server_that_is_not_there_is_said_so() {
    let ground = Ground::new().await;
    let spec = TargetSpec { kubeconfig: Some("nowhere".to_owned()), ..TargetSpec::default() };
    let fault = ground.target_of(&spec).inventory().await.unwrap_err();
    assert_eq!(fault.code(), Code::Usage);
    let spec = TargetSpec { context: Some("mars".to_owned()), ..TargetSpec::default() };
    let fault = ground.target_of(&spec).inventory().await.unwrap_err();
    assert!(fault.hints()[0].contains("fake"), "{fault:?}");
    let target = ground.target();
    ground.fake.cut_after(0, vice_kube_fake::Cut::Request);
    let silent = tokio::time::timeout(Duration::from_secs(20), target.inventory()).await.unwrap();
    assert_eq!(silent.unwrap_err().code(), Code::Unreachable);
}
