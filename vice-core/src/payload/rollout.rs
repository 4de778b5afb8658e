//! The journal of a rollout. `RolloutStarted` freezes the plan; each `RolloutStepped` holds the inputs of one engine
//! step, the effects it asked for, and what it means in words that people read; `RolloutFinished` is terminal.
//!
//! The inputs and effects are the engine's own values, opaque here; replaying the inputs through the engine must give
//! the same effects and notes, which is what resume and `vice why` check.

use indexmap::IndexMap;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ReleaseRef;
use super::environment::{Direction, RolloutOutcome};
use super::simulation::Forecast;
use super::verification::SuiteResult;
use crate::digest::Digest;
use crate::event::Payload;
use crate::id::RolloutId;
use crate::manifest::TaskSpec;
use crate::time::Millis;

/// A rollout was planned and begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutStarted {
    /// Its id.
    pub rollout: RolloutId,
    /// Deploy or rollback.
    pub direction: Direction,
    /// What ran before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<ReleaseRef>,
    /// What shall run.
    pub to: ReleaseRef,
    /// The hash of `plan`.
    pub plan_hash: Digest,
    /// The version of the planner; another one resumes only if replaying gives the same effects.
    pub planner: u32,
    /// The frozen plan.
    pub plan: Value,
    /// Why, where somebody said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Changes of the configuration against what ran before, secrets masked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub config_changes: Vec<ConfigChange>,
    /// The tasks as they are when it begins: whoever takes the rollout up runs these.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub tasks: IndexMap<String, TaskSpec>,
}

impl Payload for RolloutStarted {
    const KIND: &'static str = "dev.cdeventsx.vice-rollout.started.0.1.0";
    fn subject(&self) -> String {
        self.rollout.to_string()
    }
}

/// What the simulator said of a rollout before it began. Stored in its stream right after the start, so that the report
/// can set it against what happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RolloutPredicted {
    /// The rollout.
    pub rollout: RolloutId,
    /// What was said.
    pub forecast: Forecast,
}

impl Payload for RolloutPredicted {
    const KIND: &'static str = "dev.cdeventsx.vice-rollout.predicted.0.1.0";
    fn subject(&self) -> String {
        self.rollout.to_string()
    }
}

/// One key whose value differs; secrets are masked on both sides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigChange {
    /// The dotted key.
    pub key: String,
    /// The value before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// The value after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// One step of the engine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RolloutStepped {
    /// The rollout.
    pub rollout: RolloutId,
    /// The how-manieth step, from 1.
    pub step: u64,
    /// The `now` that the engine was given.
    pub now: Timestamp,
    /// The engine's inputs.
    pub inputs: Value,
    /// The effects that the engine asked for.
    pub effects: Value,
    /// What it means.
    pub notes: Vec<Note>,
}

impl Payload for RolloutStepped {
    const KIND: &'static str = "dev.cdeventsx.vice-rollout.stepped.0.1.0";
    fn subject(&self) -> String {
        self.rollout.to_string()
    }
}

/// A rollout has ended. Nothing follows in its stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutFinished {
    /// The rollout.
    pub rollout: RolloutId,
    /// How.
    pub outcome: RolloutOutcome,
    /// What was wanted.
    pub to: ReleaseRef,
    /// What runs now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<ReleaseRef>,
    /// Why it did not succeed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// From start to end.
    pub took: Millis,
}

impl Payload for RolloutFinished {
    const KIND: &'static str = "dev.cdeventsx.vice-rollout.finished.0.1.0";
    fn subject(&self) -> String {
        self.rollout.to_string()
    }
}

/// A rollout waits for something that only time or a person can give.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutWaiting {
    /// The rollout.
    pub rollout: RolloutId,
    /// For what.
    pub reason: String,
    /// The next moment at which something can happen by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

impl Payload for RolloutWaiting {
    const KIND: &'static str = "dev.cdeventsx.vice-rollout.waiting.0.1.0";
    fn subject(&self) -> String {
        self.rollout.to_string()
    }
}

/// An operator's word about a rollout: appended by any process; the driver feeds it to the engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutCommanded {
    /// The rollout.
    pub rollout: RolloutId,
    /// What to do.
    pub command: OperatorCommand,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Payload for RolloutCommanded {
    const KIND: &'static str = "dev.cdeventsx.vice-rollout.commanded.0.1.0";
    fn subject(&self) -> String {
        self.rollout.to_string()
    }
}

/// What an operator can say to a running rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OperatorCommand {
    /// Start nothing new until resumed.
    Pause,
    /// Go on.
    Resume,
    /// Stop and roll back.
    Abort,
    /// Roll back across a barrier that forbids it.
    ForceRollback,
    /// Stop where it is, and leave it so.
    Abandon,
    /// Let the wave pass that is being watched, whatever is still to be proven.
    Promote,
    /// Somebody has looked at what an operation did that nobody could tell.
    Resolve {
        /// The operation's number within the rollout.
        op: u32,
        /// What was found.
        found: Finding,
    },
}

/// What somebody who looked found about an operation in doubt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// It was carried out.
    Applied,
    /// It was not carried out.
    NotApplied,
}

/// What a step means, in named terms. One vocabulary for terminal, report, notification and `why`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "note", rename_all = "snake_case")]
pub enum Note {
    /// The target refuses lower epochs from now on.
    Fenced {
        /// The epoch.
        epoch: u64,
    },
    /// A wave begins.
    WaveStarted {
        /// Which, from 1.
        wave: u32,
        /// Of how many.
        of: u32,
        /// Its units.
        units: Vec<String>,
        /// Deploy or rollback.
        direction: Direction,
    },
    /// A wave is done.
    WaveFinished {
        /// Which, from 1.
        wave: u32,
    },
    /// A unit begins to change.
    UnitStarted {
        /// The unit.
        unit: String,
        /// The version it goes to.
        version: String,
        /// The operation's id.
        op: String,
    },
    /// A unit runs the version and is healthy.
    UnitFinished {
        /// The unit.
        unit: String,
        /// The version.
        version: String,
        /// How long it took.
        took: Millis,
    },
    /// A unit could not be changed.
    UnitFailed {
        /// The unit.
        unit: String,
        /// The version.
        version: String,
        /// Why.
        reason: String,
        /// How long it took.
        took: Millis,
    },
    /// A task or hook begins.
    TaskStarted {
        /// Its name.
        task: String,
        /// The unit, for tasks that run per unit.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        unit: Option<String>,
        /// Deploy or rollback.
        direction: Direction,
    },
    /// A task or hook ended.
    TaskFinished {
        /// Its name.
        task: String,
        /// The unit, for tasks that run per unit.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        unit: Option<String>,
        /// Whether it succeeded.
        ok: bool,
        /// What it said when it failed, bounded and masked.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// How long it took.
        took: Millis,
    },
    /// Verification begins.
    VerifyStarted {
        /// Deploy or rollback.
        direction: Direction,
    },
    /// Verification ended.
    VerifyFinished {
        /// What was found.
        suite: SuiteResult,
    },
    /// The weights of the front end changed.
    WeightsSet {
        /// Version and weight in basis points; empty when traffic follows the units again.
        weights: Vec<(String, u32)>,
    },
    /// Live metrics were judged over one window.
    Judged {
        /// What was said.
        verdict: Verdict,
        /// The metric that it is about.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        metric: Option<String>,
        /// Why, in one sentence.
        reason: String,
        /// The new release's share of the traffic in that window, in basis points.
        share: u32,
        /// The numbers that it rests on.
        evidence: Value,
    },
    /// The engine decided something.
    Decided {
        /// What.
        verdict: Verdict,
        /// Why, in one sentence.
        reason: String,
        /// The numbers that it rests on.
        evidence: Value,
    },
    /// The engine holds back.
    Held {
        /// Why, as a typed reason of the engine.
        reason: String,
        /// The next moment at which something can happen by itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
    },
    /// An operator spoke.
    Commanded {
        /// What.
        command: OperatorCommand,
        /// Who.
        by: String,
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// The driver took up a rollout that another process had left.
    Resumed {
        /// The epoch of the new holder.
        epoch: u64,
    },
    /// The rollout ended.
    Finished {
        /// How.
        outcome: RolloutOutcome,
    },
}

/// The four verdicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Go on.
    Proceed,
    /// Wait.
    Hold,
    /// Go back.
    Rollback,
    /// There is not enough to decide on.
    Inconclusive,
}
