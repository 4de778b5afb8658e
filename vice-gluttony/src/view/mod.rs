//! What reports show, as plain values: computed from folds without I/O, serialised as they are for `--format json`.
//!
//! Texts in here are as they were recorded. Making them harmless is the business of each renderer, because what is
//! harmless differs between a terminal, Markdown and a page.

pub mod answer;
pub mod compare;
pub mod dashboard;
pub mod expected;
pub mod figure;
pub mod lanes;
pub mod mix;
pub mod next;
pub mod rollout;
pub mod sentence;
pub mod spread;

use serde::{Deserialize, Serialize};
use vice_core::payload::environment::RolloutOutcome;

/// How a rollout stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
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
    /// It is under way.
    Running,
    /// It waits for time or for a person.
    Waiting,
}

impl Standing {
    /// From the recorded outcome; `waiting` tells the two kinds of being under way apart.
    #[must_use]
    pub const fn of(outcome: Option<RolloutOutcome>, waiting: bool) -> Self {
        match outcome {
            Some(RolloutOutcome::Succeeded) => Self::Succeeded,
            Some(RolloutOutcome::RolledBack) => Self::RolledBack,
            Some(RolloutOutcome::Failed) => Self::Failed,
            Some(RolloutOutcome::NotRestored) => Self::NotRestored,
            Some(RolloutOutcome::Aborted) => Self::Aborted,
            None if waiting => Self::Waiting,
            None => Self::Running,
        }
    }

    /// The word that people read.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::RolledBack => "rolled back",
            Self::Failed => "failed",
            Self::NotRestored => "not restored",
            Self::Aborted => "aborted",
            Self::Running => "under way",
            Self::Waiting => "waiting",
        }
    }

    /// How good that is.
    #[must_use]
    pub const fn mood(self) -> Mood {
        match self {
            Self::Succeeded => Mood::Good,
            Self::RolledBack | Self::Aborted | Self::Waiting => Mood::Warn,
            Self::Failed | Self::NotRestored => Mood::Bad,
            Self::Running => Mood::Plain,
        }
    }
}

/// How good something is; colours follow from it, and no colour ever says it alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mood {
    /// Neither.
    Plain,
    /// Went well.
    Good,
    /// Deserves a look.
    Warn,
    /// Went wrong.
    Bad,
}

impl Mood {
    /// The name that style sheets use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Good => "good",
            Self::Warn => "warn",
            Self::Bad => "bad",
        }
    }
}
