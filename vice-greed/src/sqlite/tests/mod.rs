//! Tests of the history on SQLite.

mod conformance;
mod damage;
mod plans;
mod processes;
mod refusals;
