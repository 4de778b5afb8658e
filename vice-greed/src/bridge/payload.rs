//! The events in which `forward` and `follow` note how far they have come.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use vice_core::Digest;
use vice_core::event::Payload;

use super::Places;

/// The streams of what is noted. What is in them is never sent on.
pub(super) fn forward_stream(name: &str) -> String {
    format!("forward/{name}")
}
pub(super) fn follow_stream(name: &str) -> String {
    format!("follow/{name}")
}

/// The stream of the messages that are no CloudEvents.
pub(super) fn refused_stream(name: &str) -> String {
    format!("refused/{name}")
}

/// What is about to be sent to brokers that know a producer by numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claim {
    /// The events behind those that were sent, up to this one.
    pub(crate) upto: u64,
    /// Which of them, and in which form.
    pub(crate) selection: Digest,
    pub(crate) producer: i64,
    pub(crate) epoch: i16,
    /// How many partitions the events are spread over.
    pub(crate) partitions: i32,
    /// The number of the first record of each partition.
    pub(crate) sequences: BTreeMap<i32, i32>,
}

/// The history was sent up to here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Forwarded {
    pub(super) name: String,
    pub(super) to: String,
    /// The last sequence number that was looked at.
    pub(super) cursor: u64,
    /// How many events were sent since the beginning.
    pub(super) sent: u64,
    /// What is sent next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) next: Option<Claim>,
}

impl Payload for Forwarded {
    const KIND: &'static str = "dev.cdeventsx.vice-forward.advanced.0.1.0";
    fn subject(&self) -> String {
        self.name.clone()
    }
}

/// An event was not sent, because the receiver does not take it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Withheld {
    pub(super) name: String,
    pub(super) to: String,
    pub(super) seq: u64,
    pub(super) id: String,
    pub(super) reason: String,
}

impl Payload for Withheld {
    const KIND: &'static str = "dev.cdeventsx.vice-forward.withheld.0.1.0";
    fn subject(&self) -> String {
        self.id.clone()
    }
}

/// Everything before these places was taken in, with this append or before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Followed {
    pub(super) name: String,
    pub(super) from: String,
    pub(super) places: Places,
    /// How many events were taken, and how many messages were refused, since the beginning.
    pub(super) taken: u64,
    pub(super) refused: u64,
}

impl Payload for Followed {
    const KIND: &'static str = "dev.cdeventsx.vice-follow.advanced.0.1.0";
    fn subject(&self) -> String {
        self.name.clone()
    }
}

/// A message that is no CloudEvent, or one whose id is taken by other content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Refused {
    pub(super) from: String,
    /// Its place there.
    pub(super) place: String,
    pub(super) reason: String,
    /// The message, or its beginning: text, or base64 of what is no text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) text: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) base64: Option<String>,
    /// Whether that is all of it.
    pub(super) whole: bool,
    /// The digest of the whole message.
    pub(super) digest: Digest,
}

impl Payload for Refused {
    const KIND: &'static str = "dev.cdeventsx.vice-follow.refused.0.1.0";
    fn subject(&self) -> String {
        self.place.clone()
    }
}

/// Something that was to be read is not there any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Missed {
    pub(super) from: String,
    pub(super) what: String,
}

impl Payload for Missed {
    const KIND: &'static str = "dev.cdeventsx.vice-follow.missed.0.1.0";
    fn subject(&self) -> String {
        self.from.clone()
    }
}
