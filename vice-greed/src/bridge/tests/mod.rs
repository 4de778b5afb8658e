//! Forwarding and following against a broker in memory that can be away, forget, refuse and die with its client, and against
//! real ones.

mod golden;
#[cfg(feature = "kafka")]
mod kafka;
#[cfg(all(feature = "kafka", feature = "nats"))]
mod kill;
mod memory;
#[cfg(all(feature = "kafka", feature = "nats"))]
mod nats;
mod otlp;

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use vice_core::Result;
use vice_core::app::App;
use vice_core::event::{Event, Recorded};
use vice_core::store::{Append, EventStoreExt as _, Query};
use vice_core::testkit::event_store::{event, scope};
use vice_core::time::{Clock as _, SystemClock};
use vice_core::ui::Outcome;

use crate::cmd::testing::{Told, app_with, greed};

/// A history in a folder, on the real clock.
pub(super) fn history(dir: &Path, told: &Arc<Told>) -> App {
    drop(rustls::crypto::ring::default_provider().install_default());
    app_with(dir, Arc::clone(told), Arc::new(SystemClock), Vec::new())
}

/// Events of three environments and of none, with words that are not ASCII.
pub(super) fn some_events(from: usize, count: usize) -> Vec<Event> {
    let now = SystemClock.now();
    (from..from + count)
        .map(|n| {
            let project = ["shop", "cart", "till"].get(n % 4);
            let stream = project.map_or_else(|| "inbox".to_owned(), |project| format!("s/{project}"));
            let mut event = event(&format!("e{n}"), &stream);
            event.scope = project.map(|project| scope(project, "prod"));
            event.subject = format!("größe \"{n}\" 100%");
            event.time = now;
            event.data = json!({ "n": n, "text": "käse" }).to_string();
            event
        })
        .collect()
}

pub(super) async fn append(app: &App, events: Vec<Event>) {
    app.events.append(Append::of(events)).await.unwrap();
}

pub(super) async fn in_stream(app: &App, stream: &str) -> Vec<Recorded> {
    app.events.read_all(Query::stream(stream, 0)).await.unwrap()
}

/// What was taken in: id and number, in order.
pub(super) async fn taken(app: &App) -> Vec<(String, u64)> {
    let query = Query { stream_prefix: Some("inbox".to_owned()), ..Query::default() };
    let found = app.events.read_all(query).await.unwrap();
    found.iter().map(|recorded| (recorded.event.id.clone(), number(&recorded.event.data))).collect()
}

pub(super) fn number(data: &str) -> u64 {
    serde_json::from_str::<Value>(data).unwrap()["n"].as_u64().unwrap_or(u64::MAX)
}

pub(super) async fn run(app: &App, words: &[&str]) -> Result<Outcome> {
    greed(app, words).await
}

/// A name that no other run has.
pub(super) fn unique(dir: &Path) -> String {
    dir.file_name().unwrap().to_string_lossy().replace('.', "")
}

#[expect(clippy::disallowed_methods, reason = "the lab says by variables where its servers are")]
pub(super) fn lab(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run scripts/test, which starts the brokers"))
}
