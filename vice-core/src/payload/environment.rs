//! What happens to an environment of a project: the stream behind `vice status`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ReleaseRef;
use crate::event::Payload;
use crate::id::{RolloutId, Scope};
use crate::time::Millis;

/// Where a rollout goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// To a version that somebody asked for.
    Deploy,
    /// Back to a version proven earlier.
    Rollback,
}

impl Direction {
    /// The word that tasks and hooks are told.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Deploy => "deploy",
            Self::Rollback => "rollback",
        }
    }
}

/// How a rollout ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RolloutOutcome {
    /// The wanted release runs and is proven.
    Succeeded,
    /// It failed and the earlier release runs again.
    RolledBack,
    /// It failed before anything was changed.
    Failed,
    /// It failed and the earlier release could not be restored.
    NotRestored,
    /// An operator ended it where it was.
    Aborted,
}

/// A rollout of this environment has begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutBegan {
    /// Its id.
    pub rollout: RolloutId,
    /// Deploy or rollback.
    pub direction: Direction,
    /// What ran before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<ReleaseRef>,
    /// What shall run.
    pub to: ReleaseRef,
    /// Why, where somebody said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Payload for RolloutBegan {
    const KIND: &'static str = "dev.cdeventsx.vice-environment.rolloutbegan.0.1.0";
    fn subject(&self) -> String {
        self.rollout.scope.to_string()
    }
}

/// A rollout of this environment has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutEnded {
    /// Its id.
    pub rollout: RolloutId,
    /// How.
    pub outcome: RolloutOutcome,
    /// What runs now, as far as is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<ReleaseRef>,
    /// Whether what runs now was verified in this rollout.
    pub proven: bool,
    /// Why it did not succeed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// From begin to end.
    pub took: Millis,
    /// Whether traffic may still be split between versions: the next rollout gives it back to the units first.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub split: bool,
}

impl Payload for RolloutEnded {
    const KIND: &'static str = "dev.cdeventsx.vice-environment.rolloutended.0.1.0";
    fn subject(&self) -> String {
        self.rollout.scope.to_string()
    }
}

/// A deploy waits until the rollout under way is over. It has the number of a rollout already, which it keeps when it
/// begins; one that is dropped leaves a gap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutQueued {
    /// The id that it will have.
    pub rollout: RolloutId,
    /// The rollout that it waits for.
    pub waits_for: RolloutId,
    /// The version that is wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Another artifact than the one of `vice.toml`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact: Option<String>,
    /// Whether the rollout under way was told to go back for it.
    #[serde(default)]
    pub replaces: bool,
    /// Why, where somebody said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Payload for RolloutQueued {
    const KIND: &'static str = "dev.cdeventsx.vice-environment.rolloutqueued.0.1.0";
    fn subject(&self) -> String {
        self.rollout.scope.to_string()
    }
}

/// A deploy that waited for its turn will not begin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutDropped {
    /// The id that it had.
    pub rollout: RolloutId,
    /// Why.
    pub reason: String,
}

impl Payload for RolloutDropped {
    const KIND: &'static str = "dev.cdeventsx.vice-environment.rolloutdropped.0.1.0";
    fn subject(&self) -> String {
        self.rollout.scope.to_string()
    }
}

/// A version must not be deployed here, by nobody and nothing, until the hold is released.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldPlaced {
    /// Where.
    pub scope: Scope,
    /// Which version.
    pub version: String,
    /// Why.
    pub reason: String,
    /// The rollout that placed it, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutId>,
}

impl Payload for HoldPlaced {
    const KIND: &'static str = "dev.cdeventsx.vice-hold.placed.0.1.0";
    fn subject(&self) -> String {
        format!("{}@{}", self.scope, self.version)
    }
}

/// A hold was released by an operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldReleased {
    /// Where.
    pub scope: Scope,
    /// Which version.
    pub version: String,
    /// Why.
    pub reason: String,
}

impl Payload for HoldReleased {
    const KIND: &'static str = "dev.cdeventsx.vice-hold.released.0.1.0";
    fn subject(&self) -> String {
        format!("{}@{}", self.scope, self.version)
    }
}

/// Whether the instances of an environment are meant to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PowerState {
    /// They are meant to run.
    Started,
    /// Somebody stopped them on purpose.
    Stopped,
    /// They were restarted, and are meant to run.
    Restarted,
}

/// The instances were started, stopped or restarted without a new version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PowerChanged {
    /// Where.
    pub scope: Scope,
    /// To what.
    pub state: PowerState,
    /// Why, where somebody said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Payload for PowerChanged {
    const KIND: &'static str = "dev.cdeventsx.vice-environment.powerchanged.0.1.0";
    fn subject(&self) -> String {
        self.scope.to_string()
    }
}
