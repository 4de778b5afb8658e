//! Attempts at operations: which of them this process makes, and which of its own are over. The ledger holds the name of
//! the attempt under way, so that two callers under one epoch can tell each other apart. It does no I/O.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use vice_core::Clock;

/// How many targets this process has made.
static MADE: AtomicU64 = AtomicU64::new(0);

/// The attempts of one target object.
pub(super) struct Attempts {
    name: String,
    /// Those that are being carried out.
    active: Mutex<BTreeSet<String>>,
}

/// One attempt, until it is dropped.
pub(super) struct Attempt<'a> {
    of: &'a Attempts,
    unit: String,
}

impl Attempts {
    pub(super) fn new(clock: &dyn Clock) -> Self {
        // Two processes never have both numbers in common, and two objects of one process never the third.
        let made = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}-{}-{made}", clock.now().as_nanosecond(), std::process::id());
        Self { name, active: Mutex::default() }
    }

    /// What the ledger holds of an attempt of this object.
    pub(super) fn mine(&self) -> String {
        self.name.clone()
    }

    /// Begins an attempt on a unit; none while another one is under way.
    pub(super) fn begin(&self, unit: &str) -> Option<Attempt<'_>> {
        let begun = self.active.lock().unwrap_or_else(PoisonError::into_inner).insert(unit.to_owned());
        begun.then(|| Attempt { of: self, unit: unit.to_owned() })
    }

    /// Whether an attempt that the ledger names is over for certain: this object made it, and makes one at a time.
    pub(super) fn is_over(&self, attempt: &str) -> bool {
        attempt == self.name
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        self.of.active.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.unit);
    }
}

#[cfg(test)]
mod tests {
    use vice_core::time::SystemClock;

    use super::*;

    #[test]
    fn one_attempt_at_a_time_on_a_unit() {
        let (ours, others) = (Attempts::new(&SystemClock), Attempts::new(&SystemClock));
        assert!(ours.is_over(&ours.mine()) && !ours.is_over(&others.mine()) && !ours.is_over(""));
        let first = ours.begin("1");
        assert!(first.is_some() && ours.begin("1").is_none() && ours.begin("2").is_some());
        drop(first);
        assert!(ours.begin("1").is_some());
    }
}
