//! The events of this crate: what was posted by hand, and the life of a message in the outbox.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use vice_core::event::Payload;
use vice_core::id::{ProjectName, Scope};
use vice_core::port::notifier::Severity;

use crate::message::Message;

/// The stream of the outbox.
pub const OUTBOX: &str = "outbox/lust";

/// What the types of the outbox's own events begin with. They never trigger a rule, whatever the rule says.
pub const OWN_KINDS: [&str; 2] = ["dev.cdeventsx.vice-notification.", "dev.cdeventsx.vice-outbox."];

/// The stream of the messages that people posted about a project.
#[must_use]
pub fn message_stream(project: &ProjectName) -> String {
    format!("message/{project}")
}

/// Somebody, or an automation, posted a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessagePosted {
    /// About which project.
    pub project: ProjectName,
    /// About which environment, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    /// How much attention it asks for.
    pub severity: Severity,
    /// One line.
    pub title: String,
    /// More; may be empty.
    #[serde(default)]
    pub body: String,
}

impl Payload for MessagePosted {
    const KIND: &'static str = "dev.cdeventsx.vice-message.posted.0.1.0";
    fn subject(&self) -> String {
        self.scope.as_ref().map_or_else(|| self.project.to_string(), ToString::to_string)
    }
}

/// The log was read up to here; everything that it asked for is queued.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Advanced {
    /// The last sequence number that was looked at.
    pub cursor: u64,
}

impl Payload for Advanced {
    const KIND: &'static str = "dev.cdeventsx.vice-outbox.advanced.0.1.0";
    fn subject(&self) -> String {
        OUTBOX.to_owned()
    }
}

/// A message waits to be sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queued {
    /// The message.
    pub message: Message,
}

impl Payload for Queued {
    const KIND: &'static str = "dev.cdeventsx.vice-notification.queued.0.1.0";
    fn subject(&self) -> String {
        self.message.key.clone()
    }
}

/// A process is about to send a message. Nobody else may, until it says how that went or the claim is old.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempted {
    /// Which message.
    pub key: String,
    /// The how-manieth attempt, from 1.
    pub attempt: u32,
    /// By which process.
    pub by: String,
    /// Whether an earlier attempt may have reached the receiver.
    #[serde(default)]
    pub possible_repeat: bool,
}

impl Payload for Attempted {
    const KIND: &'static str = "dev.cdeventsx.vice-notification.attempted.0.1.0";
    fn subject(&self) -> String {
        self.key.clone()
    }
}

/// The receiver took the message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivered {
    /// Which message.
    pub key: String,
    /// In which attempt.
    pub attempt: u32,
    /// What the receiver said; masked and bounded.
    pub answer: String,
}

impl Payload for Delivered {
    const KIND: &'static str = "dev.cdeventsx.vice-notification.delivered.0.1.0";
    fn subject(&self) -> String {
        self.key.clone()
    }
}

/// An attempt failed; there will be another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// Which message.
    pub key: String,
    /// Which attempt.
    pub attempt: u32,
    /// Why; masked and bounded.
    pub reason: String,
    /// Whether the receiver may have taken it all the same.
    #[serde(default)]
    pub uncertain: bool,
    /// When to try again.
    pub retry_at: Timestamp,
}

impl Payload for Failed {
    const KIND: &'static str = "dev.cdeventsx.vice-notification.failed.0.1.0";
    fn subject(&self) -> String {
        self.key.clone()
    }
}

/// The message was given up. An operator can queue it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dead {
    /// Which message.
    pub key: String,
    /// After so many attempts.
    pub attempt: u32,
    /// Why; masked and bounded.
    pub reason: String,
}

impl Payload for Dead {
    const KIND: &'static str = "dev.cdeventsx.vice-notification.dead.0.1.0";
    fn subject(&self) -> String {
        self.key.clone()
    }
}

/// An operator wants the message to be tried at once, with its count of attempts at zero.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retried {
    /// Which message.
    pub key: String,
}

impl Payload for Retried {
    const KIND: &'static str = "dev.cdeventsx.vice-notification.retried.0.1.0";
    fn subject(&self) -> String {
        self.key.clone()
    }
}

#[cfg(test)]
pub(crate) mod tests;
