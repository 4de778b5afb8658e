//! The state of a rollout: a value that can be cloned, compared and stored. Only [`crate::step`] changes it.

use std::collections::VecDeque;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use vice_core::payload::ReleaseRef;
use vice_core::payload::environment::{Direction, RolloutOutcome};

use crate::course::{Course, Errand};
use crate::input::{CheckCounts, Failure};
use crate::number::{OpNo, TaskNo, UnitNo};
use crate::reason::Reason;

/// Everything that the engine knows of one rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    pub(crate) course: Course,
    pub(crate) phase: Phase,
    /// The latest `now` at which something changed; time never runs backwards from there.
    pub(crate) latest: Timestamp,
    pub(crate) epoch: u64,
    pub(crate) fence: Fence,
    /// Every operation so far; [`OpNo`] is the index.
    pub(crate) ops: Vec<Op>,
    /// How many of them are under way, fences not counted.
    pub(crate) open: u32,
    /// Those of which nobody can tell what they did.
    pub(crate) doubts: Vec<OpNo>,
    pub(crate) units: Vec<UnitState>,
    /// How many units are changing, by limit.
    pub(crate) down: Vec<u32>,
    /// How many units are changing in all.
    pub(crate) busy: u32,
    /// The next unit of the wave, or of the way back.
    pub(crate) cursor: u32,
    /// Units that have to go on, before any new one begins.
    pub(crate) again: VecDeque<UnitNo>,
    /// Units whose way back failed in this round.
    pub(crate) later: Vec<UnitNo>,
    /// Units that this rollout has changed something of, in the order of completion.
    pub(crate) touched: Vec<UnitNo>,
    /// Tasks that have completed once for the rollout, as bits.
    pub(crate) once_done: u64,
    /// Tasks that have completed at all, as bits.
    pub(crate) ever_done: u64,
    pub(crate) halt: Option<Halt>,
    pub(crate) paused: bool,
    pub(crate) forced: bool,
    pub(crate) abandoned: bool,
    /// How often the present step of the way back has failed.
    pub(crate) tries: u32,
    pub(crate) retry_at: Option<Timestamp>,
    pub(crate) waiting: Option<Waiting>,
    pub(crate) counts: CheckCounts,
    pub(crate) proven: bool,
}

/// Where the rollout is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Phase {
    Idle,
    /// Fenced for the first time; is there a barrier to ask about before anything begins?
    Gate,
    Before {
        at: u16,
    },
    Wave {
        wave: u32,
    },
    Bake {
        wave: u32,
        until: Timestamp,
    },
    Check {
        wave: u32,
    },
    After {
        at: u16,
    },
    Final,
    /// It will go back as soon as nothing is under way.
    Halting,
    Barrier {
        task: TaskNo,
    },
    BackBefore {
        at: u16,
    },
    Back,
    BackAfter {
        at: u16,
    },
    BackCheck,
    Over {
        outcome: RolloutOutcome,
    },
}

impl Phase {
    /// Whether it is on the way back.
    pub(crate) const fn is_back(self) -> bool {
        matches!(self, Self::BackBefore { .. } | Self::Back | Self::BackAfter { .. } | Self::BackCheck)
    }
}

/// Why it turns back, and where it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Halt {
    pub(crate) cause: Reason,
    pub(crate) from: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Fence {
    Down,
    Raising(OpNo),
    Up,
    Failed(Failure),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct UnitState {
    /// How far it is in its script.
    pub(crate) at: u16,
    /// The hooks that completed for it, as bits.
    pub(crate) hooks: u64,
    /// The operation that changed it, unless that was taken back.
    pub(crate) applied: Option<OpNo>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Op {
    pub(crate) work: Work,
    pub(crate) status: OpStatus,
    pub(crate) attempt: u32,
    pub(crate) started: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OpStatus {
    /// The driver carries it out.
    Running,
    /// Its driver is gone; it is observed after the fence.
    Unseen,
    /// The target is being asked about it.
    Observing,
    /// Nobody can tell; an operator is asked.
    Doubt,
    /// It is over. Nothing opens it again.
    Closed,
}

/// What an operation is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "work", rename_all = "snake_case")]
pub enum Work {
    /// Raise the target's epoch.
    Fence {
        /// To this.
        epoch: u64,
    },
    /// Bring a unit to the plan's release.
    Apply {
        /// The unit.
        unit: UnitNo,
    },
    /// Bring a unit back.
    Undo {
        /// The unit.
        unit: UnitNo,
        /// What is taken back.
        undoes: OpNo,
    },
    /// Run a task.
    Task {
        /// The task.
        task: TaskNo,
        /// The unit, for tasks that run per unit.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        unit: Option<UnitNo>,
        /// Whether its rollback command runs.
        undo: bool,
        /// Whether it takes back what the task did earlier in this rollout.
        takes_back: bool,
        /// What the task is told.
        direction: Direction,
    },
    /// Run the checks.
    Verify {
        /// Of the new release, or of what runs again.
        direction: Direction,
    },
}

impl Work {
    pub(crate) const fn task(errand: Errand, unit: Option<UnitNo>, direction: Direction) -> Self {
        Self::Task { task: errand.task, unit, undo: errand.undo, takes_back: errand.takes_back, direction }
    }

    /// The unit that it changes.
    #[must_use]
    pub const fn unit(self) -> Option<UnitNo> {
        match self {
            Self::Apply { unit } | Self::Undo { unit, .. } => Some(unit),
            Self::Task { unit, .. } => unit,
            Self::Fence { .. } | Self::Verify { .. } => None,
        }
    }
}

/// For what a rollout waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// For what.
    pub reason: Reason,
    /// The next moment at which something can happen by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

impl State {
    /// A rollout that has not begun.
    #[must_use]
    pub fn new(course: Course) -> Self {
        let units = vec![UnitState::default(); course.units.len()];
        let down = vec![0; course.limits.len()];
        Self {
            course,
            phase: Phase::Idle,
            latest: Timestamp::MIN,
            epoch: 0,
            fence: Fence::Down,
            ops: Vec::new(),
            open: 0,
            doubts: Vec::new(),
            units,
            down,
            busy: 0,
            cursor: 0,
            again: VecDeque::new(),
            later: Vec::new(),
            touched: Vec::new(),
            once_done: 0,
            ever_done: 0,
            halt: None,
            paused: false,
            forced: false,
            abandoned: false,
            tries: 0,
            retry_at: None,
            waiting: None,
            counts: CheckCounts::default(),
            proven: false,
        }
    }

    /// The plan that it follows.
    #[must_use]
    pub fn course(&self) -> &Course {
        &self.course
    }

    /// How it ended; none while it is under way.
    #[must_use]
    pub const fn outcome(&self) -> Option<RolloutOutcome> {
        match self.phase {
            Phase::Over { outcome } => Some(outcome),
            _ => None,
        }
    }

    /// For what it waits, when nothing is under way and only time or an operator moves it.
    #[must_use]
    pub const fn waiting(&self) -> Option<Waiting> {
        self.waiting
    }

    /// Why it turned back, where it did; kept after the end, and while a barrier is asked about.
    #[must_use]
    pub fn cause(&self) -> Option<Reason> {
        self.halt.map(|halt| halt.cause)
    }

    /// The epoch in force.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// What an operation is for.
    #[must_use]
    pub fn work(&self, op: OpNo) -> Option<Work> {
        self.ops.get(op.index()).map(|op| op.work)
    }

    /// The operations under way: those that a driver owes an answer for, in the order of their numbers.
    pub fn in_flight(&self) -> impl Iterator<Item = (OpNo, Work)> {
        let open = |status| matches!(status, OpStatus::Running | OpStatus::Observing);
        let numbered = self.ops.iter().enumerate().filter(move |(_, op)| open(op.status));
        numbered.map(|(index, op)| (OpNo::from_index(index), op.work))
    }

    /// Whether checks have passed on what runs now, since the last change of it.
    #[must_use]
    pub const fn is_proven(&self) -> bool {
        self.proven
    }

    /// Whether going back has begun.
    #[must_use]
    pub const fn is_going_back(&self) -> bool {
        self.phase.is_back()
    }

    /// What runs everywhere after the end; none where nothing does, where units differ, or where it can't be known.
    #[must_use]
    pub fn running(&self) -> Option<&ReleaseRef> {
        match self.outcome()? {
            RolloutOutcome::Succeeded => Some(&self.course.plan().to),
            RolloutOutcome::RolledBack | RolloutOutcome::Failed => self.course.plan().from.as_ref(),
            RolloutOutcome::NotRestored => None,
            RolloutOutcome::Aborted if self.touched.is_empty() => self.course.plan().from.as_ref(),
            RolloutOutcome::Aborted => None,
        }
    }
}
