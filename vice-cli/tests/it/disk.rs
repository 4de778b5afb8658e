//! The files of the history under a deploy: a disk that fills up, and a restore that comes in between.
//!
//! A limit on the size of files stands for the full disk: that needs no privilege, and at the same offset every write of
//! the history fails as it would there.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::lab::{Lab, Ran, hello, ran};

/// The service behind a small script, so that the history is the largest file that a deploy writes.
fn project(lab: &Lab) {
    for version in ["1", "2"] {
        let script = format!("#!/bin/sh\nexec '{}' \"$@\"\n", hello(version).display());
        let name = format!("app/{version}/run");
        lab.write(&name, &script);
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(lab.path(&name), executable).expect("an executable script");
    }
    lab.write(
        "vice.toml",
        r#"name     = "hello"
version  = "1"
artifact = "app/{{version}}"
command  = ["./run", "--port", "{{port}}"]
health   = "/healthz"
[env.dev]
[check.health]
http = "{{env.url}}/healthz"
"#,
    );
}

/// Runs vice with files that can't grow beyond so many blocks of 512 bytes. Such a write then fails with an error, for
/// the signal that would end the process is ignored.
fn limited(lab: &Lab, blocks: u32, args: &[&str]) -> Ran {
    let vice = lab.command(args);
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "trap '' XFSZ; ulimit -f \"$1\"; shift; exec \"$@\"", "sh", &blocks.to_string()])
        .arg(vice.get_program())
        .args(vice.get_args())
        .current_dir(lab.root())
        .env_clear()
        .envs(vice.get_envs().filter_map(|(name, value)| Some((name, value?))));
    ran(&shell.output().expect("sh runs"))
}

fn status(lab: &Lab) -> Value {
    lab.vice(&["status", "--format", "json"]).expect(0).json()["environments"][0].clone()
}

/// Where a deploy was when there was no space any more.
#[derive(Debug, PartialEq, Eq)]
enum Stopped {
    /// Nothing of it is recorded.
    Before,
    /// The rollout has begun.
    Within,
    /// The rollout has ended well; what belongs to its end, such as giving the lease back, is not recorded.
    After,
    /// There was enough space.
    Not,
}

/// Deploys version 2 over version 1 with so much space, then with enough.
fn deploy_with(blocks: u32) -> Stopped {
    let lab = Lab::new();
    project(&lab);
    lab.vice(&["deploy"]).expect(0);
    // Looking needs no space.
    let seen = limited(&lab, 1, &["status"]).expect(0);
    assert!(seen.stdout.contains("healthy 1/1"), "{}", seen.stdout);
    let full = limited(&lab, blocks, &["deploy", "hello@2"]);
    let verified = lab.vice(&["greed", "verify", "--format", "json"]).expect(0).json();
    assert_eq!(verified["sound"], true, "{blocks} blocks: {verified}");
    let left = status(&lab);
    let place = (left["active_rollout"].is_string(), left["version"].as_str());
    let unwritable = full.stderr.contains("[state.unwritable]") && full.stderr.contains("space");
    let stopped = match (full.status, place) {
        (0, (false, Some("2"))) => Stopped::Not,
        (1, (false, Some("1"))) if unwritable => Stopped::Before,
        (1, (false, Some("2"))) if unwritable => Stopped::After,
        // What an operation did could not be recorded; it says how to go on.
        (7, (true, _)) if full.stderr.contains("pride resume") => {
            let said = full.stderr.matches("Nothing can be recorded in").count();
            assert_eq!(said, 1, "{blocks} blocks: the cause is said once: {}", full.stderr);
            Stopped::Within
        }
        other => panic!("{blocks} blocks: {other:?}\n{left}\n{}{}", full.stdout, full.stderr),
    };
    if stopped != Stopped::Not {
        assert!((1..=2).contains(&lab.instances()), "{blocks} blocks: the service has not gone away");
    }
    match stopped {
        Stopped::Not => {}
        Stopped::Before | Stopped::After => drop(lab.vice(&["deploy", "hello@2"]).expect(0)),
        Stopped::Within => drop(lab.vice(&["pride", "resume"]).expect(0)),
    }
    let state = status(&lab);
    assert_eq!(state["version"], "2", "{blocks} blocks: {state}");
    assert_eq!(state["health"], "healthy 1/1", "{blocks} blocks: {state}");
    assert!(state["active_rollout"].is_null(), "{blocks} blocks: {state}");
    assert_eq!(lab.instances(), 1, "{blocks} blocks: no instance is left over");
    lab.vice(&["greed", "verify"]).expect(0);
    stopped
}

#[test]
fn a_full_disk_in_mid_deploy_corrupts_nothing() {
    assert_eq!(deploy_with(16), Stopped::Before, "8 KiB are too little to begin");
    // Some 10 KiB apart, which is less than an append takes: the limit moves through all of them.
    let stops: Vec<Stopped> =
        (64..2000).step_by(20).map(deploy_with).take_while(|stopped| *stopped != Stopped::Not).collect();
    let within = stops.iter().filter(|stopped| **stopped == Stopped::Within).count();
    assert!(within >= 10, "only {within} deploys were stopped after they had begun: {stops:?}");
    assert_eq!(deploy_with(1_000_000), Stopped::Not, "a limit that is far away does no harm");
}

#[test]
fn a_restore_waits_for_the_rollout_under_way() {
    let lab = Lab::new();
    project(&lab);
    lab.vice(&["deploy"]).expect(0);
    let backups = format!("file://{}", lab.path("backups").display());
    lab.vice(&["greed", "backup", &backups]).expect(0);
    let (begun, go_on) = (lab.path("begun"), lab.path("go-on"));
    let script = format!("echo > {}; until [ -e {} ]; do sleep 0.05; done", begun.display(), go_on.display());
    let task = format!("[task.slow]\ncommand = [\"sh\", \"-c\", \"{script}\"]\n");
    lab.write("vice.toml", &format!("{}{task}", lab.read("vice.toml")));
    let piped = || Stdio::piped();
    let deploy = lab.command(&["deploy", "hello@2"]).stdout(piped()).stderr(piped()).spawn().expect("vice");
    while !begun.exists() {
        std::thread::sleep(Duration::from_millis(10));
    }
    let refused = lab.vice(&["greed", "restore", &backups, "--yes"]);
    lab.write("go-on", "");
    let refused = refused.expect(4);
    assert!(refused.stderr.contains("hello.dev") && refused.stderr.contains("[refused.locked]"), "{}", refused.stderr);
    ran(&deploy.wait_with_output().expect("it ends")).expect(0);
    assert_eq!(status(&lab)["version"], "2");

    // Once it has ended the backup can come back, and deploying goes on from there.
    lab.vice(&["greed", "restore", &backups, "--yes"]).expect(0);
    lab.vice(&["greed", "verify"]).expect(0);
    lab.vice(&["deploy", "hello@2"]).expect(0);
    assert_eq!(status(&lab)["version"], "2");
}

#[test]
fn following_the_history_ends_as_interrupted() {
    let lab = Lab::new();
    project(&lab);
    lab.vice(&["greed", "append", "--type", "com.example.seen", "--id", "1"]).expect(0);
    let mut tail =
        lab.command(&["greed", "tail", "-f"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("vice");
    let mut line = String::new();
    BufReader::new(tail.stdout.take().expect("a pipe")).read_line(&mut line).expect("a line");
    assert!(line.contains("com.example.seen"), "{line}");
    assert!(Command::new("kill").args(["-INT", &tail.id().to_string()]).status().expect("kill").success());
    assert_eq!(tail.wait().expect("it ends").code(), Some(130));
}
