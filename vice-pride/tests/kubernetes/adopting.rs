use serde_json::json;
use vice_core::Code;
use vice_core::port::target::{Target, UnitHealth, Workload};
use vice_core::testkit::target_fixtures::workload;
use vice_pride::target::{Adoption, Keeper};

use crate::support::{Ground, place};

fn adoption(workload: &Workload) -> Adoption<'_> {
    Adoption { op: "adopt-1".to_owned(), epoch: 1, workload, path: None, pid: None }
}

/// A Deployment that somebody made with `kubectl apply`, ready.
async fn running(image: &str) -> Ground {
    let ground = Ground::new().await;
    let web = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {
        "replicas": 2, "progressDeadlineSeconds": 1, "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": image}]}}}});
    assert!(ground.fake.create_as("kubectl-client-side-apply", &web));
    while ground.get("Deployment", "web")["status"]["availableReplicas"] != 2 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    ground
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_is_taken_over_without_touching_a_pod_and_is_what_a_rollback_returns_to() {
    let ground = running("shop:1").await;
    let pods = ground.fake.names("Pod");
    let first = workload("1");
    let adopted = ground.target().adopt(&adoption(&first)).await.unwrap();
    assert_eq!((adopted[0].unit.as_str(), adopted[0].path.as_str()), ("1", "namespace default"));
    assert_eq!(ground.fake.names("Pod"), pods);
    assert_eq!(ground.get("Deployment", "web")["metadata"]["generation"], 1, "its specification was changed");
    let unit = ground.unit().await.unwrap();
    assert_eq!((unit.health, unit.release.unwrap()), (UnitHealth::Healthy, first.release.clone()));
    ground.target().adopt(&adoption(&first)).await.unwrap();
    // The fields are vice's now, so that the next deploy is not refused because of them.
    let op = place("b", 1, "2", Some(&first));
    ground.target().apply(&op, Some(&workload("2"))).await.unwrap();
    assert_eq!(ground.image(), "shop:2");
    ground.target().undo(&op, Some(&first)).await.unwrap();
    assert_eq!(ground.image(), "shop:1");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_as_the_manifests_say_is_not_adopted() {
    let ground = running("shop:0").await;
    let first = workload("1");
    let fault = ground.target().adopt(&adoption(&first)).await.unwrap_err();
    assert_eq!(fault.code(), Code::Conflict);
    assert!(fault.chain().join(" ").contains("shop:0 → shop:1"), "{fault:?}");
    let absent = Ground::new().await;
    let fault = absent.target().adopt(&adoption(&first)).await.unwrap_err();
    assert_eq!(fault.code(), Code::UnknownName);
    let with_pid = Adoption { pid: Some(1), ..adoption(&first) };
    assert_eq!(ground.target().adopt(&with_pid).await.unwrap_err().code(), Code::Usage);
    assert!(ground.fake.names("ConfigMap").is_empty(), "a refused adoption leaves a record");
    let taken = running("shop:1").await;
    taken.target().adopt(&adoption(&first)).await.unwrap();
    let other = Adoption { op: "adopt-2".to_owned(), ..adoption(&first) };
    assert_eq!(taken.target().adopt(&other).await.unwrap_err().code(), Code::Conflict);
}
