//! The plan: everything that a rollout will do, frozen before it begins and hashed by content.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use vice_core::manifest::{TaskPer, TaskRun, VerifyWhen};
use vice_core::payload::ReleaseRef;
use vice_core::payload::environment::Direction;
use vice_core::{Digest, Millis};

use crate::judge::Analysis;
use crate::number::UnitNo;
use crate::unit_set::UnitSet;
use crate::window::Window;

/// The version of planner and engine together. It is raised when the same inputs would give another plan or other
/// effects; a rollout of another version is resumed only if replaying its journal gives the same effects.
pub const PLANNER_VERSION: u32 = 4;

/// What will be done, in which order, and within which limits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The planner that made it.
    pub planner: u32,
    /// Deploy or rollback.
    pub direction: Direction,
    /// What runs before; none on the first deploy, or where units disagree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<ReleaseRef>,
    /// What shall run.
    pub to: ReleaseRef,
    /// Every unit of the environment, wanted or found; [`UnitNo`] is the index.
    pub units: Vec<UnitPlan>,
    /// The units that change, in order. A wave begins when the one before it is done and proven.
    pub waves: Vec<Wave>,
    /// How many units may be changing at once, by group: the whole environment, a rack, an upgrade domain.
    pub limits: Vec<Limit>,
    /// Groups that never change at the same time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclusions: Vec<Exclusion>,
    /// Groups that change before others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub orders: Vec<Precedence>,
    /// Times in which units may begin to change.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub windows: Vec<Window>,
    /// How many failing units are borne.
    #[serde(default)]
    pub failures: FailurePolicy,
    /// Tasks and hooks; [`crate::TaskNo`] is the index.
    pub tasks: Vec<TaskPlan>,
    /// When checks run.
    pub verify: VerifyWhen,
    /// Whether there is anything to verify with.
    pub has_checks: bool,
    /// How live metrics are judged; none where nothing judges them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub analysis: Option<Analysis>,
    /// Whether an earlier rollout may have left traffic split: it follows the units again before anything else.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub frees_traffic: bool,
}

/// A part of a rollout: units that change, and what the new release is exposed to afterwards.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wave {
    /// Its name, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The units, in the order in which they are preferred; one that a constraint holds back lets later ones pass.
    pub units: Vec<UnitNo>,
    /// What the new release gets once these units run it.
    #[serde(default)]
    pub exposure: Exposure,
    /// How long to watch at least.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub bake: Millis,
    /// Whether metrics are judged while it is watched.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub judged: bool,
}

impl Wave {
    /// A wave of units that is neither watched nor judged.
    #[must_use]
    pub fn of(units: Vec<UnitNo>) -> Self {
        Self { units, ..Self::default() }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde wants")]
fn is_zero(time: &Millis) -> bool {
    *time == Millis::ZERO
}

/// How much the new release is exposed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exposure {
    /// Traffic follows the units.
    #[default]
    Units,
    /// A fixed share of the traffic.
    Share {
        /// In basis points, at most 10,000.
        basis_points: u32,
    },
    /// A share that grows with what is known: the budgeted ramp.
    Ramp,
}

/// One unit of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnitPlan {
    /// Its name, such as `1`.
    pub name: String,
    /// What it runs before: what going back restores. None: it does not exist yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<ReleaseRef>,
    /// What happens to it.
    pub action: UnitAction,
    /// Where it is in the topology, such as `eu/dc1/rack3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// The class of its surroundings, such as its hardware or its kind of customer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
}

/// What happens to a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnitAction {
    /// It shall run the plan's release.
    Place,
    /// It shall not exist any more.
    Remove,
    /// It already is as wanted.
    Keep,
}

/// At most so many units of a group may be changing at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// The group's name.
    pub name: String,
    /// Its units.
    pub members: UnitSet,
    /// How many of them may be down at once; at least one.
    pub max_down: u32,
    /// How many of them are down already and stay so: they take places.
    #[serde(default, skip_serializing_if = "is_none_down")]
    pub down_before: u32,
}

impl Limit {
    /// How many units may be changing at once.
    #[must_use]
    pub const fn free(&self) -> u32 {
        self.max_down.saturating_sub(self.down_before)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde wants")]
const fn is_none_down(count: &u32) -> bool {
    *count == 0
}

/// Units with a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// The name.
    pub name: String,
    /// The units.
    pub members: UnitSet,
}

/// Groups of which at most one has changing units at any moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exclusion {
    /// Its name.
    pub name: String,
    /// The groups; they share no unit.
    pub groups: Vec<Group>,
}

/// No unit of `then` begins before every changing unit of `first` is done; going back, the other way round.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Precedence {
    /// Its name.
    pub name: String,
    /// What comes first.
    pub first: Group,
    /// What follows.
    pub then: Group,
}

/// How many failing units are borne before the rollout goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FailurePolicy {
    /// How often a failed unit is tried again.
    #[serde(default)]
    pub retries: u32,
    /// How many units may be given up. They count as down.
    #[serde(default)]
    pub tolerate: u32,
}

/// One task or hook of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskPlan {
    /// Its name.
    pub name: String,
    /// Before or after the change.
    pub run: TaskRun,
    /// Once in the rollout, or for each unit.
    pub per: TaskPer,
    /// What it does in this plan's direction.
    pub does: TaskDoes,
    /// What going back means for it once it has completed.
    pub rollback: Rollback,
    /// Whether it also runs, as it is, when the rollout goes back.
    pub on_rollback: bool,
}

/// What a task does in the direction of its plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskDoes {
    /// Its command runs.
    Run,
    /// Its rollback command runs: the plan goes back over it.
    TakeBack,
    /// Nothing runs; the plan goes back over a task that forbids it, and asks before it begins.
    Forbid,
}

/// What going back means for a completed task. The command itself stays in the manifest of the release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rollback {
    /// Nothing has to be done.
    Safe,
    /// It would break something: pause and ask.
    Forbid,
    /// A command takes it back.
    Command,
}

/// What the plan means for one unit, in the words of the printed diff.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnitChange {
    /// It does not exist and will.
    Create,
    /// It exists and will run another release, or the same one anew.
    Update,
    /// It exists and will not.
    Remove,
    /// It stays as it is.
    Keep,
}

impl UnitChange {
    /// The word that people read.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Remove => "remove",
            Self::Keep => "keep",
        }
    }
}

/// How many units a plan creates, updates, removes and keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Summary {
    /// Units that are created.
    pub create: u32,
    /// Units that are updated.
    pub update: u32,
    /// Units that are removed.
    pub remove: u32,
    /// Units that stay as they are.
    pub keep: u32,
}

impl UnitPlan {
    /// What the plan means for this unit.
    #[must_use]
    pub const fn change(&self) -> UnitChange {
        match (self.action, self.before.is_some()) {
            (UnitAction::Keep, _) => UnitChange::Keep,
            (UnitAction::Remove, _) => UnitChange::Remove,
            (UnitAction::Place, true) => UnitChange::Update,
            (UnitAction::Place, false) => UnitChange::Create,
        }
    }
}

impl Plan {
    /// The content's hash: SHA-256 over its canonical JSON (keys sorted, no blanks). It is the same on every machine
    /// and for every order of writing the fields.
    #[must_use]
    pub fn hash(&self) -> Digest {
        let value = serde_json::to_value(self).unwrap_or(Value::Null);
        Digest::of(sorted(value).to_string().as_bytes())
    }

    /// Whether nothing has to be changed.
    #[must_use]
    pub fn is_noop(&self) -> bool {
        self.waves.iter().all(|wave| wave.units.is_empty())
    }

    /// Whether nothing runs before it: going back then removes what was placed.
    #[must_use]
    pub fn is_first(&self) -> bool {
        self.units.iter().all(|unit| unit.before.is_none())
    }

    /// How many units are created, updated, removed and kept.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let mut summary = Summary::default();
        for unit in &self.units {
            match unit.change() {
                UnitChange::Create => summary.create += 1,
                UnitChange::Update => summary.update += 1,
                UnitChange::Remove => summary.remove += 1,
                UnitChange::Keep => summary.keep += 1,
            }
        }
        summary
    }
}

/// The value with the keys of every object in byte order.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.into_iter().map(|(key, value)| (key, sorted(value))).collect();
            entries.sort_by(|one, two| one.0.cmp(&two.0));
            Value::Object(entries.into_iter().collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        plain => plain,
    }
}
