//! Deploys whose history is not in SQLite, and moving it.

use crate::lab::{Lab, hello_project};

/// A deploy, then the history elsewhere, then another deploy that goes on with it.
#[test]
fn a_history_as_json_lines_is_deployed_on_and_moved() {
    let lab = Lab::new();
    hello_project(&lab, 1);
    let toml = lab.read("vice.toml");
    lab.write("vice.toml", &format!("{toml}\n[history]\nstore = \"jsonl:.vice\"\n"));
    lab.vice(&["deploy", "hello"]).expect(0);
    assert!(lab.path(".vice/history/00000000000000000001.jsonl").exists() && !lab.path(".vice/history.db").exists());
    lab.vice(&["greed", "verify"]).expect(0);
    assert!(lab.vice(&["status"]).expect(0).stdout.contains("hello"));
    assert!(lab.vice(&["doctor"]).expect(0).stdout.contains("jsonl at"));
    let before = lab.vice(&["history", "--format", "json"]).expect(0).json();

    // Going on with another kind in the same folder would begin a second history.
    lab.write("vice.toml", &toml);
    let ran = lab.vice(&["status"]).expect(4);
    assert!(ran.stderr.contains("greed copy jsonl:"), "{}", ran.stderr);
    let ran = lab.vice(&["greed", "copy", "jsonl:.vice", "sqlite:.vice"]).expect(0);
    assert!(ran.stdout.contains("event by event"), "{}", ran.stdout);
    let after = lab.vice(&["history", "--format", "json"]).expect(0).json();
    assert_eq!(before["rollouts"], after["rollouts"]);
    lab.vice(&["deploy", "hello"]).expect(0);
    lab.vice(&["greed", "verify"]).expect(0);
}

#[test]
fn stores_that_do_not_fit_point_into_the_file() {
    let lab = Lab::new();
    hello_project(&lab, 1);
    let toml = lab.read("vice.toml");
    for (store, part) in [("kafka://broker/topic", "can't hold the history"), ("sqlit:x", "Did you mean sqlite:?")] {
        lab.write("vice.toml", &format!("{toml}\n[history]\nstore = \"{store}\"\n"));
        let ran = lab.vice(&["status"]).expect(2);
        assert!(ran.stderr.contains(part) && ran.stderr.contains("vice.toml"), "{store}: {}", ran.stderr);
    }
    lab.write("vice.toml", &format!("{toml}\n[history]\nstore = \"postgres://u:secret-canary@h/d\"\n"));
    let ran = lab.vice(&["status"]).expect(2);
    assert!(ran.stderr.contains("must not hold a password"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("canary"), "the line with the password is shown: {}", ran.stderr);
}

#[test]
fn lab_postgres_holds_a_deploy() {
    let lab = Lab::new();
    hello_project(&lab, 1);
    let Ok(url) = std::env::var("VICE_LAB_POSTGRES") else {
        panic!("VICE_LAB_POSTGRES is not set: run scripts/test, which starts the server")
    };
    let unique = lab.root().parent().and_then(|dir| dir.file_name()).expect("a name").to_string_lossy().to_lowercase();
    let unique: String = unique.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let toml = lab.read("vice.toml");
    lab.write("vice.toml", &format!("{toml}\n[history]\nstore = \"{url}?schema=cli_{unique}\"\n"));
    lab.vice(&["deploy", "hello"]).expect(0);
    lab.vice(&["greed", "verify"]).expect(0);
    assert!(lab.vice(&["doctor"]).expect(0).stdout.contains("postgres at"));
    assert!(lab.vice(&["history"]).expect(0).stdout.contains("hello"));
}
