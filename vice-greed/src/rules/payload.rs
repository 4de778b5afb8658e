//! The events of the rules' own bookkeeping, and the results of windows.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use vice_core::event::Payload;
use vice_core::id::ProjectName;
use vice_core::manifest::Measure;

use super::effect::{Cause, Effect};
use crate::window::Cell;

/// The stream of the rules of a project: how far they have read, what their windows hold, what waits.
#[must_use]
pub fn rules_stream(project: &ProjectName) -> String {
    format!("rules/{project}")
}

/// The stream of what the rules of a project could not get done.
#[must_use]
pub fn dead_stream(project: &ProjectName) -> String {
    format!("dead/{project}")
}

macro_rules! payload {
    ($type:ident, $kind:literal, |$of:ident| $subject:expr) => {
        impl Payload for $type {
            const KIND: &'static str = $kind;
            fn subject(&self) -> String {
                let $of = self;
                $subject
            }
        }
    };
}

/// The log was read up to here, and everything that followed from it is in this append.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Advanced {
    pub(crate) project: ProjectName,
    /// The last sequence number that was looked at.
    pub(crate) cursor: u64,
    /// The time up to which windows are complete, in milliseconds since 1970.
    pub(crate) watermark: i64,
    /// How often each rule fired with this append.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) fired: BTreeMap<String, u64>,
    /// How many events were too late for each rule, in all.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) late: BTreeMap<String, u64>,
    /// Windows whose results are stored with this append.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) closed: Vec<ClosedCell>,
}
payload!(Advanced, "dev.cdeventsx.vice-rule.advanced.0.1.0", |it| it.project.to_string());

/// A window that is closed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ClosedCell {
    pub(crate) rule: String,
    pub(crate) start: i64,
    pub(crate) key: String,
}

/// What windows of a rule hold after the events of this append.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Held {
    pub(crate) rule: String,
    pub(crate) cells: Vec<HeldCell>,
}
payload!(Held, "dev.cdeventsx.vice-rule.held.0.1.0", |it| it.rule.clone());

/// What one window holds for a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HeldCell {
    pub(crate) start: i64,
    pub(crate) key: String,
    pub(crate) cell: Cell,
}

/// An effect waits to be carried out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Queued {
    pub(crate) key: String,
    pub(crate) rule: String,
    pub(crate) cause: Cause,
    pub(crate) effect: Effect,
}
payload!(Queued, "dev.cdeventsx.vice-rule.queued.0.1.0", |it| it.key.clone());

/// A process is about to carry an effect out; nobody else does before this time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claimed {
    pub(crate) key: String,
    pub(crate) attempt: u32,
    pub(crate) by: String,
    pub(crate) until: Timestamp,
}
payload!(Claimed, "dev.cdeventsx.vice-rule.claimed.0.1.0", |it| it.key.clone());

/// An effect was carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Done {
    pub(crate) key: String,
    pub(crate) answer: String,
}
payload!(Done, "dev.cdeventsx.vice-rule.done.0.1.0", |it| it.key.clone());

/// An attempt failed; there will be another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failed {
    pub(crate) key: String,
    pub(crate) attempt: u32,
    pub(crate) reason: String,
    pub(crate) retry_at: Timestamp,
}
payload!(Failed, "dev.cdeventsx.vice-rule.failed.0.1.0", |it| it.key.clone());

/// An effect left the queue for the dead letters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GivenUp {
    pub(crate) key: String,
}
payload!(GivenUp, "dev.cdeventsx.vice-rule.givenup.0.1.0", |it| it.key.clone());

/// What could not be done, in the stream of dead letters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct DeadLetter {
    pub(crate) key: String,
    pub(crate) rule: String,
    pub(crate) cause: Cause,
    /// What was to be done; none where the rule itself was stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) effect: Option<Effect>,
    pub(crate) attempts: u32,
    pub(crate) reason: String,
}

impl DeadLetter {
    /// A rule that was stopped at an event.
    pub(crate) const fn stopped(key: String, rule: String, cause: Cause, reason: String) -> Self {
        Self { key, rule, cause, effect: None, attempts: 0, reason }
    }
}
payload!(DeadLetter, "dev.cdeventsx.vice-deadletter.written.0.1.0", |it| it.key.clone());

/// A dead letter went back into the queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Retried {
    pub(crate) key: String,
}
payload!(Retried, "dev.cdeventsx.vice-deadletter.retried.0.1.0", |it| it.key.clone());

/// Somebody decided that a dead letter needs nothing any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Discarded {
    pub(crate) key: String,
}
payload!(Discarded, "dev.cdeventsx.vice-deadletter.discarded.0.1.0", |it| it.key.clone());

/// The result of a window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct WindowClosed {
    pub(crate) rule: String,
    pub(crate) key: String,
    pub(crate) start: Timestamp,
    pub(crate) end: Timestamp,
    pub(crate) measure: Measure,
    /// None for a quantile of no numbers.
    pub(crate) value: Option<f64>,
    /// Whether the value is exact; else within 2 % (quantiles) or with a standard error of 2.3 % (distinct).
    pub(crate) exact: bool,
    /// How many events.
    pub(crate) count: u64,
    /// How many events were too late for this rule so far.
    pub(crate) late: u64,
}
payload!(WindowClosed, "dev.cdeventsx.vice-window.closed.0.1.0", |it| format!("{}/{}", it.rule, it.key));
