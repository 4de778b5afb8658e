//! The state of a project's rules, and of its dead letters, as folds of their streams.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use vice_core::event::Recorded;
use vice_core::fold::Fold;
use vice_core::{Millis, Result};

use super::payload::{Advanced, Claimed, DeadLetter, Discarded, Done, Failed, GivenUp, Held, Queued, Retried};
use crate::window::Panes;

/// So many attempts, then an effect is a dead letter.
pub(crate) const ATTEMPTS_MAX: u32 = 8;

/// So many effects may wait; then the log is not read further until some are done.
pub(crate) const PENDING_MAX: usize = 10_000;

/// So many dead letters are listed; older ones are only in the log.
const DEAD_MAX: usize = 1_000;

/// How far the rules have come.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct RuleState {
    /// The log was read up to here; nothing was read yet when none.
    pub(crate) cursor: Option<u64>,
    /// Milliseconds since 1970.
    pub(crate) watermark: i64,
    /// What waits, by key.
    pub(crate) pending: BTreeMap<String, Pending>,
    /// Open windows, by rule.
    pub(crate) panes: BTreeMap<String, Panes>,
    /// How often each rule fired.
    pub(crate) fired: BTreeMap<String, u64>,
}

/// An effect that waits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Pending {
    pub(crate) queued: Queued,
    /// Its place in the order of queueing.
    pub(crate) order: u64,
    pub(crate) attempts: u32,
    /// Not to be tried before.
    pub(crate) due: Timestamp,
    /// Until when some process has it.
    pub(crate) claimed: Option<Timestamp>,
    pub(crate) error: Option<String>,
}

impl Pending {
    /// Whether it may be carried out at `now`: it is due, and nobody has it or whoever had it has gone silent.
    pub(crate) fn ready(&self, now: Timestamp) -> bool {
        self.claimed.unwrap_or(self.due) <= now
    }
}

impl RuleState {
    /// What may be carried out at `now`, by rule, in the order of queueing.
    pub(crate) fn ready(&self, now: Timestamp, at_most: usize) -> BTreeMap<String, Vec<String>> {
        let mut ready: Vec<&Pending> = self.pending.values().filter(|pending| pending.ready(now)).collect();
        ready.sort_by_key(|pending| pending.order);
        let mut by_rule: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for pending in ready.into_iter().take(at_most) {
            by_rule.entry(pending.queued.rule.clone()).or_default().push(pending.queued.key.clone());
        }
        by_rule
    }

    fn advanced(&mut self, advanced: Advanced) {
        self.cursor = Some(self.cursor.unwrap_or(0).max(advanced.cursor));
        self.watermark = self.watermark.max(advanced.watermark);
        for (rule, times) in advanced.fired {
            *self.fired.entry(rule).or_default() += times;
        }
        for (rule, late) in advanced.late {
            self.panes.entry(rule).or_default().late = late;
        }
        for cell in advanced.closed {
            if let Some(panes) = self.panes.get_mut(&cell.rule) {
                panes.remove(cell.start, &cell.key);
            }
        }
    }

    fn held(&mut self, held: Held) {
        let panes = self.panes.entry(held.rule).or_default();
        held.cells.into_iter().for_each(|cell| panes.put(cell.start, cell.key, cell.cell));
    }

    fn queued(&mut self, recorded: &Recorded, queued: Queued) {
        let (time, order) = (recorded.event.time, recorded.version);
        let pending = Pending { queued, order, attempts: 0, due: time, claimed: None, error: None };
        self.pending.entry(pending.queued.key.clone()).or_insert(pending);
    }

    fn claimed(&mut self, claimed: &Claimed) {
        if let Some(pending) = self.pending.get_mut(&claimed.key) {
            pending.attempts = claimed.attempt;
            pending.claimed = Some(claimed.until);
        }
    }

    fn failed(&mut self, failed: Failed) {
        // A word from an attempt that somebody has taken over says nothing about the present one.
        let pending = self.pending.get_mut(&failed.key).filter(|pending| pending.attempts == failed.attempt);
        if let Some(pending) = pending {
            pending.claimed = None;
            pending.due = failed.retry_at;
            pending.error = Some(failed.reason);
        }
    }
}

impl Fold for RuleState {
    const NAME: &'static str = "greed-rules";
    const VERSION: u32 = 1;

    fn apply(&mut self, recorded: &Recorded) -> Result<()> {
        let event = &recorded.event;
        if let Some(advanced) = event.decode::<Advanced>()? {
            self.advanced(advanced);
        } else if let Some(held) = event.decode::<Held>()? {
            self.held(held);
        } else if let Some(queued) = event.decode::<Queued>()? {
            self.queued(recorded, queued);
        } else if let Some(claimed) = event.decode::<Claimed>()? {
            self.claimed(&claimed);
        } else if let Some(done) = event.decode::<Done>()? {
            self.pending.remove(&done.key);
        } else if let Some(failed) = event.decode::<Failed>()? {
            self.failed(failed);
        } else if let Some(given_up) = event.decode::<GivenUp>()? {
            self.pending.remove(&given_up.key);
        }
        Ok(())
    }
}

/// The dead letters of a project.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct DeadLetters {
    /// By key.
    pub(crate) letters: BTreeMap<String, Buried>,
}

/// A dead letter and when it was written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Buried {
    pub(crate) letter: DeadLetter,
    pub(crate) order: u64,
    pub(crate) since: Timestamp,
}

impl Fold for DeadLetters {
    const NAME: &'static str = "greed-dead";
    const VERSION: u32 = 1;

    fn apply(&mut self, recorded: &Recorded) -> Result<()> {
        let event = &recorded.event;
        if let Some(letter) = event.decode::<DeadLetter>()? {
            let buried = Buried { order: recorded.version, since: event.time, letter };
            self.letters.insert(buried.letter.key.clone(), buried);
            if self.letters.len() > DEAD_MAX {
                let oldest = self.letters.iter().min_by_key(|(_, buried)| buried.order).map(|(key, _)| key.clone());
                self.letters.remove(&oldest.unwrap_or_default());
            }
        } else if let Some(retried) = event.decode::<Retried>()? {
            self.letters.remove(&retried.key);
        } else if let Some(discarded) = event.decode::<Discarded>()? {
            self.letters.remove(&discarded.key);
        }
        Ok(())
    }
}

/// How long to wait after a failed attempt: five seconds, doubled each time, at most an hour.
pub(crate) fn backoff(attempt: u32) -> Millis {
    let doublings = attempt.saturating_sub(1).min(20);
    Millis::from_secs((5_u64 << doublings).min(3_600))
}
