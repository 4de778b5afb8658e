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
    let slow = format!("{toml}[task.slow]\ncommand = [\"sh\", \"-c\", \"echo begun > {}; sleep 2\"]\n", lab.path("begun").display());
    lab.write("vice.toml", &slow);
    let first = lab.command(&["deploy", "hello@2"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("vice");
    while !lab.path("begun").exists() {
        std::thread::sleep(Duration::from_millis(10));
    }
    let second = lab.vice(&["deploy", "hello@1"]).expect(4);
    assert!(second.stderr.contains("ada"), "it says who holds the lease: {}", second.stderr);
    ran(first.wait_with_output().expect("the first ends")).expect(0);
    assert_eq!(status(&lab)["version"], "2");
}

/// Kills a deploy after `delay`, resumes it, and checks that it comes to a good end.
fn kill_after(delay: Duration) {
    let lab = Lab::new();
    hello_project(&lab, 2);
    lab.vice(&["deploy"]).expect(0);
    // Here version 2 is what is wanted.
    let toml = lab.read("vice.toml").replace("\"Hello, Ada!\"", "\"Hello, undefined!\"");
    lab.write("vice.toml", &toml);
    let mut deploy = lab.command(&["deploy", "hello@2"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("vice");
    std::thread::sleep(delay);
    drop(deploy.kill());
    drop(deploy.wait());
    if status(&lab)["active_rollout"].is_string() {
        lab.vice(&["deploy", "hello@2"]).expect(4);
        lab.vice(&["pride", "resume"]).expect(0);
    } else {
        lab.vice(&["deploy", "hello@2"]).expect(0);
    }
    let state = status(&lab);
    assert_eq!(state["version"], "2", "after {delay:?}: {state}");
    assert_eq!(state["health"], "healthy 2/2", "after {delay:?}: {state}");
    assert_eq!(state["drift"], Value::Array(vec![]), "after {delay:?}");
    assert!(state["active_rollout"].is_null());
    lab.vice(&["greed", "verify"]).expect(0);
    lab.vice(&["why", "hello"]).expect(0);
}

#[test]
fn kill_early() {
    for millis in [5, 20, 40] {
        kill_after(Duration::from_millis(millis));
    }
}

#[test]
fn kill_in_the_middle() {
    for millis in [70, 110, 160] {
        kill_after(Duration::from_millis(millis));
    }
}

#[test]
fn kill_late() {
    for millis in [220, 300, 450] {
        kill_after(Duration::from_millis(millis));
    }
}

#[test]
fn an_interrupt_parks_and_resume_goes_on() {
    let lab = Lab::new();
    hello_project(&lab, 2);
    let toml = format!("{}[task.slow]\ncommand = [\"sh\", \"-c\", \"echo begun > {}; sleep 1\"]\n", lab.read("vice.toml"), lab.path("begun").display());
    lab.write("vice.toml", &toml);
    let deploy = lab.command(&["deploy"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("vice");
    while !lab.path("begun").exists() {
        std::thread::sleep(Duration::from_millis(10));
    }
    let pid = deploy.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().expect("kill").success());
    ran(deploy.wait_with_output().expect("it ends")).expect(130);
    assert!(status(&lab)["active_rollout"].is_string());
    lab.vice(&["pride", "resume"]).expect(0);
    assert_eq!(status(&lab)["health"], "healthy 2/2");
}
