//! Tests of the history on SQLite.

mod conformance;
