//! What the engine is told. Texts (why something failed, what a check said) stay with the driver; here are codes.

use serde::{Deserialize, Serialize};
use vice_core::payload::rollout::OperatorCommand;

use crate::judge::Reading;
use crate::number::OpNo;

/// One thing that happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "input", rename_all = "snake_case", deny_unknown_fields)]
pub enum Input {
    /// Time has passed.
    Tick,
    /// The rollout shall begin, under this epoch.
    Begin {
        /// The epoch of the lease.
        epoch: u64,
    },
    /// Another process took the rollout over, under a higher epoch. What was in flight has to be observed.
    Resumed {
        /// The epoch of the new holder.
        epoch: u64,
    },
    /// An effect was carried out, or was not.
    EffectDone {
        /// Which.
        op: OpNo,
        /// How it went.
        result: OpResult,
    },
    /// The answer to `Observe`.
    Observed {
        /// Which operation.
        op: OpNo,
        /// What the target says.
        seen: Seen,
    },
    /// The answer to `Verify`.
    Verified {
        /// Which operation.
        op: OpNo,
        /// Whether the verifier calls it passed.
        passed: bool,
        /// How many checks ended how.
        counts: CheckCounts,
    },
    /// What one metric says about the window that `Measure` asked for.
    Measured {
        /// Which operation.
        op: OpNo,
        /// The metric's index in the plan's analysis.
        metric: u16,
        /// What it says.
        reading: Reading,
    },
    /// An operator spoke.
    Operator {
        /// What.
        command: OperatorCommand,
    },
}

/// How an effect went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OpResult {
    /// It was carried out.
    Done,
    /// It was not carried out, and things are as before it.
    Failed(Failure),
}

/// Why an effect failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// The unit did not get healthy.
    Unhealthy,
    /// The target refused it.
    Refused,
    /// The target could not be reached, and nothing was done.
    Unreachable,
    /// It took too long, and was taken back.
    TimedOut,
    /// The command of a task failed.
    Task,
    /// Nobody can tell whether it was carried out: it is in doubt, and an operator is asked.
    InDoubt,
    /// Something else.
    Other,
}

impl Failure {
    /// The end of a sentence that begins with what failed.
    #[must_use]
    pub const fn clause(self) -> &'static str {
        match self {
            Self::Unhealthy => "it did not get healthy",
            Self::Refused => "the target refused",
            Self::Unreachable => "the target could not be reached",
            Self::TimedOut => "it took too long",
            Self::Task => "the command failed",
            Self::InDoubt => "nobody can tell whether it was carried out",
            Self::Other => "see the failure's text",
        }
    }
}

/// What a target says of an operation after the fence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Seen {
    /// It was carried out.
    Applied,
    /// It was not, and will not be by anybody else.
    NotApplied,
    /// The target can't tell.
    Unknown,
}

/// How many checks of a verification ended how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckCounts {
    /// Checks that passed.
    pub passed: u32,
    /// Checks that failed.
    pub failed: u32,
    /// Checks that could not be carried out.
    pub errored: u32,
}

impl CheckCounts {
    /// Whether at least one passed and none failed or could not be carried out: no data is never healthy.
    #[must_use]
    pub const fn is_pass(self) -> bool {
        self.passed > 0 && self.failed == 0 && self.errored == 0
    }
}
