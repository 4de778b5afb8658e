//! The state of the outbox as the fold of its stream: how far the log was read, what waits, what was given up.
//! Delivered messages leave the state; the log keeps them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use vice_core::event::Recorded;
use vice_core::fold::Fold;
use vice_core::{Millis, Result};

use crate::message::Message;
use crate::payload::{Advanced, Attempted, Dead, Delivered, Failed, Queued, Retried};

/// After so long without word from the process that was sending, another may send.
pub const CLAIM_VALID: Millis = Millis::from_secs(60);

/// So many attempts, then the message is given up.
pub const ATTEMPTS_MAX: u32 = 8;

/// So many given-up messages are listed; older ones are only in the log.
const DEAD_MAX: usize = 1_000;

/// Keys of the latest deliveries, so that a late repeat of the same notice can be answered.
const DONE_MAX: usize = 200;

/// What waits and what was given up.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outbox {
    /// The log was read up to here.
    pub cursor: u64,
    /// Messages to be sent, by key.
    pub pending: BTreeMap<String, Pending>,
    /// Messages that were given up, by key.
    pub dead: BTreeMap<String, DeadLetter>,
    /// The latest deliveries: stream version and key to the receiver's answer.
    done: BTreeMap<u64, (String, String)>,
}

/// A message to be sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// The message.
    pub message: Message,
    /// Its place in the order of queueing.
    pub order: u64,
    /// When it was queued.
    pub queued: Timestamp,
    /// Attempts so far.
    pub attempts: u32,
    /// Not to be tried before.
    pub due: Timestamp,
    /// Who is sending it.
    pub claim: Option<Claim>,
    /// Why the last attempt failed.
    pub error: Option<String>,
    /// Whether an earlier attempt may have reached the receiver.
    pub possible_repeat: bool,
}

/// A process is sending.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// Which process.
    pub by: String,
    /// Since when.
    pub since: Timestamp,
}

/// A message that was given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// The message.
    pub message: Message,
    /// Its place in the order of queueing.
    pub order: u64,
    /// After so many attempts.
    pub attempts: u32,
    /// Why.
    pub reason: String,
    /// When.
    pub since: Timestamp,
}

impl Pending {
    /// Whether it may be sent at `now`: it is due, and nobody is sending it or whoever was has gone silent.
    #[must_use]
    pub fn ready(&self, now: Timestamp) -> bool {
        match &self.claim {
            Some(claim) => Millis::between(claim.since, now) >= CLAIM_VALID,
            None => self.due <= now,
        }
    }
}

impl Outbox {
    /// What may be sent at `now`, in the order of queueing.
    #[must_use]
    pub fn ready(&self, now: Timestamp) -> Vec<&Pending> {
        let mut ready: Vec<&Pending> = self.pending.values().filter(|pending| pending.ready(now)).collect();
        ready.sort_by_key(|pending| pending.order);
        ready
    }

    /// The receiver's answer to a message that was delivered not long ago.
    #[must_use]
    pub fn answer(&self, key: &str) -> Option<&str> {
        self.done.values().find(|(done, _)| done == key).map(|(_, answer)| answer.as_str())
    }

    fn queued(&mut self, recorded: &Recorded, message: Message) {
        let time = recorded.event.time;
        let key = message.key.clone();
        if self.pending.contains_key(&key) || self.dead.contains_key(&key) {
            return;
        }
        let pending = Pending {
            message,
            order: recorded.version,
            queued: time,
            attempts: 0,
            due: time,
            claim: None,
            error: None,
            possible_repeat: false,
        };
        self.pending.insert(key, pending);
    }

    fn attempted(&mut self, recorded: &Recorded, attempted: Attempted) {
        if let Some(pending) = self.pending.get_mut(&attempted.key) {
            pending.attempts = attempted.attempt;
            pending.possible_repeat |= attempted.possible_repeat;
            pending.claim = Some(Claim { by: attempted.by, since: recorded.event.time });
        }
    }

    fn delivered(&mut self, recorded: &Recorded, delivered: Delivered) {
        // Also when another process has taken the message over meanwhile: it has arrived, and that is what counts.
        self.pending.remove(&delivered.key);
        self.dead.remove(&delivered.key);
        self.done.insert(recorded.version, (delivered.key, delivered.answer));
        while self.done.len() > DONE_MAX {
            self.done.pop_first();
        }
    }

    fn failed(&mut self, failed: Failed) {
        let Some(pending) = self.pending.get_mut(&failed.key) else { return };
        pending.possible_repeat |= failed.uncertain;
        if failed.attempt == pending.attempts {
            // A word from an attempt that somebody has taken over says nothing about the present one.
            pending.claim = None;
            pending.due = failed.retry_at;
            pending.error = Some(failed.reason);
        }
    }

    fn died(&mut self, recorded: &Recorded, dead: Dead) {
        let Some(pending) = self.pending.remove(&dead.key) else { return };
        let letter = DeadLetter {
            message: pending.message,
            order: pending.order,
            attempts: dead.attempt,
            reason: dead.reason,
            since: recorded.event.time,
        };
        self.dead.insert(dead.key, letter);
        if self.dead.len() > DEAD_MAX {
            let oldest = self.dead.iter().min_by_key(|(_, letter)| letter.order).map(|(key, _)| key.clone());
            self.dead.remove(&oldest.unwrap_or_default());
        }
    }

    fn retried(&mut self, recorded: &Recorded, key: &str) {
        let time = recorded.event.time;
        if let Some(letter) = self.dead.remove(key) {
            let pending = Pending {
                message: letter.message,
                order: letter.order,
                queued: letter.since,
                attempts: 0,
                due: time,
                claim: None,
                error: Some(letter.reason),
                possible_repeat: true,
            };
            self.pending.insert(key.to_owned(), pending);
        } else if let Some(pending) = self.pending.get_mut(key).filter(|pending| pending.claim.is_none()) {
            pending.attempts = 0;
            pending.due = time;
        }
    }
}

impl Fold for Outbox {
    const NAME: &'static str = "lust-outbox";
    const VERSION: u32 = 1;

    fn apply(&mut self, recorded: &Recorded) -> Result<()> {
        let event = &recorded.event;
        if let Some(advanced) = event.decode::<Advanced>()? {
            self.cursor = self.cursor.max(advanced.cursor);
        } else if let Some(queued) = event.decode::<Queued>()? {
            self.queued(recorded, queued.message);
        } else if let Some(attempted) = event.decode::<Attempted>()? {
            self.attempted(recorded, attempted);
        } else if let Some(delivered) = event.decode::<Delivered>()? {
            self.delivered(recorded, delivered);
        } else if let Some(failed) = event.decode::<Failed>()? {
            self.failed(failed);
        } else if let Some(dead) = event.decode::<Dead>()? {
            self.died(recorded, dead);
        } else if let Some(retried) = event.decode::<Retried>()? {
            self.retried(recorded, &retried.key);
        }
        Ok(())
    }
}

/// How long to wait after a failed attempt: five seconds, doubled each time, at most an hour.
#[must_use]
pub fn backoff(attempt: u32) -> Millis {
    let doublings = attempt.saturating_sub(1).min(20);
    Millis::from_secs((5_u64 << doublings).min(3_600))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_doubles_up_to_an_hour() {
        let waits: Vec<u64> = [1, 2, 3, 4, 9, 10, 11, 12, u32::MAX].map(|n| backoff(n).0 / 1000).to_vec();
        assert_eq!(waits, [5, 10, 20, 40, 1280, 2560, 3600, 3600, 3600]);
    }
}
