//! Which events' data may be archived. Never those from which something is decided: what runs where, leases, configurations,
//! recipes, what rules and notifications remember (their streams stay whole), rollouts and runs that are under way, those that
//! put something there that runs or can be gone back to, the last ones of each environment and graph, and whatever a consumer
//! has not read yet.

use std::collections::{BTreeMap, HashSet};

use jiff::Timestamp;
use serde_json::Value;
use vice_core::Result;
use vice_core::event::{Event, Payload};
use vice_core::fold::environment::EnvironmentState;
use vice_core::fold::load;
use vice_core::id::RolloutId;
use vice_core::payload::rollout::RolloutFinished;
use vice_core::store::{EventStore, EventStoreExt, Order, Query};

/// Streams of events that nothing is folded from: those from outside, their receipts, and the results of windows.
const LOOSE: [&str; 4] = ["inbox", "webhook", "receipts", "window"];

/// What the last event of a graph's run is called.
const RUN_FINISHED: &str = "dev.cdeventsx.vice-graphrun.finished.";

/// What says how far notifications and rules have read, each with its `cursor`.
const CURSORS: [&str; 2] = ["dev.cdeventsx.vice-outbox.advanced.*", "dev.cdeventsx.vice-rule.advanced.*"];

/// Behind the end of a rollout come late words at most; so many events are looked through for it.
const TAIL: usize = 20;

/// How much is kept in the history.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Everything from this time on.
    pub(crate) before: Timestamp,
    /// The last so many rollouts of each environment and runs of each graph.
    pub(crate) keep: u64,
}

/// What may go.
pub(super) struct Choice {
    limits: Limits,
    closed: HashSet<String>,
    /// Only events up to this one.
    read_up_to: u64,
}

impl Choice {
    /// Looks through the history for what is over.
    pub(super) async fn look(store: &dyn EventStore, limits: Limits) -> Result<Self> {
        let mut choice = Self { limits, closed: HashSet::new(), read_up_to: read_up_to(store).await? };
        let needed = Needed::look(store, limits.keep).await?;
        for stream in store.all_streams("rollout/").await? {
            let over = |event: &Event| event.kind == RolloutFinished::KIND;
            if needed.lets_go(&stream.name) && choice.is_over(store, &stream.name, over).await? {
                choice.closed.insert(stream.name);
            }
        }
        let runs: Vec<String> = store.all_streams("run/").await?.into_iter().map(|stream| stream.name).collect();
        for name in older(&runs, limits.keep) {
            if choice.is_over(store, name, |event| event.kind.starts_with(RUN_FINISHED)).await? {
                choice.closed.insert(name.to_owned());
            }
        }
        Ok(choice)
    }

    /// Whether a stream has ended, and before the time in question.
    async fn is_over(&self, store: &dyn EventStore, name: &str, over: impl Fn(&Event) -> bool) -> Result<bool> {
        let query = Query { order: Order::Backward, limit: TAIL, bare: true, ..Query::stream(name, 0) };
        let last = store.read(&query).await?;
        Ok(last.iter().all(|recorded| recorded.event.time < self.limits.before)
            && last.iter().any(|recorded| over(&recorded.event)))
    }

    /// What to look through.
    pub(super) fn query(&self, after: u64, limit: usize) -> Query {
        Query { after, limit, until: Some(self.limits.before), bare: true, ..Query::default() }
    }

    /// Whether the data of an event from before that time may go.
    pub(super) fn lets_go(&self, seq: u64, event: &Event) -> bool {
        let class = event.stream.split_once('/').map_or(event.stream.as_str(), |(class, _)| class);
        seq <= self.read_up_to && (LOOSE.contains(&class) || self.closed.contains(&event.stream))
    }
}

/// The rollouts that are still needed.
struct Needed {
    /// By environment: the number from which on everything is kept, and what else is.
    environments: BTreeMap<String, (u64, HashSet<u64>)>,
}

impl Needed {
    async fn look(store: &dyn EventStore, keep: u64) -> Result<Self> {
        let mut environments = BTreeMap::new();
        for stream in store.all_streams("environment/").await? {
            let (state, _) = load::<EnvironmentState>(store, &stream.name).await?;
            let name = stream.name.trim_start_matches("environment/").to_owned();
            environments.insert(name, (state.last_number.saturating_sub(keep), numbers(&state)));
        }
        Ok(Self { environments })
    }

    /// `rollout/PROJECT/ENV/NUMBER`; what has another name is kept.
    fn lets_go(&self, stream: &str) -> bool {
        let parts = stream.strip_prefix("rollout/").and_then(|rest| rest.rsplit_once('/'));
        let Some((environment, Ok(number))) = parts.map(|(name, number)| (name, number.parse::<u64>())) else {
            return false;
        };
        // Where nothing is known of an environment, nothing is known to be over.
        self.environments.get(environment).is_some_and(|(last, needed)| number <= *last && !needed.contains(&number))
    }
}

fn numbers(state: &EnvironmentState) -> HashSet<u64> {
    let placed = state.running.iter().chain(&state.proven).map(|placed| &placed.rollout);
    let holds = state.holds.values().filter_map(|hold| hold.rollout.as_ref());
    let waiting = state.active.iter().chain(state.queued.as_ref().map(|queued| &queued.rollout));
    placed.chain(holds).chain(waiting).map(|RolloutId { number, .. }| *number).collect()
}

/// All but the last `keep` of each group of `…/NUMBER`.
fn older(names: &[String], keep: u64) -> Vec<&str> {
    let numbered =
        |name: &'_ str| name.rsplit_once('/').and_then(|(group, n)| Some((group.to_owned(), n.parse::<u64>().ok()?)));
    let mut last: BTreeMap<String, u64> = BTreeMap::new();
    for (group, number) in names.iter().filter_map(|name| numbered(name)) {
        let known = last.entry(group).or_default();
        *known = (*known).max(number);
    }
    let is_older = |name: &&str| {
        numbered(name)
            .is_some_and(|(group, number)| number <= last.get(&group).map_or(0, |last| last.saturating_sub(keep)))
    };
    names.iter().map(String::as_str).filter(is_older).collect()
}

/// The event up to which every consumer that there is has read.
async fn read_up_to(store: &dyn EventStore) -> Result<u64> {
    let mut least = store.head().await?.seq;
    let mut streams = store.all_streams("rules/").await?;
    streams.extend(store.all_streams("outbox/").await?);
    for stream in streams {
        let kinds = CURSORS.map(str::to_owned).to_vec();
        let query = Query { kinds, order: Order::Backward, limit: 1, ..Query::stream(stream.name, 0) };
        for recorded in store.read(&query).await? {
            recorded.event.require_data()?;
            let data: Value = serde_json::from_str(&recorded.event.data).unwrap_or_default();
            least = least.min(data["subject"]["content"]["cursor"].as_u64().unwrap_or(0));
        }
    }
    Ok(least)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_each_group_stay() {
        let names: Vec<String> =
            ["run/a/g/1", "run/a/g/2", "run/a/g/3", "run/a/h/1", "run/a/odd"].map(str::to_owned).to_vec();
        assert_eq!(older(&names, 1), ["run/a/g/1", "run/a/g/2"]);
        assert_eq!(older(&names, 2), ["run/a/g/1"]);
        assert_eq!(older(&names, 0), ["run/a/g/1", "run/a/g/2", "run/a/g/3", "run/a/h/1"]);
    }

    #[test]
    fn what_is_needed_or_not_understood_is_kept() {
        let environments = [("shop/prod".to_owned(), (5, HashSet::from([2])))].into();
        let needed = Needed { environments };
        for (stream, goes) in [
            ("rollout/shop/prod/1", true),
            ("rollout/shop/prod/2", false),
            ("rollout/shop/prod/5", true),
            ("rollout/shop/prod/6", false),
            ("rollout/shop/dev/1", false),
            ("rollout/shop/prod", false),
            ("rollout/shop/prod/x", false),
        ] {
            assert_eq!(needed.lets_go(stream), goes, "{stream}");
        }
    }
}
