//! What may start when. Pure and synchronous: a state machine over the steps that knows neither time nor effects.
//!
//! A step starts when everything that it needs has succeeded, and never more than `parallel` run at once. After the
//! first failure nothing new starts except the steps marked `always`, which start as soon as everything that they need
//! has come to an end in any way. A step whose need was skipped is skipped too.

use std::collections::BTreeSet;

/// How a step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// It waits for what it needs, or for a free place.
    Pending,
    /// It runs.
    Running,
    /// It ended well.
    Succeeded,
    /// It ended badly.
    Failed,
    /// Its condition did not hold, or what it needs was skipped.
    Skipped,
    /// It can't start any more, because of a failure.
    Blocked,
}

impl State {
    const fn ended(self) -> bool {
        !matches!(self, Self::Pending | Self::Running)
    }
}

/// A step as the scheduler sees it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Node {
    /// What must come to an end before.
    pub(crate) needs: BTreeSet<usize>,
    /// Whether it runs after failures too.
    pub(crate) always: bool,
}

/// What the scheduler decided.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Decision {
    /// These run from now on.
    pub(crate) start: Vec<usize>,
    /// These were skipped.
    pub(crate) skip: Vec<usize>,
}

/// The scheduler of one run.
#[derive(Debug, Clone)]
pub(crate) struct Scheduler {
    nodes: Vec<Node>,
    states: Vec<State>,
    parallel: usize,
}

impl Scheduler {
    /// All steps are pending. The needs must not have a cycle.
    pub(crate) fn new(nodes: Vec<Node>, parallel: usize) -> Self {
        let states = vec![State::Pending; nodes.len()];
        Self { nodes, states, parallel: parallel.max(1) }
    }

    /// How a step stands.
    #[cfg(test)]
    pub(crate) fn state(&self, index: usize) -> State {
        self.states[index]
    }

    /// Says that a step has come to an end, now or in an earlier part of the run.
    pub(crate) fn end(&mut self, index: usize, state: State) {
        self.states[index] = state;
    }

    /// Says that a running step did not come to an end and is to run again in a later part of the run.
    pub(crate) fn put_back(&mut self, index: usize) {
        self.states[index] = State::Pending;
    }

    /// Whether a step has failed.
    pub(crate) fn failed(&self) -> bool {
        self.states.contains(&State::Failed)
    }

    /// Whether every step has come to an end.
    pub(crate) fn ended(&self) -> bool {
        self.states.iter().all(|state| state.ended())
    }

    /// Decides what starts and what is skipped or blocked now. `holds` is asked for the condition of a step once
    /// everything that it needs has succeeded.
    pub(crate) fn poll(&mut self, holds: impl Fn(usize) -> bool) -> Decision {
        let mut decision = Decision::default();
        // What is skipped or blocked may skip or block others, wherever they stand.
        while self.settle(&holds, &mut decision) {}
        let mut free =
            self.parallel.saturating_sub(self.states.iter().filter(|state| **state == State::Running).count());
        for index in 0..self.nodes.len() {
            if free > 0 && self.states[index] == State::Pending && self.ready(index) {
                self.states[index] = State::Running;
                decision.start.push(index);
                free -= 1;
            }
        }
        decision
    }

    fn settle(&mut self, holds: &impl Fn(usize) -> bool, decision: &mut Decision) -> bool {
        let failed = self.failed();
        let mut changed = false;
        for index in 0..self.nodes.len() {
            if self.states[index] != State::Pending || self.nodes[index].always {
                continue;
            }
            let any = |wanted: State| self.nodes[index].needs.iter().any(|need| self.states[*need] == wanted);
            let next = if failed || any(State::Blocked) {
                State::Blocked
            } else if any(State::Skipped) || (self.ready(index) && !holds(index)) {
                decision.skip.push(index);
                State::Skipped
            } else {
                continue;
            };
            self.states[index] = next;
            changed = true;
        }
        changed
    }

    fn ready(&self, index: usize) -> bool {
        let node = &self.nodes[index];
        let mut needed = node.needs.iter().map(|need| self.states[*need]);
        if node.always { needed.all(State::ended) } else { needed.all(|state| state == State::Succeeded) }
    }
}

#[cfg(test)]
mod tests;
