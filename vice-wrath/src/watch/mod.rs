//! Watching: when a scenario is played again, what its results say about its health, and what of it the world gets to
//! know. `schedule` and `health` are pure; `incidents` folds and writes the history; `metrics` renders, `exporter`
//! answers over HTTP. The loop itself is in [`crate::cmd`].

pub(crate) mod exporter;
pub(crate) mod health;
pub(crate) mod incidents;
pub(crate) mod metrics;
pub(crate) mod schedule;
