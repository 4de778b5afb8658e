//! Several clusters as one fleet, and images by digest: the binary against fake API servers and a fake registry.

use vice_kube_fake::Fake;

use crate::kubernetes::{CANARY, Clusters, WEB, image, pods, weights};
use crate::lab::Lab;

/// Two clusters whose canaries one rollout takes together. Versions from 3 on fail 20 orders in a hundred.
fn fleet(lab: &Lab, eu: &Fake, us: &Fake, rollout: &str) {
    lab.write("eu.yaml", &eu.kubeconfig());
    lab.write("us.yaml", &us.kubeconfig());
    lab.write("k8s/web.yaml", CANARY);
    lab.write("count", "case $1 in 3*) bad=400;; *) bad=4;; esac\necho \"{\\\"bad\\\": $bad, \\\"total\\\": 2000}\"\n");
    let target = |name: &str| {
        format!(
            "target.{name} = {{ kind = \"kubernetes\", pin_images = false, kubeconfig = \"{name}.yaml\", \
             manifests = \"k8s\", traffic = {{ route = \"shop\" }} }}\n"
        )
    };
    lab.write(
        "vice.toml",
        &format!(
            "name = \"shop\"\n[env.dev]\nshared = false\n{}{}[env.dev.rollout]\nstrategy = \"canary\"\n{rollout}\n\
             interval = \"300ms\"\nlateness = \"50ms\"\n[metric.errors]\n\
             command = [\"sh\", \"count\", \"{{{{version}}}}\"]\ncounts = \"window\"\nfloor = 0.02\n",
            target("eu"),
            target("us"),
        ),
    );
}

/// What a cluster runs: image, weights of the route, and pods of both units.
type Seen = (String, Vec<u64>, (u64, u64));

fn both(eu: &Fake, us: &Fake) -> [Seen; 2] {
    [eu, us].map(|fake| (image(fake), weights(fake), pods(fake)))
}

/// The waves of a plan by the names of their units.
fn waves(plan: &serde_json::Value) -> Vec<Vec<String>> {
    let units = plan["units"].as_array().cloned().unwrap_or_default();
    let name = |number: &serde_json::Value| {
        let index = usize::try_from(number.as_u64().unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
        units.get(index).and_then(|unit| unit["name"].as_str()).unwrap_or("?").to_owned()
    };
    let waves = plan["waves"].as_array().cloned().unwrap_or_default();
    waves.iter().map(|wave| wave["units"].as_array().into_iter().flatten().map(name).collect()).collect()
}

#[test]
fn a_canary_over_two_clusters_is_one_rollout_with_one_way_back() {
    let (lab, clusters) = (Lab::new(), Clusters::new());
    let (eu, us) = (clusters.start(), clusters.start());
    fleet(&lab, &eu, &us, "steps = [\"20%\", \"50%\"]");
    lab.vice(&["deploy", "shop@1"]).expect(0);
    let whole = |version: &str, canaries: u64| {
        let one: Seen = (format!("shop:{version}"), vec![1], (4, canaries));
        [one.clone(), one]
    };
    assert_eq!(both(&eu, &us), whole("1", 0));
    lab.vice(&["deploy", "shop@2"]).expect(0);
    assert_eq!(both(&eu, &us), whole("2", 1));
    let why = lab.vice(&["why", "shop.dev.2"]).expect(0).stdout;
    assert!(why.contains("20 %") && why.contains("50 %"), "{why}");
    // Worse by the metric of both together: both come back, and nothing but the canaries was ever touched.
    let stable = |fake: &Fake| fake.get("Deployment", "web").map(|web| web["metadata"]["uid"].clone());
    let before = (stable(&eu), stable(&us));
    let worse = lab.vice(&["deploy", "shop@3"]).expect(6);
    assert!(worse.stderr.contains("errors"), "{}", worse.stderr);
    assert_eq!((both(&eu, &us), (stable(&eu), stable(&us))), (whole("2", 0), before));
    for fake in [&eu, &us] {
        let web = fake.effects().into_iter().filter(|line| line.ends_with("default/web")).count();
        assert_eq!(web, 2, "{:?}", fake.effects());
    }
}

#[test]
fn the_canaries_of_all_clusters_come_first_whatever_the_order() {
    let (lab, clusters) = (Lab::new(), Clusters::new());
    let (eu, us) = (clusters.start(), clusters.start());
    fleet(&lab, &eu, &us, "steps = [\"20%\", \"75%\"]\norder = [\"us\", \"eu\"]");
    lab.vice(&["deploy", "shop@1"]).expect(0);
    let planned = lab.vice(&["plan", "shop@2", "--format", "json"]).expect(0).json();
    let expected: [&[&str]; 3] = [&["us.canary", "eu.canary"], &[], &["us.stable", "eu.stable"]];
    assert_eq!(waves(&planned["plan"]), expected, "{planned}");
    let text = lab.read("vice.toml");
    lab.write(
        "vice.toml",
        &text.replace("order = [\"us\", \"eu\"]", "after = [{ first = \"target=eu\", then = \"target=us\" }]"),
    );
    let refused = lab.vice(&["plan", "shop@2"]).expect(2).stderr;
    assert!(refused.contains("rollout.after[0]") && refused.contains("rollout.strategy"), "{refused}");
    lab.write("vice.toml", &text.replace("\"20%\", \"75%\"", "1"));
    let refused = lab.vice(&["plan", "shop@2"]).expect(2).stderr;
    assert!(refused.contains("only its share"), "{refused}");
}

#[test]
fn a_cluster_that_splits_nothing_is_no_part_of_a_canary_by_shares() {
    let (lab, clusters) = (Lab::new(), Clusters::new());
    let (eu, us) = (clusters.start(), clusters.start());
    fleet(&lab, &eu, &us, "steps = [\"20%\"]");
    let text = lab.read("vice.toml");
    let split = "kubeconfig = \"us.yaml\", manifests = \"k8s\", traffic = { route = \"shop\" }";
    assert!(text.contains(split));
    lab.write("vice.toml", &text.replace(split, "kubeconfig = \"us.yaml\", manifests = \"k8s\""));
    lab.vice(&["deploy", "shop@1"]).expect(0);
    let effects = (eu.effects(), us.effects());
    let refused = lab.vice(&["deploy", "shop@2"]).expect(2).stderr;
    assert!(refused.contains("can't split traffic") && refused.contains("`traffic`"), "{refused}");
    assert_eq!((eu.effects(), us.effects()), effects, "it is refused before anything has changed");
}

#[test]
fn a_bad_image_in_the_second_canary_brings_the_first_back_before_it_had_a_share() {
    let (lab, clusters) = (Lab::new(), Clusters::new());
    let (eu, us) = (clusters.start(), clusters.start());
    fleet(&lab, &eu, &us, "steps = [\"20%\"]");
    lab.vice(&["deploy", "shop@1"]).expect(0);
    // A pod more than there are finds no room in one of the two.
    assert!(us.create(&serde_json::json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "small"},
        "spec": {"hard": {"pods": "4"}}})));
    let refused = lab.vice(&["deploy", "shop@2"]).expect(6).stderr;
    assert!(refused.contains("us.canary") && refused.contains("FailedCreate"), "{refused}");
    let one: Seen = ("shop:1".to_owned(), vec![1], (4, 0));
    assert_eq!(both(&eu, &us), [one.clone(), one]);
}

#[test]
fn a_tag_that_moves_in_the_middle_of_a_rollout_changes_nothing() {
    let (lab, clusters) = (Lab::new(), Clusters::new());
    let (fake, registry) = (clusters.start(), clusters.registry());
    lab.write("kubeconfig", &fake.kubeconfig());
    lab.write("k8s/web.yaml", &WEB.replace("shop:", &format!("{}/shop:", registry.address())));
    let target = "{ kind = \"kubernetes\", kubeconfig = \"kubeconfig\", manifests = \"k8s\" }";
    // Only what was checked is gone back to.
    let check = "[check.there]\ncommand = [\"true\"]\n";
    lab.write("vice.toml", &format!("name = \"shop\"\n[env.dev]\nshared = false\ntarget = {target}\n{check}"));
    let missing = lab.vice(&["deploy", "shop@1"]).expect(1).stderr;
    assert!(missing.contains("has no image") && missing.contains("pin_images = false"), "{missing}");
    assert!(fake.effects().is_empty());
    let first = registry.push("shop", "1");
    // The process that planned dies; the tag moves; another one carries the rollout on, without the registry.
    let died = lab.vice_with(&[("VICE_TEST_CRASH", "after:2")], &["deploy", "shop@1"]);
    assert_ne!(died.status, 0, "{}{}", died.stdout, died.stderr);
    let second = registry.push("shop", "1");
    registry.answer_with(Some(503));
    let resumed = lab.vice(&["pride", "resume", "shop"]);
    assert_eq!(resumed.status, 0, "{}{}", resumed.stdout, resumed.stderr);
    assert_eq!(image(&fake), format!("{}/shop:1@{first}", registry.address()));
    let unasked = lab.vice(&["deploy", "shop@2"]).expect(1).stderr;
    assert!(unasked.contains("did not say which digest"), "{unasked}");
    registry.answer_with(None);
    let moved = lab.vice(&["plan", "shop@1"]).expect(0).stdout;
    assert!(moved.contains(&second[..20]), "{moved}");
    lab.vice(&["deploy", "shop@1"]).expect(0);
    assert_eq!(image(&fake), format!("{}/shop:1@{second}", registry.address()));
    // The way back needs no registry.
    registry.answer_with(Some(503));
    lab.vice(&["rollback", "shop"]).expect(0);
    assert_eq!(image(&fake), format!("{}/shop:1@{first}", registry.address()));
}

#[test]
fn what_is_adopted_keeps_the_tag_that_it_runs_with() {
    let (lab, clusters) = (Lab::new(), Clusters::new());
    let (fake, registry) = (clusters.start(), clusters.registry());
    lab.write("kubeconfig", &fake.kubeconfig());
    let name = format!("{}/shop", registry.address());
    lab.write("k8s/web.yaml", &WEB.replace("shop:", &format!("{name}:")));
    let target = "{ kind = \"kubernetes\", kubeconfig = \"kubeconfig\", manifests = \"k8s\" }";
    lab.write("vice.toml", &format!("name = \"shop\"\n[env.dev]\nshared = false\ntarget = {target}\n"));
    let running = serde_json::json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {
            "progressDeadlineSeconds": 1, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "web", "image": format!("{name}:1")}]}}}});
    assert!(fake.create_as("kubectl-client-side-apply", &running));
    while fake.get("Deployment", "web").is_none_or(|web| web["status"]["availableReplicas"] != 1) {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    registry.answer_with(Some(503));
    lab.vice(&["pride", "adopt", "shop@1"]).expect(0);
    assert_eq!((image(&fake), fake.effects().len()), (format!("{name}:1"), 1), "no pod is touched");
    registry.answer_with(None);
    let digest = registry.push("shop", "2");
    lab.vice(&["deploy", "shop@2"]).expect(0);
    assert_eq!(image(&fake), format!("{name}:2@{digest}"));
}
