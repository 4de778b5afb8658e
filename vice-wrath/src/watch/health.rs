//! The health of one scenario from one place: so many bad results in a row open an incident, so many good ones close
//! it. Pure, so that every order of results can be tried.

use vice_core::payload::verification::CheckOutcome;

use crate::play::result::is_bad;

/// After how many results in a row something changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Thresholds {
    pub(crate) raise: u32,
    pub(crate) clear: u32,
}

/// What a result changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Raised,
    Cleared,
}

/// How a scenario does.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Health {
    /// Results of the kind that would change something, in a row.
    row: u32,
    pub(crate) open: bool,
    pub(crate) runs: u64,
    pub(crate) bad: u64,
    pub(crate) last: Option<CheckOutcome>,
    /// Plays that were left out because the one before was still under way.
    pub(crate) missed: u64,
}

impl Health {
    /// The health of something about which an incident is open already.
    pub(crate) fn opened() -> Self {
        Self { open: true, ..Self::default() }
    }

    /// Takes a result in. What was skipped says nothing.
    pub(crate) fn observe(&mut self, outcome: CheckOutcome, thresholds: Thresholds) -> Option<Change> {
        if outcome == CheckOutcome::Skipped {
            return None;
        }
        self.runs += 1;
        self.bad += u64::from(is_bad(outcome));
        self.last = Some(outcome);
        let against = is_bad(outcome) != self.open;
        self.row = if against { self.row.saturating_add(1) } else { 0 };
        let needed = if self.open { thresholds.clear } else { thresholds.raise };
        if self.row < needed.max(1) {
            return None;
        }
        self.row = 0;
        self.open = !self.open;
        Some(if self.open { Change::Raised } else { Change::Cleared })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use CheckOutcome::{Errored, Failed, Passed, Skipped};

    #[test]
    fn an_incident_opens_and_closes_once() {
        let thresholds = Thresholds { raise: 3, clear: 2 };
        let mut health = Health::default();
        let story = [
            (Failed, None),
            (Failed, None),
            (Passed, None),
            (Failed, None),
            (Skipped, None),
            (Errored, None),
            (Failed, Some(Change::Raised)),
            (Failed, None),
            (Passed, None),
            (Failed, None),
            (Passed, None),
            (Passed, Some(Change::Cleared)),
            (Passed, None),
            (Failed, None),
        ];
        for (index, (outcome, change)) in story.into_iter().enumerate() {
            assert_eq!(health.observe(outcome, thresholds), change, "result {index}");
        }
        assert_eq!((health.runs, health.bad, health.open), (13, 8, false));
    }

    #[test]
    fn changes_take_turns_whatever_comes() {
        // Every sequence of ten results: raised and cleared alternate, and never without enough reason.
        let thresholds = Thresholds { raise: 2, clear: 3 };
        for bits in 0_u32..1024 {
            let (mut health, mut open, mut row) = (Health::default(), false, 0);
            for bit in 0..10 {
                let bad = bits >> bit & 1 == 1;
                row = if bad == open { 0 } else { row + 1 };
                let change = health.observe(if bad { Failed } else { Passed }, thresholds);
                match change {
                    Some(Change::Raised) => assert!(!open && row >= 2),
                    Some(Change::Cleared) => assert!(open && row >= 3),
                    None => assert!(row < if open { 3 } else { 2 }),
                }
                if change.is_some() {
                    (open, row) = (!open, 0);
                }
            }
        }
    }
}
