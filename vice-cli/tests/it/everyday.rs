//! The interface as it is written in the README, typed exactly so.

use serde_json::Value;

use crate::lab::{Lab, hello_project};

#[test]
fn the_seven_commands() {
    let lab = Lab::new();
    hello_project(&lab, 1);
    let graph = "[graph.release]\nship = { action = \"deploy\" }\nprove = { action = \"verify\", needs = [\"ship\"] }\nsay = { run = [\"echo\", \"{{ship.version}}\"], out = { said = \"stdout\" } }\n";
    let toml =
        lab.read("vice.toml").replace("[channel.log]", "[config]\nlayers = [\"config/{{env}}.toml\"]\n[channel.log]");
    lab.write("vice.toml", &format!("{toml}{graph}")).write("config/dev.toml", "greeting = \"Hello\"\n");

    let ran = lab.vice(&["envy", "--env", "dev", "hello"]).expect(0);
    assert!(ran.stdout.contains("greeting"), "{}", ran.stdout);
    for format in ["env", "json", "toml", "yaml"] {
        assert!(lab.vice(&["envy", "--env", "dev", "hello", "--format", format]).expect(0).stdout.contains("Hello"));
    }
    lab.vice(&["pride", "deploy", "hello"]).expect(0);
    lab.vice(&["wrath", "hello"]).expect(0);
    lab.vice(&["wrath", "hello", "--format", "junit", "-o", "junit.xml"]).expect(0);
    assert!(lab.read("junit.xml").contains("<testsuite"));
    let ran = lab.vice(&["gluttony", "report", "hello"]).expect(0);
    assert!(ran.stdout.contains("hello.dev.1"), "{}", ran.stdout);
    lab.vice(&["gluttony", "report", "hello", "--format", "html", "-o", "report.html"]).expect(0);
    assert!(lab.read("report.html").contains("</html>"));
    lab.vice(&["gluttony", "report", "hello", "--format", "markdown"]).expect(0);
    assert!(lab.vice(&["gluttony", "report", "overview"]).expect(0).stdout.contains("hello"));
    lab.vice(&["lust", "hello", "-m", "Everything's looking good, guys"]).expect(0);
    let url = format!("file://{}", lab.path("backup").display());
    lab.vice(&["greed", "backup", &url]).expect(0);
    let ran = lab.vice(&["sloth", "run", "release"]).expect(0);
    assert!(ran.stdout.contains("ship"), "{}", ran.stdout);
    assert!(lab.vice(&["status"]).expect(0).stdout.contains("hello"));
    lab.vice(&["greed", "verify"]).expect(0);

    let before = lab.vice(&["history", "--format", "json"]).expect(0).json();
    lab.vice(&["greed", "restore", &url, "--yes"]).expect(0);
    let after = lab.vice(&["history", "--format", "json"]).expect(0).json();
    assert_eq!(before["rollouts"], after["rollouts"]);
}

#[test]
fn the_plain_names_mean_the_same() {
    let lab = Lab::new();
    hello_project(&lab, 1);
    lab.vice(&["deploy", "hello"]).expect(0);
    for args in [
        &["plan", "hello"][..],
        &["verify", "hello"],
        &["config", "hello"],
        &["notify", "hello", "-m", "hi"],
        &["report", "hello"],
        &["history", "hello"],
        &["logs", "hello"],
        &["events", "log"],
        &["why", "hello"],
    ] {
        lab.vice(args).expect(0);
    }
}

#[test]
fn init_then_plan() {
    let lab = Lab::new();
    lab.write("index.html", "<h1>hi</h1>");
    let ran = lab.vice(&["init", "--name", "site"]).expect(0);
    assert!(ran.stdout.contains("vice deploy"), "{}", ran.stdout);
    let ran = lab.vice(&["init", "--name", "site"]).expect(2);
    assert!(ran.stderr.contains("--print"), "{}", ran.stderr);
    lab.vice(&["plan"]).expect(0);
}

#[test]
fn doctor_says_what_to_do() {
    let lab = Lab::new();
    let ran = lab.vice(&["doctor"]).expect(0);
    assert!(ran.stdout.contains("vice init"), "{}", ran.stdout);
    hello_project(&lab, 1);
    let ran = lab.vice(&["doctor", "--format", "json"]).expect(0).json();
    let findings = ran["findings"].as_array().cloned().unwrap_or_default();
    assert!(findings.iter().any(|finding| finding["what"] == "hello/dev"), "{findings:?}");
    let toml = lab.read("vice.toml").replace("[env.dev]", "[env.dev]\ntarget = { kind = \"locall\" }");
    lab.write("vice.toml", &toml);
    let ran = lab.vice(&["doctor"]).expect(1);
    assert!(ran.stdout.contains("Did you mean"), "{}", ran.stdout);
}

#[test]
fn a_failing_check_exits_5() {
    let lab = Lab::new();
    hello_project(&lab, 1);
    lab.vice(&["deploy"]).expect(0);
    let toml = lab.read("vice.toml").replace("Hello, Ada!", "Hello, Bob!");
    lab.write("vice.toml", &toml);
    let ran = lab.vice(&["wrath", "hello"]).expect(5);
    assert!(ran.stdout.contains("greets"), "{}", ran.stdout);
    let ran = lab.vice(&["wrath", "hello", "--format", "json"]).expect(5);
    let value: Value = ran.json();
    assert!(value.to_string().contains("greets"));
}

#[test]
fn a_tampered_history_is_noticed_by_why_and_verify() {
    let lab = Lab::new();
    hello_project(&lab, 1);
    lab.vice(&["deploy"]).expect(0);
    lab.vice(&["why", "hello.dev.1"]).expect(0);
    let db = lab.path(".vice/history.db");
    let bytes = std::fs::read(&db).expect("the history");
    // The WAL may hold everything; fold it into the file first by asking for a backup of ourselves.
    let wal = lab.path(".vice/history.db-wal");
    let mut changed = 0;
    for path in [db, wal] {
        let Ok(mut bytes) = std::fs::read(&path) else { continue };
        let needle = b"\"passed\":2";
        let places: Vec<usize> =
            bytes.windows(needle.len()).enumerate().filter(|(_, w)| w == needle).map(|(i, _)| i).collect();
        for place in places {
            bytes[place + needle.len() - 1] = b'3';
            changed += 1;
        }
        std::fs::write(&path, bytes).expect("written");
    }
    assert!(changed > 0, "the evidence is in the history ({} bytes)", bytes.len());
    lab.vice(&["greed", "verify"]).expect(1);
    lab.vice(&["why", "hello.dev.1"]).expect(1);
}
