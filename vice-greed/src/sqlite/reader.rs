//! Connections that read, and the texts behind the numbers in a row.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};
use vice_core::event::{Actor, Event, Recorded};
use vice_core::id::{EnvName, ProjectName, Scope};
use vice_core::store::{LogHead, Snapshot, StreamHead};
use vice_core::{Code, Context, Digest, Fault, Result};

use super::schema::{self, Class};
use super::{errors, query};
use crate::prepared::snapshot_sum;

/// The end of a log without events.
pub(crate) const EMPTY: LogHead = LogHead { seq: 0, chain: Digest::ZERO };

/// Readers that are kept open; more may be at work at once, these many stay.
const IDLE_MAX: usize = 4;

/// Texts that a reader remembers. They are never changed, so only memory bounds them.
const TEXTS_MAX: usize = 20_000;

/// Which file a path names: a restore puts another one in its place.
pub(crate) fn file_identity(path: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// Readers that wait for work.
pub(crate) struct Pool {
    path: PathBuf,
    idle: Mutex<Vec<Reader>>,
}

impl Pool {
    pub(crate) const fn new(path: PathBuf) -> Self {
        Self { path, idle: Mutex::new(Vec::new()) }
    }

    /// Runs `work` with a reader, or with `None` while there is no history.
    pub(crate) fn with<T>(&self, work: impl FnOnce(Option<&mut Reader>) -> Result<T>) -> Result<T> {
        let identity = file_identity(&self.path);
        let kept = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let reader = match kept {
            Some(reader) if identity.is_some() && reader.identity == identity => Some(reader),
            _ => Reader::open(&self.path)?,
        };
        let Some(mut reader) = reader else { return work(None) };
        let done = work(Some(&mut reader));
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_MAX && !schema::is_frozen(&reader.connection) {
            idle.push(reader);
        }
        done
    }

    /// Closes the readers that wait.
    pub(crate) fn clear(&self) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// A connection that reads.
pub(crate) struct Reader {
    pub(crate) connection: Connection,
    pub(crate) path: PathBuf,
    identity: Option<(u64, u64)>,
    words: HashMap<i64, Arc<str>>,
    streams: HashMap<i64, Arc<str>>,
    actors: HashMap<i64, Actor>,
}

/// The columns that [`Reader::recorded`] takes, in its order.
pub(crate) const COLUMNS: &str =
    "seq, stream, version, time, kind, source, id, subject, project, env, actor, chain, data";

impl Reader {
    pub(crate) fn open(path: &Path) -> Result<Option<Self>> {
        let identity = file_identity(path);
        Ok(schema::open_reader(path)?.map(|connection| Self {
            connection,
            path: path.to_owned(),
            identity,
            words: HashMap::new(),
            streams: HashMap::new(),
            actors: HashMap::new(),
        }))
    }

    pub(crate) fn fault(&self, error: rusqlite::Error) -> Fault {
        errors::reading(error, &self.path)
    }

    pub(crate) fn head(&self) -> Result<LogHead> {
        tip(&self.connection).map_err(|error| self.fault(error))
    }

    pub(crate) fn streams(&self, prefix: &str, after: &str, limit: usize) -> Result<Vec<StreamHead>> {
        self.list_streams(prefix, after, limit).map_err(|error| self.fault(error))
    }

    fn list_streams(&self, prefix: &str, after: &str, limit: usize) -> rusqlite::Result<Vec<StreamHead>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT name, (SELECT max(version) FROM events WHERE stream = streams.id) FROM streams
             WHERE name > ?1 AND name >= ?2 AND name < ?3 ORDER BY name LIMIT ?4",
        )?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = statement.query_map(params![after, prefix, query::beyond(prefix), limit], |row| {
            Ok(StreamHead { name: row.get(0)?, version: row.get(1)? })
        })?;
        rows.collect()
    }

    pub(crate) fn snapshot(&self, fold: &str, stream: &str) -> Result<Option<Snapshot>> {
        let found = self.find_snapshot(fold, stream).map_err(|error| self.fault(error))?;
        // A copy whose checksum is wrong is as good as none: the events are read instead.
        Ok(found
            .and_then(|(snapshot, sum)| (snapshot_sum(fold, stream, &snapshot).0[..] == sum[..]).then_some(snapshot)))
    }

    fn find_snapshot(&self, fold: &str, stream: &str) -> rusqlite::Result<Option<(Snapshot, Vec<u8>)>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT fold_version, version, state, sum FROM snapshots WHERE fold = ?1 AND stream = ?2",
        )?;
        let found = statement.query_row([fold, stream], |row| {
            Ok((Snapshot { fold_version: row.get(0)?, version: row.get(1)?, state: row.get(2)? }, row.get(3)?))
        });
        found.optional()
    }

    /// A text of `words` by its number.
    fn word(&mut self, id: i64) -> Result<Arc<str>> {
        lookup(&self.connection, &mut self.words, "SELECT text FROM words WHERE id = ?1", id)
            .map_err(|error| errors::reading(error, &self.path))
    }

    fn stream_name(&mut self, id: i64) -> Result<Arc<str>> {
        lookup(&self.connection, &mut self.streams, "SELECT name FROM streams WHERE id = ?1", id)
            .map_err(|error| errors::reading(error, &self.path))
    }

    fn actor(&mut self, id: i64) -> Result<Actor> {
        if let Some(actor) = self.actors.get(&id) {
            return Ok(actor.clone());
        }
        let text = self.word(id)?;
        let actor: Actor = serde_json::from_str(&text).context(Code::Decode, || "An actor does not decode.".into())?;
        if self.actors.len() >= TEXTS_MAX {
            self.actors.clear();
        }
        self.actors.insert(id, actor.clone());
        Ok(actor)
    }

    /// Numbers of a stream or word by text; `None` when no event has it.
    pub(crate) fn stream_id(&self, name: &str) -> Result<Option<i64>> {
        let find = || {
            let mut statement = self.connection.prepare_cached("SELECT id FROM streams WHERE name = ?1")?;
            statement.query_row([name], |row| row.get(0)).optional()
        };
        find().map_err(|error| self.fault(error))
    }

    /// The words of a class that are `text`, or begin with it.
    pub(crate) fn word_ids(&self, class: Class, text: &str, prefix: bool) -> Result<Vec<i64>> {
        let upper = if prefix { query::beyond(text) } else { text.to_owned() };
        let sql = if prefix {
            "SELECT id FROM words WHERE class = ?1 AND text >= ?2 AND text < ?3"
        } else {
            "SELECT id FROM words WHERE class = ?1 AND text = ?2 AND ?3 = ?2"
        };
        let find = || -> rusqlite::Result<Vec<i64>> {
            let mut statement = self.connection.prepare_cached(sql)?;
            statement.query_map(params![class as i64, text, upper], |row| row.get(0))?.collect()
        };
        find().map_err(|error| self.fault(error))
    }

    /// Puts rows together with the texts behind their numbers.
    pub(crate) fn recorded(&mut self, rows: Vec<RawRow>) -> Result<Vec<Recorded>> {
        rows.into_iter().map(|row| self.one_recorded(row)).collect()
    }

    fn one_recorded(&mut self, row: RawRow) -> Result<Recorded> {
        let scope = match (row.project, row.env) {
            (Some(project), Some(env)) => {
                let (project, env) = (self.word(project)?, self.word(env)?);
                Some(Scope::new(ProjectName::new(&*project)?, EnvName::new(&*env)?))
            }
            _ => None,
        };
        let event = Event {
            id: row.id,
            source: self.word(row.source)?.to_string(),
            kind: self.word(row.kind)?.to_string(),
            subject: row.subject,
            time: timestamp(row.time),
            stream: self.stream_name(row.stream)?.to_string(),
            scope,
            actor: self.actor(row.actor)?,
            data: row.data,
        };
        Ok(Recorded { seq: row.seq, version: row.version, chain: Digest(row.chain), event })
    }
}

fn lookup(
    connection: &Connection,
    known: &mut HashMap<i64, Arc<str>>,
    sql: &str,
    id: i64,
) -> rusqlite::Result<Arc<str>> {
    if let Some(text) = known.get(&id) {
        return Ok(Arc::clone(text));
    }
    let text: Arc<str> = connection.prepare_cached(sql)?.query_row([id], |row| row.get::<_, String>(0))?.into();
    if known.len() >= TEXTS_MAX {
        known.clear();
    }
    known.insert(id, Arc::clone(&text));
    Ok(text)
}

/// The last event's number and chain hash, as this connection sees it.
pub(crate) fn tip(connection: &Connection) -> rusqlite::Result<LogHead> {
    let mut statement = connection.prepare_cached("SELECT seq, chain FROM events ORDER BY seq DESC LIMIT 1")?;
    let found = statement.query_row([], |row| Ok(LogHead { seq: row.get(0)?, chain: Digest(row.get(1)?) }));
    Ok(found.optional()?.unwrap_or(EMPTY))
}

/// Any number of nanoseconds that fits into the column is a time.
pub(crate) fn timestamp(nanoseconds: i64) -> Timestamp {
    Timestamp::from_nanosecond(nanoseconds.into()).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// One row of `events` as it is stored.
pub(crate) struct RawRow {
    pub(crate) seq: u64,
    stream: i64,
    version: u64,
    time: i64,
    kind: i64,
    source: i64,
    id: String,
    subject: String,
    project: Option<i64>,
    env: Option<i64>,
    actor: i64,
    chain: [u8; 32],
    data: String,
}

impl RawRow {
    pub(crate) fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            seq: row.get(0)?,
            stream: row.get(1)?,
            version: row.get(2)?,
            time: row.get(3)?,
            kind: row.get(4)?,
            source: row.get(5)?,
            id: row.get(6)?,
            subject: row.get(7)?,
            project: row.get(8)?,
            env: row.get(9)?,
            actor: row.get(10)?,
            chain: row.get(11)?,
            data: row.get(12)?,
        })
    }
}
