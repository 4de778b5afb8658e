//! The command line, from arguments to outcome.

use std::sync::Arc;

use clap::Parser;
use serde_json::json;
use vice_core::manifest::Project;
use vice_core::ui::{Format, Outcome};
use vice_core::{Class, Code, Result};

use super::{SlothArgs, run};
use crate::run::fixture::{Answer, World};

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    sloth: SlothArgs,
}

const GRAPH: &str = "build = { run = [\"make\"], out = { v = \"stdout\" } }\nship = { action = \"act\", with = { id = \"ship\", text = \"{{build.v}}\" } }";

async fn vice(world: &World, args: &[&str]) -> Result<Outcome> {
    let cli = Cli::try_parse_from(std::iter::once(&"sloth").chain(args)).unwrap();
    run(&world.app, cli.sloth).await
}

#[test]
fn the_command_line_is_consistent() {
    use clap::CommandFactory;
    Cli::command().debug_assert();
    for bad in [
        &["run"][..],
        &["run", "g", "--resume", "--env", "dev"],
        &["resume", "nonsense"],
        &["run", "g", "--parallel", "0"],
    ] {
        assert!(Cli::try_parse_from(std::iter::once(&"sloth").chain(bad)).is_err(), "{bad:?}");
    }
    assert!(Cli::try_parse_from(["sloth", "run", "g", "--resume"]).is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_run_is_told_shown_and_listed() {
    let world = World::new(GRAPH);
    world.tell("build", &[Answer::Say("7\n")]);
    let outcome = vice(&world, &["run", "g"]).await.unwrap();
    assert_eq!((outcome.class, &outcome.json["status"]), (Class::Done, &json!("succeeded")));
    assert!(outcome.text.contains("v=7") && outcome.text.contains("ok=true"), "{}", outcome.text);
    assert!(!outcome.text.contains("list=") && !outcome.text.contains("said="), "{}", outcome.text);
    assert_eq!(outcome.json["steps"]["ship"]["outputs"].get("unnamed"), None, "only what the schema names is kept");
    assert_eq!(
        vice(&world, &["show", "shop.g.1"]).await.unwrap().json["steps"]["build"]["outputs"],
        json!({ "v": "7" })
    );
    vice(&world, &["run", "g", "--env", "test"]).await.unwrap();
    let runs = vice(&world, &["runs", "g"]).await.unwrap().json;
    let ids: Vec<&str> = runs["runs"].as_array().unwrap().iter().map(|run| run["run"].as_str().unwrap()).collect();
    assert_eq!(ids, ["shop.g.2", "shop.g.1"]);
    assert_eq!(vice(&world, &["runs", "-n", "1"]).await.unwrap().json["runs"][0]["env"], json!("test"));
    let list = vice(&world, &["list"]).await.unwrap().json;
    assert_eq!((&list["graphs"][0]["latest_run"], &list["graphs"][0]["problem"]), (&json!("shop.g.2"), &json!(null)));
}

#[tokio::test(start_paused = true)]
async fn a_failure_decides_the_class_and_names_the_way_on() {
    let world = World::new(GRAPH);
    world.tell("ship", &[Answer::Fail(Code::RolledBack)]);
    let outcome = vice(&world, &["run", "g"]).await.unwrap();
    assert_eq!(outcome.class, Class::RolledBack);
    assert!(outcome.text.contains("vice sloth resume shop.g.1"), "{}", outcome.text);
    assert!(outcome.text.contains("Tell it otherwise.") && !outcome.text.contains("hunter22"));
    assert_eq!(vice(&world, &["show", "shop.g.1"]).await.unwrap().class, Class::Done);
    assert_eq!(vice(&world, &["run", "g", "--resume"]).await.unwrap().class, Class::Done);
    assert_eq!(world.acted(), ["build", "ship", "ship"]);
}

#[tokio::test(start_paused = true)]
async fn an_interruption_is_its_own_class() {
    let world = World::new(GRAPH);
    world.tell("build", &[Answer::Stop]);
    let outcome = vice(&world, &["run", "g"]).await.unwrap();
    assert_eq!((outcome.class, &outcome.json["status"]), (Class::Interrupted, &json!("parked")));
}

#[tokio::test(start_paused = true)]
async fn unknown_names_suggest_the_nearest() {
    let world = World::new(GRAPH);
    let fault = vice(&world, &["run", "gg"]).await.unwrap_err();
    assert_eq!((fault.code(), fault.hints()), (Code::UnknownName, &["Did you mean g?".to_owned()][..]));
    assert_eq!(vice(&world, &["run", "g", "--project", "shp"]).await.unwrap_err().code(), Code::UnknownName);
    assert_eq!(vice(&world, &["run", "g", "--env", "stage"]).await.unwrap_err().code(), Code::UnknownName);
    assert_eq!(vice(&world, &["run", "g", "--resume"]).await.unwrap_err().code(), Code::UnknownName);
    assert_eq!(vice(&world, &["run", "g", "--redo", "a"]).await.unwrap_err().code(), Code::Usage);
    assert!(world.acted().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_invalid_graph_runs_nothing_and_points_at_the_place() {
    let world = World::new("a = { run = [\"x\"] }\nb = { action = \"atc\" }");
    let fault = vice(&world, &["run", "g"]).await.unwrap_err();
    assert_eq!(fault.code(), Code::GraphInvalid);
    let place = fault.place().unwrap();
    assert_eq!(&place.text[place.span.clone()], "action = \"atc\"");
    assert!(world.acted().is_empty());
    let list = vice(&world, &["list"]).await.unwrap().json;
    assert_eq!(list["graphs"][0]["problem"], json!("There is no action \"atc\"."));
}

#[tokio::test(start_paused = true)]
async fn drawings_follow_the_format() {
    let world = World::new(GRAPH);
    assert!(vice(&world, &["graph", "g"]).await.unwrap().text.starts_with("g of shop: 2 steps"));
    world.set_format(Format::Mermaid);
    assert!(vice(&world, &["graph", "g"]).await.unwrap().text.starts_with("flowchart TD\n"));
    world.set_format(Format::Svg);
    assert!(vice(&world, &["graph", "g"]).await.unwrap().text.starts_with("<svg "));
    assert_eq!(vice(&world, &["list"]).await.unwrap_err().code(), Code::Usage);
    world.set_format(Format::Html);
    assert_eq!(vice(&world, &["graph", "g"]).await.unwrap_err().code(), Code::Usage);
}

#[tokio::test(start_paused = true)]
async fn a_graph_of_several_projects_is_that_of_the_folder_or_has_to_be_chosen() {
    let mut world = World::new(GRAPH);
    let mut workspace = (*world.app.workspace).clone();
    let text = "name = \"other\"\n[env.dev]\n[graph.g]\na = { run = [\"x\"] }\n[graph.alone]\na = { run = [\"x\"] }\n";
    let other = Project::parse(world.dir.path().to_owned(), "other/vice.toml".into(), text).unwrap();
    workspace.projects.insert(other.name().clone(), Arc::new(other.clone()));
    world.app.workspace = Arc::new(workspace.clone());
    let fault = vice(&world, &["graph", "g"]).await.unwrap_err();
    assert_eq!(
        (fault.code(), fault.hints()),
        (Code::Usage, &["Add --project with one of: other, shop.".to_owned()][..])
    );
    assert_eq!(vice(&world, &["graph", "alone"]).await.unwrap().json["project"], json!("other"));
    assert_eq!(vice(&world, &["graph", "g", "-p", "shop"]).await.unwrap().json["project"], json!("shop"));
    workspace.here = Some(other.name().clone());
    world.app.workspace = Arc::new(workspace);
    assert_eq!(vice(&world, &["graph", "g"]).await.unwrap().json["project"], json!("other"));
}
