//! The contract of the command line: where things are printed, in which shape, and with which exit status.

use serde_json::Value;

use crate::lab::{Lab, Ran, hello_project, ran};

const FIVE_LINES: &str = "name = \"shop\"\nartifact = \"dist\"\ncommand = [\"./run\"]\nhealth = \"/\"\n[env.dev]\n";

#[test]
fn json_is_one_document_also_on_failure() {
    let lab = Lab::new();
    let ran = lab.vice(&["status", "--format", "json"]).expect(0);
    assert_eq!(ran.json()["environments"], Value::Array(vec![]));
    lab.write("vice.toml", FIVE_LINES);
    let ran = lab.vice(&["status", "nope", "--format", "json"]).expect(2);
    let error = &ran.json()["error"];
    assert_eq!(ran.json()["ok"], false);
    assert_eq!(error["code"], "name.unknown");
    assert!(error["help"].as_array().is_some_and(|help| !help.is_empty()));
    assert!(ran.stdout.ends_with('\n') && !ran.stdout.trim_end().is_empty());
}

#[test]
fn usage_errors_are_json_too_when_json_is_asked_for() {
    let lab = Lab::new();
    let ran = lab.vice(&["status", "--no-such-flag", "--format", "json"]).expect(2);
    assert_eq!(ran.json()["error"]["code"], "usage");
    lab.vice(&["status", "--no-such-flag"]).expect(2);
}

#[test]
fn a_missing_command_lists_those_that_are_offered() {
    let lab = Lab::new();
    let error = lab.vice(&["--format", "json"]).expect(2).json()["error"].clone();
    assert_eq!((&error["code"], &error["message"]), (&"usage".into(), &"A command is needed.".into()));
    let listed = error["details"]["commands"].as_array().expect("a list").clone();
    assert!(listed.contains(&"deploy".into()) && !listed.contains(&"agent".into()), "{listed:?}");
    assert!(!lab.vice(&["--quiet"]).expect(2).stderr.contains("agent"));
}

#[test]
fn a_variable_that_is_empty_is_unset() {
    let lab = Lab::new();
    for name in ["VICE_FORMAT", "VICE_DIRECTORY", "VICE_QUIET", "VICE_COLOR", "VICE_ACTOR", "VICE_STRICT"] {
        let ran = lab.vice_with(&[(name, "")], &["status"]).expect(0);
        assert_eq!(ran.stderr, "", "{name}");
    }
}

#[test]
fn a_format_that_is_not_offered_is_refused_before_anything_is_done() {
    let lab = Lab::new();
    hello_project(&lab, 1);
    for args in [&["deploy"][..], &["pride", "deploy"], &["greed", "log"], &["init", "--name", "x"], &["version"]] {
        let args: Vec<&str> = args.iter().copied().chain(["--format", "junit"]).collect();
        let ran = lab.vice(&args).expect(2);
        assert!(ran.stderr.contains("no junit format") && ran.stdout.is_empty(), "{args:?}: {}", ran.stderr);
    }
    assert!(!lab.path(".vice").exists());
    lab.vice(&["sloth", "list", "--format", "html"]).expect(2);
}

#[test]
fn a_document_is_written_as_it_is() {
    let lab = Lab::new();
    lab.write("vice.toml", &format!("{FIVE_LINES}config = {{ greeting = \"a\\u001b[31mb\" }}\n"));
    let ran = lab.vice(&["envy", "shop", "--format", "json"]).expect(0);
    let value = ran.json().to_string();
    for args in [&["--format", "toml"][..], &["--format", "toml", "-o", "out.toml"]] {
        let args: Vec<&str> = ["envy", "shop"].into_iter().chain(args.iter().copied()).collect();
        let ran = lab.vice(&args).expect(0);
        let document = if ran.stdout.is_empty() { lab.read("out.toml") } else { ran.stdout };
        assert!(document.contains("[31mb"), "{document:?}, where JSON has {value}");
    }
}

#[test]
fn a_result_that_is_not_good_says_so_itself() {
    let lab = Lab::new();
    hello_project(&lab, 1);
    assert!(lab.vice(&["deploy", "--format", "json"]).expect(0).json()["exit_status"].is_null());
    let toml = lab.read("vice.toml").replace("Hello, Ada!", "Bye");
    lab.write("vice.toml", &toml);
    let ran = lab.vice(&["wrath", "--format", "json"]).expect(5);
    assert_eq!((&ran.json()["ok"], &ran.json()["exit_status"]), (&false.into(), &5.into()), "{}", ran.stdout);
}

#[test]
fn what_the_output_leads_to_is_not_replaced() {
    let lab = Lab::new();
    lab.write("vice.toml", FIVE_LINES).write("real", "old");
    std::os::unix::fs::symlink("real", lab.path("link")).expect("a link");
    lab.vice(&["status", "-o", "link"]).expect(0);
    assert!(lab.path("link").is_symlink() && lab.read("real").contains("shop"));
    assert!(lab.vice(&["status", "-o", "/dev/stdout"]).expect(0).stdout.contains("shop"));
    let ran = lab.vice(&["status", "-o", "."]).expect(2);
    assert!(ran.stderr.contains("is a folder"), "{}", ran.stderr);
}

#[test]
fn ndjson_lines_parse_alone_and_the_last_is_the_result() {
    let lab = Lab::new();
    lab.write("vice.toml", FIVE_LINES);
    for (args, status) in [(vec!["greed", "log"], 0), (vec!["status"], 0), (vec!["status", "nope"], 2)] {
        let args: Vec<&str> = args.into_iter().chain(["--format", "ndjson"]).collect();
        let ran = lab.vice(&args).expect(status);
        let lines: Vec<Value> = ran.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!(lines.last().expect("a line")["type"], "result");
    }
}

#[test]
fn without_a_terminal_nothing_moves_and_nothing_is_coloured() {
    let lab = Lab::new();
    hello_project(&lab, 1);
    let ran = lab.vice(&["deploy"]).expect(0);
    for text in [&ran.stdout, &ran.stderr] {
        assert!(!text.contains('\u{1b}') && !text.contains('\r'), "{text:?}");
    }
    assert!(ran.stderr.contains("unit 1"), "progress is still told: {}", ran.stderr);
    let ran = lab.vice(&["status", "--color", "always"]).expect(0);
    assert!(ran.stdout.contains('\u{1b}'));
    let ran = lab.vice_with(&[("NO_COLOR", "1")], &["status"]).expect(0);
    assert!(!ran.stdout.contains('\u{1b}'));
}

#[test]
fn quiet_says_only_the_result() {
    let lab = Lab::new();
    hello_project(&lab, 1);
    let ran = lab.vice(&["deploy", "--quiet"]).expect(0);
    assert_eq!(ran.stderr, "");
    assert!(ran.stdout.contains("runs 1"), "{}", ran.stdout);
}

#[test]
fn the_result_goes_where_it_is_sent() {
    let lab = Lab::new();
    lab.write("vice.toml", FIVE_LINES);
    let ran = lab.vice(&["status", "--format", "json", "-o", "out.json"]).expect(0);
    assert_eq!(ran.stdout, "");
    let value: Value = serde_json::from_str(&lab.read("out.json")).expect("JSON");
    assert_eq!(value["environments"][0]["project"], "shop");
    lab.vice(&["status", "-o", "no/such/folder/out"]).expect(1);
}

#[test]
fn the_format_can_come_from_the_environment_and_flags_win() {
    let lab = Lab::new();
    lab.write("vice.toml", FIVE_LINES);
    let ran = lab.vice_with(&[("VICE_FORMAT", "json")], &["status"]).expect(0);
    ran.json();
    let ran = lab.vice_with(&[("VICE_FORMAT", "json")], &["status", "--format", "text"]).expect(0);
    assert!(ran.stdout.starts_with("PROJECT"), "{}", ran.stdout);
}

#[test]
fn unknown_variables_are_warned_of_and_refused_when_strict() {
    let lab = Lab::new();
    let ran = lab.vice_with(&[("VICE_FROMAT", "json")], &["status"]).expect(0);
    assert!(ran.stderr.contains("VICE_FROMAT"), "{}", ran.stderr);
    let ran = lab.vice_with(&[("VICE_FROMAT", "json")], &["status", "--strict"]).expect(2);
    assert!(ran.stderr.contains("VICE_FORMAT"), "{}", ran.stderr);
}

#[test]
fn what_works_offline_works_in_an_empty_folder() {
    let lab = Lab::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(lab.vice(&["completions", shell]).expect(0).stdout.contains("vice"));
    }
    lab.vice(&["man", "--out", "man"]).expect(0);
    assert!(lab.read("man/vice.1").contains(".TH"));
    let schema = lab.vice(&["schema"]).expect(0).json();
    assert!(schema["properties"]["artifact"].is_object());
    let version = lab.vice(&["version", "--format", "json"]).expect(0).json();
    assert!(version["sqlite"].as_str().is_some_and(|sqlite| sqlite.starts_with("3.")));
    assert!(lab.vice(&["help", "exit-codes"]).expect(0).stdout.contains("rollout.rolled-back"));
    for topic in ["topics", "variables"] {
        assert!(lab.vice(&["help", topic]).expect(0).stdout.contains("MEANING"));
    }
    assert!(lab.vice(&["help", "pride", "deploy"]).expect(0).stdout.contains("--confirm"));
    assert!(!lab.path(".vice").exists(), "asking for help leaves nothing behind");
}

#[test]
fn every_command_has_help_with_an_example() {
    let lab = Lab::new();
    for command in [
        "pride",
        "deploy",
        "plan",
        "rollback",
        "status",
        "history",
        "logs",
        "why",
        "report",
        "init",
        "doctor",
        "tick",
        "completions",
        "man",
        "schema",
        "version",
    ] {
        let ran = lab.vice(&[command, "--help"]).expect(0);
        assert!(ran.stdout.contains("Example"), "{command}: {}", ran.stdout);
    }
}

#[test]
fn an_unknown_command_is_looked_for_on_the_path() {
    let lab = Lab::new();
    let ran = lab.vice(&["deplyo"]).expect(2);
    assert!(ran.stderr.contains("vice deploy"), "{}", ran.stderr);
    lab.write("bin/vice-foo", "#!/bin/sh\necho \"foo $1\"\nexit 7\n");
    let path = format!("{}:/usr/bin:/bin", lab.path("bin").display());
    set_executable(&lab.path("bin/vice-foo"));
    let ran = lab.vice_with(&[("PATH", &path)], &["foo", "bar"]).expect(7);
    assert_eq!(ran.stdout, "foo bar\n");
}

fn set_executable(path: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("permissions");
}

#[test]
fn events_say_who_asked_and_how_that_is_known() {
    let lab = Lab::new();
    hello_project(&lab, 1);
    lab.vice(&["deploy", "--actor", "grace"]).expect(0);
    let ran =
        lab.vice(&["greed", "log", "--type", "dev.cdeventsx.vice-rollout.started*", "--format", "ndjson"]).expect(0);
    let event: Value = serde_json::from_str(ran.stdout.lines().next().expect("an event")).expect("JSON");
    assert_eq!(event["viceonbehalfof"], "grace", "{event}");
    assert_eq!(event["viceactor"], "ada");
    let ran = lab.vice(&["status"]).expect(0);
    assert!(ran.stdout.contains("grace (through ada)"), "{}", ran.stdout);
}

#[test]
fn nobody_is_asked_without_a_terminal() {
    let lab = Lab::new();
    hello_project(&lab, 1);
    let toml = lab.read("vice.toml").replace("[env.dev]", "[env.prod]\nclass = \"prod\"");
    lab.write("vice.toml", &toml);
    let ran = lab.vice(&["deploy"]).expect(2);
    assert!(ran.stderr.contains("--env"), "{}", ran.stderr);
    let ran = lab.vice(&["deploy", "--env", "prod"]).expect(2);
    assert!(ran.stderr.contains("hello@VERSION"), "{}", ran.stderr);
    let ran = lab.vice(&["deploy", "hello@1", "--env", "prod"]).expect(2);
    assert!(ran.stderr.contains("--confirm prod"), "{}", ran.stderr);
    lab.vice(&["deploy", "hello@1", "--env", "prod", "--confirm", "dev"]).expect(2);
    lab.vice(&["deploy", "hello@1", "--env", "prod", "--confirm", "prod"]).expect(0);
}

/// What a command says when its standard output is a disk without space.
fn to_full_disk(lab: &Lab, args: &[&str]) -> Ran {
    let full = std::fs::File::options().write(true).open("/dev/full").expect("Linux has it");
    ran(&lab.command(args).stdout(full).output().expect("vice runs"))
}

#[test]
fn output_that_can_t_be_written_is_a_failure() {
    let lab = Lab::new();
    hello_project(&lab, 1);
    lab.write("new.txt", "50/1000\n").write("old.txt", "5/1000\n");
    let judge = ["pride", "judge", "--canary", "new.txt", "--baseline", "old.txt"];
    for args in [&["plan"][..], &["schema"], &["version"], &["status"], &["--help"], &["--version"], &["help"], &judge]
    {
        for format in [&[][..], &["--format", "json"], &["--format", "ndjson"]] {
            let ran = to_full_disk(&lab, &[args, format].concat()).expect(1);
            let told = ["could not be written", "No space left", "[io]"].iter().all(|part| ran.stderr.contains(part));
            assert!(told, "{args:?}: {}", ran.stderr);
        }
    }
    // Lines of a running result are part of it.
    lab.vice(&["greed", "append", "--type", "com.example.seen", "--id", "1"]).expect(0);
    assert!(to_full_disk(&lab, &["greed", "log", "--format", "ndjson"]).expect(1).stderr.contains("[io]"));
    // Where the status says that somebody has to look, that is not hidden.
    lab.write("new.txt", "0/1000\n").write("old.txt", "0/1000\n");
    assert!(to_full_disk(&lab, &judge).expect(7).stderr.contains("could not be written"));
    assert_eq!(to_full_disk(&lab, &["status", "--no-such-flag"]).status, 2, "what does not fit is on standard error");
}

#[test]
fn a_reader_who_goes_away_has_seen_enough() {
    let lab = Lab::new();
    lab.write("vice.toml", FIVE_LINES);
    for args in [&["schema"][..], &["status"], &["--help"]] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let ran = ran(&lab.command(args).stdout(writer).output().expect("vice runs")).expect(0);
        assert_eq!(ran.stderr, "", "{args:?}");
    }
}
