//! The planner and the topology by their public face: strategies, contradictions, random instances against brute force.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests as well")]

mod bound;
mod conflicts;
mod properties;
mod strategies;
mod support;
mod topology;
