//! What a run of checks found.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::event::Payload;
use crate::id::{RolloutId, Scope};
use crate::time::Millis;

/// How one check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CheckOutcome {
    /// Everything it asserts holds.
    Passed,
    /// An assertion does not hold.
    Failed,
    /// It could not be carried out.
    Errored,
    /// It was not run, because an earlier one that it needs did not pass or it does not apply.
    Skipped,
}

/// One check's result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CheckResult {
    /// The check's name.
    pub name: String,
    /// Its kind: `http`, `tcp`, `command` or `scenario`.
    pub kind: String,
    /// What it looked at, such as a URL; secrets masked.
    pub subject: String,
    /// How it ended.
    pub outcome: CheckOutcome,
    /// How often it was tried.
    pub attempts: u32,
    /// How long it took in all.
    pub took: Millis,
    /// Why it did not pass, one line an assertion, secrets masked; empty when it passed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub messages: Vec<String>,
}

/// All results of one run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SuiteResult {
    /// When it started.
    pub started: Timestamp,
    /// How long it took.
    pub took: Millis,
    /// The checks in the order of `vice.toml`.
    pub checks: Vec<CheckResult>,
}

impl SuiteResult {
    /// How many checks ended so.
    #[must_use]
    pub fn count(&self, outcome: CheckOutcome) -> usize {
        self.checks.iter().filter(|check| check.outcome == outcome).count()
    }

    /// Whether at least one check passed and none failed or could not be run. No checks is not a pass.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.count(CheckOutcome::Passed) > 0
            && self.count(CheckOutcome::Failed) == 0
            && self.count(CheckOutcome::Errored) == 0
    }
}

/// Checks were run against an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerificationFinished {
    /// Where.
    pub scope: Scope,
    /// The version that ran, as far as is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The rollout that asked, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutId>,
    /// What was found.
    pub suite: SuiteResult,
}

impl Payload for VerificationFinished {
    const KIND: &'static str = "dev.cdeventsx.vice-verification.finished.0.1.0";
    fn subject(&self) -> String {
        self.scope.to_string()
    }
}
