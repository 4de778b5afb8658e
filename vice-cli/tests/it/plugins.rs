//! Programs of somebody else as targets, stores, notifiers and sources of configuration, from the command line.

use std::path::Path;

use crate::doomed::{placed, project, runs, vice};
use crate::lab::{Lab, hello_project};

#[test]
fn the_example_is_listed_tested_and_deployed_to() {
    let lab = Lab::new();
    project(&lab, "", "");
    let listed = vice(&lab, &[], &["plugin", "list", "--format", "json"]).expect(0).json();
    let found = listed["plugins"].as_array().expect("a list").iter().find(|found| found["name"] == "doomed");
    assert_eq!(found.expect("it is on PATH")["used"], true);
    let tested = vice(&lab, &[("FOLDER_TARGET", "")], &["plugin", "test", "doomed"]).expect(0);
    assert!(tested.stdout.contains("keeps every rule"), "{tested:?}");
    vice(&lab, &[], &["deploy", "shop@1"]).expect(0);
    vice(&lab, &[], &["deploy", "shop@2"]).expect(0);
    assert!(runs(&lab).values().all(|version| version == "2"), "{:?}", runs(&lab));
    assert_eq!(placed(&lab, "2").len(), 3);
    let status = vice(&lab, &[], &["status", "--format", "json"]).expect(0).json();
    assert_eq!(status["environments"][0]["version"], "2", "{status}");
}

#[test]
fn one_that_breaks_a_rule_is_told_which() {
    use std::os::unix::fs::PermissionsExt;
    let lab = Lab::new();
    project(&lab, "", "");
    let example = std::fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/plugin-target/vice-backend-folder"),
    )
    .expect("the example");
    // It forgets which operations were done.
    let forgetful = example.replace("self.state[\"done\"][op] = True", "pass");
    assert_ne!(forgetful, example);
    let file = lab.path("bin/vice-backend-forgetful");
    std::fs::write(&file, forgetful).expect("the plug-in");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).expect("a mode");
    let tested = vice(&lab, &[("FOLDER_TARGET", "")], &["plugin", "test", "forgetful"]).expect(5);
    assert!(tested.stdout.contains("breaks a rule") && !tested.stderr.contains("panicked"), "{tested:?}");
    let missing = vice(&lab, &[], &["plugin", "test", "nobody"]).expect(2);
    assert!(missing.stderr.contains("vice plugin list"), "{missing:?}");
}

/// Whoever changes a program on PATH after it was locked has it refused: as a target, as a command, and in the list.
#[test]
fn what_was_locked_and_has_changed_is_not_started() {
    use std::os::unix::fs::PermissionsExt;
    let lab = Lab::new();
    project(&lab, "", "");
    let command = lab.path("bin/vice-greet");
    std::fs::write(&command, "#!/bin/sh\necho hello\n").expect("a command");
    std::fs::set_permissions(&command, std::fs::Permissions::from_mode(0o755)).expect("a mode");
    let locked = vice(&lab, &[], &["plugin", "lock", "doomed"]).expect(0);
    assert!(locked.stdout.contains("vice-backend-doomed is locked as"), "{locked:?}");
    vice(&lab, &[], &["deploy", "shop@1"]).expect(0);
    let refused = vice(&lab, &[], &["greet"]).expect(2);
    assert!(refused.stderr.contains("is not in") && !refused.stdout.contains("hello"), "{refused:?}");
    assert!(vice(&lab, &[], &["plugin", "lock", "greet"]).expect(0).stdout.contains("vice-greet"));
    assert_eq!(vice(&lab, &[], &["greet"]).expect(0).stdout, "hello\n");

    let program = lab.path("bin/vice-backend-doomed");
    let text = std::fs::read_to_string(&program).expect("the plug-in");
    std::fs::write(&program, format!("{text}\n# one more line\n")).expect("a change");
    let refused = vice(&lab, &[], &["deploy", "shop@2"]).expect(2);
    assert!(
        refused.stderr.contains("is not the one") && refused.stderr.contains("vice plugin lock doomed"),
        "{refused:?}"
    );
    assert!(runs(&lab).values().all(|version| version == "1"), "{:?}", runs(&lab));
    let listed = vice(&lab, &[], &["plugin", "list"]).expect(0);
    assert!(listed.stdout.contains("vice-plugins.lock does not have it like this"), "{listed:?}");
    vice(&lab, &[], &["plugin", "lock", "doomed"]).expect(0);
    vice(&lab, &[], &["deploy", "shop@2"]).expect(0);
    assert!(vice(&lab, &[], &["plugin", "lock", "nobody"]).expect(2).stderr.contains("vice plugin list"));
}

#[test]
fn a_kind_that_nobody_has_says_how_to_make_one() {
    let lab = Lab::new();
    project(&lab, "", "");
    let toml = lab.read("vice.toml").replace("\"doomed\"", "\"nowhere\"");
    lab.write("vice.toml", &toml);
    let ran = vice(&lab, &[], &["deploy", "shop@1"]).expect(2);
    assert!(ran.stderr.contains("vice-backend-nowhere"), "{ran:?}");
}

/// Puts an example, with one thing about it changed, on `PATH`.
fn put(lab: &Lab, example: &str, from: &str, to: &str) {
    use std::os::unix::fs::PermissionsExt;
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(example);
    let text = std::fs::read_to_string(&file).expect("the example");
    assert!(text.contains(from), "{from}");
    let bin = lab.path("bin");
    std::fs::create_dir_all(&bin).expect("a folder");
    let program = bin.join(file.file_name().expect("a name"));
    std::fs::write(&program, text.replace(from, to)).expect("the plug-in");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("a mode");
}

const EXAMPLES: [(&str, &str, &str); 4] = [
    ("plugin-store/vice-backend-drawer", "drawer", "of a store"),
    ("plugin-notifier/vice-backend-noticeboard", "noticeboard", "of a notifier"),
    ("plugin-config/vice-backend-cupboard", "cupboard", "of a source of configuration"),
    ("plugin-metric/vice-backend-tally", "tally", "of a source of metrics"),
];

#[test]
fn the_examples_of_every_port_keep_its_rules() {
    let lab = Lab::new();
    for (example, name, port) in EXAMPLES {
        put(&lab, example, "", "");
        let tested = vice(&lab, &[], &["plugin", "test", name]).expect(0);
        assert_eq!(tested.stdout, format!("The plug-in {name} keeps every rule {port}.\n"));
    }
}

#[test]
fn what_breaks_a_rule_of_any_port_is_told_which() {
    for (example, from, to, rule) in [
        (
            0,
            "            return False\n        finally",
            "            return True\n        finally",
            "is not made again",
        ),
        (1, "if any(line[\"key\"]", "if False and any(line[\"key\"]", "sends a key once"),
        (2, "if path in TEST else None", "if path in TEST else {}", "what is not there is null"),
        (3, "== \"some\" else None", "== \"some\" else {\"total\": 0, \"bad\": 0}", "null, and not zero"),
    ] {
        let lab = Lab::new();
        let (example, name, port) = EXAMPLES[example];
        put(&lab, example, from, to);
        let tested = vice(&lab, &[], &["plugin", "test", name]).expect(5);
        let told = tested.stdout.contains(&format!("breaks a rule {port}")) && tested.stdout.contains(rule);
        assert!(told && !tested.stderr.contains("panicked"), "{tested:?}");
    }
    let lab = Lab::new();
    put(&lab, EXAMPLES[0].0, "\"port\": \"store\"", "\"port\": \"oven\"");
    let tested = vice(&lab, &[], &["plugin", "test", "drawer"]).expect(2);
    assert!(tested.stderr.contains("\"oven\"") && tested.stderr.contains("notifier"), "{tested:?}");
}

/// A deploy whose history, configuration and notification are programs.
#[test]
fn one_project_lives_on_programs() {
    let lab = Lab::new();
    project(
        &lab,
        "history = { store = \"drawer:kept\" }",
        "[config]\nlayers = [\"plugin:cupboard/{{env}}\"]\n[channel.board]\nkind = \"noticeboard\"\n[[notify]]\non = [\"deployed\"]\nto = \"board\"\n",
    );
    for (example, ..) in EXAMPLES {
        put(&lab, example, "", "");
    }
    lab.write("cupboard/dev.json", "{\"greeting\": \"hello\"}");
    vice(&lab, &[], &["deploy", "shop@1"]).expect(0);
    assert!(lab.path("kept/00000000000000000001.jsonl").exists() && !lab.path(".vice/history.db").exists());
    let board = lab.read("noticeboard.jsonl");
    assert!(board.lines().count() == 1 && board.contains("shop"), "{board}");
    let shown = vice(&lab, &[], &["envy", "shop", "--format", "json"]).expect(0);
    assert!(shown.stdout.contains("hello"), "{shown:?}");
    vice(&lab, &[], &["greed", "verify"]).expect(0);
    let doctor = vice(&lab, &[], &["doctor"]).expect(0);
    assert!(doctor.stdout.contains("plug-in at drawer:kept"), "{doctor:?}");
    // The other way: what is there is carried over, event by event.
    let copied = vice(&lab, &[], &["greed", "copy", "drawer:kept", "drawer:again"]).expect(0);
    assert!(copied.stdout.contains("event by event"), "{copied:?}");
}

#[test]
fn a_program_that_anybody_could_replace_is_not_started() {
    use std::os::unix::fs::PermissionsExt;
    let lab = Lab::new();
    hello_project(&lab, 1);
    put(&lab, EXAMPLES[0].0, "", "");
    let toml = lab.read("vice.toml");
    lab.write("vice.toml", &format!("{toml}\n[history]\nstore = \"drawer:kept\"\n"));
    std::fs::set_permissions(lab.path("bin"), std::fs::Permissions::from_mode(0o777)).expect("a mode");
    let ran = vice(&lab, &[], &["status"]).expect(2);
    assert!(ran.stderr.contains("can be replaced by anybody") && ran.stderr.contains("vice.toml"), "{ran:?}");
    std::fs::remove_file(lab.path("bin/vice-backend-drawer")).expect("it is there");
    let ran = vice(&lab, &[], &["status"]).expect(2);
    assert!(ran.stderr.contains("vice-backend-drawer") && ran.stderr.contains("vice.toml"), "{ran:?}");
}
