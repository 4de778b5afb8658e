//! The one history on SQLite: `history.db` with `history.head` beside it.
//!
//! One thread writes, several appends to a transaction; readers have connections of their own. Both are opened when
//! they are first needed, so that a command that only looks pays for nothing else.

mod errors;
mod ingest;
mod let_go;
mod query;
mod reader;
mod schema;
mod verify;
mod writer;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::time::Duration;
use vice_core::capability::{BackendInfo, Capabilities, Capability};
use vice_core::event::Recorded;
use vice_core::store::{Append, Appended, EventStore, LogHead, Query, Snapshot, StreamHead, Verification};
use vice_core::{Clock, Fault, Millis, Result};

pub use schema::FORMAT;

pub(crate) use errors::{reading, writing};
pub(crate) use schema::{PLAIN, busy_timeout, format_of, require_safe_sqlite, use_wal};
pub(crate) use verify::{Structure, fences, require_sound, verify_file};

use crate::desk::{Desk, Inbox, until_grown};
use crate::prepared::Prepared;

use reader::Pool;
use writer::SqliteScribe;

/// The database's file name in the state folder.
pub(crate) const DATABASE: &str = "history.db";
/// The head witness' file name.
pub(crate) const WITNESS: &str = "history.head";

/// Another process announces nothing; its events are found by looking so often.
const POLL: Duration = Duration::from_millis(50);

/// The history in a state folder.
pub struct SqliteStore {
    place: Place,
    pool: Arc<Pool>,
    writer: Mutex<Option<Desk>>,
    grown: watch::Sender<u64>,
}

/// Where the files are.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) database: PathBuf,
    pub(crate) witness: PathBuf,
}

impl Place {
    pub(crate) fn of(dir: &Path) -> Self {
        Self { database: dir.join(DATABASE), witness: dir.join(WITNESS) }
    }
}

impl std::fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteStore").field("place", &self.place).finish_non_exhaustive()
    }
}

impl SqliteStore {
    /// The history in `dir`. Nothing is created before the first append.
    ///
    /// # Errors
    /// `HistoryNewer` when a newer version of vice has written it, `Internal` when the SQLite that was linked is one
    /// with a known fault.
    pub fn open(dir: &Path, _clock: Arc<dyn Clock>) -> Result<Self> {
        require_safe_sqlite()?;
        let place = Place::of(dir);
        schema::refuse_newer_file(&place.database)?;
        let pool = Arc::new(Pool::new(place.database.clone()));
        Ok(Self { place, pool, writer: Mutex::new(None), grown: watch::Sender::new(0) })
    }

    fn writer(&self) -> MutexGuard<'_, Option<Desk>> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The running writer, started if need be.
    fn hand_to_writer(&self) -> Result<Inbox> {
        let mut slot = self.writer();
        if let Some(writer) = slot.as_ref() {
            return Ok(writer.inbox());
        }
        let writer = Desk::start(SqliteScribe::new(self.place.clone()), self.grown.clone())?;
        let inbox = writer.inbox();
        *slot = Some(writer);
        Ok(inbox)
    }

    /// Runs a reading function on a thread that may block; `None` is given while there is no history yet.
    async fn with_reader<T: Send + 'static>(
        &self,
        work: impl FnOnce(Option<&mut reader::Reader>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let pool = Arc::clone(&self.pool);
        let done = tokio::task::spawn_blocking(move || pool.with(work)).await;
        done.map_err(|error| Fault::internal("A reader of the history failed.").because(error))?
    }
}

#[async_trait]
impl EventStore for SqliteStore {
    fn describe(&self) -> BackendInfo {
        BackendInfo { kind: "sqlite", location: self.place.database.display().to_string(), shared: false }
    }

    fn capabilities(&self) -> Capabilities {
        use Capability::{Archive, ConditionalAppend, Durable, Query, Snapshots, Subscribe, Verify};
        Capabilities::of([Archive, ConditionalAppend, Query, Subscribe, Snapshots, Verify, Durable])
    }

    async fn append(&self, append: Append) -> Result<Appended> {
        let prepared = Prepared::new(append)?;
        let inbox = self.hand_to_writer()?;
        inbox.append(prepared).await
    }

    async fn read(&self, query: &Query) -> Result<Vec<Recorded>> {
        let query = query.clone();
        self.with_reader(move |reader| reader.map_or(Ok(Vec::new()), |reader| query::read(reader, &query))).await
    }

    async fn head(&self) -> Result<LogHead> {
        self.with_reader(|reader| reader.map_or(Ok(reader::EMPTY), |reader| reader.head())).await
    }

    async fn streams(&self, prefix: &str, after: &str, limit: usize) -> Result<Vec<StreamHead>> {
        let (prefix, after) = (prefix.to_owned(), after.to_owned());
        self.with_reader(move |reader| reader.map_or(Ok(Vec::new()), |reader| reader.streams(&prefix, &after, limit)))
            .await
    }

    async fn fences(&self) -> Result<BTreeMap<String, u64>> {
        let database = self.place.database.clone();
        let done = tokio::task::spawn_blocking(move || fences(&database)).await;
        done.map_err(|error| Fault::internal("A reader of the history failed.").because(error))?
    }

    async fn snapshot(&self, fold: &str, stream: &str) -> Result<Option<Snapshot>> {
        let (fold, stream) = (fold.to_owned(), stream.to_owned());
        self.with_reader(move |reader| reader.map_or(Ok(None), |reader| reader.snapshot(&fold, &stream))).await
    }

    async fn put_snapshot(&self, fold: &str, stream: &str, snapshot: Snapshot) -> Result<()> {
        let inbox = self.hand_to_writer()?;
        inbox.snapshot(fold.to_owned(), stream.to_owned(), snapshot).await
    }

    async fn wait(&self, after: u64, at_most: Millis) -> Result<LogHead> {
        until_grown(&self.grown, after, at_most, POLL, || self.head()).await
    }

    // Whoever shares this folder is on this machine, where the lock of a file tells who lives.

    async fn beat(&self, _: &str, _: &str) -> Result<()> {
        Err(Fault::unsupported("sqlite", "signs of life"))
    }

    async fn pulse(&self, _: &str) -> Result<Option<String>> {
        Err(Fault::unsupported("sqlite", "signs of life"))
    }

    async fn let_go(&self, anchor: u64) -> Result<u64> {
        let place = self.place.clone();
        let done = tokio::task::spawn_blocking(move || let_go::let_go(&place, anchor)).await;
        done.map_err(|error| Fault::internal("Letting go of archived data failed.").because(error))?
    }

    async fn verify(&self) -> Result<Verification> {
        let place = self.place.clone();
        let done = tokio::task::spawn_blocking(move || verify::verify(&place)).await;
        done.map_err(|error| Fault::internal("Verifying the history failed.").because(error))?
    }

    async fn close(&self) -> Result<()> {
        let writer = self.writer().take();
        self.pool.clear();
        match writer {
            Some(writer) => writer.finish().await,
            None => Ok(()),
        }
    }
}
