//! Conformance suites that every backend passes through one entry point, and fixtures for tests of other crates.

pub mod absent;
pub mod event_store;
pub mod golden;
pub mod series_store;
pub mod target;
pub mod target_fixtures;
pub mod traffic;
