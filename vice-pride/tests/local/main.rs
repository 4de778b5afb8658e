//! The local target for real: an agent process, instances and a front end, killed and overloaded as it happens.
#![expect(
    clippy::unwrap_used,
    reason = "in a test, a panic is the report; this covers the helpers beside the test functions"
)]

mod conformance;
mod counted;
mod escaping;
mod failing;
mod killing;
mod outliving;
mod reloading;
mod reused;
mod rolling;
mod secrets;
mod silent;
mod support;
