//! What nobody can tell is asked, and every answer leads somewhere: `vice pride resolve`, and a journal that a later version
//! of vice wrote.

use serde_json::Value;

use crate::doomed::{none_is_double, placed, project, runs, vice};
use crate::lab::Lab;

/// A rollout to version 2 whose driver died at a call, and whose target can't tell what it did then. Gives the operation
/// that is asked about.
fn in_doubt(point: &str) -> (Lab, String) {
    let lab = Lab::new();
    project(&lab, "", "");
    vice(&lab, &[], &["deploy", "shop@1"]).expect(0);
    assert_eq!(vice(&lab, &[("TEST_DOOM", point)], &["deploy", "shop@2"]).status, 137);
    let asked = vice(&lab, &[("TEST_VAGUE", "1")], &["pride", "resume", "shop"]).expect(7);
    assert!(asked.stderr.contains("resolve") || asked.stdout.contains("resolve"), "the next step is told: {asked:?}");
    let listed = vice(&lab, &[], &["pride", "resolve", "--format", "json"]).expect(0).json();
    let doubts = listed["in_doubt"].as_array().cloned().unwrap_or_default();
    assert_eq!(doubts.len(), 1, "{listed}");
    assert!(doubts[0]["what"].as_str().is_some_and(|what| what.contains("to version 2")), "{listed}");
    let op = doubts[0]["op"].to_string();
    (lab, op)
}

fn all_run(lab: &Lab, version: &str) {
    let units = runs(lab);
    assert!(units.len() == 3 && units.values().all(|runs| runs == version), "{units:?}");
}

#[test]
fn applied_goes_on_behind_it() {
    let (lab, op) = in_doubt("after:2");
    // Asking again does not make it happen.
    vice(&lab, &[("TEST_VAGUE", "1")], &["tick"]);
    vice(&lab, &[], &["pride", "resolve", &op]).expect(2);
    vice(&lab, &[], &["pride", "resolve", "999", "--applied"]).expect(2);
    vice(&lab, &[], &["pride", "resolve", &op, "--applied", "--reason", "it is there"]).expect(0);
    all_run(&lab, "2");
    none_is_double(&lab, "applied");
    assert!(placed(&lab, "2").values().all(|count| *count == 1), "{:?}", placed(&lab, "2"));
    let why = vice(&lab, &[], &["why", "shop"]).expect(0);
    assert!(why.stdout.contains("it is there"), "{why:?}");
}

#[test]
fn not_applied_does_it_now() {
    let (lab, op) = in_doubt("before:2");
    assert!(placed(&lab, "2").is_empty());
    vice(&lab, &[], &["pride", "resolve", &op, "--not-applied", "--reason", "nothing there"]).expect(0);
    all_run(&lab, "2");
    none_is_double(&lab, "not applied");
    assert!(placed(&lab, "2").values().all(|count| *count == 1), "{:?}", placed(&lab, "2"));
}

#[test]
fn undo_goes_back_whatever_it_did() {
    for point in ["before:2", "after:2"] {
        let (lab, op) = in_doubt(point);
        vice(&lab, &[], &["pride", "resolve", &op, "--undo", "--reason", "better not"]).expect(6);
        all_run(&lab, "1");
        none_is_double(&lab, point);
    }
}

#[test]
fn deploy_resume_goes_on_with_the_units_that_are_not_done() {
    let lab = Lab::new();
    project(&lab, "", "");
    vice(&lab, &[], &["deploy", "shop@1"]).expect(0);
    vice(&lab, &[], &["deploy", "shop", "--resume"]).expect(2);
    assert_eq!(vice(&lab, &[("TEST_DOOM", "after:3")], &["deploy", "shop@2"]).status, 137);
    let other = vice(&lab, &[], &["deploy", "shop@1", "--resume"]).expect(4);
    assert!(other.stderr.contains("to 2, not to 1"), "{other:?}");
    let done = placed(&lab, "2").len();
    assert!((1..3).contains(&done), "{done} units were done");
    vice(&lab, &[], &["deploy", "shop@2", "--resume"]).expect(0);
    all_run(&lab, "2");
    assert!(placed(&lab, "2").values().all(|count| *count == 1), "{:?}", placed(&lab, "2"));
}

/// Seconds between two events of the history, by their own times.
fn between(events: &[Value], first: impl Fn(&Value) -> bool, then: impl Fn(&Value) -> bool) -> f64 {
    let time =
        |event: &Value| event["time"].as_str().and_then(|time| time.parse::<jiff::Timestamp>().ok()).expect("a time");
    let from = events.iter().rposition(first).expect("the first event");
    let until = events[from..].iter().find(|event| then(event)).expect("the second event");
    time(until).duration_since(time(&events[from])).as_secs_f64()
}

#[test]
fn whoever_takes_up_decides_within_a_second() {
    let lab = Lab::new();
    project(&lab, "", "");
    vice(&lab, &[], &["deploy", "shop@1"]).expect(0);
    assert_eq!(vice(&lab, &[("TEST_DOOM", "during:3")], &["deploy", "shop@2"]).status, 137);
    vice(&lab, &[], &["pride", "resume", "shop"]).expect(0);
    let exported = vice(&lab, &[], &["greed", "export"]).expect(0);
    let events: Vec<Value> =
        exported.stdout.lines().map(|line| serde_json::from_str(line).expect("an event")).collect();
    let kind = |part: &'static str| move |event: &Value| event["type"].as_str().is_some_and(|kind| kind.contains(part));
    let took = between(&events, kind("lease.acquired"), kind("rollout.stepped"));
    assert!(took <= 1.0, "taking up took {took} s");
}
