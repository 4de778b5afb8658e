//! The local target: one detached agent for each project and environment.

pub mod front;
