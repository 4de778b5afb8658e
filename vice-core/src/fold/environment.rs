//! What runs in an environment, since when, by whom, what was proven before, and what is on hold.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Fold;
use crate::event::Recorded;
use crate::fault::Result;
use crate::id::RolloutId;
use crate::payload::ReleaseRef;
use crate::payload::environment::{
    Direction, HoldPlaced, HoldReleased, PowerChanged, PowerState, RolloutBegan, RolloutDropped, RolloutEnded,
    RolloutOutcome, RolloutQueued,
};
use crate::time::Millis;

/// How many earlier releases and rollouts are remembered for rollback and comparison.
const REMEMBERED_MAX: usize = 20;

/// A release that runs or ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placed {
    /// What.
    pub release: ReleaseRef,
    /// Since when.
    pub since: Timestamp,
    /// Who put it there.
    pub by: String,
    /// In which rollout.
    pub rollout: RolloutId,
    /// Whether it was verified there.
    pub proven: bool,
}

/// A version that must not be deployed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Why.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
    /// Who placed it.
    pub by: String,
    /// In which rollout, if in one.
    pub rollout: Option<RolloutId>,
}

/// A rollout in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Past {
    /// Its id.
    pub rollout: RolloutId,
    /// Deploy or rollback.
    pub direction: Direction,
    /// What it wanted.
    pub to: ReleaseRef,
    /// When it began.
    pub began: Timestamp,
    /// Who asked.
    pub by: String,
    /// How it ended; none while it is under way.
    pub outcome: Option<RolloutOutcome>,
    /// How long it took.
    pub took: Option<Millis>,
    /// Why it did not succeed.
    pub reason: Option<String>,
}

/// A deploy that waits for its turn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queued {
    /// The id that it will have.
    pub rollout: RolloutId,
    /// The version that is wanted.
    pub version: Option<String>,
    /// Another artifact than the one of `vice.toml`.
    pub artifact: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// Who asked.
    pub by: String,
    /// Since when.
    pub since: Timestamp,
}

/// The state of one project in one environment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvironmentState {
    /// What runs.
    pub running: Option<Placed>,
    /// What ran before and was proven, newest first; never what runs.
    pub proven: Vec<Placed>,
    /// The rollout under way.
    pub active: Option<RolloutId>,
    /// The deploy that begins when that is over: the newest one that was asked for.
    #[serde(default)]
    pub queued: Option<Queued>,
    /// The number of the latest rollout, queued ones included.
    pub last_number: u64,
    /// Holds by version.
    pub holds: BTreeMap<String, Hold>,
    /// The latest rollouts, newest first.
    pub past: Vec<Past>,
    /// Whether somebody stopped the instances on purpose.
    pub stopped: bool,
    /// Whether the latest rollout may have left traffic split between versions.
    #[serde(default)]
    pub split: bool,
}

impl EnvironmentState {
    /// What a rollback without an argument goes to: the last proven release other than what runs, not on hold.
    #[must_use]
    pub fn rollback_target(&self) -> Option<&Placed> {
        let running = self.running.as_ref().map(|placed| &placed.release);
        self.proven
            .iter()
            .filter(|placed| running.is_none_or(|running| !running.runs_like(&placed.release)))
            .find(|placed| self.hold_on(&placed.release).is_none())
    }

    /// The hold on a release: on its version, or on it alone among those of its version.
    #[must_use]
    pub fn hold_on(&self, release: &ReleaseRef) -> Option<(String, &Hold)> {
        let names = [release.version.clone(), release.full_name()];
        names.into_iter().find_map(|name| self.holds.get(&name).map(|hold| (name, hold)))
    }

    fn queue(&mut self, recorded: &Recorded, queued: RolloutQueued) {
        self.last_number = self.last_number.max(queued.rollout.number);
        self.queued = Some(Queued {
            rollout: queued.rollout,
            version: queued.version,
            artifact: queued.artifact,
            reason: queued.reason,
            by: recorded.event.actor.to_string(),
            since: recorded.event.time,
        });
    }

    fn dequeue(&mut self, rollout: &RolloutId) {
        self.queued.take_if(|queued| queued.rollout == *rollout);
    }

    fn began(&mut self, recorded: &Recorded, began: RolloutBegan) {
        self.dequeue(&began.rollout);
        self.active = Some(began.rollout.clone());
        self.last_number = self.last_number.max(began.rollout.number);
        self.past.insert(
            0,
            Past {
                rollout: began.rollout,
                direction: began.direction,
                to: began.to,
                began: recorded.event.time,
                by: recorded.event.actor.to_string(),
                outcome: None,
                took: None,
                reason: None,
            },
        );
        self.past.truncate(REMEMBERED_MAX);
    }

    fn ended(&mut self, recorded: &Recorded, ended: RolloutEnded) {
        if self.active.as_ref() == Some(&ended.rollout) {
            self.active = None;
        }
        self.split = ended.split;
        let mut by = recorded.event.actor.to_string();
        if let Some(past) = self.past.iter_mut().find(|past| past.rollout == ended.rollout) {
            past.outcome = Some(ended.outcome);
            past.took = Some(ended.took);
            past.reason.clone_from(&ended.reason);
            by.clone_from(&past.by);
        }
        let same = |placed: &Placed| ended.running.as_ref().is_some_and(|running| running.runs_like(&placed.release));
        if self.running.as_ref().is_some_and(same) {
            // What ran runs again (or still): since when and by whom stay. When checks failed on it, it is not proven
            // any more; when none were run, what was known stays.
            if let Some(running) = &mut self.running {
                let refuted = ended.outcome == RolloutOutcome::NotRestored;
                running.proven = ended.proven || (running.proven && !refuted);
            }
            return;
        }
        if let Some(previous) = self.running.take().filter(|placed| placed.proven) {
            self.proven.retain(|placed| !placed.release.runs_like(&previous.release));
            self.proven.insert(0, previous);
        }
        let proven_before = self.proven.iter().any(&same);
        self.proven.retain(|placed| !same(placed));
        self.proven.truncate(REMEMBERED_MAX);
        self.stopped = false;
        self.running = ended.running.map(|release| Placed {
            release,
            since: recorded.event.time,
            by,
            rollout: ended.rollout,
            proven: ended.proven || (proven_before && ended.outcome == RolloutOutcome::Succeeded),
        });
    }
}

impl Fold for EnvironmentState {
    const NAME: &'static str = "environment";
    const VERSION: u32 = 3;

    fn apply(&mut self, recorded: &Recorded) -> Result<()> {
        let event = &recorded.event;
        if let Some(began) = event.decode::<RolloutBegan>()? {
            self.began(recorded, began);
        } else if let Some(ended) = event.decode::<RolloutEnded>()? {
            self.ended(recorded, ended);
        } else if let Some(queued) = event.decode::<RolloutQueued>()? {
            self.queue(recorded, queued);
        } else if let Some(dropped) = event.decode::<RolloutDropped>()? {
            self.dequeue(&dropped.rollout);
        } else if let Some(hold) = event.decode::<HoldPlaced>()? {
            let by = event.actor.to_string();
            let hold_state = Hold { reason: hold.reason, since: event.time, by, rollout: hold.rollout };
            self.holds.insert(hold.version, hold_state);
        } else if let Some(released) = event.decode::<HoldReleased>()? {
            self.holds.remove(&released.version);
        } else if let Some(power) = event.decode::<PowerChanged>()? {
            self.stopped = power.state == PowerState::Stopped;
        }
        Ok(())
    }
}
