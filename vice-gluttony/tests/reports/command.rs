//! The command line and the action.

use clap::Parser;
use serde_json::{Value, json};
use vice_core::manifest::DashboardSpec;
use vice_core::ui::{Format, Outcome};
use vice_core::{Class, Code, Fault};
use vice_gluttony::actions;
use vice_gluttony::cmd::{GluttonyArgs, run};

use crate::story::{self, Writer};
use crate::world::World;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: GluttonyArgs,
}

async fn typed(world: &World, words: &[&str]) -> Result<Outcome, Fault> {
    let cli = Cli::try_parse_from([&["gluttony"], words].concat()).unwrap();
    run(&world.app, cli.args).await
}

async fn act(world: &World, input: Value) -> Result<Value, Fault> {
    actions(&world.app)[0].run(input).await
}

#[tokio::test]
async fn without_a_rollout_it_says_how_to_make_one() {
    let world = World::new();
    let fault = typed(&world, &["report", "hello"]).await.unwrap_err();
    assert_eq!(fault.code(), Code::UnknownName);
    assert_eq!(fault.hints(), ["Run `vice deploy hello` first."]);
    let fault = typed(&world, &["report", "hello", "--env", "prod"]).await.unwrap_err();
    assert_eq!(fault.hints(), ["Run `vice deploy hello --env prod` first."]);
}

#[tokio::test]
async fn an_unknown_name_lists_projects_and_dashboards() {
    let world = World::new();
    let fault = typed(&world, &["report", "helo"]).await.unwrap_err();
    assert_eq!(fault.code(), Code::UnknownName);
    assert_eq!(fault.hints(), ["Did you mean hello?", "Known projects: hello.", "Known dashboards: overview."]);
    let fault = typed(&world, &["report", "overvew"]).await.unwrap_err();
    assert_eq!(fault.hints()[0], "Did you mean overview?");
}

#[tokio::test]
async fn a_project_wins_over_a_dashboard_of_its_name() {
    let spec = DashboardSpec { title: None, projects: vec![], panels: vec![] };
    let world = World::with_dashboards([("hello", spec)]);
    story::success(&Writer::new(&world)).await;
    let outcome = typed(&world, &["report", "hello"]).await.unwrap();
    assert_eq!(outcome.json["schema"], "vice.report.rollout/1");
    assert_eq!(outcome.class, Class::Done);
}

#[tokio::test]
async fn a_rollout_is_named_by_number_or_by_id() {
    let world = World::new();
    let writer = Writer::new(&world);
    story::success(&writer).await;
    story::rolled_back(&writer).await;
    for words in [&["report", "hello", "--rollout", "1"][..], &["report", "--rollout", "hello.dev.1"]] {
        assert_eq!(typed(&world, words).await.unwrap().json["rollout"], "hello.dev.1");
    }
    assert_eq!(typed(&world, &["report"]).await.unwrap().json["rollout"], "hello.dev.2");
    let fault = typed(&world, &["report", "hello", "--rollout", "9"]).await.unwrap_err();
    assert_eq!(fault.code(), Code::UnknownName);
    for (words, code) in [
        (&["report", "hello", "--env", "prod", "--rollout", "hello.dev.1"][..], Code::Usage),
        (&["report", "overview", "--rollout", "1"], Code::Usage),
        (&["report", "hello", "--rollout", "x"], Code::InvalidName),
    ] {
        assert_eq!(typed(&world, words).await.unwrap_err().code(), code, "{words:?}");
    }
}

#[tokio::test]
async fn dashboards_lists_the_built_in_one() {
    let world = World::new();
    let outcome = typed(&world, &["dashboards"]).await.unwrap();
    assert_eq!(outcome.json["dashboards"][0]["name"], "overview");
    assert_eq!(outcome.json["dashboards"][0]["saved"], false);
}

#[tokio::test]
async fn formats_that_a_report_does_not_have_are_refused() {
    let world = World::new();
    world.set_format(Format::Junit);
    let fault = typed(&world, &["report", "hello"]).await.unwrap_err();
    assert_eq!(fault.code(), Code::Usage);
}

#[tokio::test]
async fn the_action_writes_inside_the_project_and_nowhere_else() {
    let world = World::new();
    story::success(&Writer::new(&world)).await;
    let output = act(&world, json!({ "project": "hello", "file": "out/report.html" })).await.unwrap();
    let path = output["path"].as_str().unwrap();
    assert!(std::fs::read_to_string(path).unwrap().starts_with("<!doctype html>"));
    let output = act(&world, json!({ "dashboard": "overview", "format": "json", "file": "all.json" })).await.unwrap();
    let written = std::fs::read_to_string(output["path"].as_str().unwrap()).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&written).unwrap()["name"], "overview");

    let outside = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(outside.path(), world.folder.path().join("link")).unwrap();
    let victim = outside.path().join("victim");
    std::fs::write(&victim, "keep").unwrap();
    std::os::unix::fs::symlink(&victim, world.folder.path().join("r.html")).unwrap();
    std::os::unix::fs::symlink(&victim, world.folder.path().join("r.html.new")).unwrap();
    act(&world, json!({ "project": "hello", "file": "r.html" })).await.unwrap();
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "keep");
    for file in ["../x.html", "/etc/x.html", "link/x.html", "a/../../x.html", "", "out"] {
        let fault = act(&world, json!({ "project": "hello", "file": file })).await.unwrap_err();
        assert_eq!(fault.code(), Code::Usage, "{file:?}");
    }
    assert!(!outside.path().join("x.html").exists());
}

#[tokio::test]
async fn the_action_gives_text_without_styles() {
    let world = World::new();
    story::success(&Writer::new(&world)).await;
    let output = act(&world, json!({ "project": "hello" })).await.unwrap();
    assert_eq!(output["summary"], "The deploy of version 1 succeeded in 5.5s.");
    assert!(!output["text"].as_str().unwrap().contains('\u{1b}'));
    for input in
        [json!({ "projct": "hello" }), json!({ "project": "hello", "dashboard": "x" }), json!({ "format": "pdf" })]
    {
        assert_eq!(act(&world, input).await.unwrap_err().code(), Code::Usage);
    }
    let fault = act(&world, json!({ "dashboard": "hello" })).await.unwrap_err();
    assert_eq!(fault.code(), Code::UnknownName);
}
