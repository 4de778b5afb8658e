//! What to do while a broker is away: wait longer and longer, and say what waits, but not with every attempt.

use std::time::Duration;

use vice_core::app::App;
use vice_core::port::notifier::Severity;
use vice_core::{Code, Fault, Millis, Result};

/// The first wait, and the longest.
const FIRST: Millis = Millis(500);
const LONGEST: Millis = Millis::from_secs(30);

/// How often it is said again that somebody is away.
const SAY_EVERY: Millis = Millis::from_secs(60);

/// How often it is looked whether to end.
const LOOK: Millis = Millis(100);

/// Waiting for one place.
#[derive(Debug)]
pub(super) struct Patience {
    shown: String,
    /// How often in a row nobody answered.
    failures: u32,
    /// When and what was said last.
    said: Option<(jiff::Timestamp, String)>,
}

/// How long to wait after so many failures.
const fn wait_after(failures: u32) -> Millis {
    let doublings = if failures > 7 { 6 } else { failures.saturating_sub(1) };
    let wait = FIRST.0 << doublings;
    if wait > LONGEST.0 { LONGEST } else { Millis(wait) }
}

impl Patience {
    pub(super) const fn new(shown: String) -> Self {
        Self { shown, failures: 0, said: None }
    }

    /// Takes in that something failed; waits where waiting helps. Gives back what does not pass by itself.
    ///
    /// # Errors
    /// The fault.
    pub(super) async fn wait(&mut self, app: &App, fault: Fault, waiting: &str) -> Result<()> {
        if fault.code() != Code::Unreachable {
            return Err(fault);
        }
        self.failures += 1;
        let wait = wait_after(self.failures);
        let why = fault.chain().join(" ");
        let now = app.clock.now();
        let old = self.said.as_ref().is_none_or(|(at, said)| *said != why || SAY_EVERY.after(*at) <= now);
        if old {
            app.ui.say(Severity::Warning, &format!("{why} {waiting} It is tried again, now in {wait}."));
            self.said = Some((now, why));
        }
        pause(app, wait).await;
        Ok(())
    }

    /// Takes in that it works.
    pub(super) fn works(&mut self, app: &App) {
        if std::mem::take(&mut self.failures) > 0 && self.said.take().is_some() {
            app.ui.say(Severity::Info, &format!("{} answers again.", self.shown));
        }
    }
}

/// Waits, unless this process is asked to end.
async fn pause(app: &App, wait: Millis) {
    let mut left = wait.0;
    while left > 0 && app.stop.raised().is_none() {
        let step = left.min(LOOK.0);
        tokio::time::sleep(Duration::from_millis(step)).await;
        left -= step;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_half_a_minute() {
        let waits: Vec<u64> = (1..=9).map(|failures| wait_after(failures).0).collect();
        assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]);
        assert_eq!(wait_after(u32::MAX), LONGEST);
    }
}
