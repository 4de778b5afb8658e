//! Replay: sends recorded requests again and compares what comes back.
//!
//! It owns sessions and their order, the values that live answers put in the place of recorded ones, the comparison, and
//! the decision what is noise. It must not read files other than through `recording`, and never decides by one look what
//! chance may have made: two answers of the same version are always beside it.

mod compare;
mod evidence;
mod memory;
mod report;
mod rules;
mod run;
mod save;
mod send;
mod session;

pub(crate) use report::{json, text};
pub(crate) use rules::Rules;
pub(crate) use run::{Plan, Report, run};
pub(crate) use save::scenario;
pub(crate) use send::Arm;
pub(crate) use session::{By, sessions};
