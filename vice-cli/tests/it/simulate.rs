//! `vice pride simulate` and the forecast beside a plan, from outside.

use crate::lab::{Lab, hello_project};

fn project(lab: &Lab, more: &str) {
    hello_project(lab, 6);
    lab.write("vice.toml", &format!("{}{more}", lab.read("vice.toml")));
}

#[test]
fn what_is_not_over_is_never_a_short_time() {
    let lab = Lab::new();
    project(&lab, "[env.dev.rollout]\nstrategy = \"waves\"\nbake = \"366d\"\n");
    let said = lab.vice(&["pride", "simulate", "--runs", "20"]).expect(0);
    assert!(said.stdout.contains("is not over after 180 days in 100 % of the runs"), "{}", said.stdout);
    assert!(!said.stdout.contains("release takes"), "{}", said.stdout);
    let json = lab.vice(&["pride", "simulate", "--runs", "20", "--format", "json"]).expect(0).json();
    let text = json.to_string();
    assert!(text.contains("\"unfinished\":{") && text.contains("the bake of wave 1"), "{text}");
    let plan = lab.vice(&["plan"]).expect(0);
    let all = format!("{}{}", plan.stdout, plan.stderr);
    assert!(all.contains("Forecast: not over after 180d"), "{all}");
    assert!(all.contains("waiting for the bake of wave 1") && !all.contains("nine of ten runs"), "{all}");
}

#[test]
fn one_policy_file_serves_replay_and_simulate() {
    let lab = Lab::new();
    project(
        &lab,
        "[metric.errors]\nfront = true\n[env.dev.rollout]\nstrategy = \"canary\"\n[env.dev.model]\nrequests = \"600/min\"\n",
    );
    let simulate = ["pride", "simulate", "--runs", "5", "--format", "json", "--policy"];
    let with = |file: &str, text: &str| {
        lab.write(file, text);
        lab.vice(&[&simulate[..], &[file]].concat())
    };
    let plain = with("plain.toml", "strategy = \"canary\"\n").expect(0).json();
    let strict = "strategy = \"canary\"\nerror_ratio_max = 1.2\n[metric.errors]\nmargin = 1.1\n";
    let strict = with("strict.toml", strict).expect(0).json();
    assert_ne!(plain["stories"][0]["total_ms"], strict["stories"][0]["total_ms"], "the margin judges");
    let idle = with("idle.toml", "strategy = \"waves\"\n[metric.errors]\nmargin = 1.1\n").expect(0).json();
    assert!(idle["warnings"].to_string().contains("no metric judges this plan"), "{}", idle["warnings"]);
    for (text, said) in [
        ("strategy = \"canary\"\n[metric.erors]\nmargin = 1.1\n", "errors"),
        ("strategy = \"canary\"\n[metric.errors]\nmarign = 1.1\n", "marign"),
        ("strategy = \"canary\"\n[metric.errors]\nmargin = 0.5\n", "margin"),
    ] {
        let refused = with("bad.toml", text).expect(2);
        assert!(format!("{}{}", refused.stdout, refused.stderr).contains(said), "{}", refused.stderr);
    }
}

#[test]
fn a_canary_without_traffic_ends() {
    let lab = Lab::new();
    project(
        &lab,
        "[metric.e]\nfront = true\n[env.dev.rollout]\nstrategy = \"canary\"\n[env.dev.model]\nrequests = \"0/min\"\napprove = \"2d\"\n",
    );
    let json = lab.vice(&["pride", "simulate", "--runs", "1", "--format", "json"]).expect(0).json();
    assert_eq!(json["stories"][0]["outcomes"][0]["end"], "completed", "{json}");
    let waits = json["stories"][0]["bottlenecks"].to_string();
    assert!(waits.contains("a person"), "{waits}");
}

#[test]
fn a_fleet_of_nothing_has_no_story() {
    let lab = Lab::new();
    project(&lab, "");
    lab.write("vice.toml", &lab.read("vice.toml").replace("instances = 6", "instances = 0"));
    let said = lab.vice(&["pride", "simulate", "--optimise"]).expect(0);
    assert!(said.stdout.contains("The fleet has no units, so that there is nothing to roll out."), "{}", said.stdout);
    assert!(!said.stdout.contains("0ms"), "{}", said.stdout);
}
