//! A disk that fills up in the middle of a deploy. A limit on the size of files stands for it: that needs no privilege,
//! and at the same offset every write of the history fails as it would there.

use std::process::Command;

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
