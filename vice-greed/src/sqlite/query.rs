//! From a [`Query`] to SQL. One part of the query drives through an index whose order is that of the log, so that a
//! page costs what it shows; the other parts only filter. A `+` before a column keeps SQLite from choosing otherwise.

use rusqlite::types::Value;
use vice_core::event::Recorded;
use vice_core::store::{Order, Query};
use vice_core::{Fault, Result};

use super::reader::{COLUMNS, RawRow, Reader};
use super::schema::Class;

/// Up to so many types are each driven through the index and merged; with more, a scan is cheaper.
const KINDS_MERGED_MAX: usize = 16;

/// The least text that is greater than every text with this prefix (noncharacters don't occur in names).
pub(crate) fn beyond(prefix: &str) -> String {
    format!("{prefix}\u{10ffff}\u{10ffff}")
}

/// One page of matching events.
pub(crate) fn read(reader: &mut Reader, query: &Query) -> Result<Vec<Recorded>> {
    let Some(statements) = plan(reader, query)? else { return Ok(Vec::new()) };
    let mut rows = Vec::new();
    let merged = statements.len() > 1;
    for statement in &statements {
        rows.extend(statement.run(reader)?);
    }
    if merged {
        rows.sort_unstable_by_key(|row| row.seq);
        if query.order == Order::Backward {
            rows.reverse();
        }
        rows.truncate(query.page());
    }
    reader.recorded(rows)
}

/// One SQL statement with its arguments.
#[derive(Debug, Clone, Default)]
pub(crate) struct Statement {
    pub(crate) sql: String,
    pub(crate) arguments: Vec<Value>,
}

impl Statement {
    fn run(&self, reader: &Reader) -> Result<Vec<RawRow>> {
        let run = || -> rusqlite::Result<Vec<RawRow>> {
            let mut statement = reader.connection.prepare_cached(&self.sql)?;
            let arguments = rusqlite::params_from_iter(&self.arguments);
            statement.query_map(arguments, RawRow::read)?.collect()
        };
        run().map_err(|error| reader.fault(error))
    }
}

/// The conditions of a statement as they are put together.
#[derive(Default, Clone)]
struct Conditions {
    parts: Vec<String>,
    arguments: Vec<Value>,
}

impl Conditions {
    fn add(&mut self, part: &str, argument: impl Into<Value>) {
        self.parts.push(part.to_owned());
        self.arguments.push(argument.into());
    }

    fn add_list(&mut self, column: &str, ids: &[i64]) {
        self.parts.push(format!("{column} IN ({})", vec!["?"; ids.len()].join(", ")));
        self.arguments.extend(ids.iter().map(|id| Value::from(*id)));
    }

    fn finish(mut self, query: &Query, by_version: bool) -> Statement {
        let filter = if self.parts.is_empty() { String::new() } else { format!("WHERE {}", self.parts.join(" AND ")) };
        // Within one stream the versions have the order of the log, and an index.
        let column = if by_version { "version" } else { "seq" };
        let direction = if query.order == Order::Backward { " DESC" } else { "" };
        let sql = format!("SELECT {COLUMNS} FROM events {filter} ORDER BY {column}{direction} LIMIT ?");
        self.arguments.push(Value::from(i64::try_from(query.page()).unwrap_or(i64::MAX)));
        Statement { sql, arguments: self.arguments }
    }
}

/// The statements whose results, merged, are the page; `None` when nothing can match.
pub(crate) fn plan(reader: &Reader, query: &Query) -> Result<Option<Vec<Statement>>> {
    let mut conditions = Conditions::default();
    let mut driven = false;
    if let Some(name) = &query.stream {
        let Some(id) = reader.stream_id(name)? else { return Ok(None) };
        conditions.add("stream = ?", id);
        conditions.add("version > ?", number(query.after_version)?);
        driven = true;
    }
    add_place(&mut conditions, query, driven)?;
    if let Some(project) = &query.project {
        let Some(id) = reader.word_ids(Class::Project, project.as_str(), false)?.pop() else { return Ok(None) };
        conditions.add(if driven { "+project = ?" } else { "project = ?" }, id);
        driven = true;
    }
    if let Some(env) = &query.env {
        let Some(id) = reader.word_ids(Class::Env, env.as_str(), false)?.pop() else { return Ok(None) };
        conditions.add("+env = ?", id);
    }
    if let Some(prefix) = &query.stream_prefix {
        conditions.parts.push("+stream IN (SELECT id FROM streams WHERE name >= ? AND name < ?)".to_owned());
        conditions.arguments.extend([Value::from(prefix.clone()), Value::from(beyond(prefix))]);
    }
    let kinds = if query.kinds.is_empty() || query.kinds.iter().any(|kind| kind == "*") {
        return Ok(Some(vec![conditions.finish(query, query.stream.is_some())]));
    } else {
        kind_ids(reader, query)?
    };
    if kinds.is_empty() {
        return Ok(None);
    }
    if driven || kinds.len() > KINDS_MERGED_MAX {
        conditions.add_list("+kind", &kinds);
        return Ok(Some(vec![conditions.finish(query, query.stream.is_some())]));
    }
    let each = |kind: &i64| {
        let mut conditions = conditions.clone();
        conditions.add("kind = ?", *kind);
        conditions.finish(query, false)
    };
    Ok(Some(kinds.iter().map(each).collect()))
}

fn kind_ids(reader: &Reader, query: &Query) -> Result<Vec<i64>> {
    let mut ids = Vec::new();
    for kind in &query.kinds {
        ids.extend(match kind.strip_suffix('*') {
            Some(prefix) => reader.word_ids(Class::Kind, prefix, true)?,
            None => reader.word_ids(Class::Kind, kind, false)?,
        });
    }
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}

/// Position and time. Times need not follow the order of the log, so the first and the last event of the span bound
/// the part of the log that is read, and each row is checked as well.
fn add_place(conditions: &mut Conditions, query: &Query, in_stream: bool) -> Result<()> {
    let seq = if in_stream { "+seq" } else { "seq" };
    match query.order {
        Order::Forward if query.after > 0 => conditions.add(&format!("{seq} > ?"), number(query.after)?),
        Order::Backward if query.after > 0 => conditions.add(&format!("{seq} < ?"), number(query.after)?),
        _ => {}
    }
    let nanoseconds = |time: jiff::Timestamp| {
        // A time beyond what can be stored is beyond every stored time as well.
        let clamped = time.as_nanosecond().clamp(i64::MIN.into(), i64::MAX.into());
        i64::try_from(clamped).unwrap_or(i64::MAX)
    };
    if let Some(since) = query.since.map(nanoseconds) {
        conditions.add("+time >= ?", since);
        let bound = "(SELECT min(+seq) FROM events INDEXED BY events_time WHERE time >= ?)";
        conditions.add(&format!("{seq} >= {bound}"), since);
    }
    if let Some(until) = query.until.map(nanoseconds) {
        conditions.add("+time < ?", until);
        let bound = "(SELECT max(+seq) FROM events INDEXED BY events_time WHERE time < ?)";
        conditions.add(&format!("{seq} <= {bound}"), until);
    }
    Ok(())
}

fn number(value: u64) -> Result<i64> {
    i64::try_from(value).map_err(|error| Fault::internal("A position is out of range.").because(error))
}
