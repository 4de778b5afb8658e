//! A deploy while another rollout is under way: `rollout.supersede`, with two processes, and kills in between.

use std::process::{Child, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::lab::{Lab, Ran, hello_project, ran};

fn status(lab: &Lab) -> Value {
    lab.vice(&["status", "--format", "json"]).expect(0).json()["environments"][0].clone()
}

/// Version 1 runs; both versions pass; a task takes `seconds` and says that it has begun.
fn slow(lab: &Lab, supersede: &str, seconds: u32) {
    hello_project(lab, 1);
    let toml = lab.read("vice.toml").replace("json = { \"/greeting\" = \"Hello, Ada!\" }", "matches = \"greeting\"");
    lab.write("vice.toml", &toml);
    lab.vice(&["deploy", "hello@1"]).expect(0);
    let third = lab.path("dist/hello-3");
    std::fs::create_dir_all(&third).expect("dist");
    std::fs::copy(lab.path("dist/hello-1/hello"), third.join("hello")).expect("a third version");
    let task = format!(
        "[task.slow]\ncommand = [\"sh\", \"-c\", \"echo begun >> {}; sleep {seconds}\"]\n",
        lab.path("begun").display()
    );
    let rollout = format!("[env.dev.rollout]\nsupersede = \"{supersede}\"\n[check.health]");
    lab.write("vice.toml", &format!("{}{task}", toml.replacen("[check.health]", &rollout, 1)));
}

/// A deploy in the background that has begun its slow task.
fn begun(lab: &Lab, version: &str) -> Child {
    let mut command = lab.command(&["deploy", version]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("vice");
    while !lab.path("begun").exists() {
        std::thread::sleep(Duration::from_millis(10));
    }
    child
}

fn ended(child: Child) -> Ran {
    ran(&child.wait_with_output().expect("it ends"))
}

#[test]
fn the_newest_in_the_queue_begins_when_the_other_is_over() {
    let lab = Lab::new();
    slow(&lab, "queue", 2);
    let first = begun(&lab, "hello@2");
    let older = lab.vice(&["deploy", "hello@1", "--format", "json"]).expect(8).json();
    assert_eq!((&older["rollout"], &older["waits_for"]), (&"hello.dev.3".into(), &"hello.dev.2".into()));
    let newer = lab.vice(&["deploy", "hello@3", "--reason", "now"]).expect(8);
    assert!(newer.stdout.contains("hello.dev.4"), "{}", newer.stdout);
    let same = lab.vice(&["deploy", "hello@2"]).expect(4);
    assert!(same.stderr.contains("already goes to 2"), "{}", same.stderr);
    let first = ended(first).expect(0);
    assert!(first.stdout.contains("hello.dev.4, which had waited: succeeded"), "{}", first.stdout);
    assert_eq!(status(&lab)["version"], "3");
    let why = lab.vice(&["why", "hello.dev.3"]).expect(0);
    assert!(why.stdout.contains("hello.dev.4 was asked for later"), "{}", why.stdout);
    let report = lab.vice(&["report", "hello"]).expect(0).stdout;
    assert!(report.contains("predicted"), "what waited has a forecast too: {report}");
    lab.vice(&["greed", "verify"]).expect(0);
}

#[test]
fn replacing_takes_the_other_back_and_goes_in_its_place() {
    let lab = Lab::new();
    slow(&lab, "replace", 2);
    let first = begun(&lab, "hello@2");
    let second = lab.vice(&["deploy", "hello@3", "--format", "json"]).expect(0);
    assert_eq!(second.json()["rollout"], "hello.dev.3");
    ended(first).expect(6);
    let report = lab.vice(&["report", "hello"]).expect(0).stdout;
    assert!(report.contains("predicted"), "{report}");
    let state = status(&lab);
    assert_eq!(
        (&state["version"], &state["active_rollout"], &state["queued_rollout"]),
        (&"3".into(), &Value::Null, &Value::Null)
    );
    // Whoever was only in the way is not blamed.
    assert!(state["holds"]["2"].is_null(), "{state}");
}

#[test]
fn a_killed_driver_is_taken_up_by_whoever_replaces_it() {
    let lab = Lab::new();
    slow(&lab, "replace", 1);
    let mut first = begun(&lab, "hello@2");
    first.kill().expect("a kill");
    first.wait().expect("an end");
    // What became of the task can't be told: that is asked, and what waits keeps its place.
    lab.vice(&["deploy", "hello@3"]).expect(7);
    assert_eq!(status(&lab)["queued_rollout"], "hello.dev.3");
    let aborted = lab.vice(&["pride", "abort"]).expect(6);
    assert!(aborted.stdout.contains("hello.dev.3, which had waited: succeeded"), "{}", aborted.stdout);
    assert_eq!(status(&lab)["version"], "3");
}

#[test]
fn a_killed_replacer_has_asked_for_good() {
    let lab = Lab::new();
    slow(&lab, "replace", 2);
    let first = begun(&lab, "hello@2");
    let mut second =
        lab.command(&["deploy", "hello@3"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("vice");
    while status(&lab)["queued_rollout"].is_null() {
        std::thread::sleep(Duration::from_millis(10));
    }
    // It may die before it has told the other to go back; what waits begins after the other in any case.
    second.kill().expect("a kill");
    second.wait().expect("an end");
    ended(first);
    assert_eq!(status(&lab)["version"], "3");
    assert!(status(&lab)["queued_rollout"].is_null());
}

#[test]
fn a_tick_begins_what_waits_and_a_hold_is_respected_by_every_trigger() {
    let lab = Lab::new();
    slow(&lab, "queue", 2);
    let held = |version: &str| {
        lab.vice(&["pride", "hold", "place", version, "--reason", "no"]).expect(0);
    };
    let mut first = begun(&lab, "hello@2");
    held("hello@1");
    let refused = lab.vice(&["deploy", "hello@1"]).expect(4);
    assert!(refused.stderr.contains("on hold"), "a held version can't even wait: {}", refused.stderr);
    lab.vice(&["deploy", "hello@3"]).expect(8);
    let shown = lab.vice(&["status"]).expect(0).stdout;
    assert!(shown.contains("hello.dev.3 waits for its turn with version 3"), "{shown}");
    let said = lab.vice(&["pride", "hold", "place", "hello@2", "--reason", "late"]).expect(0).stdout;
    assert!(said.contains("hello.dev.2 is rolling it out now") && said.contains("vice pride abort hello"), "{said}");
    first.kill().expect("a kill");
    first.wait().expect("an end");
    held("hello@3");
    // The rollout that died is in doubt; it is left where it is, and then it is the turn of what waits.
    lab.vice(&["pride", "abandon", "--reason", "left"]);
    let state = status(&lab);
    assert!(state["queued_rollout"].is_null() && state["active_rollout"].is_null(), "{state}");
    let why = lab.vice(&["why", "hello.dev.3"]).expect(0);
    assert!(why.stdout.contains("dropped") && why.stdout.contains("on hold"), "{}", why.stdout);
    assert_ne!(state["version"], "3");
    lab.vice(&["tick"]).expect(0);
    assert_ne!(status(&lab)["version"], "3", "nothing brings a held version back");
}

/// The driver dies after one of its last appends, so that nobody begins what waits.
#[test]
fn a_tick_begins_what_a_dead_driver_has_left_in_the_queue() {
    let found = (8..26).any(|append| {
        let lab = Lab::new();
        slow(&lab, "queue", 1);
        let mut command = lab.command(&["deploy", "hello@2"]);
        command.env("VICE_TEST_CRASH", format!("after:{append}")).stdout(Stdio::null()).stderr(Stdio::null());
        let mut first = command.spawn().expect("vice");
        while !lab.path("begun").exists() && first.try_wait().expect("a status").is_none() {
            std::thread::sleep(Duration::from_millis(10));
        }
        lab.vice(&["deploy", "hello@3"]);
        first.wait().expect("an end");
        let state = status(&lab);
        if !state["active_rollout"].is_null() || state["queued_rollout"].is_null() {
            return false;
        }
        let ticked = lab.vice(&["tick"]).expect(0);
        assert!(ticked.stdout.contains("hello.dev.3: succeeded"), "{append}: {}", ticked.stdout);
        assert_eq!(status(&lab)["version"], "3");
        true
    });
    assert!(found, "no append after which the rollout is over and what waits has not begun");
}

#[test]
fn a_rollback_neither_waits_nor_replaces_and_says_what_to_do() {
    for supersede in ["queue", "replace", "reject"] {
        let lab = Lab::new();
        slow(&lab, supersede, 1);
        let first = begun(&lab, "hello@2");
        let refused = lab.vice(&["rollback", "hello"]).expect(4);
        assert!(refused.stderr.contains("vice pride abort hello --env dev"), "{supersede}: {}", refused.stderr);
        assert!(refused.stderr.contains("neither waits"), "{supersede}: {}", refused.stderr);
        ended(first).expect(0);
    }
}

/// Not damage, and nobody is locked out: the way on is said, and the rollout can be left where it is.
#[test]
fn a_rollout_that_another_version_of_vice_began_says_so_and_can_be_left() {
    let lab = Lab::new();
    slow(&lab, "reject", 1);
    let mut first = begun(&lab, "hello@2");
    first.kill().expect("a kill");
    first.wait().expect("an end");
    let history = rusqlite::Connection::open(lab.path(".vice/history.db")).expect("the history");
    let other = "DROP TRIGGER events_update; UPDATE events SET data = replace(data, '\"planner\":', '\"planner\":1')";
    history.execute_batch(other).expect("an update");
    drop(history);
    let resumed = lab.vice(&["pride", "resume"]);
    assert!(resumed.status != 0 && resumed.stderr.contains("another version of vice"), "{}", resumed.stderr);
    assert!(resumed.stderr.contains("vice pride abandon hello --env dev"), "{}", resumed.stderr);
    let ticked = lab.vice(&["tick"]).expect(0);
    assert!(ticked.stdout.contains("another version of vice"), "{}", ticked.stdout);
    // No unit was touched yet, so that what ran before still runs.
    lab.vice(&["pride", "abandon", "--reason", "the other version is gone"]).expect(1);
    assert!(status(&lab)["active_rollout"].is_null());
}

#[test]
fn a_plan_is_not_agreed_to_while_another_rollout_is_under_way() {
    let lab = Lab::new();
    slow(&lab, "queue", 1);
    let first = begun(&lab, "hello@2");
    let ran = lab.vice(&["deploy", "hello@3", "--plan", "0123456789ab"]).expect(4);
    assert!(ran.stderr.contains("refused.plan-drifted"), "{}", ran.stderr);
    ended(first).expect(0);
    assert_eq!(status(&lab)["version"], "2");
}

#[test]
fn a_plan_says_how_it_will_go_and_the_report_how_it_went() {
    let lab = Lab::new();
    hello_project(&lab, 4);
    let plan = lab.vice(&["plan", "--format", "json"]).expect(0);
    let forecast = &plan.json()["forecast"];
    assert!(forecast["total_ms"]["p50"].as_f64().is_some_and(|time| time > 0.0), "{forecast}");
    assert_eq!(forecast["waves"].as_array().map(Vec::len), Some(4));
    assert!(forecast["assumed"].as_u64().is_some_and(|assumed| assumed > 0));
    assert_eq!(lab.vice(&["plan", "--format", "json"]).expect(0).stdout, plan.stdout);
    let text = lab.vice(&["plan"]).expect(0).stdout;
    assert!(text.contains("Forecast:") && text.contains("assumed"), "{text}");
    lab.vice(&["deploy"]).expect(0);
    let report = lab.vice(&["report", "hello"]).expect(0).stdout;
    assert!(report.contains("predicted"), "{report}");
}
