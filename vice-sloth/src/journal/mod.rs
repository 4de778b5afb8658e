//! Runs as streams in the history: what is written ([`payload`]), how it is written ([`Journal`]), and what it adds up
//! to ([`view`]).

pub(crate) mod payload;
pub(crate) mod read;
pub(crate) mod view;

use vice_core::app::App;
use vice_core::event::{Event, Payload};
use vice_core::id::Scope;
use vice_core::store::{Append, Expected};
use vice_core::{Code, Fault, Result};

use payload::RunId;

/// The one writer of a run's stream. Each append expects the stream where this writer left it, so that a second
/// writer is noticed at its first word.
pub(crate) struct Journal<'a> {
    app: &'a App,
    run: RunId,
    scope: Option<Scope>,
    version: u64,
}

impl<'a> Journal<'a> {
    /// A writer that goes on after `version` (0: a new run).
    pub(crate) const fn new(app: &'a App, run: RunId, scope: Option<Scope>, version: u64) -> Self {
        Self { app, run, scope, version }
    }

    /// The run.
    pub(crate) const fn run(&self) -> &RunId {
        &self.run
    }

    /// An event of this run, now.
    pub(crate) fn event<P: Payload>(&self, payload: &P) -> Result<Event> {
        self.app.event(self.run.stream(), self.scope.as_ref(), payload)
    }

    /// Writes events, all or none.
    ///
    /// # Errors
    /// `Conflict` for the first event of a new run, `Locked` when somebody else has gone on with this one.
    pub(crate) async fn append(&mut self, events: Vec<Event>) -> Result<()> {
        if events.is_empty() {
            return Ok(());
        }
        let stream = self.run.stream();
        let append = Append::of(events).expect(stream, Expected::from_version(self.version));
        let appended = self.app.events.append(append).await.map_err(|fault| match fault.code() {
            Code::Conflict if self.version > 0 => {
                Fault::new(Code::Locked, format!("Another process has gone on with the run {}.", self.run))
                    .hint(format!("`vice sloth show {}` shows how it stands.", self.run))
                    .because(fault)
            }
            _ => fault,
        })?;
        self.version = appended.versions.last().copied().unwrap_or(self.version);
        Ok(())
    }

    /// Writes one event.
    ///
    /// # Errors
    /// As [`Journal::append`].
    pub(crate) async fn write<P: Payload>(&mut self, payload: &P) -> Result<()> {
        let event = self.event(payload)?;
        self.append(vec![event]).await
    }
}
