//! The engine by its public face: rules, plans, journals, and a random world.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests as well")]

mod faults;
mod halfway;
mod journal;
mod judge;
mod parked;
mod planner;
mod plans;
mod properties;
mod rules;
mod support;
mod traffic;
