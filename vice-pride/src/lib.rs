//! pride deploys: it plans, rolls out and rolls back, and it owns targets, traffic and artifacts.
//!
//! The decisions are made by `vice-pride-engine`; the `driver` here hands it inputs, appends what it says to the
//! journal, and only then acts. Nothing in this crate decides whether a rollout goes on.

pub mod artifact;
pub mod backend;
pub mod cmd;
pub mod driver;
pub mod lease;
pub mod locator;
pub mod metric;
pub mod plugin;
mod procfs;
pub mod target;
mod text_file;
pub mod topology;

pub use cmd::actions;
pub use vice_pride_engine::PLANNER_VERSION;
