//! Data on the edges, retries, time limits, conditions, failures and interruptions.

use serde_json::json;
use vice_core::id::EnvName;
use vice_core::{Class, Code};

use super::super::fixture::{Answer, World};
use super::{begin, first, go_on, output, statuses};
use crate::journal::view::{RunStatus, StepStatus};
use crate::run::{Doubt, resume, start};

#[tokio::test(start_paused = true)]
async fn data_flows_along_the_edges_with_its_types() {
    let world = World::new(
        r#"
        build = { run = ["make"], out = { n = "stdout:json:/n", all = "stdout" } }
        ship = { action = "act", with = { id = "ship", count = "{{build.n}}", text = "n={{build.n}}" } }
        tell = { run = ["say", "{{ship.said}}", "{{ship.list}}"], with = { the-list = "{{ship.list}}", ok = "{{ship.ok}}" } }
        "#,
    );
    world.tell("build", &[Answer::Say("{\"n\": 3}\n")]);
    world.tell("ship", &[Answer::Say("a {{build.n}} $(rm -rf /)")]);
    let view = begin(&world).await.unwrap();
    assert_eq!(view.status, RunStatus::Succeeded, "{view:?}");
    let expected = json!({ "id": "ship", "count": 3, "text": "n=3", "project": "shop", "env": "dev" });
    assert_eq!(world.input("ship"), expected);
    let tell = world.input("tell");
    assert_eq!(tell["argv"], json!(["say", "a {{build.n}} $(rm -rf /)", "[1,\"two\"]"]));
    assert_eq!((&tell["env"]["THE_LIST"], &tell["env"]["OK"]), (&json!("[1,\"two\"]"), &json!("true")));
    assert_eq!(output(&view, "build", "n"), &json!(3));
}

#[tokio::test(start_paused = true)]
async fn commands_are_told_where_they_are_and_no_secret() {
    let world = World::new("a = { run = [\"x\"] }");
    let env = EnvName::new("test").unwrap();
    start(&world.app, &world.project(), "g", Some(&env), 1).await.unwrap();
    let told = json!({ "VICE_PROJECT": "shop", "VICE_GRAPH": "g", "VICE_STEP": "a", "VICE_RUN": "shop.g.1", "VICE_ENV": "test" });
    assert_eq!(world.input("a")["env"], told);
    assert_eq!(start(&world.app, &world.project(), "g", None, 1).await.unwrap().run.to_string(), "shop.g.2");
}

#[tokio::test(start_paused = true)]
async fn a_file_flows_as_its_path() {
    let world = World::new(
        r#"
        build = { run = ["make"], out = { artifact = "dist/*.tar" } }
        ship = { action = "act", with = { id = "ship", text = "{{build.artifact}}" } }
        "#,
    );
    let failed = begin(&world).await.unwrap();
    assert_eq!(failed.status, RunStatus::Failed, "no file matches");
    std::fs::create_dir(world.dir.path().join("dist")).unwrap();
    std::fs::write(world.dir.path().join("dist/shop-1.tar"), "x").unwrap();
    assert_eq!(go_on(&world).await.unwrap().status, RunStatus::Succeeded);
    assert_eq!(world.input("ship")["text"], json!("dist/shop-1.tar"));
}

#[tokio::test(start_paused = true)]
async fn secrets_are_masked_in_outputs_errors_and_lines() {
    let world = World::new(
        r#"
        a = { action = "act", with = { id = "a" } }
        b = { action = "act", needs = ["a"], with = { id = "b", text = "{{a.said}}" } }
        "#,
    );
    world.tell("a", &[Answer::Say("token hunter22")]);
    world.tell("b", &[Answer::Fail(Code::Backend)]);
    let view = begin(&world).await.unwrap();
    assert_eq!(output(&view, "a", "said"), &json!("token «secret:token»"));
    assert_eq!(world.input("b")["text"], json!("token «secret:token»"));
    let events = vice_core::store::EventStore::read(&*world.store, &vice_core::store::Query::default()).await.unwrap();
    let lines = world.script.lock().unwrap().lines.join("\n");
    assert!(events.len() >= 6 && events.iter().all(|recorded| !recorded.event.data.contains("hunter22")));
    assert!(lines.contains("step/a") && !lines.contains("hunter22"), "{lines}");
}

#[tokio::test(start_paused = true)]
async fn outputs_that_are_too_large_fail_only_when_they_are_used() {
    let long: &'static str = Box::leak("x".repeat(70_000).into_boxed_str());
    let world = World::new("a = { run = [\"x\"], out = { all = \"stdout\" } }");
    world.tell("a", &[Answer::Say(long)]);
    let view = begin(&world).await.unwrap();
    assert_eq!((view.status, view.steps["a"].outputs.len()), (RunStatus::Succeeded, 0));
    let world = World::new("a = { run = [\"x\"], out = { all = \"stdout\" } }\nb = { run = [\"x\", \"{{a.all}}\"] }");
    world.tell("a", &[Answer::Say(long)]);
    let view = begin(&world).await.unwrap();
    assert_eq!(statuses(&view), [("a", StepStatus::Failed), ("b", StepStatus::Pending)]);
}

#[tokio::test(start_paused = true)]
async fn failures_are_tried_again_as_often_as_it_says() {
    let world = World::new("a = { run = [\"x\"], retry = 2 }\nb = { run = [\"y\"], needs = [\"a\"], retry = 1 }");
    world.tell("a", &[Answer::Fail(Code::Io), Answer::Fail(Code::Io), Answer::Say("fine")]);
    world.tell("b", &[Answer::Fail(Code::Io), Answer::Fail(Code::Io), Answer::Say("too late")]);
    let before = tokio::time::Instant::now();
    let view = begin(&world).await.unwrap();
    assert_eq!(world.acted(), ["a", "a", "a", "b", "b"]);
    assert_eq!((view.steps["a"].attempts, view.steps["b"].attempts), (3, 2));
    assert_eq!(view.steps["b"].status, StepStatus::Failed);
    assert!(before.elapsed().as_millis() >= 4_000, "the waits are 1 s, 2 s and 1 s of the paused clock");
}

#[tokio::test(start_paused = true)]
async fn time_limits_end_an_attempt() {
    let world = World::new(
        "a = { run = [\"x\"], timeout = \"2s\", retry = 1 }\nb = { action = \"act\", needs = [\"a\"], with = { id = \"b\" }, timeout = \"3s\" }",
    );
    world.tell("a", &[Answer::Take(5_000), Answer::Take(1_000)]);
    world.tell("b", &[Answer::Take(5_000)]);
    let view = begin(&world).await.unwrap();
    assert_eq!(statuses(&view), [("a", StepStatus::Succeeded), ("b", StepStatus::InDoubt)]);
    assert_eq!(view.class, Some(Class::InDoubt));
    assert_eq!(go_on(&world).await.unwrap_err().code(), Code::InDoubt);
    let redo = Doubt { redo: vec!["b".into()], skip: Vec::new() };
    assert_eq!(resume(&world.app, &first(), &redo).await.unwrap().status, RunStatus::Succeeded);
    assert_eq!(world.acted(), ["a", "a", "b", "b"]);
}

#[tokio::test(start_paused = true)]
async fn the_gravest_failure_is_what_the_run_means() {
    for (code, class) in [
        (Code::RolledBack, Class::RolledBack),
        (Code::VerificationFailed, Class::Verification),
        (Code::Backend, Class::Failed),
        (Code::NotRestored, Class::NotRestored),
    ] {
        let world = World::new("a = { run = [\"x\"] }\nb = { action = \"act\", with = { id = \"b\" } }");
        world.tell("a", &[Answer::Fail(Code::Io)]);
        world.tell("b", &[Answer::Fail(code)]);
        assert_eq!(begin(&world).await.unwrap().class, Some(class));
    }
}

#[tokio::test(start_paused = true)]
async fn conditions_skip_a_step_and_those_after_it() {
    let world = World::new(
        r#"
        ask = { action = "act", with = { id = "ask" } }
        yes = { run = ["x"], when = "{{ask.said}} == yes" }
        after = { run = ["x"], needs = ["yes"] }
        no = { run = ["x"], when = "{{ask.said}} != yes" }
        end = { action = "act", when = "always", needs = ["after", "no"], with = { id = "end", text = "{{ask.never}}" } }
        "#,
    );
    world.tell("ask", &[Answer::Say("no")]);
    let view = begin(&world).await.unwrap();
    assert_eq!(view.status, RunStatus::Succeeded);
    assert_eq!((view.steps["yes"].status, view.steps["after"].status), (StepStatus::Skipped, StepStatus::Skipped));
    assert_eq!(world.acted(), ["ask", "no", "end"]);
    assert_eq!(world.input("end")["text"], serde_json::Value::Null, "a missing output is no input");
}

#[tokio::test(start_paused = true)]
async fn a_failed_run_goes_on_at_the_failed_step() {
    let world = World::new(
        r#"
        build = { run = ["x"], out = { v = "stdout" } }
        ship = { action = "act", with = { id = "ship", text = "{{build.v}}" } }
        check = { run = ["x"], needs = ["ship"] }
        clean = { run = ["x"], needs = ["check"], when = "always" }
        "#,
    );
    world.tell("build", &[Answer::Say("7")]);
    world.tell("ship", &[Answer::Fail(Code::Backend)]);
    let view = begin(&world).await.unwrap();
    assert_eq!((view.status, view.class), (RunStatus::Failed, Some(Class::Failed)));
    assert_eq!(world.acted(), ["build", "ship", "clean"]);
    let view = go_on(&world).await.unwrap();
    assert_eq!((view.status, view.resumed), (RunStatus::Succeeded, 1));
    assert_eq!(world.acted(), ["build", "ship", "clean", "ship", "check"]);
    assert_eq!(world.input("ship")["text"], json!("7"), "outputs of an earlier part flow on");
    go_on(&world).await.unwrap();
    assert_eq!(world.acted().len(), 5, "a run that has succeeded does nothing");
}

#[tokio::test(start_paused = true)]
async fn an_interrupted_run_is_parked_and_goes_on() {
    let mut world = World::new(
        "a = { run = [\"x\"] }\nb = { action = \"act\", needs = [\"a\"], with = { id = \"b\" } }\nc = { run = [\"x\"], needs = [\"b\"] }",
    );
    world.tell("a", &[Answer::Stop]);
    let view = begin(&world).await.unwrap();
    assert_eq!((view.status, world.acted()), (RunStatus::Parked, vec!["a".to_owned()]));
    world.calm();
    world.tell("b", &[Answer::Park]);
    let view = go_on(&world).await.unwrap();
    assert_eq!((view.status, view.steps["b"].status), (RunStatus::Parked, StepStatus::Interrupted));
    world.calm();
    assert_eq!(go_on(&world).await.unwrap().status, RunStatus::Succeeded);
    assert_eq!(world.acted(), ["a", "b", "b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn a_wait_before_a_retry_ends_when_the_process_is_asked_to() {
    let mut world = World::new("a = { run = [\"x\"], retry = 100 }\nb = { run = [\"x\"] }");
    world.tell("a", &[Answer::Fail(Code::Io)]);
    world.tell("b", &[Answer::Stop]);
    let view = begin(&world).await.unwrap();
    assert_eq!(view.status, RunStatus::Parked);
    world.calm();
    assert_eq!(go_on(&world).await.unwrap().status, RunStatus::Succeeded);
    assert_eq!(world.acted(), ["a", "b", "a"]);
}

#[tokio::test(start_paused = true)]
async fn lines_of_commands_are_shown_with_their_step_and_inert() {
    let world = World::new("a = { run = [\"x\"] }");
    world.tell("a", &[Answer::Say("one\ntwo \u{1b}[31m")]);
    begin(&world).await.unwrap();
    let lines = world.script.lock().unwrap().lines.clone();
    assert!(lines.contains(&"a | one".to_owned()) && lines.contains(&"a | two \\u{1b}[31m".to_owned()), "{lines:?}");
}
