//! Why the engine decided, waits, or did nothing: one typed vocabulary with whole sentences.

use std::fmt;

use serde::{Deserialize, Serialize};
use vice_core::payload::rollout::OperatorCommand;

use crate::input::Failure;
use crate::judge::Cause;
use crate::number::{OpNo, TaskNo, UnitNo};

/// A reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case", deny_unknown_fields)]
pub enum Reason {
    /// Held: nobody has said `Begin`.
    NotBegun,
    /// Held: the target's epoch is being raised.
    Fencing,
    /// Held: operations are under way.
    InFlight {
        /// How many.
        ops: u32,
    },
    /// Held: operations are under way, and a limit lets no further unit change.
    AtLimit {
        /// The limit's index in the plan.
        limit: u32,
    },
    /// Held: another group of an exclusion is changing or can't be finished.
    Excluded {
        /// The exclusion's index in the plan.
        exclusion: u32,
    },
    /// Held: what comes first is not done.
    WaitsForOrder {
        /// The order's index in the plan.
        order: u32,
    },
    /// Held: a window of a metric is being read, or probe traffic sent.
    Measuring,
    /// Held: the rollout is over.
    Finished,

    /// Waits: the time after a wave is not over.
    Baking {
        /// The wave, from 1.
        wave: u32,
    },
    /// Waits: units may begin only inside of a window of time.
    OutsideWindow {
        /// The window's index in the plan.
        window: u32,
    },
    /// Waits: the new release is exposed, and nothing was read yet.
    Watching {
        /// The wave, from 1.
        wave: u32,
    },
    /// Waits: the judge wants to see more.
    Judging {
        /// What it said last.
        cause: Cause,
    },
    /// Waits: the judge can't prove the release, and a person has to look.
    NoProof {
        /// What it said last.
        cause: Cause,
    },
    /// Waits: everything else is done, and some units were given up.
    GivenUp {
        /// How many.
        units: u32,
    },
    /// Waits: an operator paused it.
    Paused,
    /// Waits: an operator paused it, and the judge has ruled a rollback since.
    PausedThoughBad {
        /// What it said.
        cause: Cause,
    },
    /// Waits: the target can't tell what an operation did.
    InDoubt {
        /// The operation.
        op: OpNo,
    },
    /// Waits: going back would cross a task that forbids it.
    RollbackForbidden {
        /// The task.
        task: TaskNo,
    },
    /// Waits: the target's epoch could not be raised.
    FenceFailed {
        /// Why.
        failure: Failure,
    },
    /// Waits: a step back failed and is tried again.
    Retrying {
        /// How often it was tried.
        tries: u32,
        /// How often it may be tried.
        of: u32,
    },

    /// Decided: every unit is as wanted already.
    NothingToDo,
    /// Decided: the checks passed after a wave.
    WaveProven {
        /// The wave, from 1.
        wave: u32,
    },
    /// Decided: the new release runs and the checks passed.
    Proven,
    /// Decided: the new release runs; no checks were asked for.
    Unproven,
    /// Decided: a unit could not be brought to the new release.
    UnitFailed {
        /// The unit.
        unit: UnitNo,
        /// Why.
        failure: Failure,
    },
    /// Decided: a task failed.
    TaskFailed {
        /// The task.
        task: TaskNo,
        /// The unit, for tasks that run per unit.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        unit: Option<UnitNo>,
        /// Why.
        failure: Failure,
    },
    /// Decided: checks failed.
    ChecksFailed {
        /// How many.
        failed: u32,
        /// Of how many.
        of: u32,
    },
    /// Decided: live metrics say so.
    Judged {
        /// Why.
        cause: Cause,
    },
    /// Decided: traffic could not be moved.
    WeighingFailed {
        /// Why.
        failure: Failure,
    },
    /// Decided: checks could not be run, or there were none. That is not a pass.
    ChecksInconclusive,
    /// Decided: an operator said abort.
    Aborted,
    /// Decided: an operator said to roll back, across barriers too.
    Forced,
    /// Decided: an operator said to leave it as it is.
    Abandoned,
    /// Decided: what ran before runs again.
    Restored,
    /// Decided: units or tasks could not be brought back.
    BackFailed {
        /// How often it was tried.
        tries: u32,
    },
    /// Decided: what ran before runs again, but its checks do not pass.
    BackUnproven {
        /// How often it was tried.
        tries: u32,
    },

    /// Ignored: the rollout has begun already.
    AlreadyBegun,
    /// Ignored: the epoch is not higher than the one in force.
    StaleEpoch {
        /// The epoch in force.
        epoch: u64,
    },
    /// Ignored: no such operation was asked for.
    UnknownOp {
        /// The number.
        op: OpNo,
    },
    /// Ignored: the operation is closed, or waits for another kind of answer.
    LateAnswer {
        /// The operation.
        op: OpNo,
    },
    /// Ignored: the command would change nothing.
    NothingFor {
        /// The command.
        command: OperatorCommand,
    },
}

/// Where names come from; without them, numbers are printed.
pub(crate) trait Names {
    fn unit(&self, unit: UnitNo) -> String;
    fn task(&self, task: TaskNo) -> String;
    fn limit(&self, limit: u32) -> String;
    fn exclusion(&self, exclusion: u32) -> String;
    fn order(&self, order: u32) -> String;
    fn window(&self, window: u32) -> String;
    fn cause(&self, cause: Cause) -> String;
}

struct Numbers;

impl Names for Numbers {
    fn unit(&self, unit: UnitNo) -> String {
        format!("#{}", unit.0)
    }
    fn task(&self, task: TaskNo) -> String {
        format!("#{}", task.0)
    }
    fn limit(&self, limit: u32) -> String {
        format!("#{limit}")
    }
    fn exclusion(&self, exclusion: u32) -> String {
        format!("#{exclusion}")
    }
    fn order(&self, order: u32) -> String {
        format!("#{order}")
    }
    fn window(&self, window: u32) -> String {
        format!("#{window}")
    }
    fn cause(&self, cause: Cause) -> String {
        format!("The judge says {cause:?}.")
    }
}

impl Reason {
    /// Whether it speaks against the release itself, so that a hold is placed on it. A target that can't be reached or
    /// refuses, and an operator's word, say nothing about the release.
    #[must_use]
    pub const fn blames_release(&self) -> bool {
        match self {
            Self::UnitFailed { failure, .. } => !matches!(failure, Failure::Refused | Failure::Unreachable),
            Self::TaskFailed { .. } | Self::ChecksFailed { .. } | Self::ChecksInconclusive | Self::Judged { .. } => {
                true
            }
            _ => false,
        }
    }

    /// The whole sentence.
    pub(crate) fn sentence(&self, names: &dyn Names) -> String {
        self.held(names).or_else(|| self.decided(names)).unwrap_or_else(|| self.ignored())
    }

    fn held(&self, names: &dyn Names) -> Option<String> {
        Some(match *self {
            Self::NotBegun => "The rollout has not begun.".to_owned(),
            Self::Fencing => "The target is being told to refuse older commands.".to_owned(),
            Self::InFlight { ops: 1 } => "One operation is under way.".to_owned(),
            Self::InFlight { ops } => format!("{ops} operations are under way."),
            Self::AtLimit { limit } => {
                format!("As many units of {} are changing as may at once.", names.limit(limit))
            }
            Self::Excluded { exclusion } => {
                format!("Units of another group of {} are changing.", names.exclusion(exclusion))
            }
            Self::WaitsForOrder { order } => format!("What comes first by {} is not done.", names.order(order)),
            Self::Measuring => "The metrics are being read.".to_owned(),
            Self::Finished => "The rollout is over.".to_owned(),
            Self::OutsideWindow { window } => {
                format!("Units may begin only inside of the window {}.", names.window(window))
            }
            Self::Watching { wave } => format!("Wave {wave} is exposed, and its first figures are awaited."),
            Self::Judging { cause } => names.cause(cause),
            Self::NoProof { cause } => {
                format!("{} Promote goes on all the same, resume waits longer, abort goes back.", names.cause(cause))
            }
            Self::GivenUp { units: 1 } => {
                "One unit failed too often. Resume tries it again, abort goes back, abandon leaves it.".to_owned()
            }
            Self::GivenUp { units } => {
                format!(
                    "{units} units failed too often. Resume tries them again, abort goes back, abandon leaves them."
                )
            }
            Self::Baking { wave } => format!("Wave {wave} is being watched before the rollout goes on."),
            Self::Paused => "An operator paused the rollout.".to_owned(),
            Self::PausedThoughBad { cause } => {
                format!(
                    "{} An operator paused the rollout, so that nothing goes back before resume or abort.",
                    names.cause(cause)
                )
            }
            Self::InDoubt { op } => {
                format!("Nobody can tell whether {op} was carried out. Resume does it again; abort goes back.")
            }
            Self::RollbackForbidden { task } => format!(
                "Going back would cross the task {}, which forbids it. An operator has to decide.",
                names.task(task)
            ),
            Self::FenceFailed { failure } => {
                format!(
                    "The target could not be told to refuse older commands: {}. Resume tries again.",
                    failure.clause()
                )
            }
            Self::Retrying { tries, of } => format!("A step back failed {tries} of {of} times and is tried again."),
            _ => return None,
        })
    }

    fn decided(&self, names: &dyn Names) -> Option<String> {
        Some(match *self {
            Self::NothingToDo => "Every unit already is as wanted.".to_owned(),
            Self::WaveProven { wave } => format!("The checks passed after wave {wave}."),
            Self::Proven => "The new release runs everywhere and the checks passed.".to_owned(),
            Self::Unproven => "The new release runs everywhere; no checks were run.".to_owned(),
            Self::UnitFailed { unit, failure } => {
                format!("The unit {} could not be changed: {}.", names.unit(unit), failure.clause())
            }
            Self::TaskFailed { task, unit: None, failure } => {
                format!("The task {} failed: {}.", names.task(task), failure.clause())
            }
            Self::TaskFailed { task, unit: Some(unit), failure } => {
                format!("The task {} failed for the unit {}: {}.", names.task(task), names.unit(unit), failure.clause())
            }
            Self::ChecksFailed { failed, of } => format!("{failed} of {of} checks failed."),
            Self::Judged { cause } => names.cause(cause),
            Self::WeighingFailed { failure } => format!("Traffic could not be moved: {}.", failure.clause()),
            Self::ChecksInconclusive => "The checks could not be run to an end, which is not a pass.".to_owned(),
            Self::Aborted => "An operator aborted the rollout.".to_owned(),
            Self::Forced => "An operator ordered the way back, across barriers too.".to_owned(),
            Self::Abandoned => "An operator ended the rollout where it was.".to_owned(),
            Self::Restored => "What ran before runs again.".to_owned(),
            Self::BackFailed { tries } => format!("What ran before could not be restored in {tries} tries."),
            Self::BackUnproven { tries } => {
                format!("What ran before runs again, but its checks did not pass in {tries} tries.")
            }
            _ => return None,
        })
    }

    fn ignored(&self) -> String {
        match *self {
            Self::AlreadyBegun => "The rollout has begun already.".to_owned(),
            Self::StaleEpoch { epoch } => format!("The epoch is not higher than {epoch}, which is in force."),
            Self::UnknownOp { op } => format!("No {op} was asked for."),
            Self::LateAnswer { op } => format!("The answer for {op} came late or twice, and changes nothing."),
            Self::NothingFor { command } => format!("The command {} changes nothing now.", word(command)),
            _ => String::new(),
        }
    }
}

const fn word(command: OperatorCommand) -> &'static str {
    match command {
        OperatorCommand::Pause => "pause",
        OperatorCommand::Resume => "resume",
        OperatorCommand::Abort => "abort",
        OperatorCommand::ForceRollback => "force-rollback",
        OperatorCommand::Abandon => "abandon",
        OperatorCommand::Promote => "promote",
        OperatorCommand::Resolve { .. } => "resolve",
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence(&Numbers))
    }
}
