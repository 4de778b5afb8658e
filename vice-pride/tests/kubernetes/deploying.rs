use std::collections::BTreeMap;
use std::sync::Mutex;

use serde_json::json;
use vice_core::manifest::TargetSpec;
use vice_core::port::command::EnvValue;
use vice_core::port::target::{LogSource, Target, UnitHealth};
use vice_core::testkit::target_fixtures::workload;
use vice_core::{Code, Secret};

use crate::support::{Ground, WEB, place};

const CONFIGURED: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: shop:{{version}}
        envFrom:
        - configMapRef: {name: '{{config}}'}
        - secretRef: {name: '{{secret}}'}
";

#[tokio::test(flavor = "multi_thread")]
async fn what_is_applied_says_who_applied_it() {
    let ground = Ground::new().await;
    ground.place("1").await;
    let web = ground.get("Deployment", "web");
    let note = |name: &str| web["metadata"]["annotations"][name].as_str().unwrap().to_owned();
    assert_eq!((note("vice.dev/op").as_str(), note("vice.dev/epoch").as_str()), ("place-1", "1"));
    assert_eq!((note("vice.dev/release").as_str(), note("vice.dev/owner").as_str()), ("1", "shop/dev"));
    assert_eq!(web["metadata"]["managedFields"][0]["manager"], "vice");
    assert_eq!(web["metadata"]["managedFields"][0]["operation"], "Apply");
    let unit = ground.unit().await.unwrap();
    assert_eq!((unit.health, unit.facts["Deployment web"].as_str()), (UnitHealth::Healthy, "ready"));
}

#[tokio::test(flavor = "multi_thread")]
async fn configuration_comes_as_objects_that_live_as_long_as_their_release() {
    let ground = Ground::new().await;
    ground.write("k8s/web.yaml", CONFIGURED);
    let configured = |version: &str, colour: &str| {
        let mut workload = workload(version);
        workload.environment = BTreeMap::from([
            ("COLOUR".to_owned(), EnvValue::Plain(colour.to_owned())),
            ("TOKEN".to_owned(), EnvValue::Secret(Secret::new("s3cret"))),
        ]);
        workload.release.config = Some(format!("hmac-sha256:{colour}"));
        workload
    };
    let (red, blue) = (configured("1", "red"), configured("1", "blue"));
    let op = |id: &str, workload: &vice_core::port::target::Workload, before| {
        let mut op = place(id, 1, "1", before);
        op.change = vice_core::port::target::Change::Place(workload.release.clone());
        op
    };
    ground.target().apply(&op("a", &red, None), Some(&red)).await.unwrap();
    let names = |kind: &str| {
        let mut names = ground.fake.names(kind);
        names.retain(|name| name.starts_with("shop-dev-"));
        names
    };
    let first = names("ConfigMap");
    assert_eq!(ground.get("ConfigMap", &first[0])["data"], json!({"COLOUR": "red"}));
    let second = op("b", &blue, Some(&red));
    ground.target().apply(&second, Some(&blue)).await.unwrap();
    assert_eq!((names("ConfigMap").len(), names("Secret").len()), (1, 1));
    assert_ne!(names("ConfigMap"), first);
    let container = &ground.get("Deployment", "web")["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["envFrom"][0]["configMapRef"]["name"], names("ConfigMap")[0].as_str());
    ground.target().undo(&second, None).await.unwrap();
    assert_eq!(names("ConfigMap"), first);
    let ledger = ground.get("ConfigMap", "vice-shop-dev").to_string();
    assert!(!ledger.contains("s3cret"), "the record of what runs holds a secret");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_release_no_longer_has_goes_and_what_is_not_ours_stays() {
    let ground = Ground::new().await;
    let map = |name: &str| format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{a: b}}\n");
    ground.write("k8s/a.yaml", &map("gone"));
    ground.write("k8s/b.yaml", &map("taken"));
    ground.write("k8s/c.yaml", "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: data}\nspec: {}\n");
    let bystander = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "bystander"}, "data": {}});
    assert!(ground.fake.create(&bystander));
    ground.place("1").await;
    // Somebody has made it theirs.
    assert!(ground.fake.change("ConfigMap", "taken", |object| object["metadata"]["annotations"] = json!({})));
    for file in ["a", "b", "c"] {
        std::fs::remove_file(ground.dir.path().join(format!("k8s/{file}.yaml"))).unwrap();
    }
    ground.place("2").await;
    assert!(ground.fake.get("ConfigMap", "gone").is_none());
    assert!(ground.fake.get("ConfigMap", "taken").is_some() && ground.fake.get("ConfigMap", "bystander").is_some());
    assert!(ground.fake.get("PersistentVolumeClaim", "data").is_some(), "data is never removed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_release_comes_back_as_it_was_although_the_manifests_have_changed() {
    let ground = Ground::new().await;
    ground.place("1").await;
    ground.write("k8s/web.yaml", &WEB.replace("replicas: 2", "replicas: 3"));
    let second = place("b", 1, "2", Some(&workload("1")));
    ground.target().apply(&second, Some(&workload("2"))).await.unwrap();
    assert_eq!(ground.get("Deployment", "web")["spec"]["replicas"], 3);
    ground.target().undo(&second, Some(&workload("1"))).await.unwrap();
    assert_eq!((ground.image().as_str(), &ground.get("Deployment", "web")["spec"]["replicas"]), ("shop:1", &json!(2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn manifests_that_changed_since_the_plan_are_refused() {
    let ground = Ground::new().await;
    let planned = ground.target().objects("1").await.unwrap();
    ground.write("k8s/web.yaml", &WEB.replace("replicas: 2", "replicas: 3"));
    let mut workload = workload("1");
    workload.objects = planned;
    let refused = ground.target().apply(&place("a", 1, "1", None), Some(&workload)).await.unwrap_err();
    assert_eq!(refused.code(), Code::PlanDrifted);
    assert!(ground.fake.effects().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_tells_what_would_change_and_changes_nothing() {
    let ground = Ground::new().await;
    let preview = async |version: &str| ground.target().preview(&workload(version)).await.unwrap();
    assert_eq!(preview("1").await, ["+ Deployment web"]);
    assert!(ground.fake.effects().is_empty() && ground.fake.names("ConfigMap").is_empty());
    ground.place("1").await;
    assert_eq!(preview("2").await, ["~ Deployment web spec.template.spec.containers[web].image: shop:1 → shop:2"]);
    assert_eq!(preview("1").await, [""; 0]);
    assert_eq!(ground.image(), "shop:1");
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_are_those_of_all_pods_and_can_be_followed() {
    let ground = Ground::new().await;
    ground.place("1").await;
    let lines = Mutex::new(Vec::new());
    let keep = |line: vice_core::port::target::LogLine| {
        lines.lock().unwrap().push(line.text);
        true
    };
    ground.target().logs(Some("1"), 1, false, &keep).await.unwrap();
    let past = std::mem::take(&mut *lines.lock().unwrap());
    assert_eq!(past.len(), 2, "{past:?}");
    assert!(past.iter().all(|line| line.starts_with("web-") && line.ends_with("/web listening on :8080")), "{past:?}");
    let some = |line: vice_core::port::target::LogLine| {
        let mut lines = lines.lock().unwrap();
        lines.push(line.text);
        lines.len() < 9
    };
    ground.target().logs(None, 1, true, &some).await.unwrap();
    assert!(lines.lock().unwrap().iter().any(|line| line.contains("request 0")));
    let nobody = ground.target().logs(Some("2"), 1, false, &keep).await.unwrap_err();
    assert_eq!(nobody.code(), Code::UnknownName);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_workload_is_waited_for() {
    let ground = Ground::new().await;
    let set = WEB.replace("  progressDeadlineSeconds: 1\n", "");
    ground.write(
        "k8s/db.yaml",
        &set.replace("kind: Deployment", "kind: StatefulSet").replace("name: web\nspec", "name: db\nspec"),
    );
    let agent = set.replace("  replicas: 2\n", "").replace("kind: Deployment", "kind: DaemonSet");
    ground.write(
        "k8s/agent.yaml",
        &agent.replace("name: web\nspec", "name: agent\nspec").replace("app: web", "app: agent"),
    );
    ground.place("1").await;
    ground.place("2").await;
    for (kind, name) in [("StatefulSet", "db"), ("DaemonSet", "agent")] {
        let status = &ground.get(kind, name)["status"];
        assert!(status["updatedReplicas"] == 2 || status["updatedNumberScheduled"] == 2, "{status}");
    }
    let stop = vice_core::port::target::Op {
        change: vice_core::port::target::Change::Stop,
        ..place("stop", 1, "2", Some(&workload("2")))
    };
    assert_eq!(ground.target().apply(&stop, None).await.unwrap_err().code(), Code::Unsupported);
}

#[tokio::test(flavor = "multi_thread")]
async fn at_most_ten_releases_are_kept() {
    let ground = Ground::new().await;
    ground.write("k8s/web.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {a: '{{version}}'}\n");
    for version in 1..=13 {
        ground.place(&version.to_string()).await;
    }
    assert_eq!(ground.fake.names("Secret").len(), 10);
    let spec = TargetSpec { namespace: Some("absent".to_owned()), ..TargetSpec::default() };
    let refused = ground.target_of(&spec).apply(&place("x", 1, "1", None), Some(&workload("1"))).await.unwrap_err();
    assert!(refused.to_string().contains("namespace"), "{refused}");
}
