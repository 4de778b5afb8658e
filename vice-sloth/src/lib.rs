//! sloth automates: a graph of steps in `vice.toml`, each an action of vice or a command of the project, with data on
//! its edges.
//!
//! This crate owns the graph (parsing, checking, order, drawing), its runs and their journal. It knows no action by
//! name: what a step can call is what the composition root has registered, and what it takes and gives is what the
//! action's schemas say. A graph is checked as a whole before anything runs, and a run is a stream in the history, so
//! that it can be gone on with after a failure, an interruption or a crash.
#![warn(missing_docs)]

pub mod cmd;
mod draw;
mod graph;
mod journal;
mod run;
mod schedule;
