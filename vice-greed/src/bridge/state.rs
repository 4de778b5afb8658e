//! How far `forward` and `follow` have come, as folds of their streams, and appending to them.

use serde::{Deserialize, Serialize};
use vice_core::app::App;
use vice_core::event::{Actor, Event, Head, Payload, Recorded};
use vice_core::fold::Fold;
use vice_core::store::{Append, Expected, Query};
use vice_core::{Code, Fault, Result};

use super::Places;
use super::payload::{Claim, Followed, Forwarded};

/// How far the history was sent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ForwardState {
    /// Where it goes; nothing was sent yet when empty.
    pub(super) to: String,
    pub(super) cursor: u64,
    pub(super) sent: u64,
    pub(super) next: Option<Claim>,
}

impl Fold for ForwardState {
    const NAME: &'static str = "greed-forward";
    const VERSION: u32 = 1;

    fn apply(&mut self, recorded: &Recorded) -> Result<()> {
        if let Some(Forwarded { to, cursor, sent, next, .. }) = recorded.event.decode()? {
            *self = Self { to, cursor, sent, next };
        }
        Ok(())
    }
}

/// How far a source was taken in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FollowState {
    /// Where it comes from; nothing was taken yet when empty.
    pub(super) from: String,
    pub(super) places: Places,
    pub(super) taken: u64,
    pub(super) refused: u64,
}

impl Fold for FollowState {
    const NAME: &'static str = "greed-follow";
    const VERSION: u32 = 1;

    fn apply(&mut self, recorded: &Recorded) -> Result<()> {
        if let Some(Followed { from, places, taken, refused, .. }) = recorded.event.decode()? {
            *self = Self { from, places, taken, refused };
        }
        Ok(())
    }
}

/// A stream of notes, and its version as far as it was written by this process.
pub(super) struct Notes {
    app: App,
    stream: String,
    version: u64,
    actor: Actor,
}

/// What became of an append.
pub(super) enum Noted {
    Done,
    /// An event has an id that is taken by other content.
    Clash(Fault),
}

impl Notes {
    pub(super) const fn new(app: App, stream: String, version: u64, actor: Actor) -> Self {
        Self { app, stream, version, actor }
    }

    pub(super) fn event<P: Payload>(&self, stream: &str, payload: &P) -> Result<Event> {
        let time = self.app.clock.now();
        let (id, actor) = (self.app.ids.next(time), self.actor.clone());
        Event::new(Head { id, time, stream: stream.to_owned(), scope: None, actor, chain_id: None }, payload)
    }

    /// Appends events of which the last one is the note, on the condition that nobody else has noted anything meanwhile.
    ///
    /// # Errors
    /// `Locked` where somebody else has; what the store says.
    pub(super) async fn append(&mut self, mut events: Vec<Event>, note: &impl Payload) -> Result<Noted> {
        events.push(self.event(&self.stream, note)?);
        let append = Append::of(events).expect(&self.stream, Expected::from_version(self.version));
        match self.app.events.append(append).await {
            Ok(_) => {
                self.version += 1;
                Ok(Noted::Done)
            }
            Err(fault) if fault.code() == Code::Conflict => {
                let query = Query { limit: 1, ..Query::stream(&self.stream, self.version) };
                if self.app.events.read(&query).await?.is_empty() {
                    return Ok(Noted::Clash(fault));
                }
                Err(Fault::new(Code::Locked, format!("Another process does the same as {}.", self.stream))
                    .hint("One is enough; with another --name, both do it."))
            }
            Err(fault) => Err(fault),
        }
    }
}
