//! Histories that several machines share without a database: a log of batches on a [`Medium`] that can say "this is the
//! next batch, unless somebody else was first", and a mirror of it on this machine, from which everything is read.
//!
//! A batch has the form of a segment of JSON lines: a head with the number of its first record and the mark of all before,
//! then whole appends. So the head of each batch vouches for everything before it, a mirror is a folder of JSON lines that
//! `grep` and `jq` read, and what was rewritten behind our back does not follow any more.
//!
//! An append is decided against the mirror and handed in on the condition that nothing came in between; when something did,
//! it is fetched, and the append is decided anew. Reading looks for what others appended at most every [`FRESH`].
//! It must not know any medium, and never builds on a batch that does not follow.

pub(crate) mod batch;
mod draft;
mod exchange;
pub(crate) mod medium;
mod mirror;
mod scribe;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::time::Duration;
use vice_core::capability::{BackendInfo, Capabilities, Capability};
use vice_core::event::Recorded;
use vice_core::store::{Append, Appended, EventStore, LogHead, Query, Snapshot, StreamHead, Verification};
use vice_core::{Fault, Millis, Result};
use vice_plugin::Described;

use crate::desk::{Desk, Inbox, until_grown};
use crate::jsonl::log::Log;
use crate::jsonl::snapshots;
use crate::place::Notices;
use crate::prepared::Prepared;

use exchange::Exchange;
use medium::Medium;
use scribe::SharedScribe;

/// How old what is read may be: looking costs a round trip, and a driver looks several times a second.
const FRESH: Duration = Duration::from_secs(2);

/// A history on a medium.
pub(crate) struct SharedStore {
    info: BackendInfo,
    exchange: Arc<Exchange>,
    desk: Mutex<Option<Desk>>,
    grown: watch::Sender<u64>,
    durable: bool,
    /// What the medium says of itself, where that is not known before it was asked.
    said: Option<Arc<OnceLock<Described>>>,
}

impl SharedStore {
    /// The history on a medium, with its mirror in a folder. Nothing is asked or created before the first question.
    pub(crate) fn new(info: BackendInfo, medium: Box<dyn Medium>, folder: PathBuf, notices: Notices) -> Self {
        let exchange = Arc::new(Exchange::new(info.location.clone(), medium, folder, notices));
        Self { info, exchange, desk: Mutex::new(None), grown: watch::Sender::new(0), durable: true, said: None }
    }

    /// Whether what the medium acknowledges survives a power cut there.
    #[cfg(feature = "nats")]
    pub(crate) const fn durable(mut self, durable: bool) -> Self {
        self.durable = durable;
        self
    }

    /// Whether others can reach it is what the medium says, once it was asked.
    pub(crate) fn described_by(mut self, said: Arc<OnceLock<Described>>) -> Self {
        self.said = Some(said);
        self
    }

    fn hand_in(&self) -> Result<Inbox> {
        let mut slot = self.desk.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(desk) = slot.as_ref() {
            return Ok(desk.inbox());
        }
        let desk = Desk::start(SharedScribe::new(Arc::clone(&self.exchange)), self.grown.clone())?;
        let inbox = desk.inbox();
        *slot = Some(desk);
        Ok(inbox)
    }

    /// Reads from the mirror once it is fresh enough, on a thread that may block.
    async fn with_current<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Log) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let exchange = Arc::clone(&self.exchange);
        self.exchange.on_engine(async move { exchange.freshen(FRESH).await }).await??;
        self.with_mirror(work).await
    }

    async fn with_mirror<T: Send + 'static>(&self, work: impl FnOnce(&Log) -> Result<T> + Send + 'static) -> Result<T> {
        let exchange = Arc::clone(&self.exchange);
        let done = tokio::task::spawn_blocking(move || exchange.read(work)).await;
        done.map_err(|error| Fault::internal("A reader of the history failed.").because(error))?
    }
}

#[async_trait]
impl EventStore for SharedStore {
    fn describe(&self) -> BackendInfo {
        let said = self.said.as_ref().and_then(|said| said.get());
        BackendInfo { shared: said.map_or(self.info.shared, |said| said.shared), ..self.info.clone() }
    }

    fn capabilities(&self) -> Capabilities {
        use Capability::{Beats, ConditionalAppend, Durable, Query, Snapshots, Subscribe, Verify};
        let always = [ConditionalAppend, Query, Subscribe, Snapshots, Verify, Beats];
        Capabilities::of(always.into_iter().chain(self.durable.then_some(Durable)))
    }

    async fn append(&self, append: Append) -> Result<Appended> {
        let prepared = Prepared::new(append)?;
        self.hand_in()?.append(prepared).await
    }

    async fn read(&self, query: &Query) -> Result<Vec<Recorded>> {
        let query = query.clone();
        self.with_current(move |log| log.fetch(&log.index.select(&query)?)).await
    }

    async fn head(&self) -> Result<LogHead> {
        self.with_current(|log| Ok(log.index.tip)).await
    }

    async fn streams(&self, prefix: &str, after: &str, limit: usize) -> Result<Vec<StreamHead>> {
        let (prefix, after) = (prefix.to_owned(), after.to_owned());
        self.with_current(move |log| Ok(log.index.list_streams(&prefix, &after, limit))).await
    }

    async fn fences(&self) -> Result<BTreeMap<String, u64>> {
        self.with_current(|log| Ok(log.index.fences().clone())).await
    }

    // Copies of fold states are computed from the events, so each machine keeps its own.

    async fn snapshot(&self, fold: &str, stream: &str) -> Result<Option<Snapshot>> {
        let (fold, stream) = (fold.to_owned(), stream.to_owned());
        self.with_mirror(move |log| snapshots::get(log.dir(), &fold, &stream)).await
    }

    async fn put_snapshot(&self, fold: &str, stream: &str, snapshot: Snapshot) -> Result<()> {
        self.hand_in()?.snapshot(fold.to_owned(), stream.to_owned(), snapshot).await
    }

    async fn wait(&self, after: u64, at_most: Millis) -> Result<LogHead> {
        until_grown(&self.grown, after, at_most, FRESH, || self.head()).await
    }

    async fn beat(&self, scope: &str, mark: &str) -> Result<()> {
        let (exchange, scope, mark) = (Arc::clone(&self.exchange), scope.to_owned(), mark.to_owned());
        self.exchange.on_engine(async move { exchange.beat(&scope, &mark).await }).await?
    }

    async fn pulse(&self, scope: &str) -> Result<Option<String>> {
        let (exchange, scope) = (Arc::clone(&self.exchange), scope.to_owned());
        self.exchange.on_engine(async move { exchange.pulse(&scope).await }).await?
    }

    // Each batch has the form in which everybody's mirror has read it already; it can't lose data without another history.
    async fn let_go(&self, _: u64) -> Result<u64> {
        Err(Fault::unsupported(self.info.kind, "archiving"))
    }

    async fn verify(&self) -> Result<Verification> {
        let exchange = Arc::clone(&self.exchange);
        self.exchange.on_engine(async move { exchange.verify().await }).await?
    }

    async fn close(&self) -> Result<()> {
        let desk = self.desk.lock().unwrap_or_else(PoisonError::into_inner).take();
        match desk {
            Some(desk) => desk.finish().await,
            None => Ok(()),
        }
    }
}
