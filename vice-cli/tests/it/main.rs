//! The built binary, used as a user would: every test has a folder, a home and an environment of its own.
#![expect(clippy::disallowed_methods, reason = "a test starts the binary as a user would")]
#![expect(clippy::expect_used, reason = "a test that can't go on fails")]

mod ansible;
mod bad_input;
mod board;
mod canary;
#[cfg(feature = "kubernetes")]
mod clusters;
mod contract;
mod crash;
mod crash_matrix;
mod disk;
mod docs;
mod doomed;
mod doubts;
mod envy;
mod everyday;
mod judge;
#[cfg(feature = "kubernetes")]
mod kubernetes;
mod lab;
mod layers;
mod masking;
mod plugins;
#[path = "../../../vice-pride/tests/ssh/ports.rs"]
mod ports;
mod reloading;
mod replay;
mod retention;
mod rollout;
mod rules_kill;
mod scenarios;
mod serve;
mod shared;
mod simulate;
mod ssh;
mod stores;
mod supersede;
mod targets;
mod traffic;
