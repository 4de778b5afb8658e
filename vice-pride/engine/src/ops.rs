//! The operations of a rollout. Numbers only grow; the entries of closed ones at the old end are given back, so that
//! a rollout over a million servers keeps about as many entries as it has under way. An entry takes 16 bytes: what a
//! fleet has by the hundred thousand, changes of units, fits into it, and the rest of any other work lies apart.

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use vice_core::Millis;

use crate::number::{OpNo, UnitNo};
use crate::state::Work;

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

/// What an entry is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Apply,
    Undo,
    /// See [`Ops::others`].
    Other,
}

/// One operation: 16 bytes, because a fleet has many under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
struct Entry {
    /// The unit of an `Apply` or `Undo`.
    unit: UnitNo,
    /// What an `Undo` takes back.
    undoes: OpNo,
    /// From the lowest bits on: the status (3 bits), the kind (2), how often it was sent (15), and when it began (44), in
    /// milliseconds as [`Timestamp::as_millisecond`] counts them: until 2248, and what is later counts as then.
    facts: i64,
}

/// An [`Entry`] as it is written down.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Written {
    started: i64,
    unit: UnitNo,
    undoes: OpNo,
    attempt: u32,
    kind: Kind,
    status: OpStatus,
}

const STATUSES: [OpStatus; 5] =
    [OpStatus::Running, OpStatus::Unseen, OpStatus::Observing, OpStatus::Doubt, OpStatus::Closed];
const KINDS: [Kind; 3] = [Kind::Apply, Kind::Undo, Kind::Other];
const KIND_AT: u32 = 3;
const ATTEMPT_AT: u32 = 5;
const ATTEMPT_MAX: u32 = (1 << 15) - 1;
const STARTED_AT: u32 = 20;
const STARTED_MAX: i64 = i64::MAX >> STARTED_AT;

impl From<Written> for Entry {
    #[inline]
    fn from(written: Written) -> Self {
        let Written { started, unit, undoes, attempt, kind, status } = written;
        let started = started.clamp(-STARTED_MAX, STARTED_MAX) << STARTED_AT;
        let attempt = i64::from(attempt.min(ATTEMPT_MAX)) << ATTEMPT_AT;
        Self { unit, undoes, facts: started | attempt | (kind as i64) << KIND_AT | status as i64 }
    }
}

impl Entry {
    /// The bits from a place on.
    #[inline]
    const fn bits(self, at: u32, mask: u32) -> u32 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the mask is what is wanted")]
        let bits = (self.facts >> at) as u32;
        bits & mask
    }

    #[inline]
    fn status(self) -> OpStatus {
        STATUSES[self.bits(0, 7) as usize % STATUSES.len()]
    }

    #[inline]
    const fn set_status(&mut self, status: OpStatus) {
        self.facts = self.facts & !7 | status as i64;
    }

    #[inline]
    fn kind(self) -> Kind {
        KINDS[self.bits(KIND_AT, 3) as usize % KINDS.len()]
    }

    #[inline]
    const fn attempt(self) -> u32 {
        self.bits(ATTEMPT_AT, ATTEMPT_MAX)
    }

    #[inline]
    const fn started(self) -> i64 {
        self.facts >> STARTED_AT
    }
}

impl From<Entry> for Written {
    fn from(entry: Entry) -> Self {
        let Entry { unit, undoes, .. } = entry;
        let (started, attempt) = (entry.started(), entry.attempt());
        Self { started, unit, undoes, attempt, kind: entry.kind(), status: entry.status() }
    }
}

/// Work that is not the change of a unit, and when exactly it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Other {
    work: Work,
    started: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Ops {
    /// The number of the first entry; everything before is closed.
    base: u32,
    entries: VecDeque<Entry>,
    /// The work of open entries that are neither `Apply` nor `Undo`.
    others: BTreeMap<OpNo, Other>,
}

impl Ops {
    /// Gives new work its number; it runs from now on.
    #[inline]
    pub(crate) fn add(&mut self, work: Work, now: Timestamp) -> OpNo {
        let number = self.end();
        let (kind, unit, undoes) = match work {
            Work::Apply { unit } => (Kind::Apply, unit, OpNo(0)),
            Work::Undo { unit, undoes } => (Kind::Undo, unit, undoes),
            work => {
                self.others.insert(number, Other { work, started: now });
                (Kind::Other, UnitNo(0), OpNo(0))
            }
        };
        let started = now.as_millisecond();
        let status = OpStatus::Running;
        self.entries.push_back(Entry::from(Written { started, unit, undoes, attempt: 1, kind, status }));
        number
    }

    /// The number of the next one.
    #[inline]
    fn end(&self) -> OpNo {
        OpNo(self.base.saturating_add(u32::try_from(self.entries.len()).unwrap_or(u32::MAX)))
    }

    #[inline]
    fn entry(&self, op: OpNo) -> Option<&Entry> {
        self.entries.get(op.0.checked_sub(self.base)? as usize)
    }

    #[inline]
    fn entry_mut(&mut self, op: OpNo) -> Option<&mut Entry> {
        self.entries.get_mut(op.0.checked_sub(self.base)? as usize)
    }

    /// Whether an operation of that number was ever asked for.
    pub(crate) fn knows(&self, op: OpNo) -> bool {
        op < self.end()
    }

    /// What it is for; none once it is over.
    #[inline]
    pub(crate) fn work(&self, op: OpNo) -> Option<Work> {
        let entry = self.entry(op).filter(|entry| entry.status() != OpStatus::Closed)?;
        self.work_of(op, entry)
    }

    #[inline]
    fn work_of(&self, op: OpNo, entry: &Entry) -> Option<Work> {
        match entry.kind() {
            Kind::Apply => Some(Work::Apply { unit: entry.unit }),
            Kind::Undo => Some(Work::Undo { unit: entry.unit, undoes: entry.undoes }),
            Kind::Other => self.others.get(&op).map(|other| other.work),
        }
    }

    /// What one is for that the driver carries out; none for any other.
    #[inline]
    pub(crate) fn running(&self, op: OpNo) -> Option<Work> {
        let entry = self.entry(op).filter(|entry| entry.status() == OpStatus::Running)?;
        self.work_of(op, entry)
    }

    /// Where it stands; none once it is long closed.
    #[inline]
    pub(crate) fn status(&self, op: OpNo) -> Option<OpStatus> {
        self.entry(op).map(|entry| entry.status())
    }

    /// Puts an open one into another state; nothing happens to one that is over.
    pub(crate) fn set_status(&mut self, op: OpNo, status: OpStatus) {
        if let Some(entry) = self.entry_mut(op).filter(|entry| entry.status() != OpStatus::Closed) {
            entry.set_status(status);
        }
    }

    /// It is sent once more.
    pub(crate) fn run_again(&mut self, op: OpNo) {
        if let Some(entry) = self.entry_mut(op).filter(|entry| entry.status() != OpStatus::Closed) {
            *entry =
                Entry::from(Written { status: OpStatus::Running, attempt: entry.attempt() + 1, ..(*entry).into() });
        }
    }

    /// The how-manieth time that it was sent, from 1.
    #[inline]
    pub(crate) fn attempt(&self, op: OpNo) -> u32 {
        self.entry(op).map_or(1, |entry| entry.attempt())
    }

    /// How long it has been under way; zero when the clock went back.
    #[inline]
    pub(crate) fn took(&self, op: OpNo, now: Timestamp) -> Millis {
        let took = self.entry(op).map_or(0, |entry| now.as_millisecond() - entry.started());
        Millis(u64::try_from(took).unwrap_or(0))
    }

    /// When it began, where it is not the change of a unit.
    pub(crate) fn started(&self, op: OpNo) -> Option<Timestamp> {
        self.others.get(&op).map(|other| other.started)
    }

    /// Closes it.
    #[inline]
    pub(crate) fn close(&mut self, op: OpNo) {
        let Some(entry) = self.entry_mut(op) else { return };
        entry.set_status(OpStatus::Closed);
        if entry.kind() == Kind::Other {
            self.others.remove(&op);
        }
        while self.entries.front().is_some_and(|first| first.status() == OpStatus::Closed) {
            self.entries.pop_front();
            self.base += 1;
        }
    }

    /// The bytes that its tables take; what lies apart is little.
    pub(crate) fn bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>()
    }

    /// The open ones, by number.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (OpNo, OpStatus, Work)> {
        let numbered = (self.base..).map(OpNo).zip(&self.entries);
        let open = numbered.filter(|(_, entry)| entry.status() != OpStatus::Closed);
        open.filter_map(|(op, entry)| Some((op, entry.status(), self.work_of(op, entry)?)))
    }

    /// The numbers that are kept.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = OpNo> + use<> {
        (self.base..self.end().0).map(OpNo)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_takes_16_bytes_and_holds_all_that_it_is_given() {
        assert_eq!(size_of::<Entry>(), 16);
        for (started, attempt) in [(0, 1), (-5, 2), (1_764_430_000_123, 32_767), (STARTED_MAX, 1)] {
            for (kind, status) in KINDS.iter().flat_map(|kind| STATUSES.iter().map(|status| (*kind, *status))) {
                let (unit, undoes) = (UnitNo(u32::MAX), OpNo(7));
                let entry = Entry::from(Written { started, unit, undoes, attempt, kind, status });
                assert_eq!((entry.started(), entry.attempt()), (started, attempt));
                assert_eq!((entry.kind(), entry.status(), entry.unit, entry.undoes), (kind, status, unit, undoes));
            }
        }
        let far = Written {
            started: i64::MIN,
            unit: UnitNo(1),
            undoes: OpNo(0),
            attempt: u32::MAX,
            kind: Kind::Undo,
            status: OpStatus::Doubt,
        };
        let far = Entry::from(far);
        assert_eq!((far.started(), far.attempt(), far.status()), (-STARTED_MAX, ATTEMPT_MAX, OpStatus::Doubt));
    }

    #[test]
    fn what_is_open_is_kept_and_what_is_over_is_given_back() {
        let now = Timestamp::UNIX_EPOCH;
        let mut ops = Ops::default();
        let fence = ops.add(Work::Fence { epoch: 3 }, now);
        let apply = ops.add(Work::Apply { unit: UnitNo(7) }, now);
        let undo = ops.add(Work::Undo { unit: UnitNo(7), undoes: apply }, now);
        assert_eq!(ops.work(fence), Some(Work::Fence { epoch: 3 }));
        assert_eq!(ops.work(undo), Some(Work::Undo { unit: UnitNo(7), undoes: apply }));
        ops.close(apply);
        assert_eq!((ops.work(apply), ops.numbers().count()), (None, 3), "an older one is open");
        ops.close(fence);
        assert_eq!((ops.started(fence), ops.numbers().collect::<Vec<_>>()), (None, vec![undo]));
        ops.run_again(undo);
        ops.set_status(apply, OpStatus::Doubt);
        assert_eq!((ops.attempt(undo), ops.status(undo)), (2, Some(OpStatus::Running)));
        assert_eq!((ops.status(apply), ops.knows(apply), ops.knows(OpNo(3))), (None, true, false));
        let later = Timestamp::from_millisecond(1_500).unwrap();
        assert_eq!(ops.took(undo, later), Millis(1_500));
    }
}
