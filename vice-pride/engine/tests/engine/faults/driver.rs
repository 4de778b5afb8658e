//! The rules of the driver (`vice-pride/src/driver`), without its I/O: one append before acting, commands that come in
//! between, parking, and what a process that died leaves to the next one.

use std::collections::{BTreeSet, VecDeque};

use vice_pride_engine::{Effect, Input, Recorded, State};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Runs,
    /// SIGSTOP: it hears nothing and does not know it.
    Stopped,
    /// It ended or was killed.
    Gone,
}

/// A step that was decided and is being stored.
#[derive(Debug, Clone)]
pub(crate) struct Pending {
    pub(crate) recorded: Recorded,
    pub(crate) effects: Vec<Effect>,
    pub(crate) heard: usize,
}

/// What reaches a driver.
#[derive(Debug, Clone)]
pub(crate) enum News {
    Appended(super::store::Appended),
    Answer(Vec<Input>),
    /// Time, or a word of an operator that may be there.
    Look,
}

#[derive(Debug)]
pub(crate) struct Driver {
    pub(crate) mode: Mode,
    pub(crate) epoch: u64,
    /// Which of two machines it is on: markers of tasks are files there.
    pub(crate) machine: usize,
    /// How far its clock is from the true time, in milliseconds.
    pub(crate) skew: i64,
    pub(crate) state: State,
    /// The version of the stream as it knows it.
    pub(crate) version: usize,
    pub(crate) inbox: VecDeque<Input>,
    pub(crate) unheard: Vec<Input>,
    pub(crate) pending: Option<Pending>,
    /// It has said that it waits, and ends when that is stored.
    pub(crate) parking: bool,
    /// What it waits for.
    pub(crate) work: BTreeSet<vice_pride_engine::OpNo>,
    /// When it looks next, so that it does not look twice.
    pub(crate) alarm: Option<i64>,
    /// What came while it was stopped.
    pub(crate) backlog: Vec<News>,
}
