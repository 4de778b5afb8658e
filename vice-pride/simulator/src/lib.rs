//! The rollout simulator: the project's own plan through the very engine that real rollouts use
//! ([`vice_pride_engine::step`]), under a virtual clock in a modelled world.
//!
//! It owns the world (how long things take, what fails, which bug there is and when it shows itself), the virtual clock
//! and the statistics over many runs. It must not decide anything of a rollout, do I/O, read a clock, or draw anything
//! but from a seed. The fast mode is a named approximation and is checked against the exact one in tests.
//!
//! Reading order: `draw`, `spread`, `calendar`, `world`, `run`, `trace`, `price`, `study`, `closed`.
#![warn(missing_docs)]

mod bound;
mod calendar;
pub mod closed;
mod compare;
mod draw;
mod due;
mod fast;
pub mod fleet;
mod infection;
mod interval;
mod layout;
mod normal;
mod optimise;
mod picture;
mod price;
mod prior;
mod report;
mod run;
mod spread;
mod study;
mod trace;
mod watch;
mod world;

pub use bound::lower_bound;
pub use calendar::Calendar;
pub use compare::compare;
pub use draw::{Luck, Purpose, Stream};
pub use fast::FastCourse;
pub use interval::counted;
pub use layout::{Layout, UNITS_MAX};
pub use optimise::optimise;
pub use price::{AFTERWARDS_HOURS, Priced, Reaction, STRATA};
pub use prior::{Counts, posterior};
pub use report::{Title, left_out, report};
pub use run::{CUT_OFF_MS, Run, Setting};
pub use spread::Sampler;
pub use study::{PricedSample, SHARES, Sample, Study, parallel};
pub use trace::Trace;
pub use watch::{Nobody, Watch};
pub use world::{Bug, Cost, Past, World};
