//! The state of a rollout: a value that can be cloned, compared and stored. Only [`crate::step`] changes it.

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use vice_core::payload::ReleaseRef;
use vice_core::payload::environment::{Direction, RolloutOutcome};

use crate::classes::Role;
use crate::course::{Course, Errand};
use crate::input::{CheckCounts, Failure};
use crate::lanes::Lanes;
use crate::number::{OpNo, TaskNo, UnitNo};
use crate::ops::{OpStatus, Ops};
use crate::reason::Reason;
use crate::units::Units;
use crate::watch::Watch;

/// Everything that the engine knows of one rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    pub(crate) course: Course,
    pub(crate) progress: Progress,
}

/// How far the rollout is. It is apart from the plan so that a step can read the one while it changes the other.
///
/// What grows with the fleet: 13 bytes a unit (`units` 5, `lanes` 4, `touched` 4), 8 for each class, 12 for each
/// limit, and 16 for each operation under way or younger than the oldest that is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Progress {
    pub(crate) phase: Phase,
    /// The latest `now` at which something changed; time never runs backwards from there.
    pub(crate) latest: Timestamp,
    pub(crate) epoch: u64,
    pub(crate) fence: Fence,
    pub(crate) ops: Ops,
    /// How many of them change something or verify; fences, measurements and probes are not counted.
    pub(crate) open: u32,
    /// Those of which nobody can tell what they did.
    pub(crate) doubts: Vec<OpNo>,
    pub(crate) units: Units,
    pub(crate) lanes: Lanes,
    /// How many units are changing in all.
    pub(crate) busy: u32,
    /// The next unit of the wave, or of the way back.
    pub(crate) cursor: u32,
    /// Units that have to go on, before any new one begins.
    pub(crate) again: VecDeque<UnitNo>,
    /// Units whose way back failed in this round.
    pub(crate) later: Vec<UnitNo>,
    /// Units that this rollout has changed something of, in the order in which that began.
    pub(crate) touched: Vec<UnitNo>,
    /// How often the change of a unit has failed, for those where it did.
    pub(crate) failures: BTreeMap<UnitNo, u32>,
    /// Units that failed too often; they still count as down.
    pub(crate) given_up: Vec<UnitNo>,
    /// The new release's share of the traffic in basis points; none while traffic follows the units.
    pub(crate) share: Option<u32>,
    /// Whether traffic may be split on the target, by this rollout or by an earlier one.
    pub(crate) split: bool,
    pub(crate) watch: Watch,
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
    /// For what it waited last.
    pub(crate) waited: Option<Waiting>,
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
    /// Traffic that an earlier rollout left split follows the units again.
    Free,
    Before {
        at: u16,
    },
    /// Traffic is kept away from what the wave places, or given back to the units.
    Shield {
        wave: u32,
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
    /// The wave's share is brought into force.
    Expose {
        wave: u32,
    },
    /// Metrics are judged until the wave may pass; at least until then.
    Watch {
        wave: u32,
        until: Timestamp,
    },
    After {
        at: u16,
    },
    Final,
    /// Traffic follows the units again.
    Settle,
    /// It will go back as soon as nothing is under way.
    Halting,
    Barrier {
        task: TaskNo,
    },
    /// Traffic is taken away from what is taken back.
    BackShield,
    BackBefore {
        at: u16,
    },
    Back,
    BackAfter {
        at: u16,
    },
    /// Traffic follows the units again.
    BackSettle,
    BackCheck,
    /// It was abandoned, and traffic follows the units again.
    Leaving,
    Over {
        outcome: RolloutOutcome,
    },
}

impl Phase {
    /// Whether it is on the way back.
    pub(crate) const fn is_back(self) -> bool {
        matches!(
            self,
            Self::BackShield
                | Self::BackBefore { .. }
                | Self::Back
                | Self::BackAfter { .. }
                | Self::BackSettle
                | Self::BackCheck
        )
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
    /// Bring a share of the traffic into force.
    Weigh {
        /// The new release's share in basis points; none: traffic follows the units.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        share: Option<u32>,
    },
    /// Read every metric over one window.
    Measure {
        /// Its beginning.
        from: Timestamp,
        /// Its end.
        until: Timestamp,
    },
    /// Send requests of our own.
    Probe {
        /// How many to each release.
        each: u32,
    },
}

impl Work {
    /// Whether it can be asked for again without asking what became of it: it changes nothing, or says everything.
    #[must_use]
    pub(crate) const fn is_repeatable(self) -> bool {
        matches!(self, Self::Verify { .. } | Self::Weigh { .. })
    }

    pub(crate) const fn task(errand: Errand, unit: Option<UnitNo>, direction: Direction) -> Self {
        Self::Task { task: errand.task, unit, undo: errand.undo, takes_back: errand.takes_back, direction }
    }

    /// The unit that it changes.
    #[must_use]
    pub const fn unit(self) -> Option<UnitNo> {
        match self {
            Self::Apply { unit } | Self::Undo { unit, .. } => Some(unit),
            Self::Task { unit, .. } => unit,
            Self::Fence { .. }
            | Self::Verify { .. }
            | Self::Weigh { .. }
            | Self::Measure { .. }
            | Self::Probe { .. } => None,
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

impl Progress {
    fn new(units: Units, lanes: Lanes, watch: Watch, split: bool) -> Self {
        Self {
            phase: Phase::Idle,
            latest: Timestamp::MIN,
            epoch: 0,
            fence: Fence::Down,
            ops: Ops::default(),
            open: 0,
            doubts: Vec::new(),
            units,
            lanes,
            busy: 0,
            cursor: 0,
            again: VecDeque::new(),
            later: Vec::new(),
            touched: Vec::new(),
            failures: BTreeMap::new(),
            given_up: Vec::new(),
            share: None,
            split,
            watch,
            once_done: 0,
            ever_done: 0,
            halt: None,
            paused: false,
            forced: false,
            abandoned: false,
            tries: 0,
            retry_at: None,
            waiting: None,
            waited: None,
            counts: CheckCounts::default(),
            proven: false,
        }
    }

    pub(crate) fn cause(&self) -> Option<Reason> {
        self.halt.map(|halt| halt.cause)
    }
}

impl State {
    /// Reads what the ends of these operations will need, which changes nothing but the time that they take: a million servers
    /// are in no cache, and what is read at once is waited for once. For whoever knows what comes next.
    pub fn foresee(&self, ends: impl Iterator<Item = (OpNo, UnitNo)> + Clone) {
        let classes = self.course.classes();
        let known = ends.filter(|(_, unit)| unit.0 < self.course.unit_count());
        for (op, unit) in known.clone() {
            let Progress { units, ops, .. } = &self.progress;
            std::hint::black_box((units.applied(unit), units.at(unit), ops.status(op)));
            classes.foresee(classes.of_unit(unit));
        }
        // By now it is known where their classes are.
        for (_, unit) in known {
            self.progress.lanes.foresee(classes, classes.of_unit(unit));
        }
    }

    /// A rollout that has not begun.
    #[must_use]
    pub fn new(course: Course) -> Self {
        let units = Units::new(course.unit_count(), course.has_hooks());
        let gates = [course.exclusions.len(), course.orders.len(), course.windows.len()];
        let mut lanes = Lanes::new(course.classes(), course.unit_count(), gates);
        let changing = course.waves.iter().flat_map(|wave| wave.units.iter().copied());
        lanes.count_for_orders(course.classes(), changing, Role::First);
        let watch = Watch::new(course.analysis.as_ref());
        let progress = Progress::new(units, lanes, watch, course.frees_traffic);
        Self { course, progress }
    }

    /// The plan that it follows.
    #[must_use]
    pub fn course(&self) -> &Course {
        &self.course
    }

    /// How it ended; none while it is under way.
    #[must_use]
    pub const fn outcome(&self) -> Option<RolloutOutcome> {
        match self.progress.phase {
            Phase::Over { outcome } => Some(outcome),
            _ => None,
        }
    }

    /// For what it waits, when nothing is under way and only time or an operator moves it.
    #[must_use]
    pub const fn waiting(&self) -> Option<Waiting> {
        self.progress.waiting
    }

    /// Why it turned back, where it did; kept after the end, and while a barrier is asked about.
    #[must_use]
    pub fn cause(&self) -> Option<Reason> {
        self.progress.cause()
    }

    /// The epoch in force.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.progress.epoch
    }

    /// What an operation under way is for; none for one that is over.
    #[must_use]
    pub fn work(&self, op: OpNo) -> Option<Work> {
        self.progress.ops.work(op)
    }

    /// The operations in doubt, oldest first: nobody can tell what they did.
    pub fn doubts(&self) -> impl Iterator<Item = (OpNo, Work)> {
        self.progress.doubts.iter().filter_map(|op| Some((*op, self.progress.ops.work(*op)?)))
    }

    /// The operations under way: those that a driver owes an answer for, in the order of their numbers.
    pub fn in_flight(&self) -> impl Iterator<Item = (OpNo, Work)> {
        let owed = |status| matches!(status, OpStatus::Running | OpStatus::Observing);
        self.progress.ops.iter().filter(move |(_, status, _)| owed(*status)).map(|(number, _, work)| (number, work))
    }

    /// How many bytes the state takes for what grows with the fleet, beside the plan that many states share.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let Progress { units, lanes, ops, touched, again, later, .. } = &self.progress;
        let lists = touched.capacity() + again.capacity() + later.capacity();
        units.bytes() + lanes.bytes() + ops.bytes() + lists * size_of::<UnitNo>()
    }

    /// Whether traffic may be split on the target: a share is in force, one may be, or an earlier rollout left one.
    #[must_use]
    pub const fn is_split(&self) -> bool {
        self.progress.split
    }

    /// The new release's share of the traffic in basis points; none while traffic follows the units.
    #[must_use]
    pub const fn share(&self) -> Option<u32> {
        self.progress.share
    }

    /// The constraints that units wait for now: indices into the plan's limits, then exclusions, orders and windows.
    pub fn waited_for(&self) -> impl Iterator<Item = u32> {
        self.progress.lanes.waited_for()
    }

    /// How many units wait for a constraint.
    #[must_use]
    pub const fn waiting_units(&self) -> u32 {
        self.progress.lanes.queued()
    }

    /// The units that were given up, in order.
    #[must_use]
    pub fn given_up(&self) -> &[UnitNo] {
        &self.progress.given_up
    }

    /// Whether a unit runs what the rollout brings, as far as the engine was told.
    #[must_use]
    pub fn is_changed(&self, unit: UnitNo) -> bool {
        self.progress.units.applied(unit).is_some()
    }

    /// The next moment at which time alone moves the rollout: whoever drives it says `Tick` then, also while
    /// operations are under way.
    #[must_use]
    pub fn wakes_at(&self) -> Option<Timestamp> {
        if self.outcome().is_some() {
            return None;
        }
        let waiting = self.progress.waiting.and_then(|waiting| waiting.until);
        let measuring = self.progress.measures_at(&self.course);
        [waiting, measuring, self.opens_at()].into_iter().flatten().min()
    }

    /// When a window opens: units may wait for it while others change. Where nobody changes that is what is waited for.
    fn opens_at(&self) -> Option<Timestamp> {
        let Progress { phase, fence, busy, doubts, paused, abandoned, lanes, .. } = &self.progress;
        let goes_on = *fence == Fence::Up && doubts.is_empty() && !paused && !abandoned;
        let changes = matches!(phase, Phase::Wave { .. }) && *busy > 0;
        (changes && goes_on).then(|| lanes.opens_at()).flatten()
    }

    /// Whether checks have passed on what runs now, since the last change of it.
    #[must_use]
    pub const fn is_proven(&self) -> bool {
        self.progress.proven
    }

    /// Whether going back has begun.
    #[must_use]
    pub const fn is_going_back(&self) -> bool {
        self.progress.phase.is_back()
    }

    /// What runs everywhere after the end; none where nothing does, where units differ, or where it can't be known.
    #[must_use]
    pub fn running(&self) -> Option<&ReleaseRef> {
        match self.outcome()? {
            RolloutOutcome::Succeeded => Some(&self.course.plan().to),
            RolloutOutcome::RolledBack | RolloutOutcome::Failed => self.course.plan().from.as_ref(),
            RolloutOutcome::NotRestored => None,
            RolloutOutcome::Aborted if self.progress.touched.is_empty() => self.course.plan().from.as_ref(),
            RolloutOutcome::Aborted => None,
        }
    }
}
