//! Another configuration for processes that go on, by the built binary: rollouts of the configuration alone, those that a
//! service does not take up, and the way back.

use std::collections::BTreeMap;
use std::path::Path;

use crate::lab::Lab;
use crate::rollout::get;

/// A project with two instances of the service that is told in this way.
fn project(reload: &str, flags: &str) -> Lab {
    let lab = Lab::new();
    let service = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/reloading_service.py");
    std::fs::create_dir_all(lab.path("dist")).expect("dist");
    std::fs::copy(service, lab.path("dist/serve.py")).expect("the service");
    lab.write(
        "vice.toml",
        &format!(
            "name = \"shop\"\nversion = \"1\"\nartifact = \"dist\"\n\
             command = [\"python3\", \"serve.py\", \"--port\", \"{{{{port}}}}\", \"--unit\", \"{{{{unit}}}}\"{flags}]\n\
             health = {{ path = \"/healthz\", ready_timeout = \"3s\" }}\n[env.dev]\ninstances = 2\n\
             [config]\nlayers = [\"config/dev.toml\"]\nsecrets = [\"token\"]\n[config.reload]\n{reload}\n"
        ),
    );
    lab.write("config/dev.toml", "greeting = \"hello\"\ntoken = \"hunter22-canary\"\n");
    lab.vice(&["deploy"]).expect(0);
    lab
}

fn greet(lab: &Lab, greeting: &str) {
    lab.write("config/dev.toml", &format!("greeting = {greeting:?}\ntoken = \"hunter22-canary\"\n"));
}

/// What each unit says of itself: its greeting and its process.
fn units(lab: &Lab) -> BTreeMap<String, (String, String)> {
    let status = lab.vice(&["status", "--format", "json"]).expect(0).json()["environments"][0].clone();
    assert_eq!(status["drift"], serde_json::json!([]), "{status}");
    let units = status["units"].as_array().expect("units").clone();
    let told = |unit: &serde_json::Value| {
        let text = |field: &str| unit[field].as_str().expect("a text").to_owned();
        let answer = get(&text("url"), "/config");
        let words: Vec<&str> = answer.lines().last().expect("a body").split(' ').collect();
        assert_eq!(words[2], "hunter22-canary", "the secret came along");
        (text("name"), (words[1].to_owned(), words[3].to_owned()))
    };
    units.iter().map(told).collect()
}

fn all_greet(units: &BTreeMap<String, (String, String)>, greeting: &str) -> bool {
    units.len() == 2 && units.values().all(|(seen, _)| seen == greeting)
}

/// Forward, three configurations that do not do, and back.
fn there_and_back(reload: &str, flags: &str) {
    let lab = project(reload, flags);
    let first = units(&lab);
    assert!(all_greet(&first, "hello"), "{first:?}");

    greet(&lab, "salut");
    let plan = lab.vice(&["plan"]).expect(0);
    assert!(plan.stdout.contains("reloaded in place"), "{}", plan.stdout);
    lab.vice(&["deploy"]).expect(0);
    let second = units(&lab);
    assert!(all_greet(&second, "salut"), "{second:?}");
    let pids =
        |units: &BTreeMap<String, (String, String)>| units.values().map(|(_, pid)| pid.clone()).collect::<Vec<_>>();
    assert_eq!(pids(&second), pids(&first), "{reload}: no process was replaced");

    // The first unit does not take it, so that nothing is changed; or the second does not, and the first gives it back.
    let bad = [("refused", 1, true), ("sick", 1, true), ("refused-2", 6, true), ("deadly", 1, false)];
    for (bad, status, survives) in bad {
        greet(&lab, bad);
        let deploy = lab.vice(&["deploy"]).expect(status);
        assert!(!deploy.stdout.contains("hunter22") && !deploy.stderr.contains("hunter22"));
        let after = units(&lab);
        assert!(all_greet(&after, "salut"), "{reload} {bad}: {after:?}");
        let replaced = pids(&after).iter().filter(|pid| !pids(&second).contains(pid)).count();
        assert_eq!(replaced == 0, survives, "{reload} {bad}: {replaced} processes are new");
        let why = lab.vice(&["why"]).expect(0);
        assert!(why.stdout.contains("did not take up its new configuration"), "{bad}: {}", why.stdout);
    }

    let before = pids(&units(&lab));
    greet(&lab, "salut");
    let back = lab.vice(&["envy", "rollback"]).expect(0);
    let last = units(&lab);
    assert!(all_greet(&last, "hello"), "{last:?} {}", back.stdout);
    assert_eq!(pids(&last), before, "{reload}: going back replaces no process either");
}

#[test]
fn by_a_signal() {
    there_and_back("by = \"signal\"\nconfirm = \"/config\"", "");
}

#[test]
fn by_a_request() {
    there_and_back("by = \"http\"\npath = \"/reload\"\nconfirm = \"/config\"", "");
}

#[test]
fn by_its_file() {
    there_and_back("by = \"file\"\nconfirm = \"/config\"", ", \"--watch\"");
}

#[test]
fn what_really_runs_is_told_beside_what_is_deployed() {
    let lab = project("by = \"signal\"\nconfirm = \"/config\"", "");
    let told =
        || lab.vice(&["envy", "diff", "dev", "--deployed", "--format", "json"]).expect(0).json()["running"].clone();
    let states = |told: &serde_json::Value| {
        let units = told["units"].as_array().expect("units").clone();
        units.iter().map(|unit| unit["state"].as_str().expect("a state").to_owned()).collect::<Vec<_>>()
    };
    let before = told();
    assert_eq!(
        (before["source"].as_str(), states(&before)),
        (Some("target"), vec!["recorded".into(), "recorded".into()])
    );
    // Somebody changes the file that one of them reads.
    let live = std::fs::read_dir(lab.path(".vice/local/shop/dev/live")).expect("files").flatten();
    let file = live.map(|entry| entry.path()).next().expect("a file");
    let text = std::fs::read_to_string(&file).expect("a text");
    std::fs::write(&file, text.replace("hello", "tampered")).expect("the file");
    let mut after = states(&told());
    after.sort();
    assert_eq!(after, ["drifted", "recorded"]);
    let text = lab.vice(&["envy", "diff", "dev", "--deployed"]).expect(0).stdout;
    assert!(text.contains("same configuration") && text.contains("1 of 2 units have it in use"), "{text}");
    assert!(text.contains("has another in use than it was given") && !text.contains("hunter22"), "{text}");
}
