//! The Kubernetes target from end to end: the binary against fake API servers.

use serde_json::Value;
use tokio::runtime::Runtime;
use vice_kube_fake::{Fake, Registry};

use crate::docs::{blocks, commands, toml_blocks};
use crate::lab::Lab;

pub(crate) const WEB: &str = "\
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
pub(crate) struct Clusters {
    runtime: Runtime,
}

impl Clusters {
    pub(crate) fn new() -> Self {
        Self { runtime: Runtime::new().expect("a runtime") }
    }

    pub(crate) fn registry(&self) -> Registry {
        self.runtime.block_on(Registry::start()).expect("a fake registry")
    }

    pub(crate) fn start(&self) -> Fake {
        self.runtime.block_on(Fake::start()).expect("a fake cluster")
    }
}

pub(crate) fn image(fake: &Fake) -> String {
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
    let registry = clusters.registry();
    let digests = ["1.4.2", "1.4.3"].map(|tag| registry.push("shop", tag));
    lab.write(
        "k8s/web.yaml",
        &blocks("kubernetes-target.md", "yaml")[0].replace("registry.example", registry.address()),
    );
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
    let web = fake.get_in("shop", "Deployment", "web").expect("a Deployment");
    let image = &web["spec"]["template"]["spec"]["containers"][0]["image"];
    assert_eq!(*image, Value::from(format!("{}/shop:1.4.2@{}", registry.address(), digests[0])));
}

#[test]
fn a_bad_image_in_the_second_cluster_brings_both_back() {
    let (lab, clusters) = (Lab::new(), Clusters::new());
    let (eu, us) = (clusters.start(), clusters.start());
    lab.write("eu.yaml", &eu.kubeconfig());
    lab.write("us.yaml", &us.kubeconfig());
    let target = |name: &str, source: &str| {
        format!(
            "target.{name} = {{ kind = \"kubernetes\", pin_images = false, kubeconfig = \"{name}.yaml\", {source} }}\n"
        )
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
    let target = "{ kind = \"kubernetes\", pin_images = false, kubeconfig = \"kubeconfig\", kustomize = \"k8s\" }";
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

pub(crate) const CANARY: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 4
  progressDeadlineSeconds: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: 'shop:{{version}}'}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shop}
spec: {rules: [{backendRefs: [{name: web, port: 80}]}]}
";

/// A project whose versions from 3 on fail 20 orders in a hundred, by what a command counts in each window.
fn canary(lab: &Lab, fake: &Fake, traffic: &str, steps: &str) {
    lab.write("kubeconfig", &fake.kubeconfig());
    lab.write("k8s/web.yaml", CANARY);
    lab.write("count", "case $1 in 3*) bad=400;; *) bad=4;; esac\necho \"{\\\"bad\\\": $bad, \\\"total\\\": 2000}\"\n");
    lab.write(
        "vice.toml",
        &format!(
            "name = \"shop\"\n[env.dev]\nshared = false\n\
             target = {{ kind = \"kubernetes\", pin_images = false, kubeconfig = \"kubeconfig\", manifests = \"k8s\", traffic = {traffic} }}\n\
             [env.dev.rollout]\nstrategy = \"canary\"\nsteps = {steps}\ninterval = \"300ms\"\nlateness = \"50ms\"\n\
             [metric.errors]\ncommand = [\"sh\", \"count\", \"{{{{version}}}}\"]\ncounts = \"window\"\nfloor = 0.02\n"
        ),
    );
}

pub(crate) fn weights(fake: &Fake) -> Vec<u64> {
    let route = fake.get("HTTPRoute", "shop").expect("a route");
    let refs = route["spec"]["rules"][0]["backendRefs"].as_array().cloned().unwrap_or_default();
    refs.iter().filter_map(|backend| backend["weight"].as_u64()).collect()
}

pub(crate) fn pods(fake: &Fake) -> (u64, u64) {
    let of = |name: &str| fake.get("Deployment", name).and_then(|web| web["spec"]["replicas"].as_u64()).unwrap_or(0);
    (of("web"), of("web-canary"))
}

#[test]
fn a_canary_by_a_route_goes_through_or_back_as_the_judge_says() {
    let (lab, clusters) = (Lab::new(), Clusters::new());
    let fake = clusters.start();
    canary(&lab, &fake, "{ route = \"shop\" }", "[\"20%\"]");
    lab.vice(&["deploy", "shop@1"]).expect(0);
    assert_eq!((weights(&fake), pods(&fake)), (vec![1], (4, 0)));
    lab.vice(&["deploy", "shop@2"]).expect(0);
    // Its copy keeps a pod, so that a bad image is found before the first share.
    assert_eq!((image(&fake), weights(&fake), pods(&fake)), ("shop:2".to_owned(), vec![1], (4, 1)));
    let why = lab.vice(&["why", "shop.dev.2"]).expect(0).stdout;
    assert!(why.contains("20 %"), "{why}");
    let worse = lab.vice(&["deploy", "shop@3"]).expect(6);
    assert!(worse.stderr.contains("errors"), "{}", worse.stderr);
    assert_eq!((image(&fake), weights(&fake), pods(&fake)), ("shop:2".to_owned(), vec![1], (4, 0)));
}

#[test]
fn a_canary_by_replicas_is_refused_what_they_can_t_express_before_it_begins() {
    let (lab, clusters) = (Lab::new(), Clusters::new());
    let fake = clusters.start();
    canary(&lab, &fake, "\"replicas\"", "[\"25%\"]");
    lab.vice(&["deploy", "shop@1"]).expect(0);
    lab.vice(&["deploy", "shop@2"]).expect(0);
    assert_eq!((image(&fake), pods(&fake)), ("shop:2".to_owned(), (4, 0)));
    lab.vice(&["deploy", "shop@3"]).expect(6);
    assert_eq!((image(&fake), pods(&fake)), ("shop:2".to_owned(), (4, 0)));
    lab.write("vice.toml", &lab.read("vice.toml").replace("25%", "5%"));
    let effects = fake.effects();
    let refused = lab.vice(&["deploy", "shop@4"]).expect(2);
    assert!(refused.stderr.contains("can't express 5 %") && refused.stderr.contains("25 %"), "{}", refused.stderr);
    assert_eq!(fake.effects(), effects);
}

#[test]
fn a_canary_that_is_killed_anywhere_comes_to_a_good_end() {
    let (lab, clusters) = (Lab::new(), Clusters::new());
    let fake = clusters.start();
    canary(&lab, &fake, "{ route = \"shop\" }", "[\"20%\"]");
    lab.vice(&["deploy", "shop@1"]).expect(0);
    let mut died = 0;
    for append in 1..40 {
        let version = if append % 2 == 0 { "1" } else { "2" };
        let wanted = format!("shop@{version}");
        let point = format!("after:{append}");
        if lab.vice_with(&[("VICE_TEST_CRASH", &point)], &["deploy", &wanted]).status == 0 {
            break;
        }
        died += 1;
        for _ in 0..4 {
            if lab.vice(&["pride", "resume", "shop"]).status == 0 {
                break;
            }
        }
        lab.vice(&["deploy", &wanted]).expect(0);
        let at = format!("killed {point}");
        assert_eq!((image(&fake), weights(&fake)), (format!("shop:{version}"), vec![1]), "{at}");
        assert_eq!(pods(&fake), (4, 1), "{at}");
    }
    assert!(died > 5, "only {died} points were reached");
}

#[test]
fn one_of_two_clusters_that_dies_in_the_middle_is_carried_on_when_it_is_back() {
    let (lab, clusters) = (Lab::new(), Clusters::new());
    let (eu, us) = (clusters.start(), clusters.start());
    lab.write("eu.yaml", &eu.kubeconfig());
    lab.write("us.yaml", &us.kubeconfig());
    let target = |name: &str| {
        format!(
            "target.{name} = {{ kind = \"kubernetes\", pin_images = false, kubeconfig = \"{name}.yaml\", manifests = \"k8s\" }}\n"
        )
    };
    let (eu_target, us_target) = (target("eu"), target("us"));
    lab.write("vice.toml", &format!("name = \"shop\"\n[env.dev]\nshared = false\n{eu_target}{us_target}"));
    lab.write("k8s/web.yaml", WEB);
    lab.vice(&["deploy", "shop@1"]).expect(0);
    us.cut_after(2, vice_kube_fake::Cut::Reply);
    let died = lab.vice(&["deploy", "shop@2"]);
    assert_ne!(died.status, 0, "{}{}", died.stdout, died.stderr);
    assert!(us.heal(), "nothing broke off");
    let status = lab.vice(&["pride", "resume", "shop"]);
    assert!([0, 6].contains(&status.status), "{}: {}{}", status.status, status.stdout, status.stderr);
    let both = (image(&eu), image(&us));
    assert_eq!(both.0, both.1, "{}", status.stderr);
    lab.vice(&["deploy", "shop@3"]).expect(0);
    assert_eq!((image(&eu), image(&us)), ("shop:3".to_owned(), "shop:3".to_owned()));
}

#[test]
fn a_deployment_that_runs_is_adopted_and_is_what_a_rollback_returns_to() {
    let (lab, clusters) = (Lab::new(), Clusters::new());
    let fake = clusters.start();
    lab.write("kubeconfig", &fake.kubeconfig());
    lab.write("k8s/web.yaml", WEB);
    let target = "{ kind = \"kubernetes\", pin_images = false, kubeconfig = \"kubeconfig\", manifests = \"k8s\" }";
    lab.write("vice.toml", &format!("name = \"shop\"\n[env.dev]\nshared = false\ntarget = {target}\n"));
    assert!(fake.create_as(
        "kubectl-client-side-apply",
        &serde_json::json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {
            "progressDeadlineSeconds": 1, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "web", "image": "shop:1"}]}}}})
    ));
    while fake.get("Deployment", "web").is_none_or(|web| web["status"]["availableReplicas"] != 1) {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    lab.vice(&["pride", "adopt", "shop@1"]).expect(0);
    assert_eq!(fake.effects(), ["create default/web"]);
    let same = lab.vice(&["plan", "shop@1", "--detailed-exitcode"]).expect(0);
    assert!(!same.stdout.contains("~ Deployment"), "{}", same.stdout);
    // The unit itself went back: nothing was changed.
    lab.vice(&["deploy", "shop@bad"]).expect(1);
    assert_eq!(image(&fake), "shop:1");
    lab.vice(&["deploy", "shop@2"]).expect(0);
    assert_eq!(image(&fake), "shop:2");
}
