//! Several targets under one rollout: one plan over all of them, and one way back.

use serde_json::Value;

use crate::lab::{Lab, hello_project};
use crate::rollout::get;

/// Two local targets, the second one with two instances, in the order that `rollout` says.
fn project(lab: &Lab, rollout: &str) {
    hello_project(lab, 1);
    let targets = format!(
        "[env.dev]\ntarget.eu = {{ kind = \"local\" }}\ntarget.us = {{ kind = \"local\", instances = 2 }}\n\
         [env.dev.rollout]\n{rollout}\n"
    );
    let toml = lab.read("vice.toml");
    let (head, rest) = toml.split_once("[env.dev]").expect("an environment");
    let rest = rest.split_once("\n[").map_or("", |(_, rest)| rest);
    lab.write("vice.toml", &format!("{head}{targets}[{rest}"));
}

fn units(lab: &Lab) -> Vec<(String, String)> {
    let status = lab.vice(&["status", "--format", "json"]).expect(0).json();
    let units = status["environments"][0]["units"].as_array().cloned().unwrap_or_default();
    let text = |unit: &Value, key: &str| unit[key].as_str().unwrap_or_default().to_owned();
    units.iter().map(|unit| (text(unit, "name"), text(&unit["release"], "version"))).collect()
}

#[test]
fn one_rollout_takes_all_targets_there_and_back() {
    let lab = Lab::new();
    project(&lab, "order = [\"us\"]");
    let ran = lab.vice(&["deploy", "hello@1", "--format", "json"]).expect(0).json();
    assert!(get(ran["url"].as_str().expect("a url"), "/version").contains("\"1\""));
    let named = |version: &str| ["eu.1", "us.1", "us.2"].map(|name| (name.to_owned(), version.to_owned())).to_vec();
    let mut found = units(&lab);
    found.sort();
    assert_eq!(found, named("1"));

    // The last target fails its checks; what the first ones run goes back with it.
    let why = lab.vice(&["deploy", "hello@2"]).expect(6);
    let first = why.stderr.find("us.1").expect("the order names it first");
    assert!(why.stderr.find("eu.1").is_none_or(|eu| first < eu), "{}", why.stderr);
    let mut found = units(&lab);
    found.sort();
    assert_eq!(found, named("1"));
    let state = std::fs::read_dir(lab.path(".vice/local/hello")).expect("the state").count();
    assert_eq!(state, 2, "each target has a folder of its own");
}

#[test]
fn targets_that_make_no_sense_are_refused() {
    let lab = Lab::new();
    project(&lab, "order = [\"us\"]");
    let toml = lab.read("vice.toml");
    for (from, to, said) in [
        ("target.eu = { kind = \"local\" }", "target.eu = { kind = \"moon\" }", "moon"),
        (
            "target.eu = { kind = \"local\" }",
            "target.eu = { kind = \"local\" }\ntopology.fleet = \"dc[2] > server[2]\"",
            "topology",
        ),
        ("target.eu = { kind = \"local\" }", "target.EU = { kind = \"local\" }", "lower case"),
    ] {
        assert!(toml.contains(from), "{toml}");
        lab.write("vice.toml", &toml.replacen(from, to, 1));
        let ran = lab.vice(&["plan", "hello@1"]).expect(2);
        assert!(ran.stderr.contains(said), "{}", ran.stderr);
    }
}
