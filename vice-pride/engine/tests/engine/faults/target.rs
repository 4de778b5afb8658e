//! Units, and the rules that a target keeps: an epoch that only grows, one marker an operation, a fence that waits for or
//! shuts out whatever is under way. It may be asked to break a rule, to show that breaking it is found.

use std::collections::{BTreeMap, BTreeSet};

use vice_pride_engine::{Effect, OpNo, UnitNo};

/// An operation under way here.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Busy {
    pub(crate) driver: usize,
    pub(crate) epoch: u64,
    pub(crate) effect: Effect,
    pub(crate) token: u64,
}

/// What the target says at once to a request that wants to act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admitted {
    /// It was carried out before.
    Before,
    /// Another holder is known.
    Refused,
    /// It begins.
    Begins,
    /// It is under way already; the first request is answered.
    Doubled,
}

#[derive(Debug, Default)]
pub(crate) struct Target {
    pub(crate) epoch: u64,
    pub(crate) busy: BTreeMap<OpNo, Busy>,
    pub(crate) marks: BTreeSet<OpNo>,
    /// Operations of which the target can't tell any more what they did.
    pub(crate) vague: BTreeSet<OpNo>,
    /// How often each operation had its effect.
    pub(crate) effects: BTreeMap<OpNo, u32>,
    pub(crate) refused: u64,
    /// A target without a fence, which no driver can be safe on.
    pub(crate) fenceless: bool,
    tokens: u64,
}

pub(crate) fn unit_of(effect: Effect) -> Option<UnitNo> {
    match effect {
        Effect::Apply { unit, .. } | Effect::Undo { unit, .. } => Some(unit),
        _ => None,
    }
}

impl Target {
    /// Whether a holder with this epoch is heard.
    pub(crate) fn admits(&mut self, epoch: u64) -> bool {
        if self.fenceless {
            return true;
        }
        if epoch < self.epoch {
            self.refused += 1;
            return false;
        }
        self.epoch = epoch;
        true
    }

    pub(crate) fn begin(&mut self, driver: usize, epoch: u64, effect: Effect) -> (Admitted, u64) {
        let op = effect.op().unwrap();
        if !self.admits(epoch) {
            return (Admitted::Refused, 0);
        }
        if self.marks.contains(&op) {
            return (Admitted::Before, 0);
        }
        if self.busy.contains_key(&op) {
            return (Admitted::Doubled, 0);
        }
        let unit = unit_of(effect);
        assert!(
            unit.is_none() || self.busy.values().all(|busy| unit_of(busy.effect) != unit),
            "two operations change {unit:?} at once"
        );
        self.tokens += 1;
        self.busy.insert(op, Busy { driver, epoch, effect, token: self.tokens });
        (Admitted::Begins, self.tokens)
    }

    /// The operation that a token stands for, if it is still under way.
    pub(crate) fn end(&mut self, op: OpNo, token: u64) -> Option<Busy> {
        if self.busy.get(&op).is_some_and(|busy| busy.token == token) {
            return self.busy.remove(&op);
        }
        None
    }

    /// An operation has its effect, which it must have once.
    pub(crate) fn effect(&mut self, op: OpNo) {
        let count = self.effects.entry(op).or_default();
        *count += 1;
        assert!(*count == 1, "{op} had its effect {count} times");
    }

    pub(crate) fn did(&self, op: OpNo) -> bool {
        self.effects.contains_key(&op)
    }
}
