//! Reading what there is from the history: the runs of an environment, and what events from outside say of changes, builds and
//! artifacts.

use jiff::Timestamp;

use super::{Origin, Run};
use crate::event::{Event, Payload as _, Recorded, texts};
use crate::fault::Result;
use crate::id::{ProjectName, Scope};
use crate::payload::environment::{RolloutBegan, RolloutEnded};
use crate::payload::environment_stream;
use crate::store::{EventStore, EventStoreExt as _, Order, Query};
use crate::time::Millis;

/// A change was merged at most so many days before the window; what took longer is left out.
const MERGED_BEFORE_DAYS: u64 = 90;

const DAY_MS: u64 = 86_400_000;

/// The newest so many are read.
const EVENTS_MAX: usize = 5_000;

const MERGED: &str = "dev.cdevents.change.merged.*";
const MADE: [&str; 2] = ["dev.cdevents.artifact.*", "dev.cdevents.build.*"];

/// Changes that were merged, and what was made of them.
#[derive(Debug, Default)]
pub struct Origins {
    /// Changes that were merged.
    pub merged: Vec<Origin>,
    /// Builds and artifacts.
    pub made: Vec<Origin>,
}

/// The moment so many days before another one.
#[must_use]
pub fn days_before(now: Timestamp, days: u64) -> Timestamp {
    let millis = now.as_millisecond().saturating_sub(Millis(days.saturating_mul(DAY_MS)).as_i64());
    Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MIN)
}

/// All deploys and rollbacks of an environment, oldest first: what has been broken since long ago is still broken, and only
/// the first deploy of a change counts.
///
/// # Errors
/// What the store says, or `Decode`.
pub async fn runs(store: &dyn EventStore, scope: &Scope) -> Result<Vec<Run>> {
    let query = Query {
        kinds: vec![RolloutBegan::KIND.to_owned(), RolloutEnded::KIND.to_owned()],
        ..Query::stream(environment_stream(scope), 0)
    };
    let mut runs: Vec<Run> = Vec::new();
    for recorded in store.read_all(query).await? {
        let event = &recorded.event;
        if let Some(began) = event.decode::<RolloutBegan>()? {
            let (rollout, direction, version) = (began.rollout, began.direction, began.to.version);
            runs.push(Run { rollout, direction, version, began: event.time, ended: None, merged: Vec::new() });
        } else if let Some(ended) = event.decode::<RolloutEnded>()?
            && let Some(run) = runs.iter_mut().rev().find(|run| run.rollout == ended.rollout)
        {
            run.ended = Some((event.time, ended.outcome));
        }
    }
    Ok(runs)
}

/// What is known of the time before and in the window.
///
/// # Errors
/// What the store says.
pub async fn origins(store: &dyn EventStore, since: Timestamp) -> Result<Origins> {
    let first = days_before(since, MERGED_BEFORE_DAYS);
    let query = |kinds: &[&str]| Query {
        kinds: kinds.iter().map(|kind| (*kind).to_owned()).collect(),
        since: Some(first),
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
