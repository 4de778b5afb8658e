//! What is wrong with a graph is found before anything runs, with its place.

use vice_core::Code;

use super::fixture::graph;

/// The message, the marked text and the hints of the error that these lines have.
fn error(lines: &str) -> (String, String, Vec<String>) {
    let fault = graph(lines).unwrap_err();
    assert_eq!(fault.code(), Code::GraphInvalid, "{fault:?}");
    let place = fault.place().expect("a graph error has a place");
    (fault.chain().join(": "), place.text[place.span.clone()].to_owned(), fault.hints().to_vec())
}

const BUILD: &str =
    r#"build = { run = ["make"], out = { artifact = "dist/*.tar", n = "stdout:json:/n", log = "stdout" } }"#;

/// A build step and a second step with this content.
fn after_build(step: &str) -> (String, String, Vec<String>) {
    error(&format!("{BUILD}\nship = {{ {step} }}"))
}

#[test]
fn the_example_of_the_design_is_valid() {
    let graph = graph(&format!("{BUILD}\nship = {{ action = \"deploy\", needs = [\"build\"], with = {{ artifact = \"{{{{build.artifact}}}}\" }} }}")).unwrap();
    assert_eq!(graph.steps[1].needs[&0].iter().collect::<Vec<_>>(), ["artifact"]);
    assert_eq!(graph.layers(), [vec![0], vec![1]]);
}

#[test]
fn the_hello_example_is_valid() {
    let text = include_str!("../../../examples/hello/vice.toml");
    let section = text.split("[graph.release]").nth(1).unwrap().split("\n[").next().unwrap();
    let graph = graph(section).unwrap();
    let names: Vec<&str> = graph.layers().iter().flatten().map(|index| graph.steps[*index].name.as_str()).collect();
    assert_eq!(names, ["build", "deploy", "verify", "report"]);
}

#[test]
fn unknown_words_point_at_their_place_and_suggest_the_nearest() {
    for (step, message, marked, hint) in [
        (r#"action = "deplyo""#, "There is no action \"deplyo\".", r#"action = "deplyo""#, "Did you mean deploy?"),
        (
            r#"run = ["x"], needs = ["biuld"]"#,
            "The step ship needs a step \"biuld\", which does not exist.",
            r#"needs = ["biuld"]"#,
            "Did you mean build?",
        ),
        (
            r#"run = ["x", "{{biuld.log}}"]"#,
            "The step ship needs a step \"biuld\", which does not exist.",
            r#"run = ["x", "{{biuld.log}}"]"#,
            "Did you mean build?",
        ),
        (
            r#"action = "deploy", with = { artifact = "{{build.artefact}}" }"#,
            "The step build has no output \"artefact\", which the step ship uses.",
            r#"artifact = "{{build.artefact}}""#,
            "Did you mean artifact?",
        ),
        (
            r#"action = "deploy", with = { verison = "1" }"#,
            "The action deploy of the step ship has no input \"verison\".",
            r#"verison = "1""#,
            "Did you mean version?",
        ),
        (
            r#"run = ["x"], when = "{{build.lgo}} == 1""#,
            "The step build has no output \"lgo\", which the step ship uses.",
            r#"when = "{{build.lgo}} == 1""#,
            "Did you mean log?",
        ),
    ] {
        let (found, place, hints) = after_build(step);
        assert_eq!((found.as_str(), place.as_str(), hints[0].as_str()), (message, marked, hint), "{step}");
    }
}

#[test]
fn an_output_that_no_schema_names_is_unknown() {
    let (message, marked, hints) =
        error("a = { action = \"deploy\" }\nb = { run = [\"x\"], with = { v = \"{{a.verison}}\" } }");
    assert_eq!(message, "The step a has no output \"verison\", which the step b uses.");
    assert_eq!((marked.as_str(), hints[0].as_str()), (r#"v = "{{a.verison}}""#, "Did you mean version?"));
}

#[test]
fn inputs_are_held_to_the_schema() {
    for (step, message, marked) in [
        (
            r#"action = "backup""#,
            "The action backup of the step ship needs the input url.",
            "ship = { action = \"backup\" }",
        ),
        (
            r#"action = "backup", with = { url = 3 }"#,
            "The input url of the step ship does not fit the action backup.: 3 is not of type \"string\"",
            "url = 3",
        ),
        (
            r#"action = "report", with = { format = "pdf" }"#,
            "The input format of the step ship does not fit the action report.: \"pdf\" is not one of \"html\" or \"json\"",
            r#"format = "pdf""#,
        ),
        (
            r#"action = "verify", with = { only = "{{build.log}}" }"#,
            "The input only of the step ship does not fit the action verify.: build.log is string, and array is wanted",
            r#"only = "{{build.log}}""#,
        ),
        (
            r#"action = "backup", with = { url = "x", keep = "{{build.n}} days" }"#,
            "The input keep of the step ship does not fit the action backup.: text with references in it is string, and integer is wanted",
            r#"keep = "{{build.n}} days""#,
        ),
    ] {
        let (found, place, _) = after_build(step);
        assert_eq!((found.as_str(), place.as_str()), (message, marked), "{step}");
    }
}

#[test]
fn a_type_that_is_known_only_at_run_time_passes() {
    graph(&format!("{BUILD}\nb = {{ action = \"backup\", with = {{ url = \"x\", keep = \"{{{{build.n}}}}\" }} }}"))
        .unwrap();
}

#[test]
fn a_required_environment_names_the_flag() {
    let project = super::fixture::project("a = { action = \"x\" }");
    let source = super::Source { graph: "g", project: Some(&project), defaults: serde_json::Map::new() };
    let fault = super::build(&source, &project.manifest.graph["g"], &super::fixture::actions()).unwrap_err();
    assert!(fault.to_string().contains("no action"));
    let project = super::fixture::project("a = { action = \"verify\" }");
    let source = super::Source { graph: "g", project: Some(&project), defaults: serde_json::Map::new() };
    let fault = super::build(&source, &project.manifest.graph["g"], &super::fixture::actions()).unwrap_err();
    assert_eq!(fault.to_string(), "The action verify of the step a needs the input project.");
}

#[test]
fn cycles_are_printed_in_order() {
    let lines = "x = { run = [\"x\"] }\nc = { run = [\"c\"], needs = [\"b\"] }\na = { run = [\"a\"], needs = [\"c\", \"x\"] }\nb = { run = [\"b\", \"{{a.o}}\"] }";
    let lines = lines.replace("needs = [\"c\", \"x\"]", "needs = [\"c\", \"x\"], out = { o = \"stdout\" }");
    let (message, marked, _) = error(&lines);
    assert_eq!(message, "The graph g has a cycle: c → a → b → c.");
    assert_eq!(marked, "needs = [\"b\"]");
    assert_eq!(error("a = { run = [\"a\"], needs = [\"a\"] }").0, "The graph g has a cycle: a → a.");
}

#[test]
fn steps_that_make_no_sense_are_refused() {
    for (step, message, marked) in [
        ("retry = 1", "The step ship has nothing to do: give it `run` or `action`.", "ship = { retry = 1 }"),
        (
            r#"run = ["x"], action = "deploy""#,
            "The step ship has both `run` and `action`; give each a step of its own.",
            r#"action = "deploy""#,
        ),
        (
            r#"action = "deploy", out = { x = "stdout" }"#,
            "The step ship can't declare outputs: it is an action.",
            r#"out = { x = "stdout" }"#,
        ),
        (
            r#"run = ["x"], out = { x = "../*" }"#,
            "The output \"../*\" does not stay inside the project.",
            r#"x = "../*""#,
        ),
        (r#"run = ["x"], retry = 101"#, "The step ship has 101 retries; at most 100 are possible.", "retry = 101"),
        (r#"run = ["x"], when = "maybe""#, "`when` can't be \"maybe\".", r#"when = "maybe""#),
        (
            r#"run = ["x"], with = { vice-run = 1 }"#,
            "The step ship can't set the variable \"VICE_RUN\".",
            "vice-run = 1",
        ),
        (
            r#"run = ["x"], with = { a-b = 1, a_b = 2 }"#,
            "The inputs a-b and a_b of the step ship are both A_B.",
            "a_b = 2",
        ),
        (r#"run = ["x", "{{name}}"]"#, "{{name}} does not name an output of a step.", r#"run = ["x", "{{name}}"]"#),
        (r#"run = ["x", "{{name"]"#, "\"{{name\" opens {{ and does not close it.", r#"run = ["x", "{{name"]"#),
    ] {
        let (found, place, _) = after_build(step);
        assert_eq!((found.as_str(), place.as_str()), (message, marked), "{step}");
    }
    assert_eq!(error("\"a.b\" = { run = [\"x\"] }").0, "A step can't be named \"a.b\".");
    assert_eq!(error("\"a\\u001b[31m\" = { run = [\"x\"] }").1, "\"a\\u001b[31m\" = { run = [\"x\"] }");
}
