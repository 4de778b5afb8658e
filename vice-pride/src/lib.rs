//! pride deploys: it plans, rolls out, places and rolls back, and it owns the targets and artifacts.

pub mod artifact;
pub mod target;
