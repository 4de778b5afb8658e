//! The operations of a rollout. Numbers only grow; the entries of closed ones at the old end are given back, so that
//! a rollout over a million servers keeps as many entries as it has under way.

use std::collections::VecDeque;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::number::OpNo;
use crate::state::Work;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Op {
    pub(crate) work: Work,
    pub(crate) status: OpStatus,
    pub(crate) attempt: u32,
    pub(crate) started: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OpStatus {
    /// The driver carries it out.
    Running,
    /// Its driver is gone; it is observed after the fence.
    Unseen,
    /// The target is being asked about it.
    Observing,
    /// Nobody can tell; an operator is asked.
    Doubt,
    /// It is over. Nothing opens it again.
    Closed,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Ops {
    /// The number of the first entry; everything before is closed.
    base: u32,
    entries: VecDeque<Op>,
}

impl Ops {
    /// Gives a new operation its number.
    #[inline]
    pub(crate) fn add(&mut self, op: Op) -> OpNo {
        let number = OpNo(self.base.saturating_add(u32::try_from(self.entries.len()).unwrap_or(u32::MAX)));
        self.entries.push_back(op);
        number
    }

    /// Whether an operation of that number was ever asked for.
    pub(crate) fn knows(&self, op: OpNo) -> bool {
        op.0 < self.base || self.get(op).is_some()
    }

    /// Its entry; none once it is long closed.
    #[inline]
    pub(crate) fn get(&self, op: OpNo) -> Option<&Op> {
        self.entries.get(op.0.checked_sub(self.base)? as usize)
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, op: OpNo) -> Option<&mut Op> {
        self.entries.get_mut(op.0.checked_sub(self.base)? as usize)
    }

    /// Closes it.
    #[inline]
    pub(crate) fn close(&mut self, op: OpNo) {
        if let Some(entry) = self.get_mut(op) {
            entry.status = OpStatus::Closed;
        }
        while self.entries.front().is_some_and(|first| first.status == OpStatus::Closed) {
            self.entries.pop_front();
            self.base += 1;
        }
    }

    /// Those that are kept, by number.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (OpNo, &Op)> {
        (self.base..).map(OpNo).zip(&self.entries)
    }

    /// The numbers that are kept.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = OpNo> + use<> {
        let end = self.base.saturating_add(u32::try_from(self.entries.len()).unwrap_or(u32::MAX));
        (self.base..end).map(OpNo)
    }
}
