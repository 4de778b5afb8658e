//! Rules over events: which events fit, and what is done with each.
//!
//! The way of an event: `ruleset` finds the rules whose types fit, asks their conditions (`cel`), and `plan` turns
//! what fits into events and effects. The `pump` appends both together with how far it has read, so that a process that
//! is killed anywhere leaves either all of it or nothing: every event has exactly one effect for each rule. What has to
//! happen outside of the log waits in a queue (`state`) from which `deliver` takes it, and which it leaves for the dead
//! letters when it keeps failing.
//!
//! Rules never change what is stored, and nothing that deploys waits for them.

mod cel;
mod check;
mod deliver;
mod effect;
mod payload;
mod plan;
mod pump;
mod rule;
mod ruleset;
mod state;
mod template;
#[cfg(test)]
mod tests;
mod trial;
mod view;

pub(crate) use cel::Cel;
pub(crate) use check::unknown_rule;
pub use check::{Advice, check, lint};
pub(crate) use deliver::{Trouble, event_at};
pub(crate) use effect::{Effect, shown_url};
pub(crate) use payload::{Discarded, Queued, Retried};
pub use payload::{dead_stream, rules_stream};
pub(crate) use plan::again;
pub use pump::{Pumped, pump, pump_until};
pub use ruleset::Ruleset;
pub(crate) use state::{Buried, DeadLetters, RuleState};
pub(crate) use trial::{Trial, Tried};
