//! Two at once, and SIGKILL at any moment.

use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use crate::lab::{Lab, hello_project, ran};

fn status(lab: &Lab) -> Value {
    lab.vice(&["status", "--format", "json"]).expect(0).json()["environments"][0].clone()
}

#[test]
fn two_deploys_at_once_never_interleave() {
    let lab = Lab::new();
    hello_project(&lab, 2);
    lab.vice(&["deploy"]).expect(0);
    let toml = lab.read("vice.toml").replace("\"Hello, Ada!\"", "\"Hello, undefined!\"");
    lab.write("vice.toml", &toml);
    let slow = format!(
        "{toml}[task.slow]\ncommand = [\"sh\", \"-c\", \"echo begun > {}; sleep 2\"]\n",
        lab.path("begun").display()
    );
    lab.write("vice.toml", &slow);
    let first =
        lab.command(&["deploy", "hello@2"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("vice");
    while !lab.path("begun").exists() {
        std::thread::sleep(Duration::from_millis(10));
    }
    let second = lab.vice(&["deploy", "hello@1"]).expect(4);
    assert!(second.stderr.contains("ada"), "it says who holds the lease: {}", second.stderr);
    ran(&first.wait_with_output().expect("the first ends")).expect(0);
    assert_eq!(status(&lab)["version"], "2");
}

/// Deploys version 2 over version 1 with a process that dies at `point`; gives whether it got that far. Whatever was
/// left is taken up, and has to come to a good end.
fn dies_at(point: &str) -> bool {
    let lab = Lab::new();
    hello_project(&lab, 1);
    lab.vice(&["deploy"]).expect(0);
    // Here version 2 is what is wanted, and a task says how often it ran.
    let told = lab.path("told");
    let toml = lab.read("vice.toml").replace("\"Hello, Ada!\"", "\"Hello, undefined!\"");
    let task = format!("[task.note]\ncommand = [\"sh\", \"-c\", \"echo ran >> {}\"]\n", told.display());
    lab.write("vice.toml", &format!("{toml}{task}"));
    let died = lab.vice_with(&[("VICE_TEST_CRASH", point)], &["deploy", "hello@2"]);
    if died.status != 128 + 9 {
        died.expect(0);
        return false;
    }
    if status(&lab)["active_rollout"].is_string() {
        lab.vice(&["deploy", "hello@2"]).expect(4);
        // A task that had begun and is not known to be done is in doubt: that is asked, never guessed.
        let resumed = lab.vice(&["pride", "resume"]);
        if resumed.status == 7 {
            lab.vice(&["pride", "resume", "--reason", "the task may run twice"]).expect(0);
        } else {
            resumed.expect(0);
            assert_eq!(lab.read("told"), "ran\n", "{point}");
        }
    } else {
        lab.vice(&["deploy", "hello@2"]).expect(0);
    }
    let state = status(&lab);
    assert_eq!(state["version"], "2", "{point}: {state}");
    assert_eq!(state["health"], "healthy 1/1", "{point}: {state}");
    assert_eq!(state["drift"], Value::Array(vec![]), "{point}");
    assert!(state["active_rollout"].is_null(), "{point}");
    assert_eq!(lab.instances(), 1, "{point}: no instance is left over");
    lab.vice(&["greed", "verify"]).expect(0);
    lab.vice(&["why", "hello"]).expect(0);
    // A message that the dead process had claimed is taken over once the claim has run out.
    let later = std::process::Command::new("date").args(["-u", "-d", "+5 minutes", "+%FT%TZ"]).output().expect("date");
    lab.vice_with(&[("VICE_TEST_NOW", String::from_utf8_lossy(&later.stdout).trim())], &["tick"]).expect(0);
    let notices = lab.read("notices.jsonl");
    let keys: std::collections::BTreeSet<String> = notices
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok()?.get("key").map(ToString::to_string))
        .collect();
    assert_eq!(keys.len(), 2, "{point}: each deploy is told, a repeat under the same key: {notices}");
    true
}

/// More appends than a deploy of one instance has.
const APPENDS_MAX: u32 = 60;

#[test]
fn a_kill_before_any_append_comes_to_a_good_end() {
    let reached = (1..APPENDS_MAX).take_while(|append| dies_at(&format!("before:{append}"))).count();
    assert!((10..50).contains(&reached), "{reached} appends");
}

#[test]
fn a_kill_after_any_append_comes_to_a_good_end() {
    let reached = (1..APPENDS_MAX).take_while(|append| dies_at(&format!("after:{append}"))).count();
    assert!((10..50).contains(&reached), "{reached} appends");
}

#[test]
fn an_interrupt_parks_and_resume_goes_on() {
    let lab = Lab::new();
    hello_project(&lab, 2);
    let toml = format!(
        "{}[task.slow]\ncommand = [\"sh\", \"-c\", \"echo begun > {}; sleep 1\"]\n",
        lab.read("vice.toml"),
        lab.path("begun").display()
    );
    lab.write("vice.toml", &toml);
    let deploy = lab.command(&["deploy"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("vice");
    while !lab.path("begun").exists() {
        std::thread::sleep(Duration::from_millis(10));
    }
    let pid = deploy.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().expect("kill").success());
    ran(&deploy.wait_with_output().expect("it ends")).expect(130);
    assert!(status(&lab)["active_rollout"].is_string());
    lab.vice(&["pride", "resume"]).expect(0);
    assert_eq!(status(&lab)["health"], "healthy 2/2");
}

#[test]
fn nobody_is_locked_out_when_the_artifact_is_gone() {
    let lab = Lab::new();
    hello_project(&lab, 1);
    lab.vice(&["deploy"]).expect(0);
    let died = lab.vice_with(&[("VICE_TEST_CRASH", "after:5")], &["deploy", "hello@2"]);
    assert_eq!(died.status, 137, "{}{}", died.stdout, died.stderr);
    std::fs::remove_dir_all(lab.path("dist/hello-2")).expect("the source");
    let why = lab.vice(&["why", "hello.dev.2", "--format", "json"]).json();
    let digest = why["view"]["to"]["artifact"].as_str().expect("an artifact").to_owned();
    let mut removed = 0;
    for entry in std::fs::read_dir(lab.path(".vice/artifacts")).expect("the store").flatten() {
        if entry.file_name().to_string_lossy().starts_with(&digest[..8]) {
            removed += 1;
            drop(std::process::Command::new("rm").arg("-rf").arg(entry.path()).status());
        }
    }
    assert!(removed > 0, "the store has {digest}");
    lab.vice(&["pride", "abort", "--reason", "it is gone"]);
    let state = status(&lab);
    assert!(state["active_rollout"].is_null(), "{state}");
    assert_eq!(state["version"], "1");
    assert_eq!(state["health"], "healthy 1/1");
}
