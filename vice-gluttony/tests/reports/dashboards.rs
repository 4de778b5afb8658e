//! Dashboards: what belongs to them, and how much is read for them.

use std::sync::atomic::Ordering;

use serde_json::json;
use vice_core::event::{Actor, Event};
use vice_core::manifest::{DashboardSpec, Panel};
use vice_core::store::{Append, EventStore};
use vice_core::ui::Format;

use crate::golden::made;
use crate::story::{self, Writer};
use crate::world::{NOW, World};

#[tokio::test]
async fn a_saved_dashboard_shows_its_panels_and_projects_in_its_order() {
    let spec = DashboardSpec {
        title: Some("Ops".into()),
        projects: vec!["hello".parse().unwrap()],
        panels: vec![Panel::Holds, Panel::Status],
    };
    let world = World::with_dashboards([("ops", spec)]);
    let writer = Writer::new(&world);
    story::success(&writer).await;
    story::rolled_back(&writer).await;
    let (_, json) = made(&world, "ops", Format::Json).await;
    assert_eq!(json["title"], "Ops");
    let panels = json["panels"].as_array().unwrap();
    assert_eq!(panels.iter().map(|panel| &panel["panel"]).collect::<Vec<_>>(), ["holds", "status"]);
    assert_eq!(panels[0]["rows"][0]["version"], "2");
    let places = panels[1]["rows"].as_array().unwrap();
    assert_eq!(places.len(), 2, "dev, and prod although nothing is there");
    assert_eq!(places[0]["running"]["release"]["version"], "1");
    assert_eq!(places[1]["running"], json!(null));
}

#[tokio::test]
async fn what_waits_says_for_what() {
    let world = World::new();
    let writer = Writer::new(&world);
    story::success(&writer).await;
    story::waiting(&writer).await;
    let (_, json) = made(&world, "overview", Format::Json).await;
    assert_eq!(json["panels"][0]["rows"][0]["waiting"], "An operator paused the rollout.");
    assert_eq!(json["panels"][1]["rows"][0]["standing"], "waiting");
}

#[tokio::test]
async fn an_environment_that_only_the_history_knows_is_shown() {
    let world = World::new();
    let writer = Writer::new(&world);
    let mut rollout = story::Rollout::start(&writer, "gone.old.1", "2026-03-01T09:00:00Z", (None, "7")).await;
    rollout.notes(10, vec![]).await;
    rollout.finish(20, vice_core::payload::environment::RolloutOutcome::Succeeded, Some("7"), None).await;
    let (_, json) = made(&world, "overview", Format::Json).await;
    let scopes: Vec<&str> = json["panels"][0]["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["scope"]["project"].as_str().unwrap())
        .collect();
    assert_eq!(scopes, ["gone", "hello", "hello"]);
}

/// A long history of other things must cost a report nothing.
#[tokio::test]
async fn only_the_streams_of_the_scope_are_read() {
    let world = World::new();
    let at = NOW.parse().unwrap();
    for chunk in 0..100_u32 {
        let event = |n: u32| Event {
            id: format!("noise-{chunk}-{n}"),
            source: "/elsewhere".into(),
            kind: "org.example.noise".into(),
            subject: "noise".into(),
            time: at,
            stream: format!("noise/{}", n % 50),
            scope: None,
            actor: Actor::system("test"),
            data: "{}".into(),
        };
        world.store.append(Append::of((0..1_000).map(event).collect())).await.unwrap();
    }
    let writer = Writer::new(&world);
    story::success(&writer).await;
    story::rolled_back(&writer).await;
    for (name, most) in [("hello", 60), ("overview", 60)] {
        world.store.handed_out.store(0, Ordering::SeqCst);
        made(&world, name, Format::Html).await;
        let read = world.store.handed_out.load(Ordering::SeqCst);
        assert!(read > 0 && read <= most, "{name} read {read} events");
    }
    assert_eq!(world.store.whole_log_reads.load(Ordering::SeqCst), 0);
}

/// An event from outside, which names what it is about and the version.
fn outside(kind: &str, subject: &str, at: &str, version: &str) -> Event {
    let content = json!({ "change": { "id": "42" }, "version": version });
    Event {
        id: format!("{kind}-{subject}"),
        source: "https://git.example/hello".into(),
        kind: kind.into(),
        subject: subject.into(),
        time: at.parse().unwrap(),
        stream: "webhook/hello/git".into(),
        scope: None,
        actor: Actor::system("webhook"),
        data: json!({ "context": {}, "subject": { "id": subject, "content": content } }).to_string(),
    }
}

#[tokio::test]
async fn the_lead_time_goes_from_the_merge_to_the_deploy_of_what_was_made_of_it() {
    let world = World::new();
    let writer = Writer::new(&world);
    let (merged, packaged) = ("dev.cdevents.change.merged.0.3.0", "dev.cdevents.artifact.packaged.0.3.0");
    let before = vec![
        outside(merged, "42", "2026-03-01T08:00:00Z", "none"),
        outside(packaged, "pkg:generic/hello@1", "2026-03-01T08:30:00Z", "1"),
        outside(merged, "43", "2026-03-01T08:50:00Z", "unknown"),
    ];
    world.store.append(Append::of(before)).await.unwrap();
    story::success(&writer).await;
    let (_, json) = made(&world, "overview", Format::Json).await;
    let panels = json["panels"].as_array().unwrap();
    let frequency = panels.iter().find(|panel| panel["panel"] == "frequency").unwrap();
    // An hour, and the five and a half seconds that the deploy took.
    assert_eq!(frequency["rows"][0]["figures"]["lead_ms"], 3_605_500);
    assert_eq!(frequency["rows"][0]["figures"]["changes"], 1);
    assert_eq!(frequency["rows"][1]["figures"]["lead_ms"], json!(null), "nothing was deployed to prod");
    let (text, _) = made(&world, "overview", Format::Text).await;
    assert!(text.contains("(of 1)"), "{text}");
}
