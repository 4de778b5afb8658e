//! What a step means, as small `Copy` values over numbers. `named` turns them into the notes that people read.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use vice_core::Millis;
use vice_core::payload::environment::{Direction, RolloutOutcome};
use vice_core::payload::rollout::{OperatorCommand, Verdict};

use crate::input::{CheckCounts, Failure};
use crate::judge::{JudgeEvidence, Ruling};
use crate::number::{OpNo, TaskNo, UnitNo};
use crate::reason::Reason;

/// The numbers that a decision rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// Checks that passed in the last verification.
    pub passed: u32,
    /// Checks that failed in it.
    pub failed: u32,
    /// Checks that could not be carried out in it.
    pub errored: u32,
    /// Units that this rollout has touched so far.
    pub touched: u32,
    /// Units that it has to change in all.
    pub of: u32,
    /// The new release's share of the traffic in basis points, where the rollout moves it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<u32>,
    /// What the judge's ruling rests on, where that is the reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judge: Option<JudgeEvidence>,
}

/// One note.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "note", rename_all = "snake_case", deny_unknown_fields)]
pub enum EngineNote {
    /// The target refuses lower epochs from now on.
    Fenced {
        /// The epoch.
        epoch: u64,
    },
    /// A wave begins.
    WaveStarted {
        /// Its index in the plan, from 0.
        wave: u32,
    },
    /// Every unit of a wave is done.
    WaveFinished {
        /// Its index in the plan, from 0.
        wave: u32,
    },
    /// A unit begins to change.
    UnitStarted {
        /// The unit.
        unit: UnitNo,
        /// The operation.
        op: OpNo,
        /// Whether it is on the way back.
        back: bool,
    },
    /// A unit has changed and is healthy.
    UnitFinished {
        /// The unit.
        unit: UnitNo,
        /// The operation.
        op: OpNo,
        /// Whether it is on the way back.
        back: bool,
        /// How long it took.
        took: Millis,
    },
    /// A unit could not be changed.
    UnitFailed {
        /// The unit.
        unit: UnitNo,
        /// The operation.
        op: OpNo,
        /// Whether it is on the way back.
        back: bool,
        /// Why.
        failure: Failure,
        /// How long it took.
        took: Millis,
    },
    /// A task begins.
    TaskStarted {
        /// The task.
        task: TaskNo,
        /// The unit, for tasks that run per unit.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        unit: Option<UnitNo>,
        /// The operation.
        op: OpNo,
        /// What it is told.
        direction: Direction,
    },
    /// A task ended.
    TaskFinished {
        /// The task.
        task: TaskNo,
        /// The unit, for tasks that run per unit.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        unit: Option<UnitNo>,
        /// The operation.
        op: OpNo,
        /// Why it failed, if it did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failure: Option<Failure>,
        /// How long it took.
        took: Millis,
    },
    /// Verification begins.
    VerifyStarted {
        /// The operation.
        op: OpNo,
        /// Of the new release, or of what runs again.
        direction: Direction,
    },
    /// Verification ended.
    VerifyFinished {
        /// The operation.
        op: OpNo,
        /// How many checks ended how.
        counts: CheckCounts,
        /// When it began.
        started: Timestamp,
        /// How long it took.
        took: Millis,
    },
    /// A share of the traffic is in force.
    Weighed {
        /// The new release's share in basis points; none: traffic follows the units.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        share: Option<u32>,
    },
    /// The judge ruled on a window.
    Judged {
        /// What it said, and on what that rests.
        ruling: Ruling,
    },
    /// The engine decided something.
    Decided {
        /// What.
        verdict: Verdict,
        /// Why.
        reason: Reason,
        /// The numbers that it rests on.
        evidence: Evidence,
    },
    /// The rollout waits.
    Held {
        /// For what.
        reason: Reason,
        /// The next moment at which something can happen by itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
    },
    /// An operator spoke, and it made a difference.
    Commanded {
        /// What.
        command: OperatorCommand,
    },
    /// Another process took the rollout over.
    Resumed {
        /// Its epoch.
        epoch: u64,
    },
    /// The rollout ended.
    Finished {
        /// How.
        outcome: RolloutOutcome,
    },
}
