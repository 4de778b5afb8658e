//! `vice wrath run` and its neighbours as people type them, with the example project of scenarios.

use std::path::Path;

use crate::lab::{Lab, hello_project};

/// The service of the examples with the scenarios of `examples/scenarios`.
fn stage() -> Lab {
    let lab = Lab::new();
    hello_project(&lab, 1);
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/scenarios/wrath");
    for name in ["greet.toml", "guests.csv", "_ready.toml", "parts/_version.toml", "health.hurl"] {
        let text = std::fs::read_to_string(example.join(name)).expect("the example");
        lab.write(&format!("wrath/{name}"), &text);
    }
    lab
}

#[test]
fn scenarios_play_against_what_was_deployed() {
    let lab = stage();
    lab.vice(&["deploy", "hello@1"]).expect(0);
    lab.vice(&["wrath", "lint", "--deny-warnings"]).expect(0);
    let ran = lab.vice(&["wrath", "run", "--report", "html=r.html", "--format", "junit", "-o", "r.xml"]).expect(0);
    assert_eq!(ran.stdout, "");
    assert!(lab.read("r.xml").contains("<testsuite ") && lab.read("r.html").contains("</html>"));
    let json = lab.vice(&["wrath", "run", "--tag", "smoke", "--format", "json"]).expect(0).json();
    assert_eq!((&json["passed"], &json["failed"], &json["version"]), (&2.into(), &0.into(), &"1".into()));
    lab.write("wrath/wrong.toml", "[[step]]\nname = \"teapot\"\nhttp = \"/healthz\"\nexpect.status = 418\n");
    let ran = lab.vice(&["wrath", "run", "wrong"]).expect(5);
    assert!(ran.stdout.contains("status: expected 418, got 200"), "{}", ran.stdout);
    let url = "http://127.0.0.1:1";
    lab.vice(&["wrath", "run", "wrath/health.hurl", "--url", url]).expect(1);
    lab.vice(&["wrath", "import", &format!("curl {url}/healthz"), "-o", "wrath/made.toml"]).expect(0);
    lab.vice(&["wrath", "lint", "wrath/made.toml"]).expect(0);
    let watched = lab.vice(&["wrath", "watch", "greet", "--every", "200ms", "--for", "1s"]);
    watched.expect(2);
    lab.vice(&["wrath", "watch", "Guests are greeted", "--every", "200ms", "--for", "1s"]).expect(0);
}

#[test]
fn a_scenario_takes_a_bad_version_back() {
    let lab = stage();
    let toml = lab.read("vice.toml");
    let (head, rest) = toml.split_once("[check.greets]").expect("the check");
    let (_, tail) = rest.split_once("[channel.log]").expect("the channel");
    lab.write("vice.toml", &format!("{head}[check.story]\nscenario = \"wrath/greet.toml\"\n[channel.log]{tail}"));
    lab.vice(&["deploy", "hello@1"]).expect(0);
    let ran = lab.vice(&["deploy", "hello@2"]).expect(6);
    let said = format!("{}{}", ran.stdout, ran.stderr);
    assert!(said.contains("story") && said.contains("greet"), "{said}");
}
