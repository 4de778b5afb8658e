//! What events from outside say of changes, builds and artifacts.

use jiff::Timestamp;
use vice_core::event::{Event, Recorded, texts};
use vice_core::id::ProjectName;
use vice_core::store::{EventStore, Order, Query};
use vice_core::{Millis, Result};

use crate::view::lead::Origin;

/// A change was merged at most so many days before the window; what took longer is left out.
const MERGED_BEFORE_DAYS: u64 = 90;

/// The newest so many are read.
const EVENTS_MAX: usize = 5_000;

const MERGED: &str = "dev.cdevents.change.merged.*";
const MADE: [&str; 2] = ["dev.cdevents.artifact.*", "dev.cdevents.build.*"];

/// Changes that were merged, and what was made of them.
#[derive(Debug, Default)]
pub(super) struct Origins {
    pub(super) merged: Vec<Origin>,
    pub(super) made: Vec<Origin>,
}

/// What is known of the time before and in the window.
///
/// # Errors
/// What the store says.
pub(super) async fn origins(store: &dyn EventStore, since: Timestamp) -> Result<Origins> {
    let first = since.as_millisecond().saturating_sub(Millis(MERGED_BEFORE_DAYS * 86_400_000).as_i64());
    let query = |kinds: &[&str]| Query {
        kinds: kinds.iter().map(|kind| (*kind).to_owned()).collect(),
        since: Some(Timestamp::from_millisecond(first).unwrap_or(Timestamp::MIN)),
        order: Order::Backward,
        limit: EVENTS_MAX,
        ..Query::default()
    };
    let merged: Vec<Origin> = store.read(&query(&[MERGED])).await?.iter().map(origin).collect();
    // Without a change there is nothing that an artifact could tie to a version.
    let made = match merged.is_empty() {
        true => Vec::new(),
        false => store.read(&query(&MADE)).await?.iter().map(origin).collect(),
    };
    Ok(Origins { merged, made })
}

fn origin(recorded: &Recorded) -> Origin {
    let event = &recorded.event;
    // Whoever sends events may send anything; what does not parse names nothing.
    let words = texts(&event.subject, &serde_json::from_str(&event.data).unwrap_or_default());
    Origin { project: project(event), subject: event.subject.clone(), at: event.time, words }
}

/// The project that an event was sent for: its own, or that of the webhook through which it came.
fn project(event: &Event) -> Option<ProjectName> {
    let of_webhook = || {
        let rest = event.stream.strip_prefix("webhook/")?;
        ProjectName::new(rest.split('/').next()?).ok()
    };
    event.scope.as_ref().map(|scope| scope.project.clone()).or_else(of_webhook)
}
