//! Conformance suites that every backend passes through one entry point, and fixtures for tests of other crates.
