//! A run that is cut off at any append, and gone on with: nothing is lost, and nothing is repeated unasked.

use std::collections::BTreeMap;

use vice_core::{Code, Result};

use super::super::fixture::{Answer, World};
use super::{begin, first, go_on};
use crate::journal::read;
use crate::journal::view::{RunStatus, RunView};
use crate::run::{Doubt, lock, resume};

const GRAPH: &str = r#"
    a = { run = ["x"] }
    b = { action = "act", with = { id = "b" } }
    c = { run = ["x"], needs = ["a", "b"] }
    skipped = { run = ["x"], when = "{{b.said}} == never" }
    d = { action = "act", with = { id = "d" }, needs = ["c"] }
"#;

fn counted(world: &World) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for name in world.acted() {
        *counts.entry(name).or_default() += 1;
    }
    counts
}

/// Goes on as a person would who knows what the steps did: what acted is skipped, the rest is redone.
async fn go_on_knowing(world: &World) -> Result<(RunView, Vec<String>)> {
    let refused = go_on(world).await;
    let view = read::run(&world.app, &first()).await?;
    let doubtful: Vec<String> = view.in_doubt().into_iter().map(str::to_owned).collect();
    if doubtful.is_empty() {
        return Ok((refused?, doubtful));
    }
    let fault = refused.unwrap_err();
    assert_eq!(fault.code(), Code::InDoubt);
    assert_eq!(fault.details()["in_doubt"], serde_json::json!(doubtful), "every step in doubt is named");
    let acted = world.acted();
    // The output of b is used by a condition, so b can only be redone.
    let (skip, redo) = doubtful.iter().cloned().partition(|name| acted.contains(name) && name != "b");
    Ok((resume(&world.app, &first(), &Doubt { redo, skip }).await?, doubtful))
}

#[tokio::test(start_paused = true)]
async fn cut_off_at_any_append_each_step_acts_once() {
    let mut cut = 0;
    for silent in [false, true] {
        for appends in 1.. {
            let world = World::new(GRAPH);
            world.store.break_after(appends, silent);
            let broken = begin(&world).await;
            world.store.mend();
            if let Ok(view) = broken {
                assert_eq!(view.status, RunStatus::Succeeded);
                break;
            }
            cut += 1;
            let before = counted(&world);
            let (view, doubtful) = go_on_knowing(&world).await.unwrap();
            assert_eq!(view.status, RunStatus::Succeeded, "cut after {appends} appends");
            for (name, count) in counted(&world) {
                let redone = name == "b" && doubtful.contains(&name) && before.contains_key(&name);
                assert_eq!(count, 1 + usize::from(redone), "{name}, cut after {appends} appends");
            }
            assert_eq!(counted(&world).len(), 4);
        }
    }
    assert!(cut >= 14, "{cut} places were tried");
}

#[tokio::test(start_paused = true)]
async fn cut_off_before_its_first_event_nothing_has_begun() {
    let world = World::new(GRAPH);
    world.store.break_after(0, false);
    assert_eq!(begin(&world).await.unwrap_err().code(), Code::StateUnwritable);
    world.store.mend();
    assert!(world.acted().is_empty());
    assert_eq!(go_on(&world).await.unwrap_err().code(), Code::UnknownName);
}

#[tokio::test(start_paused = true)]
async fn a_step_that_may_be_repeated_is_not_asked_about() {
    let world = World::new("a = { run = [\"x\"], retry = 1 }");
    world.store.break_after(2, false);
    assert!(begin(&world).await.is_err());
    world.store.mend();
    assert_eq!(go_on(&world).await.unwrap().status, RunStatus::Succeeded);
    assert_eq!(world.acted(), ["a", "a"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_said_about_doubt_must_fit() {
    let world = World::new("a = { run = [\"x\"], out = { v = \"stdout\" } }\nb = { run = [\"x\", \"{{a.v}}\"] }");
    world.store.break_after(2, false);
    assert!(begin(&world).await.is_err());
    world.store.mend();
    let said = |redo: &[&str], skip: &[&str]| {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Doubt { redo: owned(redo), skip: owned(skip) }
    };
    for doubt in [said(&["b"], &[]), said(&["a"], &["a"]), said(&[], &["a"])] {
        assert_eq!(resume(&world.app, &first(), &doubt).await.unwrap_err().code(), Code::Usage, "{doubt:?}");
    }
    assert_eq!(resume(&world.app, &first(), &said(&["a"], &[])).await.unwrap().status, RunStatus::Succeeded);
}

#[tokio::test(start_paused = true)]
async fn one_process_at_a_time_goes_on() {
    let world = World::new("a = { run = [\"x\"] }");
    world.tell("a", &[Answer::Fail(Code::Io)]);
    begin(&world).await.unwrap();
    let held = lock::take(&world.app, &first()).unwrap().unwrap();
    assert_eq!(go_on(&world).await.unwrap_err().code(), Code::Locked);
    drop(held);
    assert_eq!(go_on(&world).await.unwrap().status, RunStatus::Succeeded);
}

#[tokio::test(start_paused = true)]
async fn a_writer_that_was_passed_over_notices_at_its_next_word() {
    let world = World::new("a = { run = [\"x\"] }");
    world.tell("a", &[Answer::Fail(Code::Io)]);
    let view = begin(&world).await.unwrap();
    let parked = || crate::journal::payload::RunParked { run: first(), reason: "interrupted".into() };
    let mut one = crate::journal::Journal::new(&world.app, first(), None, view.version);
    let mut two = crate::journal::Journal::new(&world.app, first(), None, view.version);
    one.write(&parked()).await.unwrap();
    assert_eq!(two.write(&parked()).await.unwrap_err().code(), Code::Locked);
}

#[tokio::test(start_paused = true)]
async fn the_frozen_definition_is_what_goes_on() {
    let mut world = World::new("a = { run = [\"x\", \"old\"] }");
    world.tell("a", &[Answer::Fail(Code::Io)]);
    begin(&world).await.unwrap();
    let mut workspace = (*world.app.workspace).clone();
    for project in workspace.projects.values_mut() {
        let mut changed = (**project).clone();
        changed.manifest.graph.clear();
        *project = std::sync::Arc::new(changed);
    }
    world.app.workspace = std::sync::Arc::new(workspace);
    assert_eq!(go_on(&world).await.unwrap().status, RunStatus::Succeeded);
    assert_eq!(world.input("a")["argv"], serde_json::json!(["x", "old"]));
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_process_ends_in_the_middle_of_a_step_asks_about_it() {
    let world = World::new("a = { run = [\"x\"] }\nb = { action = \"act\", with = { id = \"b\" }, needs = [\"a\"] }");
    world.tell("b", &[Answer::Take(60_000)]);
    let cut = tokio::time::timeout(std::time::Duration::from_secs(5), begin(&world)).await;
    assert!(cut.is_err(), "the run was dropped while b acted");
    assert_eq!(go_on(&world).await.unwrap_err().code(), Code::InDoubt);
    let done = Doubt { redo: Vec::new(), skip: vec!["b".into()] };
    let view = resume(&world.app, &first(), &done).await.unwrap();
    assert!(view.status == RunStatus::Succeeded && view.steps["b"].assumed);
    assert_eq!(world.acted(), ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn runs_that_begin_at_once_get_numbers_of_their_own() {
    let world = World::new("a = { run = [\"x\"] }");
    let views = futures::future::join_all((0..8).map(|_| begin(&world))).await;
    let mut numbers: Vec<u64> = views.into_iter().map(|view| view.unwrap().run.number).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(std::fs::read_dir(world.app.workspace.state.join("locks")).unwrap().count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_definition_that_is_not_the_one_of_the_digest_is_refused() {
    let world = World::new("a = { run = [\"x\"] }");
    let mut journal = crate::journal::Journal::new(&world.app, first(), None, 0);
    let definition = world.project().manifest.graph["g"].clone();
    let digest = vice_core::Digest::ZERO;
    let started = crate::journal::payload::RunStarted { run: first(), env: None, definition, digest, parallel: 1 };
    journal.write(&started).await.unwrap();
    assert_eq!(go_on(&world).await.unwrap_err().code(), Code::HistoryDamaged);
    assert!(world.acted().is_empty());
}
