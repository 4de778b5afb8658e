//! The fake, driven by the real kubectl: what kubectl takes for an API server may be taken for one by vice.
#![expect(clippy::disallowed_methods, reason = "these tests start kubectl and read where it is")]
#![expect(clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;
use vice_kube_fake::Fake;

const WEB: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 4
  progressDeadlineSeconds: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: web, image: 'shop:1', ports: [{containerPort: 8080}]}
";

struct Lab {
    fake: Fake,
    dir: TempDir,
}

impl Lab {
    async fn new() -> Self {
        let lab = Self { fake: Fake::start().await.unwrap(), dir: tempfile::tempdir().unwrap() };
        lab.write("kubeconfig", &lab.fake.kubeconfig());
        lab.write("web.yaml", WEB);
        lab
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.dir.path().join(name), text).unwrap();
    }

    fn command(&self, words: &str) -> Command {
        let kubectl = std::env::var("VICE_LAB_KUBECTL")
            .expect("VICE_LAB_KUBECTL names kubectl; run: scripts/lab/run cargo nextest run -p vice-kube-fake");
        let mut command = Command::new(kubectl);
        command.current_dir(self.dir.path()).env("KUBECONFIG", self.dir.path().join("kubeconfig"));
        command.env("HOME", self.dir.path()).args(words.split(' ')).stdin(Stdio::null());
        command
    }

    /// Runs kubectl without holding up the fake, which lives in this process.
    async fn run(&self, words: &str) -> Output {
        let mut command = self.command(words);
        tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap()
    }

    async fn ok(&self, words: &str) -> String {
        let output = self.run(words).await;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "kubectl {words}: {}{}", text(&output.stdout), text(&output.stderr));
        text(&output.stdout)
    }

    async fn fails(&self, words: &str, said: &str) {
        let output = self.run(words).await;
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(!output.status.success() && text.contains(said), "kubectl {words}: {text}");
    }

    fn web(&self) -> Value {
        self.fake.get("Deployment", "web").unwrap()
    }

    fn image(&self) -> Value {
        self.web()["spec"]["template"]["spec"]["containers"][0]["image"].clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lab_k8s_kubectl_applies_and_waits_and_undoes() {
    let lab = Lab::new().await;
    let said = lab.ok("apply --validate=false -f web.yaml").await;
    assert!(said.contains("deployment.apps/web created"), "{said}");
    let said = lab.ok("rollout status deployment/web --timeout=20s").await;
    assert!(said.contains("successfully rolled out"), "{said}");
    lab.write("web.yaml", &WEB.replace("shop:1", "shop:2"));
    lab.fails("diff -f web.yaml", "shop:2").await;
    assert_eq!(lab.image(), "shop:1", "a diff has an effect");
    let said = lab.ok("apply --validate=false -f web.yaml").await;
    assert!(said.contains("configured"), "{said}");
    lab.ok("rollout status deployment/web --timeout=20s").await;
    assert_eq!(lab.image(), "shop:2");
    let history = lab.ok("rollout history deployment/web").await;
    assert!(history.lines().filter(|line| line.starts_with(['1', '2'])).count() == 2, "{history}");
    lab.ok("rollout undo deployment/web").await;
    lab.ok("rollout status deployment/web --timeout=20s").await;
    assert_eq!(lab.image(), "shop:1");
    assert_eq!(lab.web()["metadata"]["annotations"]["deployment.kubernetes.io/revision"], "3");
}

#[tokio::test(flavor = "multi_thread")]
async fn lab_k8s_kubectl_hears_of_the_progress_deadline() {
    let lab = Lab::new().await;
    lab.ok("apply --validate=false -f web.yaml").await;
    lab.ok("rollout status deployment/web --timeout=20s").await;
    lab.ok("set image deployment/web web=shop:bad").await;
    lab.fails("rollout status deployment/web --timeout=20s", "exceeded its progress deadline").await;
    let pods = lab.ok("get pods -o json").await;
    let pods: Value = serde_json::from_str(&pods).unwrap();
    let ready = |pod: &&Value| pod["status"]["containerStatuses"][0]["ready"] == true;
    assert_eq!(pods["items"].as_array().unwrap().iter().filter(ready).count(), 3, "a quarter may be unavailable");
    assert!(
        lab.ok("get events").await.contains("ImagePullBackOff")
            || lab.ok("get events -o yaml").await.contains("ImagePullBackOff")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn lab_k8s_kubectl_applies_on_the_server_and_hears_of_conflicts() {
    let lab = Lab::new().await;
    let said = lab.ok("apply --server-side --validate=false --field-manager=one -f web.yaml").await;
    assert!(said.contains("serverside-applied"), "{said}");
    lab.write("web.yaml", &WEB.replace("shop:1", "shop:2"));
    lab.fails("apply --server-side --validate=false --field-manager=two -f web.yaml", "conflict with \"one\"").await;
    lab.ok("apply --server-side --validate=false --field-manager=two --dry-run=server --force-conflicts -f web.yaml")
        .await;
    assert_eq!(lab.image(), "shop:1");
    lab.ok("apply --server-side --validate=false --field-manager=two --force-conflicts -f web.yaml").await;
    assert_eq!(lab.image(), "shop:2");
    let managers = lab.ok("get deployment web -o json --show-managed-fields").await;
    assert!(managers.contains("\"one\"") && managers.contains("\"two\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn lab_k8s_kubectl_scales_and_watches() {
    let lab = Lab::new().await;
    lab.ok("apply --validate=false -f web.yaml").await;
    let mut watch = lab.command("get deployment web -o jsonpath={.spec.replicas}{\"\\n\"} -w --request-timeout=3s");
    let watching = tokio::task::spawn_blocking(move || watch.output());
    let asks_to_watch = || lab.fake.requests().iter().any(|line| line.contains("watch=true"));
    while !asks_to_watch() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    lab.ok("scale deployment/web --replicas=6").await;
    lab.ok("rollout status deployment/web --timeout=20s").await;
    assert_eq!(lab.web()["status"]["availableReplicas"], 6);
    let seen = String::from_utf8(watching.await.unwrap().unwrap().stdout).unwrap();
    assert!(seen.contains('4') && seen.contains('6'), "{seen}");
    let said = lab.ok("logs deployment/web").await;
    assert!(said.contains("starting shop:1"), "{said}");
    lab.ok("delete deployment web").await;
    lab.fails("get deployment web", "not found").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lab_k8s_kubectl_is_told_what_is_invalid() {
    let lab = Lab::new().await;
    lab.write("web.yaml", &WEB.replace("labels: {app: web}", "labels: {app: other}"));
    lab.fails("apply --validate=false -f web.yaml", "`selector` does not match template `labels`").await;
    lab.fails("apply --validate=false --dry-run=server -f web.yaml", "does not match").await;
    lab.fails("get deployment web", "not found").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lab_k8s_kubectl_rolls_out_what_has_no_replica_sets() {
    let lab = Lab::new().await;
    let of = |kind: &str| {
        WEB.replace("kind: Deployment", &format!("kind: {kind}")).replace("  progressDeadlineSeconds: 2\n", "")
    };
    lab.write(
        "set.yaml",
        &of("StatefulSet").replace("replicas: 4", "replicas: 2").replace("{name: web}", "{name: db}"),
    );
    lab.write("agent.yaml", &of("DaemonSet").replace("  replicas: 4\n", "").replace("{name: web}", "{name: agent}"));
    lab.ok("apply --server-side --validate=false -f set.yaml -f agent.yaml").await;
    for what in ["statefulset/db", "daemonset/agent"] {
        lab.ok(&format!("rollout status {what} --timeout=20s")).await;
        lab.ok(&format!("set image {what} web=shop:2")).await;
        lab.ok(&format!("rollout status {what} --timeout=20s")).await;
    }
    assert_eq!(lab.fake.get("Pod", "db-1").unwrap()["spec"]["containers"][0]["image"], "shop:2");
}

const ROUTE: &str = "\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shop}
spec:
  rules:
  - backendRefs:
    - {name: web, port: 80, weight: 90}
    - {name: web-canary, port: 80, weight: 10}
";

#[tokio::test(flavor = "multi_thread")]
async fn lab_k8s_kubectl_gets_applies_and_patches_a_route() {
    let lab = Lab::new().await;
    lab.write("route.yaml", ROUTE);
    lab.ok("apply --server-side --validate=false --field-manager=one -f route.yaml").await;
    let weight = "jsonpath={.spec.rules[0].backendRefs[*].weight}";
    assert_eq!(lab.ok(&format!("get httproute shop -o {weight}")).await, "90 10");
    let kinds = lab.ok("get httproute shop -o jsonpath={.spec.rules[0].backendRefs[0].kind}").await;
    assert_eq!(kinds, "Service", "what is not said has its default");
    let patch = r#"patch httproute shop --type=json -p=[{"op":"replace","path":"/spec/rules/0/backendRefs/1/weight","value":5}]"#;
    lab.ok(patch).await;
    assert_eq!(lab.ok(&format!("get httproute shop -o {weight}")).await, "90 5");
    // The rules are one field: whoever changes a weight has the whole list.
    lab.fails(
        "apply --server-side --validate=false --field-manager=one -f route.yaml",
        "conflict with \"kubectl-patch\"",
    )
    .await;
    lab.write("route.yaml", &ROUTE.replace("weight: 10}", "weight: 2000000}"));
    lab.fails("apply --server-side --validate=false --force-conflicts -f route.yaml", "between 0 and 1000000").await;
    assert!(lab.ok("get httproutes").await.contains("shop"));
}

#[tokio::test(flavor = "multi_thread")]
async fn lab_k8s_kubectl_waits_on_through_watches_that_break_off_and_versions_that_are_gone() {
    let lab = Lab::new().await;
    lab.ok("apply --validate=false -f web.yaml").await;
    lab.ok("rollout status deployment/web --timeout=20s").await;
    let mut wait = lab.command("wait deployment/web --for=jsonpath={.spec.replicas}=7 --timeout=30s");
    let waiting = tokio::task::spawn_blocking(move || wait.output());
    let watches = || lab.fake.requests().iter().filter(|line| line.contains("watch=true")).count();
    let before = watches();
    while watches() == before {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let seen = watches();
    lab.fake.forget();
    lab.fake.drop_watches();
    while watches() == seen {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    lab.ok("scale deployment/web --replicas=7").await;
    let output = waiting.await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("condition met"), "{said}");
    let asked = lab.fake.requests().iter().any(|line| line.contains("allowWatchBookmarks=true"));
    assert!(asked, "kubectl asks for bookmarks");
}
