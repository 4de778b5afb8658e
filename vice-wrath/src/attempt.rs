//! What one attempt at a check gives.

use std::time::Duration;

use vice_core::payload::verification::CheckOutcome;

use crate::capture::Captured;

/// What one attempt found. Messages are not masked or cut yet.
#[derive(Default)]
pub(crate) struct Attempt {
    /// Assertions that do not hold, one line each.
    pub(crate) failures: Vec<String>,
    /// Why the check could not be carried out to its end.
    pub(crate) error: Option<String>,
    /// What later checks can use.
    pub(crate) captured: Vec<Captured>,
    /// From the start of the request to the last byte of the answer.
    pub(crate) latency: Option<Duration>,
}

impl Attempt {
    /// An attempt that could not be carried out.
    pub(crate) fn errored(why: impl Into<String>) -> Self {
        Self { error: Some(why.into()), ..Self::default() }
    }

    /// Notes an assertion that does not hold.
    pub(crate) fn fail(&mut self, message: impl Into<String>) {
        self.failures.push(message.into());
    }

    /// How the attempt ended: an assertion that was seen to fail outweighs what could not be looked at any more.
    pub(crate) const fn outcome(&self) -> CheckOutcome {
        if !self.failures.is_empty() {
            CheckOutcome::Failed
        } else if self.error.is_some() {
            CheckOutcome::Errored
        } else {
            CheckOutcome::Passed
        }
    }

    /// All messages in order.
    pub(crate) fn messages(&self) -> impl Iterator<Item = &str> {
        self.failures.iter().chain(&self.error).map(String::as_str)
    }

    /// Compares the latency with the longest that is allowed.
    pub(crate) fn assert_latency(&mut self, latency_max: Option<vice_core::Millis>) {
        let (Some(limit), Some(latency)) = (latency_max, self.latency) else { return };
        if latency > limit.as_duration() {
            let took = vice_core::Millis(u64::try_from(latency.as_millis()).unwrap_or(u64::MAX));
            self.fail(format!("latency: expected at most {limit}, got {took}"));
        }
    }
}
