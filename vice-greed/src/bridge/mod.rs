//! Events to and from message brokers: `forward` sends what the history holds to a topic or subject, or as spans to a
//! collector; `follow` takes in what comes from one.
//!
//! How far either has come is an event of the history, in a stream of its own. `follow` appends it together with what it
//! took, so that a message has exactly one effect whatever is killed when. `forward` notes what it is about to send
//! before it sends it; after a crash the same is sent again under the same ids, and where the broker knows repeated
//! numbers (Kafka), it is there once. Neither holds more than one batch in memory, and neither gives up on a
//! broker that is away: it says what waits, and goes on by itself.

mod follow;
mod forward;
#[cfg(feature = "kafka")]
mod kafka;
mod message;
#[cfg(feature = "nats")]
mod nats;
mod otlp;
mod patience;
mod payload;
mod place;
mod state;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use async_trait::async_trait;
use vice_core::Result;

pub(crate) use follow::{Begin, Follow, FollowReport, follow};
pub(crate) use forward::{Forward, forward};
pub(crate) use message::{Message, Mode, Received};
pub(crate) use payload::Claim;
pub(crate) use place::Place;

use crate::binding::Style;

/// So many events are sent or taken at a time, and so many bytes of them: half of what a topic takes in one batch
/// unless it is told otherwise.
const BATCH: usize = 500;
const BATCH_BYTES: usize = 512 * 1024;

/// What became of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    not(any(feature = "kafka", test)),
    expect(dead_code, reason = "a collector of spans takes everything and remembers nobody")
)]
pub(crate) enum Sent {
    /// All are there.
    All,
    /// They are more than the receiver takes at once.
    TooLarge,
    /// The receiver has forgotten the claim: make another.
    Forgotten,
}

/// Where events go.
#[async_trait]
pub(crate) trait Outlet: Send + Sync {
    /// How it writes headers.
    fn style(&self) -> Style;

    /// What to note before messages are sent, so that they can be sent once more after a crash; none where the receiver
    /// knows a repetition by its id.
    ///
    /// # Errors
    /// `Unreachable`, or what no waiting changes.
    async fn claim(&mut self, messages: &[Message], upto: u64) -> Result<Option<Claim>>;

    /// Sends messages in order, those of them that are not there yet. After `Unreachable` the same can be asked again.
    ///
    /// # Errors
    /// `Unreachable`, or what no waiting changes.
    async fn send(&mut self, messages: &[Message], claim: Option<&Claim>) -> Result<Sent>;

    /// The messages are there and noted: what was remembered of them counts no more.
    fn settled(&mut self);
}

/// The next place of each part of a source.
pub(crate) type Places = BTreeMap<String, i64>;

/// What came, and where to go on after it.
#[derive(Debug, Default)]
pub(crate) struct Portion {
    pub(crate) messages: Vec<Received>,
    pub(crate) places: Places,
    /// What is not there any more, in whole sentences.
    pub(crate) gaps: Vec<String>,
}

/// Where events come from.
#[async_trait]
pub(crate) trait Inlet: Send + Sync {
    /// How it writes headers.
    fn style(&self) -> Style;

    /// Where reading begins the first time.
    ///
    /// # Errors
    /// `Unreachable`, or what no waiting changes.
    async fn begin(&mut self, begin: Begin) -> Result<Places>;

    /// What is behind these places; waits up to half a second for something to come.
    ///
    /// # Errors
    /// `Unreachable`, or what no waiting changes.
    async fn next(&mut self, places: &Places) -> Result<Portion>;

    /// Whether these places are the end of what there is.
    ///
    /// # Errors
    /// `Unreachable`, or what no waiting changes.
    async fn at_end(&mut self, places: &Places) -> Result<bool>;
}
