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
    let within = status(&lab)["active_rollout"].is_string();
    let stopped = match full.status {
        0 => Stopped::Not,
        // 1: failed; 7: what an operation did could not be recorded.
        1 | 7 => {
            assert!(full.stderr.contains("[state.unwritable]"), "{blocks} blocks: {}", full.stderr);
            assert!(full.stderr.contains("space"), "it says what to do: {}", full.stderr);
            assert_eq!(full.stderr.matches("can be recorded in").count().max(1), 1, "said once: {}", full.stderr);
            if within { Stopped::Within } else { Stopped::Before }
        }
        other => panic!("{blocks} blocks: status {other}\n{}{}", full.stdout, full.stderr),
    };
    if stopped != Stopped::Not {
        assert!((1..=2).contains(&lab.instances()), "{blocks} blocks: the service has not gone away");
    }
    match stopped {
        Stopped::Not => {}
        Stopped::Before => drop(lab.vice(&["deploy", "hello@2"]).expect(0)),
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
    let within = [200, 400, 600, 800].into_iter().filter(|blocks| deploy_with(*blocks) == Stopped::Within).count();
    assert!(within >= 2, "only {within} deploys were stopped after they had begun");
    assert_eq!(deploy_with(1_000_000), Stopped::Not, "a limit that is far away does no harm");
}
