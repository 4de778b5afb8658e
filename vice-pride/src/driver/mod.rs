//! The driver: the one place where the engine meets the real world.
//!
//! It hands the engine its inputs, appends inputs, effects and meaning in one append, and carries out the effects only
//! then. It decides nothing: if something here seems to need a decision, it belongs into the engine.
//!
//! Reading order: `prepare` (from what somebody wants to a plan), `session` (the loop), `journal` (what is stored),
//! `perform` (what is done), `begin` (how a rollout starts and is taken up again).

mod analysis;
mod begin;
mod board;
mod exposure;
mod forecast;
mod journal;
mod perform;
mod prepare;
mod present;
pub(crate) mod queue;
mod session;
mod tasks;
mod version;
pub(crate) mod workload;

pub(crate) use analysis::{INTERVAL, analysis};
pub use begin::{Asks, EndState, Ended, begin, command, end_unreadable, take_up};
pub(crate) use begin::{lease_for, unfinished};
pub use journal::{Journal, load};
pub use prepare::{Earlier, Prepared, Want, prepare};
pub(crate) use prepare::{Found, Wanted, planned, wanted_release};
pub(crate) use version::check_version;
