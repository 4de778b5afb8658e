//! Programs of somebody else as targets, from the command line.

use crate::doomed::{placed, project, runs, vice};
use crate::lab::Lab;

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
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/plugin-target/vice-backend-folder"),
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

#[test]
fn a_kind_that_nobody_has_says_how_to_make_one() {
    let lab = Lab::new();
    project(&lab, "", "");
    let toml = lab.read("vice.toml").replace("\"doomed\"", "\"nowhere\"");
    lab.write("vice.toml", &toml);
    let ran = vice(&lab, &[], &["deploy", "shop@1"]).expect(2);
    assert!(ran.stderr.contains("vice-backend-nowhere"), "{ran:?}");
}
