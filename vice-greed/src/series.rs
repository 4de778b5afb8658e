//! Observations on SQLite: `series.db`. Not history: unchained, compact, expiring, and after a power cut the last
//! moments may be missing.
//!
//! A series is a name with labels and gets a number; a point is (series, millisecond, value) in a table that is its own
//! index. The numbers are remembered for as long as nobody else has changed the file.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use vice_core::capability::BackendInfo;
use vice_core::memory::POINTS_MAX;
use vice_core::series::{Labels, Point, SeriesQuery, SeriesStore};
use vice_core::{Code, Context, Fault, Result};

use crate::disk::make_private_dir;
use crate::sqlite::{busy_timeout, reading, require_safe_sqlite, use_wal, writing};

const FORMAT: u32 = 1;

/// Numbers of series that are remembered; with more of them, the file is asked.
const KNOWN_MAX: usize = 50_000;

/// Pages of the write-ahead log after which they are brought into the file, with two syncs that hold the writers of events
/// up. Each batch touches a page of every series that it has, so a thousand pages are soon full.
const CHECKPOINT_PAGES: u32 = 8_192;

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS series(
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    labels TEXT NOT NULL,
    UNIQUE(name, labels)
) STRICT;
CREATE TABLE IF NOT EXISTS points(
    series INTEGER NOT NULL,
    time INTEGER NOT NULL,
    value REAL NOT NULL,
    PRIMARY KEY(series, time)
) STRICT, WITHOUT ROWID;
";

/// Observations in a state folder.
pub struct SqliteSeries {
    shared: Arc<Shared>,
}

struct Shared {
    path: PathBuf,
    connection: Mutex<Option<Open>>,
}

/// The file, and what is known of it.
struct Open {
    connection: Connection,
    known: Known,
}

/// The numbers of series by name and labels.
#[derive(Default)]
struct Known {
    /// Whether somebody else has changed the file: another number than before.
    version: i64,
    ids: HashMap<(String, String), i64>,
}

impl std::fmt::Debug for SqliteSeries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteSeries").field("path", &self.shared.path).finish_non_exhaustive()
    }
}

impl SqliteSeries {
    /// The observations in `dir`. Nothing is created before the first point.
    ///
    /// # Errors
    /// `Internal` when the SQLite that was linked is one with a known fault.
    pub fn open(dir: &Path) -> Result<Self> {
        require_safe_sqlite()?;
        Ok(Self { shared: Arc::new(Shared { path: dir.join("series.db"), connection: Mutex::new(None) }) })
    }

    async fn blocking<T: Send + 'static>(&self, work: impl FnOnce(&Shared) -> Result<T> + Send + 'static) -> Result<T> {
        let shared = Arc::clone(&self.shared);
        let done = tokio::task::spawn_blocking(move || work(&shared)).await;
        done.map_err(|error| Fault::internal("The store of observations failed.").because(error))?
    }
}

impl Shared {
    /// Runs `work` with the connection; without a file there is none unless one shall be made.
    fn with<T>(&self, make: bool, work: impl FnOnce(Option<&mut Open>) -> rusqlite::Result<T>) -> Result<T> {
        let fault = if make { writing } else { reading };
        let mut slot = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.is_none() && (make || self.path.try_exists().unwrap_or(true)) {
            *slot = Some(Open { connection: self.open()?, known: Known::default() });
        }
        work(slot.as_mut()).map_err(|error| fault(error, &self.path))
    }

    fn open(&self) -> Result<Connection> {
        if let Some(dir) = self.path.parent() {
            make_private_dir(dir).map_err(|error| {
                Fault::new(Code::StateUnwritable, format!("{} can't be made.", dir.display())).because(error)
            })?;
        }
        let open = || -> rusqlite::Result<Connection> {
            let connection = Connection::open(&self.path)?;
            busy_timeout(&connection)?;
            use_wal(&connection)?;
            connection.execute_batch("PRAGMA synchronous = NORMAL; PRAGMA trusted_schema = OFF;")?;
            connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
            connection.set_prepared_statement_cache_capacity(32);
            Ok(connection)
        };
        let connection = open().map_err(|error| writing(error, &self.path))?;
        let format = connection.query_row("PRAGMA user_version", [], |row| row.get::<_, u32>(0));
        match format.map_err(|error| reading(error, &self.path))? {
            0 => {
                let made = connection
                    .execute_batch(SCHEMA)
                    .and_then(|()| connection.pragma_update(None, "user_version", FORMAT));
                made.map_err(|error| writing(error, &self.path))?;
            }
            FORMAT => {}
            newer => {
                let message = format!("The observations in {} have format {newer}.", self.path.display());
                return Err(Fault::new(Code::HistoryNewer, message).hint("A newer vice wrote them. Use that version."));
            }
        }
        Ok(connection)
    }
}

#[async_trait]
impl SeriesStore for SqliteSeries {
    fn describe(&self) -> BackendInfo {
        BackendInfo { kind: "sqlite", location: self.shared.path.display().to_string(), shared: false }
    }

    async fn record(&self, points: Vec<Point>) -> Result<()> {
        points.iter().try_for_each(Point::check)?;
        let rows = points.into_iter().map(row).collect::<Result<Vec<_>>>()?;
        self.blocking(move |shared| shared.with(true, |open| insert(open, &rows))).await
    }

    async fn query(&self, query: &SeriesQuery) -> Result<Vec<Point>> {
        let query = query.clone();
        let found = self.blocking(move |shared| shared.with(false, |open| select(open, &query))).await?;
        found.into_iter().map(point).collect()
    }

    async fn expire(&self, before: Timestamp) -> Result<u64> {
        let before = before.as_millisecond();
        self.blocking(move |shared| shared.with(false, |open| delete(open, before))).await
    }
}

/// Name, labels as canonical JSON (sorted), milliseconds, value.
type Line = (String, String, i64, f64);

fn row(point: Point) -> Result<Line> {
    let labels = serde_json::to_string(&point.labels).context(Code::Internal, || "Labels do not serialise.".into())?;
    Ok((point.name, labels, point.time.as_millisecond(), point.value))
}

fn point((name, labels, time, value): Line) -> Result<Point> {
    let labels: Labels = serde_json::from_str(&labels)
        .context(Code::Decode, || format!("The labels of a series {name} do not decode."))?;
    Ok(Point { name, labels, time: Timestamp::from_millisecond(time).unwrap_or(Timestamp::UNIX_EPOCH), value })
}

fn insert(open: Option<&mut Open>, rows: &[Line]) -> rusqlite::Result<()> {
    let Some(open) = open else { return Ok(()) };
    let Open { connection, known } = open;
    let inserted = insert_all(connection, known, rows);
    if inserted.is_err() {
        // Numbers that were given out in a transaction that was rolled back are not there.
        known.ids.clear();
    }
    inserted
}

fn insert_all(connection: &mut Connection, known: &mut Known, rows: &[Line]) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Nobody else writes from here on; whoever did before may have removed series.
    let version = transaction.query_row("PRAGMA data_version", [], |row| row.get(0))?;
    if known.version != version || known.ids.len() > KNOWN_MAX {
        known.ids.clear();
        known.version = version;
    }
    {
        let mut find = transaction.prepare_cached("SELECT id FROM series WHERE name = ?1 AND labels = ?2")?;
        let mut add = transaction.prepare_cached("INSERT INTO series(name, labels) VALUES (?1, ?2)")?;
        let mut put =
            transaction.prepare_cached("INSERT OR REPLACE INTO points(series, time, value) VALUES (?1, ?2, ?3)")?;
        for (name, labels, time, value) in rows {
            let key = (name.clone(), labels.clone());
            let id = match known.ids.get(&key) {
                Some(id) => *id,
                None => {
                    let found: Option<i64> = find.query_row([name, labels], |row| row.get(0)).optional()?;
                    let id = found.map_or_else(|| add.insert([name, labels]), Ok)?;
                    known.ids.insert(key, id);
                    id
                }
            };
            put.execute(params![id, time, value])?;
        }
    }
    transaction.commit()
}

fn select(open: Option<&mut Open>, query: &SeriesQuery) -> rusqlite::Result<Vec<Line>> {
    let Some(open) = open else { return Ok(Vec::new()) };
    let connection = &mut open.connection;
    // One snapshot, so that a series found first is still there when its points are read.
    let transaction = connection.transaction()?;
    let mut found: Vec<Line> = Vec::new();
    {
        let mut series = transaction.prepare_cached("SELECT id, labels FROM series WHERE name = ?1")?;
        let mut points = transaction.prepare_cached(
            "SELECT time, value FROM points WHERE series = ?1 AND time >= ?2 AND time < ?3 ORDER BY time LIMIT ?4",
        )?;
        let all = series.query_map([&query.name], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)))?;
        let (from, until) = (query.from.as_millisecond(), query.until.as_millisecond());
        let limit = i64::try_from(POINTS_MAX).unwrap_or(i64::MAX);
        for row in all {
            let (id, labels) = row?;
            if !has_labels(&labels, &query.labels) {
                continue;
            }
            let rows = points.query_map(params![id, from, until, limit], |row| Ok((row.get(0)?, row.get(1)?)))?;
            for row in rows {
                let (time, value) = row?;
                found.push((query.name.clone(), labels.clone(), time, value));
            }
            // Oldest first over all series; what is beyond the limit now stays beyond it.
            found.sort_by(|one, two| (one.2, &one.1).cmp(&(two.2, &two.1)));
            found.truncate(POINTS_MAX);
        }
    }
    transaction.commit()?;
    Ok(found)
}

/// Labels that don't decode match nothing; a query for them would fail anyway.
fn has_labels(stored: &str, wanted: &Labels) -> bool {
    let stored: Labels = serde_json::from_str(stored).unwrap_or_default();
    wanted.iter().all(|(key, value)| stored.get(key) == Some(value))
}

fn delete(open: Option<&mut Open>, before: i64) -> rusqlite::Result<u64> {
    let Some(open) = open else { return Ok(0) };
    let Open { connection, known } = open;
    known.ids.clear();
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut gone = 0;
    {
        // By series, because that is the order of the table's key.
        let ids: Vec<i64> = transaction
            .prepare_cached("SELECT id FROM series")?
            .query_map([], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        let mut points = transaction.prepare_cached("DELETE FROM points WHERE series = ?1 AND time < ?2")?;
        let mut empty = transaction.prepare_cached(
            "DELETE FROM series WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM points WHERE series = ?1)",
        )?;
        for id in ids {
            gone += points.execute(params![id, before])?;
            empty.execute([id])?;
        }
    }
    transaction.commit()?;
    Ok(u64::try_from(gone).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use vice_core::testkit::series_store;

    #[tokio::test]
    async fn the_sqlite_series_conform() {
        let dirs = std::cell::RefCell::new(Vec::new());
        let make = async || {
            let dir = tempfile::tempdir().unwrap();
            let store: Arc<dyn SeriesStore> = Arc::new(SqliteSeries::open(dir.path()).unwrap());
            dirs.borrow_mut().push(dir);
            store
        };
        series_store::suite(make).await;
    }

    #[tokio::test]
    async fn points_survive_a_restart_and_reading_creates_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let time = Timestamp::from_millisecond(10).unwrap();
        let query = SeriesQuery {
            name: "cpu".into(),
            labels: Labels::new(),
            from: Timestamp::UNIX_EPOCH,
            until: Timestamp::MAX,
        };
        let store = SqliteSeries::open(dir.path()).unwrap();
        assert!(store.query(&query).await.unwrap().is_empty());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "reading made a file");
        let point = Point { name: "cpu".into(), labels: Labels::new(), time, value: 1.5 };
        store.record(vec![point.clone()]).await.unwrap();
        drop(store);
        let store = SqliteSeries::open(dir.path()).unwrap();
        assert_eq!(store.query(&query).await.unwrap(), [point]);
    }

    #[tokio::test]
    async fn a_series_that_somebody_else_removed_is_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (SqliteSeries::open(dir.path()).unwrap(), SqliteSeries::open(dir.path()).unwrap());
        let at = |millis| Point {
            name: "cpu".into(),
            labels: Labels::new(),
            time: Timestamp::from_millisecond(millis).unwrap(),
            value: 1.5,
        };
        let query = SeriesQuery {
            name: "cpu".into(),
            labels: Labels::new(),
            from: Timestamp::UNIX_EPOCH,
            until: Timestamp::MAX,
        };
        one.record(vec![at(10)]).await.unwrap();
        assert_eq!(two.expire(Timestamp::from_millisecond(1000).unwrap()).await.unwrap(), 1);
        one.record(vec![at(20)]).await.unwrap();
        assert_eq!(two.query(&query).await.unwrap(), [at(20)]);
        assert_eq!(one.expire(Timestamp::from_millisecond(1000).unwrap()).await.unwrap(), 1);
        one.record(vec![at(30)]).await.unwrap();
        assert_eq!(two.query(&query).await.unwrap(), [at(30)]);
    }
}
