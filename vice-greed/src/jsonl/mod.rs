//! The one history as JSON lines: segments of text that `grep` and `jq` read, in the folder `history`.
//!
//! `NNN.jsonl` is the segment that begins with record NNN (an event, or a raised epoch), `lock` the file whose lock a
//! writer holds, `head` the witness, `snapshots` copies of fold states. An append is durable when its lines are synced; one
//! whose last line is missing was never acknowledged and is dropped by the next writer. Everything else that does not make
//! sense is damage, and nothing is built on it.
//!
//! Opening reads everything once and keeps about 100 bytes of each event; bodies stay on disk.

pub(crate) mod index;
mod let_go;
pub(crate) mod line;
pub(crate) mod log;
pub(crate) mod scribe;
pub(crate) mod snapshots;
pub(crate) mod verify;
mod walk;

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
use vice_core::{Fault, Millis, Result};

use crate::desk::{Desk, Inbox, until_grown};
use crate::place::Notices;
use crate::prepared::Prepared;

use log::Log;
use scribe::{JsonlScribe, SEGMENT_BYTES};

/// The folder's name in the state folder.
pub(crate) const FOLDER: &str = "history";
/// The head witness' file name. Its number is that of the last record, its hash the chain over records.
pub(crate) const WITNESS: &str = "head";
pub(crate) const LOCK: &str = "lock";

/// Another process announces nothing; its events are found by looking so often.
const POLL: Duration = Duration::from_millis(50);

/// The history in a state folder.
pub struct JsonlStore {
    log: Arc<Mutex<Log>>,
    folder: PathBuf,
    desk: Mutex<Option<Desk>>,
    grown: watch::Sender<u64>,
    notices: Notices,
    segment_bytes: u64,
}

impl std::fmt::Debug for JsonlStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JsonlStore").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl JsonlStore {
    /// The history in the folder `history` of `dir`. Nothing is created before the first append, and nothing is read
    /// before the first question.
    #[must_use]
    pub fn open(dir: &Path, notices: Notices) -> Self {
        Self::with_segments(dir, notices, SEGMENT_BYTES)
    }

    pub(crate) fn with_segments(dir: &Path, notices: Notices, segment_bytes: u64) -> Self {
        let folder = dir.join(FOLDER);
        Self {
            log: Arc::new(Mutex::new(Log::new(folder.clone()))),
            folder,
            desk: Mutex::new(None),
            grown: watch::Sender::new(0),
            notices,
            segment_bytes,
        }
    }

    /// The running writer, started if need be.
    fn hand_in(&self) -> Result<Inbox> {
        let mut slot = self.desk.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(desk) = slot.as_ref() {
            return Ok(desk.inbox());
        }
        let scribe = JsonlScribe::new(Arc::clone(&self.log), Arc::clone(&self.notices), self.segment_bytes);
        let desk = Desk::start(scribe, self.grown.clone())?;
        let inbox = desk.inbox();
        *slot = Some(desk);
        Ok(inbox)
    }

    /// Runs a reading function with the log as it is now, on a thread that may block.
    async fn with_log<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Log) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let shared = Arc::clone(&self.log);
        let run = move || {
            let mut log: MutexGuard<'_, Log> = shared.lock().unwrap_or_else(PoisonError::into_inner);
            work(&mut log)
        };
        let done = tokio::task::spawn_blocking(run).await;
        done.map_err(|error| Fault::internal("A reader of the history failed.").because(error))?
    }

    async fn with_current<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Log) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.with_log(move |log| {
            let _held = log.share()?;
            log.refresh()?;
            work(log)
        })
        .await
    }
}

#[async_trait]
impl EventStore for JsonlStore {
    fn describe(&self) -> BackendInfo {
        BackendInfo { kind: "jsonl", location: self.folder.display().to_string(), shared: false }
    }

    fn capabilities(&self) -> Capabilities {
        use Capability::{Archive, ConditionalAppend, Durable, Query, Snapshots, Subscribe, Verify};
        Capabilities::of([Archive, ConditionalAppend, Query, Subscribe, Snapshots, Verify, Durable])
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

    async fn snapshot(&self, fold: &str, stream: &str) -> Result<Option<Snapshot>> {
        let (fold, stream) = (fold.to_owned(), stream.to_owned());
        self.with_log(move |log| snapshots::get(log.dir(), &fold, &stream)).await
    }

    async fn put_snapshot(&self, fold: &str, stream: &str, snapshot: Snapshot) -> Result<()> {
        self.hand_in()?.snapshot(fold.to_owned(), stream.to_owned(), snapshot).await
    }

    async fn wait(&self, after: u64, at_most: Millis) -> Result<LogHead> {
        until_grown(&self.grown, after, at_most, POLL, || self.head()).await
    }

    // Whoever shares this folder is on this machine, where the lock of a file tells who lives.

    async fn beat(&self, _: &str, _: &str) -> Result<()> {
        Err(Fault::unsupported("jsonl", "signs of life"))
    }

    async fn pulse(&self, _: &str) -> Result<Option<String>> {
        Err(Fault::unsupported("jsonl", "signs of life"))
    }

    async fn let_go(&self, anchor: u64) -> Result<u64> {
        self.with_log(move |log| {
            let _held = log.exclude()?;
            log.refresh()?;
            let_go::let_go(log, anchor)
        })
        .await
    }

    async fn verify(&self) -> Result<Verification> {
        // Without lock and index: what is read was whole when the segments were listed, or is whole when it is there.
        let folder = self.folder.clone();
        let done = tokio::task::spawn_blocking(move || verify::verify(&Log::new(folder))).await;
        done.map_err(|error| Fault::internal("Verifying the history failed.").because(error))?
    }

    async fn close(&self) -> Result<()> {
        let desk = self.desk.lock().unwrap_or_else(PoisonError::into_inner).take();
        match desk {
            Some(desk) => desk.finish().await,
            None => Ok(()),
        }
    }
}
