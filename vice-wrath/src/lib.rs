//! wrath verifies: it runs a project's checks and scenarios against a live system and says, line by line, what does
//! not hold.
//!
//! It owns the `Verifier` port, the checks of `vice.toml`, the scenarios beside it, and their reports. It decides
//! nothing about a rollout: a deploy that is gated by checks reads the
//! [`SuiteResult`](vice_core::payload::verification::SuiteResult) and draws its own conclusions. Nothing here reads the
//! process environment: no proxy, no ambient credentials.
#![warn(missing_docs)]

mod action;
mod attempt;
mod capture;
pub mod cmd;
mod coding;
mod command;
mod http;
mod import;
mod json_diff;
mod junit;
mod load;
mod plan;
mod play;
mod probe;
mod query;
mod recording;
mod replay;
mod report;
mod say;
mod scenario;
mod step;
mod suite;
mod tcp;
mod tls;
mod traffic;
mod upstream;
mod values;
mod watch;
mod witness;

pub use action::actions;
pub use suite::Wrath;
