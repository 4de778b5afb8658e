use serde_json::json;

use super::*;

fn release(version: &str) -> ReleaseRef {
    ReleaseRef { version: version.into(), artifact: None, source: String::new(), config: None, recipe: None }
}

fn weights(of: &[(&str, u32)]) -> Vec<Weight> {
    let weight =
        |(version, basis_points): &(&str, u32)| Weight { version: (*version).to_owned(), basis_points: *basis_points };
    of.iter().map(weight).collect()
}

fn manifests(replicas: u64) -> Vec<Value> {
    vec![
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}}),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
            "spec": {"selector": {"app": "web"}, "type": "LoadBalancer", "ports": [{"port": 80, "nodePort": 30080}]}}),
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web", "tier": "front"}}, "spec": {"containers": [
                {"name": "web", "image": "shop:2", "envFrom": [{"configMapRef": {"name": "settings"}}]}]}}}}),
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "worker"}, "spec": {
            "replicas": 3, "selector": {"matchLabels": {"app": "worker"}},
            "template": {"metadata": {"labels": {"app": "worker"}}, "spec": {"containers": []}}}}),
        json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "shop"},
            "spec": {"rules": [{"backendRefs": [{"name": "web", "port": 80}]}]}}),
    ]
}

fn route() -> TrafficSpec {
    TrafficSpec::Route("shop".to_owned())
}

fn split(how: TrafficSpec, track: Track, share: u32) -> Vec<Value> {
    let weights = weights(&[("1", WHOLE - share), ("2", share)]);
    let (own, other) = if track == Track::Canary { ("2", "1") } else { ("1", "2") };
    Split { how, track, weights, other: Some(release(other)) }.objects(manifests(10), &release(own))
}

fn names(objects: &[Value]) -> Vec<String> {
    objects.iter().filter_map(ObjectId::of).map(|id| id.to_string()).collect()
}

fn find<'o>(objects: &'o [Value], what: &str) -> &'o Value {
    let fits = |object: &&Value| ObjectId::of(object).is_some_and(|id| id.to_string() == what);
    objects.iter().find(fits).unwrap_or_else(|| panic!("no {what} in {:?}", names(objects)))
}

#[test]
fn the_canary_s_share_is_its_part_of_what_the_two_are_given() {
    let share = |table: &[(&str, u32)], stable: &str, canary: &str| {
        part(&weights(table), Some(&release(stable)), Some(&release(canary)))
    };
    assert_eq!(share(&[("1", 9_500), ("2", 500)], "1", "2"), Part { share: 500, apart: true });
    assert_eq!(share(&[("1", 10_000)], "1", "2"), Part { share: 0, apart: true });
    assert_eq!(share(&[("2", 10_000)], "1", "2"), Part { share: 10_000, apart: true });
    assert_eq!(share(&[], "1", "2"), Part { share: 0, apart: true }, "without a table the canary waits");
    assert_eq!(share(&[("1", 9_500), ("2", 500)], "2", "2"), Part { share: 0, apart: false });
    assert_eq!(share(&[("7", 10_000)], "1", "2").share, 0);
    assert_eq!(part(&weights(&[("2", 10_000)]), None, Some(&release("2"))), Part { share: 0, apart: false });
}

#[test]
fn two_releases_of_one_version_are_told_apart_by_their_full_names() {
    let (old, new) = (release("1"), ReleaseRef { config: Some("other".into()), ..release("1") });
    let table = weights(&[(&old.full_name(), 7_000), (&new.full_name(), 3_000)]);
    assert_eq!(part(&table, Some(&old), Some(&new)).share, 3_000);
    assert_eq!(part(&weights(&[("1", 10_000)]), Some(&old), Some(&new)).share, 0, "one entry for both says nothing");
}

#[test]
fn replicas_are_rounded_to_the_nearest_and_never_to_none_or_all() {
    for (replicas, share, pods) in [(10, 1_000, 1), (10, 1_500, 2), (10, 1_400, 1), (3, 5_000, 2), (4, 2_500, 1)] {
        assert_eq!(nearest(replicas, share), pods, "{share} of {replicas}");
    }
    let refused = |replicas, share| expressible(&manifests(replicas), &TrafficSpec::Replicas, share);
    for (replicas, share) in [(10, 500), (10, 1_000), (2, 5_000), (4, 0), (4, WHOLE)] {
        refused(replicas, share).unwrap();
    }
    let fault = refused(4, 500).unwrap_err();
    assert!(fault.to_string().contains("4 replicas of Deployment web can't express 5 %"), "{fault}");
    assert!(fault.hints()[0].contains("25 %, 50 %, 75 %"), "{fault:?}");
    assert_eq!(refused(4, 9_900).unwrap_err().code(), Code::Usage);
    expressible(&manifests(4), &route(), 1).unwrap();
}

#[test]
fn by_replicas_the_pods_of_both_are_as_many_as_before() {
    let stable = split(TrafficSpec::Replicas, Track::Stable, 2_000);
    let canary = split(TrafficSpec::Replicas, Track::Canary, 2_000);
    assert_eq!(find(&stable, "Deployment web")["spec"]["replicas"], 8);
    assert_eq!(find(&stable, "Deployment worker")["spec"]["replicas"], 3, "nobody sends it traffic");
    let copy = find(&canary, "Deployment web-canary");
    assert_eq!(copy["spec"]["replicas"], 2);
    let labels = &copy["spec"]["template"]["metadata"]["labels"];
    assert_eq!(labels, &json!({"app": "web", "tier": "front", TRACK: "canary"}), "the Service selects both");
    assert_eq!(copy["spec"]["selector"]["matchLabels"], json!({"app": "web", TRACK: "canary"}));
    let from = &copy["spec"]["template"]["spec"]["containers"][0]["envFrom"][0];
    assert_eq!(from["configMapRef"]["name"], "settings-canary");
    assert_eq!(names(&canary), ["ConfigMap settings-canary", "Deployment web-canary"]);
    assert_eq!(split(TrafficSpec::Replicas, Track::Stable, 0), manifests(10));
}

#[test]
fn by_a_route_the_copy_is_reached_by_the_weights_alone() {
    let stable = split(route(), Track::Stable, 500);
    assert_eq!(find(&stable, "Deployment web")["spec"]["replicas"], 10);
    let refs = &find(&stable, "HTTPRoute shop")["spec"]["rules"][0]["backendRefs"];
    let wanted =
        json!([{"name": "web", "port": 80, "weight": 9_500}, {"name": "web-canary", "port": 80, "weight": 500}]);
    assert_eq!(refs, &wanted);
    assert_eq!(split(route(), Track::Stable, 0), manifests(10), "without a share it is what the manifests say");
    let canary = split(route(), Track::Canary, 500);
    assert_eq!(names(&canary), ["ConfigMap settings-canary", "Service web-canary", "Deployment web-canary"]);
    let service = &find(&canary, "Service web-canary")["spec"];
    assert_eq!((&service["selector"], &service["type"]), (&json!({"app": "web-canary"}), &json!("ClusterIP")));
    assert!(service["ports"][0]["nodePort"].is_null());
    let copy = &find(&canary, "Deployment web-canary")["spec"];
    assert_eq!(copy["template"]["metadata"]["labels"], json!({"app": "web-canary", "tier": "front"}));
    for (share, pods) in [(0, 1), (500, 1), (1_100, 2), (WHOLE, 10)] {
        let canary = split(route(), Track::Canary, share);
        assert_eq!(find(&canary, "Deployment web-canary")["spec"]["replicas"], pods, "{share}");
    }
}

#[test]
fn the_weights_that_a_route_has_already_are_kept_in_proportion() {
    let mut route = json!({"spec": {"rules": [{"backendRefs": [
        {"name": "web", "weight": 90}, {"name": "old", "weight": 10}, {"name": "none", "weight": 0},
        {"name": "web", "kind": "Other", "weight": 1}]}]}});
    weigh(&mut route, &["web".to_owned()].into(), 1_000);
    let refs = route["spec"]["rules"][0]["backendRefs"].as_array().unwrap();
    let weights: Vec<u64> = refs.iter().map(|backend| backend["weight"].as_u64().unwrap()).collect();
    assert_eq!(weights, [810_000, 90_000, 100_000, 0, 10_000]);
    let mut large = json!({"spec": {"rules": [{"backendRefs": [{"name": "web", "weight": 1_000_000}]}]}});
    weigh(&mut large, &["web".to_owned()].into(), 1);
    let refs = &large["spec"]["rules"][0]["backendRefs"];
    assert!(refs[0]["weight"].as_u64().unwrap() <= WEIGHT_MAX && refs[1]["weight"] == 100, "{refs}");
}

#[test]
fn a_canary_of_what_the_other_runs_waits_without_pods() {
    for how in [TrafficSpec::Replicas, route()] {
        let split = Split { how, track: Track::Canary, weights: Vec::new(), other: Some(release("2")) };
        let objects = split.objects(manifests(10), &release("2"));
        assert_eq!(find(&objects, "Deployment web-canary")["spec"]["replicas"], 0);
    }
}

#[test]
fn manifests_that_can_t_be_split_are_refused_with_what_is_missing() {
    let change = |change: &dyn Fn(&mut Vec<Value>)| {
        let mut objects = manifests(10);
        change(&mut objects);
        objects
    };
    let set = |at: usize, path: &'static str, value: Value| {
        change(&move |objects| *objects[at].pointer_mut(path).unwrap() = value.clone())
    };
    check(&manifests(10), &route()).unwrap();
    check(&manifests(10), &TrafficSpec::Replicas).unwrap();
    let copy = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web-canary"}});
    let set_of = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db"},
        "spec": {"template": {"metadata": {"labels": {"app": "web"}}}}});
    for (objects, how, said) in [
        (manifests(10), TrafficSpec::Route("other".into()), "no HTTPRoute \"other\""),
        (set(1, "/spec/selector", json!({"app": "x"})), TrafficSpec::Replicas, "No Deployment"),
        (set(4, "/spec/rules", json!([])), route(), "behind a Service of the route"),
        (set(2, "/spec/replicas", json!(1)), TrafficSpec::Replicas, "no `replicas` of at least 2"),
        (set(1, "/spec/selector", json!({"tier": "front"})), route(), "selects no label of the selector"),
        (change(&|objects| objects.push(copy.clone())), TrafficSpec::Replicas, "can't be called web-canary"),
        (change(&|objects| objects.push(set_of.clone())), TrafficSpec::Replicas, "StatefulSet db gets traffic"),
    ] {
        let fault = check(&objects, &how).unwrap_err();
        assert!(fault.to_string().contains(said) && !fault.hints().is_empty(), "{said}: {fault}");
    }
}
