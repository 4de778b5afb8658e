//! What the engine asks for. A driver stores the effects with the inputs in one append, and only then acts.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use vice_core::payload::environment::{Direction, RolloutOutcome};

use crate::number::{OpNo, TaskNo, UnitNo};
use crate::reason::Reason;

/// One thing to do. Each that acts has an [`OpNo`] and is answered by one input that names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "effect", rename_all = "snake_case", deny_unknown_fields)]
pub enum Effect {
    /// Raise the target's epoch. Answered by `EffectDone`.
    Fence {
        /// Its number.
        op: OpNo,
        /// The epoch.
        epoch: u64,
    },
    /// Ask what became of an operation that an earlier holder began. Answered by `Observed`, naming that operation.
    Observe {
        /// The operation in question: an `Apply`, `Undo` or `RunTask` of before.
        op: OpNo,
    },
    /// Bring a unit to the plan's release, or remove it, as its action says. Answered by `EffectDone`.
    Apply {
        /// Its number; the same on every attempt.
        op: OpNo,
        /// The unit.
        unit: UnitNo,
        /// The how-manieth time that it is sent, from 1: more than 1 only after `Observed` said that it was not applied.
        attempt: u32,
    },
    /// Bring a unit back to its `before`; where that is none, remove it. Answered by `EffectDone`.
    Undo {
        /// Its number; the same on every attempt.
        op: OpNo,
        /// The unit.
        unit: UnitNo,
        /// The `Apply` that is taken back.
        undoes: OpNo,
        /// The how-manieth time that it is sent, from 1.
        attempt: u32,
    },
    /// Run a task. Answered by `EffectDone`.
    RunTask {
        /// Its number; the same on every attempt.
        op: OpNo,
        /// The task.
        task: TaskNo,
        /// The unit, for tasks that run per unit.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        unit: Option<UnitNo>,
        /// Whether its rollback command runs instead of its command.
        undo: bool,
        /// What the task is told.
        direction: Direction,
        /// The how-manieth time that it is sent, from 1.
        attempt: u32,
    },
    /// Run the checks. Answered by `Verified`, or by `EffectDone` with a failure when they could not be run.
    Verify {
        /// Its number.
        op: OpNo,
    },
    /// Bring a share of the traffic into force, the whole table at once. Answered by `EffectDone`.
    SetWeights {
        /// Its number; the same on every attempt.
        op: OpNo,
        /// The new release's share in basis points; none: traffic follows the units again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        share: Option<u32>,
    },
    /// Read every metric over one window. Answered by one `Measured` for each metric (and stratum), and then by
    /// `EffectDone`, which closes the window.
    Measure {
        /// Its number.
        op: OpNo,
        /// The window's beginning.
        from: Timestamp,
        /// Its end; reports had their time to arrive.
        until: Timestamp,
    },
    /// Send requests of our own to both releases, because their own traffic is too thin. Answered by `EffectDone`.
    Probe {
        /// Its number.
        op: OpNo,
        /// How many to each.
        each: u32,
    },
    /// Put the plan's release on hold in this environment. Not answered.
    PlaceHold {
        /// Why.
        reason: Reason,
    },
    /// Nothing is under way; only `until` or an operator moves it. Not answered.
    Wait {
        /// The next moment at which something can happen by itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
        /// For what.
        reason: Reason,
    },
    /// The rollout is over; always the last effect. Not answered.
    Finish {
        /// How it ended.
        outcome: RolloutOutcome,
    },
}

impl Effect {
    /// The operation that it begins or asks about.
    #[must_use]
    pub const fn op(&self) -> Option<OpNo> {
        match *self {
            Self::Fence { op, .. }
            | Self::Observe { op }
            | Self::Apply { op, .. }
            | Self::Undo { op, .. }
            | Self::RunTask { op, .. }
            | Self::Verify { op }
            | Self::SetWeights { op, .. }
            | Self::Measure { op, .. }
            | Self::Probe { op, .. } => Some(op),
            Self::PlaceHold { .. } | Self::Wait { .. } | Self::Finish { .. } => None,
        }
    }
}
