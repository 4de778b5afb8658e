//! `vice pride replay` on rollouts that really happened, judged by a metric whose counts are fixed: version 2 has three
//! times the errors of the others.

use serde_json::Value;

use crate::lab::{Lab, hello_project};

/// The example service on a ramp, judged every 300 ms by a command that prints the same counts for every window.
pub(crate) fn judged(lab: &Lab) {
    hello_project(lab, 2);
    let toml = lab.read("vice.toml");
    let (head, _) = toml.split_once("[check.health]").expect("the checks");
    let counts = "case $0 in 2) echo '{\\\"total\\\":1000,\\\"bad\\\":30}';; *) echo '{\\\"total\\\":1000,\\\"bad\\\":10}';; esac";
    let rollout = "[env.dev.rollout]\nstrategy = \"ramp\"\ninterval = \"300ms\"\nlateness = \"0s\"\nbake = \"300ms\"\n";
    let metric = format!(
        "[metric.errors]\ncommand = [\"sh\", \"-c\", \"{counts}\", \"{{{{version}}}}\"]\ncounts = \"window\"\n"
    );
    lab.write("vice.toml", &format!("{head}{rollout}{metric}"));
    lab.vice(&["deploy", "hello@1"]).expect(0);
    lab.vice(&["deploy", "hello@2"]).expect(6);
}

fn replay(lab: &Lab, more: &[&str]) -> Value {
    let words = [&["pride", "replay", "hello.dev.2", "--format", "json"][..], more].concat();
    lab.vice(&words).expect(0).json()
}

#[test]
fn a_rollout_is_judged_again_under_another_policy() {
    let lab = Lab::new();
    judged(&lab);
    let same = replay(&lab, &[]);
    assert_eq!(same["replayed"]["end"]["end"], "stopped");
    assert_eq!(same["replayed"]["end"], same["recorded"]["end"], "the recorded policy gives what was recorded");
    assert!(same["replayed"]["departure"].is_null(), "{same}");
    for window in same["replayed"]["windows"].as_array().expect("windows") {
        assert_eq!(window["was"], window["would_be"]);
    }
    lab.write("lax.toml", "strategy = \"ramp\"\nalpha = 1e-7\nexcess_errors_max = 100000\nerror_ratio_max = 10\n[metric.errors]\nmargin = 6\n");
    let lax = replay(&lab, &["--policy", "lax.toml"]);
    assert_ne!(lax["replayed"]["end"]["end"], "stopped", "six times worse counts as equal: {lax}");
    assert_eq!(lax["ignored"], serde_json::json!(["strategy"]));
    let strict = replay(&lab, &["--policy", "lax.toml", "--set", "metric.errors.margin=1.05", "--set", "alpha=0.4"]);
    assert_eq!(strict["replayed"]["end"]["end"], "stopped", "{strict}");
    let (first, second) = (replay(&lab, &["--policy", "lax.toml"]), replay(&lab, &["--policy", "lax.toml"]));
    assert_eq!(first, second);
    // Windows of twice the length hold twice the counts.
    let joined = replay(&lab, &["--set", "interval=600ms", "--set", "alpha=1e-9"]);
    assert_eq!(joined["replayed"]["windows"][0]["would_be"]["evidence"]["canary_seen"], 2000, "{joined}");
    let text = lab.vice(&["pride", "replay", "hello", "--policy", "lax.toml"]).expect(0).stdout;
    assert!(text.contains("would be") && text.contains("hello.dev.2"), "{text}");
}

#[test]
fn what_can_not_be_replayed_is_refused_with_a_reason() {
    let lab = Lab::new();
    judged(&lab);
    let refused = |words: &[&str], says: &str| {
        let ran = lab.vice(&[&["pride", "replay"][..], words].concat()).expect(2);
        assert!(ran.stderr.contains(says), "{words:?}: {}", ran.stderr);
    };
    refused(&["hello.dev.1"], "no readings");
    refused(&["hello.dev.77"], "no rollout");
    refused(&["hello.dev.2", "--set", "alhpa=1"], "alhpa");
    refused(&["hello.dev.2", "--set", "alpha"], "KEY=VALUE");
    refused(&["hello.dev.2", "--set", "alpha=7"], "alpha");
    refused(&["hello.dev.2", "--set", "interval=700ms"], "can't be made of");
    refused(&["hello.dev.2", "--set", "metrics=[\"latency\"]"], "not recorded");
    refused(&["hello.dev.2", "--all"], "--all");
    refused(&[], "");
    lab.vice(&["pride", "replay", "hello.dev.2", "--policy", "gone.toml"]).expect(1);
}

#[test]
fn the_whole_history_says_how_well_a_policy_tells_bad_from_good() {
    let lab = Lab::new();
    judged(&lab);
    let all = |more: &[&str]| {
        lab.vice(&[&["pride", "replay", "--all", "--format", "json"][..], more].concat()).expect(0).json()
    };
    let score = all(&[]);
    assert_eq!((&score["score"]["bad_stopped"], &score["score"]["bad_passed"]), (&1.into(), &0.into()), "{score}");
    assert_eq!(score["without_readings"], 1, "the first deploy had nothing to compare with");
    assert_eq!(score["rollouts"][0]["by_judge"], true);
    let lax = [
        "--set",
        "alpha=1e-9",
        "--set",
        "error_ratio_max=10",
        "--set",
        "metric.errors.margin=6",
        "--set",
        "excess_errors_max=1e6",
    ];
    let score = all(&lax);
    assert_eq!((&score["score"]["recall"]["k"], &score["recorded_score"]["recall"]["k"]), (&0.into(), &1.into()));
    // A hold that is released leaves it open whether the release was bad.
    lab.vice(&["pride", "hold", "release", "hello@2", "--reason", "not its fault"]).expect(0);
    assert_eq!(all(&[])["rollouts"][0]["label"], "unknown");
    let text = lab.vice(&["pride", "replay", "--all"]).expect(0).stdout;
    assert!(text.contains("too few"), "{text}");
}
