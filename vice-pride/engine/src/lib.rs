//! The rollout engine: one pure state machine, [`step`], over an immutable [`Plan`].
//!
//! It owns every decision of a rollout: what begins next, when to wait, when to go back, when it is over. It must
//! not do anything: no I/O, no async, no clock, no chance, no hash maps, no panics. `now` is an argument; effects are
//! values that a driver carries out after it has stored them; the same inputs always give the same effects, which is
//! what resuming, `vice why` and the simulator rest on.
//!
//! Inside, events are small `Copy` values over dense numbers ([`UnitNo`], [`TaskNo`], [`OpNo`]); names and texts live
//! outside, in the plan and with the driver.
//!
//! Reading order: `plan`, `topology`, `planner`, `input`, `effect`, `reason`, `state`, `step`, `named`, `replay`; `judge` stands alone, and
//! `hindsight` runs it again over what was recorded.
#![warn(missing_docs)]

mod classes;
mod course;
mod effect;
pub mod hindsight;
mod input;
pub mod judge;
mod lanes;
mod named;
mod natural;
mod note;
mod number;
mod ops;
mod plan;
mod planner;
mod reason;
mod replay;
mod sink;
mod state;
mod step;
mod topology;
mod unit_set;
mod units;
mod watch;
mod window;

pub use course::{Course, TASKS_MAX, WHOLE};
pub use effect::Effect;
pub use input::{CheckCounts, Failure, Input, OpResult, Seen};
pub use named::{Details, NoDetails, describe_reason, notes_named};
pub use natural::natural_cmp;
pub use note::{EngineNote, Evidence};
pub use number::{OpNo, TaskNo, UnitNo};
pub use plan::{
    Exclusion, Exposure, FailurePolicy, Group, Limit, PLANNER_VERSION, Plan, Precedence, Rollback, Summary, TaskDoes,
    TaskPlan, UnitAction, UnitChange, UnitPlan, Wave,
};
pub use planner::{
    FleetRequest, LowerBound, PlanRequest, Takes, lower_bound, mean_lower_bound, next_wave, plan, plan_fleet,
};
pub use reason::Reason;
pub use replay::{Answer, Mismatch, Recorded, check_replay, replay};
pub use sink::{Recorder, Sink};
pub use state::{State, Waiting, Work};
pub use step::{RETRY_PAUSE, TRIES_MAX, step};
pub use topology::{
    DomainSet, ENVIRONMENT, LEVELS_MAX, NodeNo, NodeView, Pairs, Roster, RosterGroup, RosterHost, Topology, UNITS_MAX,
    expand_range,
};
pub use unit_set::UnitSet;
pub use window::Window;
