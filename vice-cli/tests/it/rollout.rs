//! Real deploys of the example service on the local target.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::Value;

use crate::lab::{Lab, hello_project};

/// One request to a URL's path, on a connection of its own.
pub(crate) fn get(url: &str, path: &str) -> String {
    let address = url.strip_prefix("http://").expect("an http URL");
    let mut stream = TcpStream::connect(address).expect("the front end listens");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

fn status(lab: &Lab) -> Value {
    lab.vice(&["status", "--format", "json"]).expect(0).json()["environments"][0].clone()
}

#[test]
fn five_lines_are_enough() {
    let lab = Lab::new();
    hello_project(&lab, 1);
    let five: String = lab
        .read("vice.toml")
        .lines()
        .filter(|line| !line.starts_with("version"))
        .take(5)
        .map(|line| format!("{line}\n"))
        .collect();
    lab.write("vice.toml", &five);
    std::fs::remove_dir_all(lab.path("dist/hello-2")).expect("one version only");
    let ran = lab.vice(&["pride", "deploy", "hello", "--format", "json"]).expect(0).json();
    assert_eq!(ran["version"], "1");
    assert!(get(ran["url"].as_str().expect("a url"), "/version").contains("\"1\""));
    let mode = std::fs::metadata(lab.path(".vice")).expect("the state").permissions();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777, 0o700, "the state is its owner's business");
    assert_eq!(lab.read(".vice/.gitignore"), "*\n");
}

#[test]
fn a_good_version_is_deployed_and_a_bad_one_rolled_back() {
    let lab = Lab::new();
    hello_project(&lab, 2);
    lab.vice(&["pride", "deploy", "hello"]).expect(0);
    let state = status(&lab);
    assert_eq!((state["version"].as_str(), state["proven"].as_bool()), (Some("1"), Some(true)));
    assert_eq!(state["health"], "healthy 2/2");
    assert_eq!(state["by"], "ada");
    assert_eq!(state["drift"], Value::Array(vec![]));

    let ran = lab.vice(&["pride", "deploy", "hello@2", "--format", "json"]).expect(6);
    assert_eq!(ran.json()["outcome"], "rolled_back");
    let state = status(&lab);
    assert_eq!(state["version"], "1");
    assert_eq!(state["health"], "healthy 2/2");
    assert!(state["holds"]["2"]["reason"].as_str().is_some_and(|reason| reason.contains("failed")), "{state}");
    assert!(get(state["url"].as_str().expect("a url"), "/greet?name=Ada").contains("Hello, Ada!"));

    let ran = lab.vice(&["deploy", "hello@2"]).expect(4);
    assert!(ran.stderr.contains("on hold"), "{}", ran.stderr);
    let why = lab.vice(&["why", "hello.dev.2"]).expect(0);
    assert!(why.stdout.contains("greets") && why.stdout.contains("the same decisions follow"), "{}", why.stdout);
    lab.vice(&["pride", "hold", "release", "hello@2", "--reason", "again"]).expect(0);
    lab.vice(&["deploy", "hello@2"]).expect(6);
}

#[test]
fn the_same_version_again_changes_nothing() {
    let lab = Lab::new();
    hello_project(&lab, 2);
    lab.vice(&["deploy"]).expect(0);
    let before = status(&lab)["units"].clone();
    let ran = lab.vice(&["deploy", "--format", "json"]).expect(0).json();
    assert_eq!(ran["changed"], false);
    assert_eq!(status(&lab)["units"], before);
}

#[test]
fn plans_repeat_byte_for_byte_and_bind_the_deploy() {
    let lab = Lab::new();
    hello_project(&lab, 2);
    let one = lab.vice(&["plan", "--format", "json"]).expect(0);
    let two = lab.vice(&["plan", "--format", "json"]).expect(0);
    assert_eq!(one.stdout, two.stdout);
    lab.vice(&["plan", "--detailed-exitcode"]).expect(3);
    let hash = one.json()["hash"].as_str().expect("a hash").to_owned();
    let toml = lab.read("vice.toml");
    lab.write("vice.toml", &toml.replace("instances = 2", "instances = 3"));
    let ran = lab.vice(&["deploy", "--plan", &hash]).expect(4);
    assert!(ran.stderr.contains("refused.plan-drifted"), "{}", ran.stderr);
    lab.write("vice.toml", &toml);
    lab.vice(&["deploy", "--plan", &hash[..12]]).expect(0);
    lab.vice(&["plan", "--detailed-exitcode"]).expect(0);
}

#[test]
fn a_rollback_needs_no_argument_and_brings_the_configuration_back() {
    let lab = Lab::new();
    hello_project(&lab, 1);
    let toml = lab.read("vice.toml").replace("[check.greets]", "[config]\nlayers = [\"config.toml\"]\n[check.greets]");
    let toml = toml.replace("json = { \"/greeting\" = \"Hello, Ada!\" }", "matches = \"Ada\"");
    lab.write("vice.toml", &toml).write("config.toml", "greeting = \"Hello\"\n");
    lab.vice(&["rollback"]).expect(2);
    lab.vice(&["deploy"]).expect(0);
    lab.write("config.toml", "greeting = \"Howdy\"\n");
    lab.vice(&["deploy"]).expect(0);
    let url = status(&lab)["url"].as_str().expect("a url").to_owned();
    assert!(get(&url, "/greet?name=Ada").contains("Howdy, Ada!"));
    lab.vice(&["rollback", "hello"]).expect(0);
    assert!(get(&url, "/greet?name=Ada").contains("Hello, Ada!"), "the configuration went back with it");
}

#[test]
fn fewer_and_more_instances() {
    let lab = Lab::new();
    hello_project(&lab, 3);
    lab.vice(&["deploy"]).expect(0);
    assert_eq!(status(&lab)["health"], "healthy 3/3");
    let toml = lab.read("vice.toml").replace("instances = 3", "instances = 1");
    lab.write("vice.toml", &toml);
    lab.vice(&["deploy"]).expect(0);
    assert_eq!(status(&lab)["health"], "healthy 1/1");
    lab.write("vice.toml", &lab.read("vice.toml").replace("instances = 1", "instances = 0"));
    lab.vice(&["deploy"]).expect(0);
    let state = status(&lab);
    assert_eq!(
        (&state["health"], &state["drift"]),
        (&Value::from("-"), &Value::Array(vec![])),
        "none is what is wanted"
    );
    assert_eq!(lab.instances(), 0);
}

#[test]
fn stop_start_and_logs() {
    let lab = Lab::new();
    hello_project(&lab, 1);
    lab.vice(&["deploy"]).expect(0);
    lab.vice(&["pride", "stop"]).expect(0);
    assert_eq!(status(&lab)["health"], "stopped");
    lab.vice(&["pride", "start"]).expect(0);
    assert_eq!(status(&lab)["health"], "healthy 1/1");
    lab.vice(&["pride", "restart"]).expect(0);
    let logs = lab.vice(&["logs", "hello"]).expect(0);
    assert!(logs.stdout.lines().count() >= 2, "{}", logs.stdout);
}

#[test]
fn tasks_are_told_and_a_forbidden_way_back_asks() {
    let lab = Lab::new();
    hello_project(&lab, 1);
    let toml = format!(
        "{}[task.migrate]\ncommand = [\"sh\", \"-c\", \"echo $VICE_DIRECTION $VICE_PREVIOUS_VERSION to $VICE_VERSION >> {}\"]\nrollback = \"forbid\"\n",
        lab.read("vice.toml"),
        lab.path("told").display()
    );
    lab.vice(&["deploy"]).expect(0);
    lab.write("vice.toml", &toml);
    let ran = lab.vice(&["deploy", "hello@2", "--format", "json"]).expect(8);
    assert_eq!(ran.json()["outcome"], "waiting");
    assert_eq!(lab.read("told"), "deploy 1 to 2\n");
    lab.vice(&["deploy", "hello@1"]).expect(4);
    let ran = lab.vice(&["pride", "abort", "--force", "--reason", "the column is unused"]).expect(6);
    assert!(ran.stdout.contains("rolled back"), "{}", ran.stdout);
    assert_eq!(status(&lab)["version"], "1");
}

#[test]
fn notifications_follow_from_events() {
    let lab = Lab::new();
    hello_project(&lab, 1);
    lab.vice(&["deploy"]).expect(0);
    lab.vice(&["deploy", "hello@2"]).expect(6);
    let notices = lab.read("notices.jsonl");
    assert_eq!(notices.lines().count(), 2, "{notices}");
    lab.vice(&["tick"]).expect(0);
    assert_eq!(lab.read("notices.jsonl"), notices, "nothing is delivered twice");
}

/// A project in which both versions pass: nothing asks what the greeting says.
fn both_pass(lab: &Lab) {
    hello_project(lab, 1);
    let toml = lab.read("vice.toml").replace("json = { \"/greeting\" = \"Hello, Ada!\" }", "matches = \"greeting\"");
    lab.write("vice.toml", &toml);
}

#[test]
fn a_rollback_holds_the_version_that_is_left() {
    let lab = Lab::new();
    both_pass(&lab);
    lab.vice(&["deploy", "hello@1"]).expect(0);
    lab.vice(&["deploy", "hello@2"]).expect(0);
    lab.vice(&["rollback"]).expect(0);
    let state = status(&lab);
    assert_eq!(state["version"], "1");
    assert!(
        state["holds"]["2"]["reason"].as_str().is_some_and(|reason| reason.contains("rolled back to 1")),
        "{state}"
    );
    lab.vice(&["deploy", "hello@2"]).expect(4);
    lab.vice(&["rollback"]).expect(2);
}

#[test]
fn how_it_is_run_belongs_to_the_release() {
    let lab = Lab::new();
    both_pass(&lab);
    lab.vice(&["deploy", "hello@1"]).expect(0);
    let first = lab.read("vice.toml");
    // The same files under another command are another release.
    lab.write(
        "vice.toml",
        &first.replace("\"--port\", \"{{port}}\"]", "\"--port\", \"{{port}}\", \"--no-such-flag\"]"),
    );
    let plan = lab.vice(&["plan", "hello@1", "--detailed-exitcode"]).expect(3);
    assert!(plan.stdout.contains("another command or health"), "{}", plan.stdout);
    let ran = lab.vice(&["deploy", "hello@2"]);
    assert!(ran.status != 0, "{}", ran.stdout);
    assert_eq!(status(&lab)["version"], "1");
    assert_eq!(status(&lab)["health"], "healthy 1/1");
    // Going back takes the earlier command along, whatever vice.toml says by now.
    lab.write("vice.toml", &first);
    lab.vice(&["pride", "hold", "release", "hello@2", "--reason", "not its fault"]);
    lab.vice(&["deploy", "hello@2"]).expect(0);
    lab.write("vice.toml", &first.replace("./hello", "./gone"));
    lab.vice(&["rollback"]).expect(0);
    assert_eq!(status(&lab)["health"], "healthy 1/1");
}

#[test]
fn a_restored_history_does_not_pretend_that_something_was_done() {
    let lab = Lab::new();
    both_pass(&lab);
    let url = format!("file://{}", lab.path("backup").display());
    lab.vice(&["deploy", "hello@1"]).expect(0);
    lab.vice(&["greed", "backup", &url]).expect(0);
    lab.vice(&["deploy", "hello@2"]).expect(0);
    lab.vice(&["greed", "restore", &url, "--yes"]).expect(0);
    // The next rollout has the number of one that the target remembers, and is another one all the same.
    lab.vice(&["deploy", "hello@1"]).expect(0);
    let address = status(&lab)["url"].as_str().expect("a url").to_owned();
    assert!(get(&address, "/version").contains("\"1\""), "{}", get(&address, "/version"));
    assert_eq!(status(&lab)["drift"], Value::Array(vec![]));
}

#[test]
fn production_is_touched_only_by_name() {
    let lab = Lab::new();
    both_pass(&lab);
    let toml = lab.read("vice.toml").replace("[env.dev]", "[env.prod]\nclass = \"prod\"");
    lab.write("vice.toml", &toml);
    lab.vice(&["deploy", "hello@1", "--env", "prod", "--confirm", "prod"]).expect(0);
    for verb in ["stop", "restart", "start"] {
        let ran = lab.vice(&["pride", verb, "--env", "prod"]).expect(2);
        assert!(ran.stderr.contains("--confirm prod"), "{}", ran.stderr);
    }
    lab.vice(&["pride", "restart", "--env", "prod", "--confirm", "prod"]).expect(0);
    lab.vice(&["pride", "prune"]).expect(2);
    lab.vice(&["pride", "prune", "--yes"]).expect(0);
}
