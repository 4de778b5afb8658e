//! The one history in a PostgreSQL database, shared by every machine that reaches it.
//!
//! Whoever appends locks the one row of `head`, reads the end of the log there and writes behind it, so sequence numbers
//! have no gap and conditions, fence and repeats are checked where they hold. Each append announces itself with NOTIFY;
//! whoever waits listens. The head witness lies on each machine that wrote: it knows the end of what that machine saw.

mod beats;
mod connect;
mod errors;
mod let_go;
mod query;
mod schema;
mod scribe;
mod series;
mod verify;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use tokio::sync::{Semaphore, watch};
use tokio::task::AbortHandle;
use tokio::time::Duration;
use tokio_postgres::types::ToSql;
use tokio_postgres::{AsyncMessage, Client, Row};
use vice_core::capability::{BackendInfo, Capabilities, Capability};
use vice_core::event::Recorded;
use vice_core::store::{Append, Appended, EventStore, LogHead, Query, Snapshot, StreamHead, Verification};
use vice_core::{Code, Digest, Fault, Millis, Result};

use crate::desk::{Desk, Inbox, until_grown};
use crate::place::{Notices, Opening};
use crate::prepared::{Prepared, fence_sum, snapshot_sum};

pub use series::PostgresSeries;

use connect::Target;
use scribe::PostgresScribe;

const EMPTY: LogHead = LogHead { seq: 0, chain: Digest::ZERO };

/// Connections that read at a time. A command rarely needs a second one, and a server has few to give.
const READERS_MAX: usize = 4;

/// Announcements can be lost with a connection; so often whoever waits looks for itself.
const POLL: Duration = Duration::from_secs(1);

/// The history in a database.
pub struct PostgresStore {
    target: Arc<Target>,
    notices: Notices,
    witness: PathBuf,
    idle: Mutex<Vec<Reader>>,
    room: Semaphore,
    desk: Mutex<Option<Desk>>,
    grown: watch::Sender<u64>,
    listener: Mutex<Option<AbortHandle>>,
}

/// A connection that reads, and whether the tables were there when it last looked.
struct Reader {
    client: Client,
    made: bool,
}

impl std::fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresStore").field("location", &self.target.shown).finish_non_exhaustive()
    }
}

impl PostgresStore {
    /// The history that a URL without a password names. Nothing is connected before the first question, and no table is
    /// made before the first append.
    ///
    /// # Errors
    /// `Usage` for a URL that makes no sense.
    pub fn open(url: &str, opening: &Opening) -> Result<Self> {
        let target = Arc::new(Target::parse(url, &opening.env)?);
        let witness = opening.state.join(format!("postgres-{}.head", target.name()));
        Ok(Self {
            target,
            notices: Arc::clone(&opening.notices),
            witness,
            idle: Mutex::new(Vec::new()),
            room: Semaphore::new(READERS_MAX),
            desk: Mutex::new(None),
            grown: watch::Sender::new(0),
            listener: Mutex::new(None),
        })
    }

    fn hand_in(&self) -> Result<Inbox> {
        let mut slot = self.desk.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(desk) = slot.as_ref() {
            return Ok(desk.inbox());
        }
        let scribe = PostgresScribe::new(Arc::clone(&self.target), Arc::clone(&self.notices), self.witness.clone());
        let desk = Desk::start(scribe, self.grown.clone())?;
        let inbox = desk.inbox();
        *slot = Some(desk);
        Ok(inbox)
    }

    /// Runs a reading function with a connection; gives `empty` while there is no history. A connection that was lost
    /// while it waited is replaced once.
    async fn with_reader<T, F: Future<Output = Result<T>>>(
        &self,
        empty: T,
        work: impl Fn(Arc<Client>) -> F,
    ) -> Result<T> {
        let _permit = self.room.acquire().await.map_err(|_| Fault::internal("The history is closed."))?;
        let kept = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let kept = kept.filter(|reader| !reader.client.is_closed());
        let was_kept = kept.is_some();
        let first = self.read_once(kept, &work).await;
        let done = match first {
            Err(fault) if was_kept && fault.code() == Code::Unreachable => self.read_once(None, &work).await,
            other => other,
        };
        done.map(|found| found.unwrap_or(empty))
    }

    async fn read_once<T, F: Future<Output = Result<T>>>(
        &self,
        kept: Option<Reader>,
        work: &impl Fn(Arc<Client>) -> F,
    ) -> Result<Option<T>> {
        let mut reader = match kept {
            Some(reader) => reader,
            None => self.reader().await?,
        };
        if !reader.made {
            reader.made = schema::found(&reader.client, &self.target).await?.is_some();
        }
        let made = reader.made;
        let client = Arc::new(reader.client);
        let done = if made { Some(work(Arc::clone(&client)).await) } else { None };
        // An error may have left the connection within a transaction.
        if done.as_ref().is_none_or(Result::is_ok)
            && let Some(client) = Arc::into_inner(client)
        {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(Reader { client, made });
        }
        done.transpose()
    }

    async fn reader(&self) -> Result<Reader> {
        let (client, driver) = self.target.connect().await?;
        tokio::spawn(async move {
            // Whoever waits for an answer gets the error.
            driver.await.ok();
        });
        self.target.prepare(&client, false).await?;
        Ok(Reader { client, made: false })
    }

    /// Starts to listen for appends, if nobody does.
    async fn listen(&self) -> Result<()> {
        let running = |slot: &Option<AbortHandle>| slot.as_ref().is_some_and(|handle| !handle.is_finished());
        if running(&self.listener.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(());
        }
        let (client, mut driver) = self.target.connect().await?;
        let grown = self.grown.clone();
        let task = tokio::spawn(async move {
            while let Some(Ok(message)) = std::future::poll_fn(|context| driver.poll_message(context)).await {
                if let AsyncMessage::Notification(told) = message {
                    grown.send_replace(told.payload().parse().unwrap_or(0));
                }
            }
        });
        let sql = format!("LISTEN \"{}\"", self.target.channel());
        client.batch_execute(&sql).await.map_err(|error| self.target.fault(error))?;
        // The connection lasts as long as its client.
        let keep = tokio::spawn(async move {
            let _client = client;
            task.await.ok();
        });
        *self.listener.lock().unwrap_or_else(PoisonError::into_inner) = Some(keep.abort_handle());
        Ok(())
    }
}

impl Drop for PostgresStore {
    fn drop(&mut self) {
        if let Some(handle) = self.listener.lock().unwrap_or_else(PoisonError::into_inner).take() {
            handle.abort();
        }
    }
}

/// A stored epoch, if it fits its checksum: a lowered one would let an old writer in.
fn fence(row: &Row) -> Result<(String, u64)> {
    let (scope, epoch) = (row.get::<_, String>(0), query::count_at(row, 1)?);
    if query::hash(row, 2)? == fence_sum(&scope, epoch) {
        return Ok((scope, epoch));
    }
    Err(Fault::new(Code::HistoryDamaged, format!("The stored epoch of {scope} is damaged.")))
}

#[async_trait]
impl EventStore for PostgresStore {
    fn describe(&self) -> BackendInfo {
        BackendInfo { kind: "postgres", location: self.target.shown.clone(), shared: true }
    }

    fn capabilities(&self) -> Capabilities {
        use Capability::{Archive, Beats, ConditionalAppend, Durable, Query, Snapshots, Subscribe, Verify};
        Capabilities::of([Archive, ConditionalAppend, Query, Subscribe, Snapshots, Verify, Durable, Beats])
    }

    async fn append(&self, append: Append) -> Result<Appended> {
        scribe::refuse_nul(&append)?;
        let prepared = Prepared::new(append)?;
        self.hand_in()?.append(prepared).await
    }

    async fn read(&self, query: &Query) -> Result<Vec<Recorded>> {
        let target = &self.target;
        let (sql, arguments) = query::page(query)?;
        let (sql, arguments) = (&sql, &arguments);
        self.with_reader(Vec::new(), |client| async move {
            let arguments: Vec<&(dyn ToSql + Sync)> =
                arguments.iter().map(|each| &**each as &(dyn ToSql + Sync)).collect();
            let rows = client.query(sql, &arguments).await.map_err(|error| target.fault(error))?;
            rows.iter().map(query::recorded).collect()
        })
        .await
    }

    async fn head(&self) -> Result<LogHead> {
        let target = &self.target;
        self.with_reader(EMPTY, |client| async move {
            let row = client.query_one("SELECT seq, chain FROM head", &[]).await;
            let row = row.map_err(|error| target.fault(error))?;
            Ok(LogHead { seq: query::count_at(&row, 0)?, chain: query::hash(&row, 1)? })
        })
        .await
    }

    async fn streams(&self, prefix: &str, after: &str, limit: usize) -> Result<Vec<StreamHead>> {
        let target = &self.target;
        let beyond = &query::beyond(prefix);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.with_reader(Vec::new(), |client| async move {
            let sql = "SELECT name, (SELECT max(version) FROM events WHERE stream = name) FROM streams
                       WHERE name > $1 AND name >= $2 AND name < $3 ORDER BY name LIMIT $4";
            let rows = client.query(sql, &[&after, &prefix, beyond, &limit]).await;
            let rows = rows.map_err(|error| target.fault(error))?;
            rows.iter().map(|row| Ok(StreamHead { name: row.get(0), version: query::count_at(row, 1)? })).collect()
        })
        .await
    }

    async fn fences(&self) -> Result<BTreeMap<String, u64>> {
        let target = &self.target;
        self.with_reader(BTreeMap::new(), |client| async move {
            let rows = client.query("SELECT scope, epoch, sum FROM fences", &[]).await;
            let rows = rows.map_err(|error| target.fault(error))?;
            rows.iter().map(fence).collect()
        })
        .await
    }

    async fn snapshot(&self, fold: &str, stream: &str) -> Result<Option<Snapshot>> {
        let target = &self.target;
        self.with_reader(None, |client| async move {
            let sql = "SELECT fold_version, version, state, sum FROM snapshots WHERE fold = $1 AND stream = $2";
            let row = client.query_opt(sql, &[&fold, &stream]).await.map_err(|error| target.fault(error))?;
            let Some(row) = row else { return Ok(None) };
            let fold_version = u32::try_from(query::count_at(&row, 0)?).unwrap_or(0);
            let snapshot = Snapshot { fold_version, version: query::count_at(&row, 1)?, state: row.get(2) };
            // A copy whose checksum is wrong is as good as none: the events are read instead.
            Ok((query::hash(&row, 3)? == snapshot_sum(fold, stream, &snapshot)).then_some(snapshot))
        })
        .await
    }

    async fn put_snapshot(&self, fold: &str, stream: &str, snapshot: Snapshot) -> Result<()> {
        if [fold, stream, &snapshot.state].iter().any(|text| text.contains('\0')) {
            return Err(scribe::nul("A snapshot"));
        }
        self.hand_in()?.snapshot(fold.to_owned(), stream.to_owned(), snapshot).await
    }

    async fn wait(&self, after: u64, at_most: Millis) -> Result<LogHead> {
        let look = || async {
            // Before looking: what is appended after that is announced.
            if !at_most.as_duration().is_zero() {
                self.listen().await?;
            }
            self.head().await
        };
        until_grown(&self.grown, after, at_most, POLL, look).await
    }

    async fn beat(&self, scope: &str, mark: &str) -> Result<()> {
        beats::put(&self.target, scope, mark).await
    }

    async fn pulse(&self, scope: &str) -> Result<Option<String>> {
        beats::get(&self.target, scope).await
    }

    async fn let_go(&self, anchor: u64) -> Result<u64> {
        let_go::let_go(&self.target, anchor).await
    }

    async fn verify(&self) -> Result<Verification> {
        let (target, witness) = (&self.target, &self.witness);
        let empty = Verification { events: 0, head: EMPTY, problems: Vec::new() };
        self.with_reader(empty, |client| async move { verify::verify(&client, target, witness).await }).await
    }

    async fn close(&self) -> Result<()> {
        if let Some(handle) = self.listener.lock().unwrap_or_else(PoisonError::into_inner).take() {
            handle.abort();
        }
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let desk = self.desk.lock().unwrap_or_else(PoisonError::into_inner).take();
        match desk {
            Some(desk) => desk.finish().await,
            None => Ok(()),
        }
    }
}
