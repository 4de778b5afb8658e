//! What goes wrong on the worst day: each has a clear error with the right exit status, and loses nothing.

use std::net::TcpListener;

use crate::lab::{Lab, hello_project};

#[test]
fn broken_toml_points_at_the_line() {
    let lab = Lab::new();
    lab.write("vice.toml", "name = \"shop\"\nartifact = [\n");
    let ran = lab.vice(&["status"]).expect(2);
    assert!(ran.stderr.contains("vice.toml") && ran.stderr.contains('2'), "{}", ran.stderr);
    let json = lab.vice(&["status", "--format", "json"]).expect(2).json();
    assert_eq!(json["error"]["place"]["file"], "vice.toml");
}

#[test]
fn an_example_in_a_hint_is_written_as_lines() {
    let lab = Lab::new();
    hello_project(&lab, 2);
    lab.write(
        "vice.toml",
        &format!("{}[env.dev.rollout]\nstrategy = \"canary\"\nbake = \"1s\"\n", lab.read("vice.toml")),
    );
    lab.write("policy.toml", "bake = \nx");
    for args in [&["plan"][..], &["pride", "simulate", "--policy", "policy.toml"]] {
        let said = lab.vice(args);
        assert!(!said.stderr.contains("\\n"), "{args:?}: {}", said.stderr);
    }
    let policy = lab.vice(&["pride", "simulate", "--policy", "policy.toml"]).expect(2);
    assert!(policy.stderr.contains("\n         |\n       2 | x\n"), "{}", policy.stderr);
}

#[test]
fn a_duration_has_a_unit() {
    let lab = Lab::new();
    hello_project(&lab, 2);
    lab.write("vice.toml", &format!("{}[env.dev.rollout]\nbake = 300\n", lab.read("vice.toml")));
    let ran = lab.vice(&["plan"]).expect(2);
    assert!(ran.stderr.contains("\"300s\"") && ran.stderr.contains("vice.toml"), "{}", ran.stderr);
}

#[test]
fn an_unknown_key_names_the_nearest() {
    let lab = Lab::new();
    lab.write("vice.toml", "name = \"shop\"\nartefact = \"x\"\n[env.dev]\n");
    let ran = lab.vice(&["plan"]).expect(2);
    assert!(ran.stderr.contains("`artifact`"), "{}", ran.stderr);
}

#[test]
fn a_missing_artifact_says_what_is_near() {
    let lab = Lab::new();
    hello_project(&lab, 1);
    let ran = lab.vice(&["deploy", "hello@3"]).expect(1);
    assert!(ran.stderr.contains("artifact.missing") && ran.stderr.contains("hello-"), "{}", ran.stderr);
    assert!(
        lab.vice(&["history", "--format", "json"]).expect(0).json()["rollouts"].as_array().is_some_and(Vec::is_empty)
    );
}

#[test]
fn an_artifact_of_the_command_line_is_not_blamed_on_the_file() {
    let lab = Lab::new();
    hello_project(&lab, 1);
    let ran = lab.vice(&["deploy", "--artifact", "dist/nope"]).expect(1);
    assert!(ran.stderr.contains("dist/nope") && !ran.stderr.contains("vice.toml:"), "{}", ran.stderr);
    let toml = lab.read("vice.toml").replace("dist/hello-", "dist/nope-");
    lab.write("vice.toml", &toml);
    assert!(lab.vice(&["deploy"]).expect(1).stderr.contains("vice.toml:"));
}

#[test]
fn without_a_project_file_the_way_to_one_is_named() {
    let lab = Lab::new();
    for args in [&["deploy"][..], &["deploy", "shop"], &["plan"], &["envy"], &["wrath"]] {
        let ran = lab.vice(args).expect(2);
        assert!(
            ran.stderr.contains("manifest.missing") && ran.stderr.contains("vice init"),
            "{args:?}: {}",
            ran.stderr
        );
    }
}

#[test]
fn a_project_file_that_is_no_file_says_what_it_is() {
    let lab = Lab::new();
    let file = lab.path("vice.toml");
    std::fs::create_dir(&file).expect("a folder");
    let ran = lab.vice(&["status"]).expect(2);
    assert!(ran.stderr.contains("vice.toml is a folder"), "{}", ran.stderr);
    std::fs::remove_dir(&file).expect("removed");
    std::os::unix::fs::symlink("vice.toml", &file).expect("a loop");
    assert!(lab.vice(&["status"]).expect(2).stderr.contains("symbolic link"));
    std::fs::remove_file(&file).expect("removed");
    let made = std::process::Command::new("mkfifo").arg(&file).status().expect("mkfifo runs");
    assert!(made.success());
    assert!(lab.vice(&["status"]).expect(2).stderr.contains("vice.toml is a pipe"));
}

#[test]
fn far_too_many_instances_are_refused() {
    let lab = Lab::new();
    hello_project(&lab, 4_000_000_000);
    let ran = lab.vice(&["plan"]).expect(2);
    assert!(ran.stderr.contains("1000 is the limit") && ran.stderr.contains("vice.toml:"), "{}", ran.stderr);
}

#[test]
fn a_doctor_looks_at_what_can_be_looked_at() {
    let lab = Lab::new();
    hello_project(&lab, 1);
    let toml = lab.read("vice.toml").replace("to = \"log\"", "to = \"lgo\"");
    lab.write("vice.toml", &toml).write(".vice", "not a folder");
    let ran = lab.vice(&["doctor"]).expect(1);
    assert!(ran.stdout.contains("✗ state:") && ran.stdout.contains("git"), "{}", ran.stdout);
    assert!(ran.stdout.contains("the channel \"lgo\", which does not exist"), "{}", ran.stdout);
    std::fs::remove_file(lab.path(".vice")).expect("removed");
    let ran = lab.vice(&["doctor"]).expect(1);
    assert!(ran.stdout.contains("✗ hello notify") && ran.stdout.contains("1 thing is broken"), "{}", ran.stdout);
    lab.write("vice.toml", "name = \"x");
    let ran = lab.vice(&["doctor"]).expect(1);
    assert!(ran.stdout.contains("✗ project") && ran.stdout.contains("vice.toml:1:"), "{}", ran.stdout);
}

#[test]
fn hostile_names_never_reach_a_shell() {
    let lab = Lab::new();
    hello_project(&lab, 1);
    for hostile in ["hello@$(touch p)", "hello@`touch p`", "hello@1;touch p", "hello@-oProxyCommand=x", "hello@../../x"]
    {
        lab.vice(&["deploy", hostile]).expect(2);
    }
    assert!(!lab.path("p").exists());
}

#[test]
fn a_port_in_use_is_named() {
    let lab = Lab::new();
    hello_project(&lab, 1);
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port();
    let toml = lab.read("vice.toml").replace("[env.dev]", &format!("[env.dev]\nport = {port}"));
    lab.write("vice.toml", &toml);
    let ran = lab.vice(&["deploy"]);
    assert!(ran.status != 0, "{}", ran.stdout);
    let said = format!("{}{}", ran.stdout, ran.stderr);
    assert!(said.contains(&port.to_string()), "{said}");
    drop(taken);
    lab.vice(&["pride", "abort"]);
    lab.vice(&["deploy"]).expect(0);
}

#[test]
fn an_instance_that_never_gets_healthy_leaves_the_old_one_alone() {
    let lab = Lab::new();
    hello_project(&lab, 2);
    lab.vice(&["deploy"]).expect(0);
    let before = lab.vice(&["status", "--format", "json"]).json()["environments"][0]["units"].clone();
    std::fs::create_dir_all(lab.path("dist/hello-3")).expect("dist");
    lab.write("dist/hello-3/hello", "#!/bin/sh\necho going down; exit 3\n");
    executable(&lab.path("dist/hello-3/hello"));
    let ran = lab.vice(&["deploy", "hello@3"]);
    assert!(ran.status == 6 || ran.status == 1, "{}\n{}", ran.stdout, ran.stderr);
    assert!(format!("{}{}", ran.stdout, ran.stderr).contains("going down"), "{}{}", ran.stdout, ran.stderr);
    let after = lab.vice(&["status", "--format", "json"]).json()["environments"][0]["units"].clone();
    assert_eq!(before, after);
}

fn executable(path: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("permissions");
}

#[test]
fn checks_that_hang_end_at_their_deadline() {
    let lab = Lab::new();
    hello_project(&lab, 1);
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = silent.local_addr().expect("an address").port();
    let toml =
        format!("{}[check.hangs]\nhttp = \"http://127.0.0.1:{port}/\"\ntimeout = \"300ms\"\n", lab.read("vice.toml"));
    lab.write("vice.toml", &toml);
    let ran = lab.vice(&["deploy"]).expect(6);
    assert!(ran.stdout.contains("rolled back"), "{}", ran.stdout);
}

#[test]
fn an_s3_that_refuses_is_an_error_with_a_hint() {
    let lab = Lab::new();
    hello_project(&lab, 1);
    lab.vice(&["deploy"]).expect(0);
    let closed = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
    let endpoint = format!("http://127.0.0.1:{closed}");
    let vars = [("AWS_ENDPOINT_URL", endpoint.as_str()), ("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b")];
    let ran = lab.vice_with(&vars, &["greed", "backup", "s3://bucket/prefix"]).expect(1);
    assert!(ran.stderr.contains("help:"), "{}", ran.stderr);
    lab.vice(&["greed", "verify"]).expect(0);
}

#[test]
fn a_read_only_state_folder_is_said_before_anything_is_done() {
    let lab = Lab::new();
    hello_project(&lab, 1);
    // Root may write anywhere, so that a file stands where the folder should be.
    lab.write(".vice", "not a folder");
    let ran = lab.vice(&["deploy"]).expect(1);
    assert!(ran.stderr.contains("state.unwritable"), "{}", ran.stderr);
}

#[test]
fn a_task_that_fails_stops_the_deploy_before_it_changes_anything() {
    let lab = Lab::new();
    hello_project(&lab, 1);
    let toml = format!(
        "{}[task.migrate]\ncommand = [\"sh\", \"-c\", \"echo no such table; exit 4\"]\n",
        lab.read("vice.toml")
    );
    lab.write("vice.toml", &toml);
    let ran = lab.vice(&["deploy"]).expect(1);
    assert!(ran.stdout.contains("no such table"), "{}", ran.stdout);
    let state = lab.vice(&["status", "--format", "json"]).json()["environments"][0].clone();
    assert!(state["version"].is_null() && state["active_rollout"].is_null(), "{state}");
}

#[test]
fn secrets_are_nowhere() {
    let lab = Lab::new();
    hello_project(&lab, 1);
    let canary = "cAnArY-7f3a9b2c";
    let toml = lab.read("vice.toml").replace("[channel.log]", "[config]\nlayers = [\"env:APP_\"]\nsecrets = [\"token\"]\n[task.leak]\ncommand = [\"sh\", \"-c\", \"echo $TOKEN; echo $TOKEN >&2\"]\n[channel.log]");
    lab.write("vice.toml", &toml);
    let vars = [("APP_TOKEN", canary)];
    for args in [
        &["envy", "hello"][..],
        &["envy", "hello", "--format", "json"],
        &["plan", "--format", "json"],
        &["deploy"],
        &["deploy", "--format", "json"],
        &["status", "--units"],
        &["report", "hello", "--format", "html"],
        &["why", "hello", "--format", "json"],
        &["greed", "log", "--format", "ndjson"],
        &["logs", "hello"],
    ] {
        let ran = lab.vice_with(&vars, args);
        assert!(!ran.stdout.contains(canary) && !ran.stderr.contains(canary), "{args:?}\n{}{}", ran.stdout, ran.stderr);
    }
    let history = std::fs::read(lab.path(".vice/history.db")).unwrap_or_default();
    let wal = std::fs::read(lab.path(".vice/history.db-wal")).unwrap_or_default();
    for bytes in [history, wal, lab.read("notices.jsonl").into_bytes()] {
        assert!(!String::from_utf8_lossy(&bytes).contains(canary));
    }
}
