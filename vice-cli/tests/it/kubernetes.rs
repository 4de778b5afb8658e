//! The Kubernetes target from end to end: the binary against fake API servers.

use serde_json::Value;
use tokio::runtime::Runtime;
use vice_kube_fake::Fake;

use crate::docs::{blocks, commands, toml_blocks};
use crate::lab::Lab;

const WEB: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  progressDeadlineSeconds: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: 'shop:{{version}}'}]}
";

/// Fake clusters that answer while the binary runs.
struct Clusters {
    runtime: Runtime,
}

impl Clusters {
    fn new() -> Self {
        Self { runtime: Runtime::new().expect("a runtime") }
    }

    fn start(&self) -> Fake {
        self.runtime.block_on(Fake::start()).expect("a fake cluster")
    }
}

fn image(fake: &Fake) -> String {
    let web = fake.get("Deployment", "web").expect("a Deployment");
    web["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn the_example_of_the_page_works() {
    let (lab, clusters) = (Lab::new(), Clusters::new());
    let fake = clusters.start();
    assert!(fake.create(&serde_json::json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}})));
    let toml = &toml_blocks("kubernetes-target.md")[0];
    lab.write("vice.toml", &toml.replace("https://shop.example", fake.url()));
    lab.write("k8s/web.yaml", &blocks("kubernetes-target.md", "yaml")[0]);
    lab.write(
        "kubeconfig",
        &fake.kubeconfig().replace("\"name\":\"fake\",\"context\"", "\"name\":\"prod\",\"context\""),
    );
    let config = lab.path("kubeconfig").display().to_string();
    for command in commands("kubernetes-target.md", &[]) {
        let words: Vec<&str> = command.iter().map(String::as_str).collect();
        let ran = lab.vice_with(&[("KUBECONFIG", &config)], &words).expect(0);
        let plans = words[0] == "plan";
        assert_eq!(plans, ran.stdout.contains("+ Deployment web"), "{}", ran.stdout);
    }
    let status =
        lab.vice_with(&[("KUBECONFIG", &config)], &["status", "--env", "prod", "--format", "json"]).expect(0).json();
    let unit = &status["environments"][0]["units"][0];
    assert_eq!((&unit["name"], &unit["release"]["version"]), (&Value::from("1"), &Value::from("1.4.2")));
}

#[test]
fn a_bad_image_in_the_second_cluster_brings_both_back() {
    let (lab, clusters) = (Lab::new(), Clusters::new());
    let (eu, us) = (clusters.start(), clusters.start());
    lab.write("eu.yaml", &eu.kubeconfig());
    lab.write("us.yaml", &us.kubeconfig());
    let target = |name: &str, source: &str| {
        format!("target.{name} = {{ kind = \"kubernetes\", kubeconfig = \"{name}.yaml\", {source} }}\n")
    };
    // One reads its manifests, the other one has them printed.
    let eu_target = target("eu", "manifests = \"k8s/eu.yaml\"");
    let us_target = target("us", "command = [\"cat\", \"k8s/us.yaml\"]");
    lab.write("vice.toml", &format!("name = \"shop\"\n[env.dev]\nshared = false\n{eu_target}{us_target}"));
    lab.write("k8s/eu.yaml", WEB);
    lab.write("k8s/us.yaml", WEB);
    lab.vice(&["deploy", "shop@1"]).expect(0);
    assert_eq!((image(&eu), image(&us)), ("shop:1".to_owned(), "shop:1".to_owned()));
    lab.write("k8s/us.yaml", &WEB.replace("shop:", "bad/shop:"));
    let why = lab.vice(&["deploy", "shop@2"]).expect(6);
    assert!(why.stderr.contains("ImagePullBackOff"), "{}", why.stderr);
    assert_eq!((image(&eu), image(&us)), ("shop:1".to_owned(), "shop:1".to_owned()));
    lab.write("k8s/us.yaml", WEB);
    let plan = lab.vice(&["plan", "shop@3"]).expect(0).stdout;
    assert!(plan.contains("eu: ~ Deployment web") && plan.contains("shop:1 → shop:3"), "{plan}");
    lab.vice(&["deploy", "shop@3"]).expect(0);
    lab.vice(&["deploy", "shop@1"]).expect(0);
    assert_eq!((image(&eu), image(&us)), ("shop:1".to_owned(), "shop:1".to_owned()));
}

#[test]
fn lab_k8s_kustomize_makes_the_manifests() {
    let (lab, clusters) = (Lab::new(), Clusters::new());
    let fake = clusters.start();
    lab.write("kubeconfig", &fake.kubeconfig());
    let target = "{ kind = \"kubernetes\", kubeconfig = \"kubeconfig\", kustomize = \"k8s\" }";
    lab.write("vice.toml", &format!("name = \"shop\"\n[env.dev]\nshared = false\ntarget = {target}\n"));
    lab.write("k8s/web.yaml", WEB);
    lab.write("k8s/kustomization.yaml", "resources: [web.yaml]\nnamePrefix: my-\n");
    lab.vice(&["deploy", "shop@1"]).expect(0);
    let web = fake.get("Deployment", "my-web").expect("kustomize has given it a prefix");
    assert_eq!(web["spec"]["template"]["spec"]["containers"][0]["image"], "shop:1");
    lab.write("k8s/kustomization.yaml", "resources: [absent.yaml]\n");
    let refused = lab.vice(&["deploy", "shop@2"]).expect(1);
    assert!(
        refused.stderr.contains("printed no manifests") && refused.stderr.contains("absent.yaml"),
        "{}",
        refused.stderr
    );
}

#[test]
fn what_makes_no_sense_is_refused_with_its_place() {
    let lab = Lab::new();
    for (section, said) in [
        ("target = { kind = \"kubernetes\" }", "needs `manifests`"),
        ("instances = 2\ntarget = { kind = \"kubernetes\", manifests = \"k8s\" }", "`instances` of dev"),
        ("target = { kind = \"kubernetes\", manifests = \"k8s\", context = \"mars\" }", "kubeconfig"),
    ] {
        lab.write("vice.toml", &format!("name = \"shop\"\n[env.dev]\n{section}\n"));
        lab.write("k8s/web.yaml", WEB);
        let refused = lab.vice(&["plan", "shop@1"]).expect(2);
        assert!(refused.stderr.contains(said), "{}", refused.stderr);
    }
}
