//! How long a client waits for the agent, and what it says when the agent does not answer in time.
//!
//! An agent that is only slow must not be given up: what may take its time is bounded by what it is told to wait for.

use std::time::Duration;

use vice_core::id::Scope;
use vice_core::port::target::Workload;
use vice_core::{Code, Fault, Millis};

use super::layout::Layout;
use super::wire::Request;
use super::{release, state};

/// How long an agent may take to say that it is there, or what it knows.
pub(super) const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

/// How long it may take to end what is under way; a killed process and what it had started may take ten seconds.
const SETTLES_WITHIN: Duration = Duration::from_secs(15);

/// What an operation may take beside its own timeouts.
const MARGIN: Duration = Duration::from_secs(30);

/// How long an operation may take of which no timeouts are known.
const OPERATION: Duration = Duration::from_secs(600);

/// How long the answer to a request may take.
pub(super) fn limit(layout: &Layout, request: &Request) -> Duration {
    match request {
        Request::Inventory | Request::Table | Request::Counts | Request::Counters => ANSWERS_WITHIN,
        Request::Fence { .. }
        | Request::Observe { .. }
        | Request::SetWeights { .. }
        | Request::Shutdown { remove: false } => SETTLES_WITHIN,
        Request::Drain { at_most, .. } => SETTLES_WITHIN.saturating_add(at_most.as_duration()),
        Request::Apply { op, workload } | Request::Undo { op, workload } => {
            let given = workload.iter().map(release::StoredWorkload::timeouts);
            operation(given.chain(stored(layout, &op.unit)))
        }
        Request::Shutdown { remove: true } => removal(layout),
    }
}

/// A unit's way from one release to another: the new one starts, then the old one's requests end, then the old one.
fn operation(releases: impl Iterator<Item = Timeouts>) -> Duration {
    let longest = releases.reduce(Timeouts::longer);
    longest.map_or(OPERATION, |timeouts| MARGIN.saturating_add(timeouts.sum()))
}

/// Units are removed one after another.
fn removal(layout: &Layout) -> Duration {
    let Ok(state) = state::load(layout) else { return OPERATION };
    let units = state.units.keys().map(|unit| operation(stored(layout, unit).into_iter()));
    units.fold(SETTLES_WITHIN, Duration::saturating_add)
}

/// What the releases that the unit has or had are told.
fn stored(layout: &Layout, unit: &str) -> Vec<Timeouts> {
    let Ok(state) = state::load(layout) else { return Vec::new() };
    let Some(record) = state.units.get(unit) else { return Vec::new() };
    let placed = std::iter::once(&record.placed).chain(&record.previous);
    let releases = placed.filter_map(|placed| release::load(layout, placed.key).ok());
    releases.map(|workload| Timeouts::of(&workload)).collect()
}

/// What a release says about patience.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Timeouts {
    pub(super) ready: Millis,
    pub(super) drain: Millis,
    pub(super) stop: Millis,
}

impl Timeouts {
    fn of(workload: &Workload) -> Self {
        Self { ready: workload.ready_timeout, drain: workload.drain_timeout, stop: workload.stop_timeout }
    }

    fn longer(self, other: Self) -> Self {
        Self { ready: self.ready.max(other.ready), drain: self.drain.max(other.drain), stop: self.stop.max(other.stop) }
    }

    fn sum(self) -> Duration {
        let all = [self.ready, self.drain, self.stop].map(Millis::as_duration);
        all.into_iter().fold(Duration::ZERO, Duration::saturating_add)
    }
}

/// The agent is there and says nothing.
pub(super) fn silent(scope: &Scope, layout: &Layout, pid: Option<i32>) -> Fault {
    let log = layout.agent_log();
    let fault = Fault::new(Code::Unreachable, format!("The agent of {scope} does not answer{}.", of_pid(pid)))
        .hint(format!("Look at its log: {}.", log.display()));
    match pid {
        Some(pid) => fault.hint(format!(
            "`kill -CONT {pid}` wakes it when it was suspended; `kill -9 {pid}` ends it: its instances go on, and the \
             next command that needs an agent starts one that adopts them."
        )),
        None => fault,
    }
}

/// The agent was told to do something that should have ended by now.
pub(super) fn late(scope: &Scope, layout: &Layout, pid: Option<i32>, limit: Duration) -> Fault {
    let (waited, pid) = (limit.as_secs(), of_pid(pid));
    let message = format!("The agent of {scope} did not finish within {waited} s{pid}; what it did is not known.");
    Fault::new(Code::TimedOut, message).hint(format!("Look at its log: {}.", layout.agent_log().display()))
}

fn of_pid(pid: Option<i32>) -> String {
    pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timeouts(ready: u64, drain: u64, stop: u64) -> Timeouts {
        let [ready, drain, stop] = [ready, drain, stop].map(Millis::from_secs);
        Timeouts { ready, drain, stop }
    }

    #[test]
    fn an_operation_may_take_the_longest_of_what_both_releases_say() {
        let both = [timeouts(60, 1, 10), timeouts(5, 20, 2)];
        assert_eq!(operation(both.into_iter()), Duration::from_secs(60 + 20 + 10 + 30));
        assert_eq!(operation(std::iter::empty()), OPERATION);
        let endless = Timeouts { ready: Millis(u64::MAX), drain: Millis(u64::MAX), stop: Millis(u64::MAX) };
        assert!(operation([endless].into_iter()) > OPERATION);
    }

    #[test]
    fn a_drain_may_take_what_it_is_given() {
        let dir = tempfile::tempdir().unwrap();
        let request = Request::Drain { unit: "1".to_owned(), epoch: 1, at_most: Millis::from_secs(40) };
        assert_eq!(limit(&Layout::new(dir.path()), &request), Duration::from_secs(55));
    }
}
