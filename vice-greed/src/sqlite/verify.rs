//! Reading everything once, in order, and computing it anew.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};
use vice_core::chain::Header;
use vice_core::event::Actor;
use vice_core::store::{LogHead, Verification};
use vice_core::{Code, Digest, Fault, Result};

use super::reader::{EMPTY, timestamp};
use super::{Place, errors, schema};
use crate::gaps::{Scales, Stored};
use crate::prepared::fence_sum;
use crate::witness::Witness;

/// So many problems are told; a log with more is not better understood by reading on.
const PROBLEMS_MAX: usize = 20;

/// Checks the history and its witness.
pub(crate) fn verify(place: &Place) -> Result<Verification> {
    // The witness first: the log may have grown since, but not shrunk.
    let (witnessed, mut problems) = match Witness::read(&place.witness) {
        Ok(witnessed) => (witnessed, Vec::new()),
        Err(fault) if fault.code() == Code::HistoryDamaged => (None, vec![fault.to_string()]),
        // Who may not read it can't tell whether it is damaged.
        Err(fault) => return Err(fault),
    };
    let unwitnessed = witnessed.is_none() && problems.is_empty();
    let (found, at_witness) = verify_file(&place.database, witnessed.map(|head| head.seq), Structure::Pages)?;
    problems.extend(found.problems);
    if unwitnessed && found.events > 0 {
        let path = place.witness.display();
        problems.push(format!("The head witness {path} is missing, so a lost end of the history can't be told."));
    }
    if let Some(witnessed) = witnessed {
        problems.extend(compare(&witnessed, &found.head, at_witness));
    }
    problems.truncate(PROBLEMS_MAX);
    Ok(Verification { problems, ..found })
}

fn compare(witnessed: &LogHead, head: &LogHead, at_witness: Option<Digest>) -> Option<String> {
    let LogHead { seq, chain } = witnessed;
    if *seq == 0 {
        return None;
    }
    match at_witness {
        Some(found) if found == *chain => None,
        Some(_) => Some(format!("Event {seq} is not the one that was witnessed as the end of the history.")),
        None => {
            Some(format!("The history ends at event {}, but event {seq} was witnessed: its end is lost.", head.seq))
        }
    }
}

/// How much of the database's own structure is checked beside the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Structure {
    /// The pages: costs a third of reading the events.
    Pages,
    /// Every entry of every index as well: costs more than twice as much as reading the events, for what can be
    /// computed anew from them. Backups are checked so.
    Indexes,
}

/// Checks one database file by itself, and gives the chain hash of event `watch`.
pub(crate) fn verify_file(path: &Path, watch: Option<u64>, depth: Structure) -> Result<(Verification, Option<Digest>)> {
    let damaged = |problem: String| Verification { events: 0, head: EMPTY, problems: vec![problem] };
    let connection = match schema::open_reader(path) {
        Ok(Some(connection)) => connection,
        Ok(None) => return Ok((Verification { events: 0, head: EMPTY, problems: Vec::new() }, None)),
        Err(fault) if fault.code() == Code::HistoryDamaged => {
            return Ok((damaged(fault.chain().join(" ")), None));
        }
        Err(fault) => return Err(fault),
    };
    let mut walk = Walk::new(watch);
    // One transaction: what is appended meanwhile is not looked at half.
    let whole = connection.unchecked_transaction().and_then(|transaction| {
        walk.texts(&transaction)?;
        walk.events(&transaction)?;
        walk.scales.problems().into_iter().for_each(|problem| walk.problem(problem));
        walk.fences(&transaction)?;
        walk.structure(&transaction, depth)
    });
    if let Err(error) = whole {
        walk.problem(format!("The database can't be read beyond event {}: {error}.", walk.head.seq));
    }
    Ok((Verification { events: walk.events, head: walk.head, problems: walk.problems }, walk.watched))
}

/// The epochs of a database file by scope; none where there is no history.
pub(crate) fn fences(path: &Path) -> Result<BTreeMap<String, u64>> {
    let Some(connection) = schema::open_reader(path)? else { return Ok(BTreeMap::new()) };
    let read = || -> rusqlite::Result<Vec<(String, u64, Vec<u8>)>> {
        let mut statement = connection.prepare("SELECT scope, epoch, sum FROM fences")?;
        statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?.collect()
    };
    let rows = read().map_err(|error| errors::reading(error, path))?;
    if let Some((scope, ..)) = rows.iter().find(|(scope, epoch, sum)| fence_sum(scope, *epoch).0[..] != sum[..]) {
        return Err(Fault::new(Code::HistoryDamaged, format!("The stored epoch of {scope} is damaged.")));
    }
    Ok(rows.into_iter().map(|(scope, epoch, _)| (scope, epoch)).collect())
}

struct Walk {
    head: LogHead,
    events: u64,
    problems: Vec<String>,
    watch: Option<u64>,
    watched: Option<Digest>,
    scales: Scales,
    words: HashMap<i64, Arc<str>>,
    actors: HashMap<i64, Actor>,
    streams: HashMap<i64, (Arc<str>, u64)>,
}

/// A row that can't be checked, and why.
type Odd<T> = std::result::Result<T, String>;

impl Walk {
    fn new(watch: Option<u64>) -> Self {
        Self {
            head: EMPTY,
            events: 0,
            problems: Vec::new(),
            watch,
            watched: None,
            scales: Scales::default(),
            words: HashMap::new(),
            actors: HashMap::new(),
            streams: HashMap::new(),
        }
    }

    fn problem(&mut self, text: String) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(text);
        }
    }

    fn texts(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let mut statement = connection.prepare("SELECT id, class, text FROM words")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (id, class) = (row.get(0)?, row.get::<_, i64>(1)?);
            let Ok(text) = row.get::<_, String>(2) else {
                self.problem(format!("Text {id} is not text."));
                continue;
            };
            if class == schema::Class::Actor as i64 {
                match serde_json::from_str(&text) {
                    Ok(actor) => drop(self.actors.insert(id, actor)),
                    Err(_) => self.problem(format!("Actor {id} does not decode.")),
                }
            } else {
                self.words.insert(id, text.into());
            }
        }
        let mut statement = connection.prepare("SELECT id, name FROM streams")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            match row.get::<_, String>(1) {
                Ok(name) => drop(self.streams.insert(row.get(0)?, (name.into(), 0))),
                Err(_) => self.problem(format!("The name of stream {} is not text.", row.get::<_, i64>(0)?)),
            }
        }
        Ok(())
    }

    fn events(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let mut statement = connection.prepare(
            "SELECT seq, stream, version, time, kind, source, id, subject, project, env, actor, body_hash, chain, data
             FROM events ORDER BY seq",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let seq: u64 = row.get(0)?;
            self.events += 1;
            if seq != self.head.seq + 1 {
                self.problem(format!("After event {} comes event {seq}.", self.head.seq));
            }
            if let Err(odd) = self.event(row, seq) {
                self.problem(format!("Event {seq} {odd}."));
            }
            // What is stored is what the next one is checked against, so that one damage is one problem.
            let chain = digest(row, 12).unwrap_or(Digest::ZERO);
            self.head = LogHead { seq, chain };
            if self.watch == Some(seq) {
                self.watched = Some(chain);
            }
        }
        Ok(())
    }

    fn event(&mut self, row: &Row<'_>, seq: u64) -> Odd<()> {
        let version = u64::try_from(integer(row, 2)?).map_err(|_| "has no version".to_owned())?;
        let (stream, known) = self.streams.get_mut(&integer(row, 1)?).ok_or("belongs to a stream that is not there")?;
        let follows = version == *known + 1;
        *known = version;
        let word = |column| -> Odd<&str> {
            let id = integer(row, column)?;
            self.words.get(&id).map(|text| &**text).ok_or_else(|| format!("names text {id}, which is not there"))
        };
        let scope = match (optional(row, 8)?, optional(row, 9)?) {
            (true, true) => Some((word(8)?, word(9)?)),
            (false, false) => None,
            _ => return Err("has half a scope".to_owned()),
        };
        let header = Header {
            seq,
            version,
            time: timestamp(integer(row, 3)?),
            stream,
            source: word(5)?,
            id: text(row, 6)?,
            kind: word(4)?,
            subject: text(row, 7)?,
            scope,
            actor: self.actors.get(&integer(row, 10)?).ok_or("names an actor that is not there")?,
        };
        let (body_hash, chain, data) = (digest(row, 11)?, digest(row, 12)?, Some(text(row, 13)?));
        self.scales.weigh(&self.head.chain, &Stored { header, body_hash, chain, data }, follows)
    }

    fn fences(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let mut statement = connection.prepare("SELECT scope, epoch, sum FROM fences")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let fits = || -> rusqlite::Result<bool> {
                let (scope, epoch, sum): (String, u64, Vec<u8>) = (row.get(0)?, row.get(1)?, row.get(2)?);
                Ok(fence_sum(&scope, epoch).0[..] == sum[..])
            };
            if !fits().unwrap_or(false) {
                self.problem("A stored epoch does not fit its checksum.".to_owned());
            }
        }
        Ok(())
    }

    /// The chain covers what is stored; this covers how it is found.
    fn structure(&mut self, connection: &Connection, depth: Structure) -> rusqlite::Result<()> {
        let mut statement = connection.prepare(match depth {
            Structure::Pages => "PRAGMA quick_check(5)",
            Structure::Indexes => "PRAGMA integrity_check(5)",
        })?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let found: String = row.get(0)?;
            if found != "ok" {
                self.problem(format!("The database says: {}.", found.trim_end_matches('.')));
            }
        }
        Ok(())
    }
}

fn integer(row: &Row<'_>, column: usize) -> Odd<i64> {
    match row.get_ref(column) {
        Ok(ValueRef::Integer(number)) => Ok(number),
        _ => Err(format!("has no number in column {column}")),
    }
}

fn optional(row: &Row<'_>, column: usize) -> Odd<bool> {
    row.get_ref(column).map(|value| value != ValueRef::Null).map_err(|error| error.to_string())
}

fn text<'a>(row: &'a Row<'_>, column: usize) -> Odd<&'a str> {
    let value = row.get_ref(column).map_err(|error| error.to_string())?;
    value.as_str().map_err(|_| format!("has no text in column {column}"))
}

fn digest(row: &Row<'_>, column: usize) -> Odd<Digest> {
    match row.get_ref(column) {
        Ok(ValueRef::Blob(bytes)) => {
            bytes.try_into().map(Digest).map_err(|_| "has a hash of the wrong length".to_owned())
        }
        _ => Err("has no hash".to_owned()),
    }
}

/// Fails when a verification has found problems.
pub(crate) fn require_sound(found: &Verification, what: &str) -> Result<()> {
    match found.problems.first() {
        None => Ok(()),
        Some(first) => Err(Fault::new(Code::HistoryDamaged, format!("{what} is damaged: {first}"))),
    }
}
