//! What an event came from, as far as events say so: the links of CDEvents, the rollout that it belongs to, the change or
//! artifact that a version names. Nothing is guessed from times.

use std::collections::{BTreeSet, HashMap};

use serde_json::Value;
use vice_core::Result;
use vice_core::event::{Recorded, texts};
use vice_core::store::{EventStore, Order, Query};

use super::log::short_kind;

/// How far back causes are looked for.
const LOOK_BACK: usize = 5000;

/// What is shown of a cause.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Cause {
    seq: u64,
    said: String,
}

impl Cause {
    fn of(recorded: &Recorded) -> Self {
        let event = &recorded.event;
        Self { seq: recorded.seq, said: format!("{} {} by {}", short_kind(&event.kind), event.subject, event.actor) }
    }
}

/// The events before and among those that are shown.
pub(super) struct Links {
    by_id: HashMap<String, Cause>,
    /// What began each rollout, by its stream.
    starts: HashMap<String, (Cause, Option<String>)>,
    /// Changes, builds and artifacts, with the texts that they name.
    origins: Vec<(Cause, BTreeSet<String>)>,
}

impl Links {
    pub(super) async fn around(store: &dyn EventStore, shown: &[Recorded]) -> Result<Self> {
        let newest = shown.iter().map(|recorded| recorded.seq).max().unwrap_or(0);
        let query = Query { after: newest + 1, limit: LOOK_BACK, order: Order::Backward, ..Query::default() };
        let mut links = Self { by_id: HashMap::new(), starts: HashMap::new(), origins: Vec::new() };
        for recorded in store.read(&query).await? {
            links.add(&recorded);
        }
        Ok(links)
    }

    fn add(&mut self, recorded: &Recorded) {
        let event = &recorded.event;
        let cause = Cause::of(recorded);
        self.by_id.insert(event.id.clone(), cause.clone());
        let Ok(data) = serde_json::from_str::<Value>(&event.data) else { return };
        if event.stream.starts_with("rollout/") && recorded.version == 1 {
            let reason = data["subject"]["content"]["reason"].as_str().map(str::to_owned);
            self.starts.insert(event.stream.clone(), (cause.clone(), reason));
        }
        let origins = ["dev.cdevents.change.", "dev.cdevents.build.", "dev.cdevents.artifact.", "dev.cdevents.branch."];
        if origins.iter().any(|prefix| event.kind.starts_with(prefix)) {
            self.origins.push((cause, texts(&event.subject, &data)));
        }
    }

    /// What an event came from, in half sentences.
    pub(super) fn of(&self, recorded: &Recorded) -> Vec<String> {
        let mut found = Vec::new();
        let data: Value = serde_json::from_str(&recorded.event.data).unwrap_or(Value::Null);
        for id in linked(&data) {
            if let Some(cause) = self.by_id.get(&id).filter(|cause| cause.seq != recorded.seq) {
                found.push(format!("linked to event {}, {}", cause.seq, cause.said));
            }
        }
        if let Some((start, reason)) = self.starts.get(&rollout(recorded, &data)) {
            if start.seq != recorded.seq {
                found.push(format!("part of the rollout of event {}, {}", start.seq, start.said));
            } else if let Some(reason) = reason {
                found.push(format!("because: {reason}"));
            }
        }
        if let Some(version) = data["subject"]["content"]["to"]["version"].as_str() {
            let before = self.origins.iter().filter(|(cause, _)| cause.seq < recorded.seq);
            let named = before.filter(|(_, words)| words.contains(version));
            found
                .extend(named.map(|(cause, _)| {
                    format!("because of event {}, {}, which names {version}", cause.seq, cause.said)
                }));
        }
        found.dedup();
        found
    }
}

/// The ids that the CDEvents links of an event name.
fn linked(data: &Value) -> Vec<String> {
    let links = data["context"]["links"].as_array().cloned().unwrap_or_default();
    let ends = links.iter().flat_map(|link| [link["from"].clone(), link["target"].clone()]);
    ends.filter_map(|end| end["contextId"].as_str().map(str::to_owned)).collect()
}

/// The stream of the rollout that an event is about; its own stream where it is in one.
fn rollout(recorded: &Recorded, data: &Value) -> String {
    if recorded.event.stream.starts_with("rollout/") {
        return recorded.event.stream.clone();
    }
    let content = &data["subject"]["content"];
    let id = [&content["rollout"], &data["customData"]["rollout"], &data["customData"]["vice"]["rollout"]];
    match id.into_iter().find_map(Value::as_str) {
        Some(id) => format!("rollout/{}", id.replace('.', "/")),
        None => String::new(),
    }
}
