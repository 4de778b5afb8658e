//! Reading a spread: how many units are in which phase at a moment. Every renderer shows the same numbers.

use vice_core::payload::propagation::{Propagation, PropagationRow};
use vice_core::payload::rollout::Verdict;

use super::figure::whole;

/// Phases in the order of the counts, as classes and as words.
pub const PHASES: [(&str, &str); 5] = [
    ("old", "old release"),
    ("changing", "changing"),
    ("new", "new release"),
    ("failed", "failed"),
    ("back", "back on old"),
];

/// The counts of a row at a moment, in the order of [`PHASES`].
#[must_use]
pub fn of_row(row: &PropagationRow, at: usize) -> [u32; 5] {
    let known = row.changes.iter().take_while(|change| change[0] as usize <= at).last();
    known.map_or([row.units, 0, 0, 0, 0], |&[_, old, changing, new, failed, back]| [old, changing, new, failed, back])
}

/// The counts of all rows together.
#[must_use]
pub fn of_all(drawn: &Propagation, at: usize) -> [u64; 5] {
    sum(&drawn.rows, at)
}

/// The counts of some rows together.
#[must_use]
pub fn sum(rows: &[PropagationRow], at: usize) -> [u64; 5] {
    let mut totals = [0_u64; 5];
    for row in rows {
        for (total, count) in totals.iter_mut().zip(of_row(row, at)) {
            *total += u64::from(count);
        }
    }
    totals
}

/// The counts in words, without those that are zero.
#[must_use]
pub fn in_words(counts: [u64; 5]) -> String {
    let some = counts.into_iter().zip(PHASES).filter(|(count, _)| *count > 0);
    some.map(|(count, (_, word))| format!("{} {word}", whole(count))).collect::<Vec<_>>().join(", ")
}

/// The moment that a reader wants to see first: when it was decided to go back, else the end.
#[must_use]
pub fn interesting(drawn: &Propagation) -> usize {
    let last = drawn.times_ms.len().saturating_sub(1);
    let back = drawn.decisions.iter().find(|decision| decision.verdict == Verdict::Rollback);
    back.map_or(last, |back| drawn.times_ms.iter().rposition(|time| *time <= back.at_ms).unwrap_or(last))
}

/// The new release's share of the traffic at a moment, in basis points; none where weights say nothing. Before the
/// first word about it, it has none.
#[must_use]
pub fn share_at(drawn: &Propagation, at_ms: u64) -> Option<u32> {
    drawn.shares.first()?;
    let known = drawn.shares.iter().take_while(|share| share.at_ms <= at_ms).last();
    Some(known.map_or(0, |share| share.basis_points))
}
