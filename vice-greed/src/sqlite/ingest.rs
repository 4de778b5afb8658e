//! One append inside the writer's transaction: everything is checked first, then everything is inserted.
//!
//! What is inserted can fail only by an error of the database, and then the whole transaction is rolled back.

use std::collections::HashMap;

use rusqlite::{CachedStatement, Connection, OptionalExtension, params};
use vice_core::chain::{Chainer, Header};
use vice_core::event::Event;
use vice_core::store::{Append, Appended, Fence, LogHead, Snapshot};
use vice_core::{Code, Fault, Result};

use super::reader::EMPTY;
use super::schema::Class;
use crate::prepared::{Extra, Prepared, fence_sum, is_twin, refuse_twins, snapshot_sum};

/// Numbers that the writer remembers of streams and of words; it asks the database for the others.
const CACHED_MAX: usize = 50_000;

/// Why an append was not made.
pub(crate) enum Failure {
    /// A rule said no; nothing was written and the transaction goes on.
    Refused(Fault),
    /// The database failed; the transaction can't go on.
    Broken(rusqlite::Error),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Broken(error)
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::Refused(fault)
    }
}

/// What the writer knows between transactions. It is right as long as nobody else has appended.
pub(crate) struct Memory {
    pub(crate) tip: LogHead,
    streams: HashMap<String, Stream>,
    words: HashMap<Class, HashMap<String, i64>>,
    chainer: Chainer,
}

#[derive(Clone, Copy)]
struct Stream {
    id: i64,
    version: u64,
}

impl Memory {
    pub(crate) fn new() -> Self {
        Self { tip: EMPTY, streams: HashMap::new(), words: HashMap::new(), chainer: Chainer::default() }
    }

    /// Takes over the end of the log; forgets what another process may have changed.
    pub(crate) fn refresh(&mut self, tip: LogHead) {
        if self.tip != tip {
            self.streams.clear();
            self.tip = tip;
        }
        self.bound();
    }

    /// Forgets everything: after a rollback, numbers that were given out in the transaction are not there.
    pub(crate) fn forget(&mut self) {
        self.streams.clear();
        self.words.clear();
        self.tip = EMPTY;
    }

    fn bound(&mut self) {
        if self.streams.len() > CACHED_MAX {
            self.streams.clear();
        }
        if self.words.values().map(HashMap::len).sum::<usize>() > CACHED_MAX {
            self.words.clear();
        }
    }
}

/// The writer's transaction.
pub(crate) struct Ingest<'a> {
    connection: &'a Connection,
    insert: CachedStatement<'a>,
    find: CachedStatement<'a>,
    memory: &'a mut Memory,
    /// Whether there is anything to commit.
    pub(crate) wrote: bool,
}

/// An event that is stored already.
struct Stored {
    seq: u64,
    version: u64,
    stream: i64,
    kind: i64,
    subject: String,
    project: Option<i64>,
    env: Option<i64>,
    body_hash: [u8; 32],
}

impl<'a> Ingest<'a> {
    pub(crate) fn new(connection: &'a Connection, memory: &'a mut Memory) -> rusqlite::Result<Self> {
        let insert = connection.prepare_cached(
            "INSERT INTO events(seq, stream, version, time, kind, source, id, subject, project, env, actor, body_hash,
             chain, data) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
        )?;
        let find = connection.prepare_cached(
            "SELECT seq, version, stream, kind, subject, project, env, body_hash FROM events
             WHERE source = ?1 AND id = ?2",
        )?;
        Ok(Self { connection, insert, find, memory, wrote: false })
    }

    /// The end of the log with what this transaction has added.
    pub(crate) const fn tip(&self) -> LogHead {
        self.memory.tip
    }

    /// Makes one append, or says why not.
    pub(crate) fn append(&mut self, prepared: &Prepared) -> Result<Appended, Failure> {
        let Prepared { append, extras } = prepared;
        let places = self.find_repeats(append, extras)?;
        let duplicates = places.iter().flatten().count();
        if duplicates > 0 && duplicates == places.len() {
            let (seqs, versions) = places.into_iter().flatten().unzip();
            return Ok(Appended { seqs, versions, duplicates });
        }
        self.check(append)?;
        if let Some(fence) = &append.fence {
            self.raise(fence)?;
        }
        self.insert_all(append, extras, places)
    }

    /// The places of those events that are stored already.
    fn find_repeats(&mut self, append: &Append, extras: &[Extra]) -> Result<Vec<Option<(u64, u64)>>, Failure> {
        let mut places = Vec::with_capacity(extras.len());
        for (event, extra) in append.events.iter().zip(extras) {
            let place = match self.find(event)? {
                Some(stored) if self.says_the_same(&stored, event, extra)? => Some((stored.seq, stored.version)),
                Some(_) => return Err(Fault::other_content(event).into()),
                None => None,
            };
            places.push(place);
        }
        if append.events.len() > 1 {
            refuse_twins(&append.events)?;
        }
        Ok(places)
    }

    fn find(&mut self, event: &Event) -> Result<Option<Stored>, Failure> {
        let Some(source) = self.word(Class::Source, &event.source)? else { return Ok(None) };
        let found = self.find.query_row(params![source, event.id], |row| {
            Ok(Stored {
                seq: row.get(0)?,
                version: row.get(1)?,
                stream: row.get(2)?,
                kind: row.get(3)?,
                subject: row.get(4)?,
                project: row.get(5)?,
                env: row.get(6)?,
                body_hash: row.get(7)?,
            })
        });
        Ok(found.optional()?)
    }

    /// The rule of [`Event::same_content`] on stored numbers.
    fn says_the_same(&mut self, stored: &Stored, event: &Event, extra: &Extra) -> Result<bool, Failure> {
        let scope = event.scope.as_ref();
        let project = scope.map(|scope| self.word(Class::Project, scope.project.as_str())).transpose()?.flatten();
        let env = scope.map(|scope| self.word(Class::Env, scope.env.as_str())).transpose()?.flatten();
        let known_scope = scope.is_some() == (project.is_some() && env.is_some());
        Ok(known_scope
            && (stored.project, stored.env) == (project, env)
            && stored.subject == event.subject
            && stored.body_hash == extra.body_hash.0
            && self.word(Class::Kind, &event.kind)? == Some(stored.kind)
            && self.stream(&event.stream)?.is_some_and(|stream| stream.id == stored.stream))
    }

    fn check(&mut self, append: &Append) -> Result<(), Failure> {
        if let Some(fence) = &append.fence {
            let highest = self.highest(&fence.scope)?;
            if fence.epoch < highest {
                return Err(Fault::fenced(fence, highest).into());
            }
        }
        for (name, expected) in &append.conditions {
            let version = self.stream(name)?.map_or(0, |stream| stream.version);
            if !expected.holds(version) {
                return Err(Fault::unexpected(name, *expected, version).into());
            }
        }
        Ok(())
    }

    fn highest(&self, scope: &str) -> Result<u64, Failure> {
        let mut statement = self.connection.prepare_cached("SELECT epoch, sum FROM fences WHERE scope = ?1")?;
        let found = statement.query_row([scope], |row| Ok((row.get::<_, u64>(0)?, row.get::<_, Vec<u8>>(1)?)));
        match found.optional()? {
            Some((epoch, sum)) if fence_sum(scope, epoch).0[..] == sum[..] => Ok(epoch),
            Some(_) => Err(Fault::new(Code::HistoryDamaged, format!("The stored epoch of {scope} is damaged."))
                .hint("`vice greed verify` says more; `vice greed restore URL` brings a backup back.")
                .into()),
            None => Ok(0),
        }
    }

    fn raise(&mut self, fence: &Fence) -> Result<(), Failure> {
        if self.highest(&fence.scope)? == fence.epoch && fence.epoch > 0 {
            return Ok(());
        }
        let sql = "INSERT INTO fences(scope, epoch, sum) VALUES (?1, ?2, ?3)
                   ON CONFLICT(scope) DO UPDATE SET epoch = excluded.epoch, sum = excluded.sum";
        let sum = fence_sum(&fence.scope, fence.epoch);
        self.connection.prepare_cached(sql)?.execute(params![fence.scope, fence.epoch, sum.0])?;
        self.wrote = true;
        Ok(())
    }

    fn insert_all(
        &mut self,
        append: &Append,
        extras: &[Extra],
        places: Vec<Option<(u64, u64)>>,
    ) -> Result<Appended, Failure> {
        let mut appended = Appended { seqs: Vec::new(), versions: Vec::new(), duplicates: 0 };
        for (index, place) in places.into_iter().enumerate() {
            let event = &append.events[index];
            let twin = append.events[..index].iter().position(|other| is_twin(other, event));
            let (seq, version) = match (place, twin) {
                (Some(place), _) => {
                    appended.duplicates += 1;
                    place
                }
                (None, Some(twin)) => {
                    appended.duplicates += 1;
                    (appended.seqs[twin], appended.versions[twin])
                }
                (None, None) => self.insert_one(event, &extras[index])?,
            };
            appended.seqs.push(seq);
            appended.versions.push(version);
        }
        Ok(appended)
    }

    fn insert_one(&mut self, event: &Event, extra: &Extra) -> Result<(u64, u64), Failure> {
        let stream = match self.stream(&event.stream)? {
            Some(stream) => stream,
            None => self.new_stream(&event.stream)?,
        };
        let (seq, version) = (self.memory.tip.seq + 1, stream.version + 1);
        let header = Header::of(event, seq, version);
        let chain = self.memory.chainer.link(&self.memory.tip.chain, &header, &extra.body_hash);
        let kind = self.ensured_word(Class::Kind, &event.kind)?;
        let source = self.ensured_word(Class::Source, &event.source)?;
        let actor = self.ensured_word(Class::Actor, &extra.actor)?;
        let (project, env) = match &event.scope {
            Some(scope) => (
                Some(self.ensured_word(Class::Project, scope.project.as_str())?),
                Some(self.ensured_word(Class::Env, scope.env.as_str())?),
            ),
            None => (None, None),
        };
        self.insert.execute(params![
            seq,
            stream.id,
            version,
            extra.time,
            kind,
            source,
            event.id,
            event.subject,
            project,
            env,
            actor,
            extra.body_hash.0,
            chain.0,
            event.data
        ])?;
        self.wrote = true;
        self.memory.tip = LogHead { seq, chain };
        if let Some(known) = self.memory.streams.get_mut(&event.stream) {
            known.version = version;
        }
        Ok((seq, version))
    }

    /// The number and version of a stream; `None` when it has no events.
    fn stream(&mut self, name: &str) -> Result<Option<Stream>, Failure> {
        if let Some(stream) = self.memory.streams.get(name) {
            return Ok(Some(*stream));
        }
        let mut statement = self.connection.prepare_cached(
            "SELECT id, (SELECT max(version) FROM events WHERE stream = streams.id) FROM streams WHERE name = ?1",
        )?;
        let found = statement.query_row([name], |row| {
            Ok(Stream { id: row.get(0)?, version: row.get::<_, Option<u64>>(1)?.unwrap_or(0) })
        });
        let found = found.optional()?;
        if let Some(stream) = found {
            self.memory.streams.insert(name.to_owned(), stream);
        }
        Ok(found)
    }

    fn new_stream(&mut self, name: &str) -> Result<Stream, Failure> {
        self.connection.prepare_cached("INSERT INTO streams(name) VALUES (?1)")?.execute([name])?;
        let stream = Stream { id: self.connection.last_insert_rowid(), version: 0 };
        self.memory.streams.insert(name.to_owned(), stream);
        Ok(stream)
    }

    /// The number of a word; `None` when no event has it.
    fn word(&mut self, class: Class, text: &str) -> Result<Option<i64>, Failure> {
        if let Some(id) = self.memory.words.get(&class).and_then(|words| words.get(text)) {
            return Ok(Some(*id));
        }
        let mut statement = self.connection.prepare_cached("SELECT id FROM words WHERE class = ?1 AND text = ?2")?;
        let found: Option<i64> = statement.query_row(params![class as i64, text], |row| row.get(0)).optional()?;
        if let Some(id) = found {
            self.memory.words.entry(class).or_default().insert(text.to_owned(), id);
        }
        Ok(found)
    }

    fn ensured_word(&mut self, class: Class, text: &str) -> Result<i64, Failure> {
        if let Some(id) = self.word(class, text)? {
            return Ok(id);
        }
        let mut statement = self.connection.prepare_cached("INSERT INTO words(class, text) VALUES (?1, ?2)")?;
        statement.execute(params![class as i64, text])?;
        let id = self.connection.last_insert_rowid();
        self.memory.words.entry(class).or_default().insert(text.to_owned(), id);
        Ok(id)
    }

    /// Stores the copy of a fold's state.
    pub(crate) fn snapshot(&mut self, fold: &str, stream: &str, snapshot: &Snapshot) -> Result<(), Failure> {
        let sql = "INSERT OR REPLACE INTO snapshots(fold, stream, fold_version, version, state, sum)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let sum = snapshot_sum(fold, stream, snapshot);
        let Snapshot { fold_version, version, state } = snapshot;
        self.connection.prepare_cached(sql)?.execute(params![fold, stream, fold_version, version, state, sum.0])?;
        self.wrote = true;
        Ok(())
    }
}
