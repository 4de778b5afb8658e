//! From a [`Query`] to SQL, and from rows to events.

use jiff::Timestamp;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use vice_core::event::{Actor, Event, Recorded};
use vice_core::id::{EnvName, ProjectName, Scope};
use vice_core::store::{Order, Query};
use vice_core::{Code, Context, Digest, Fault, Result};

/// The columns that [`recorded`] takes, in its order.
pub(crate) const COLUMNS: &str =
    "seq, stream, version, time, kind, source, id, subject, project, env, actor, chain, data, body_hash";

/// An argument of a statement.
pub(crate) type Argument = Box<dyn ToSql + Sync + Send>;

/// The least text that is greater than every text with this prefix (noncharacters don't occur in names).
pub(crate) fn beyond(prefix: &str) -> String {
    format!("{prefix}\u{10ffff}\u{10ffff}")
}

struct Conditions {
    parts: Vec<String>,
    arguments: Vec<Argument>,
}

impl Conditions {
    /// `$` stands for the argument.
    fn add(&mut self, part: &str, argument: impl ToSql + Sync + Send + 'static) {
        self.arguments.push(Box::new(argument));
        self.parts.push(part.replace('$', &format!("${}", self.arguments.len())));
    }
}

/// One page of a query.
pub(crate) fn page(query: &Query) -> Result<(String, Vec<Argument>)> {
    let mut conditions = Conditions { parts: Vec::new(), arguments: Vec::new() };
    if let Some(stream) = &query.stream {
        conditions.add("stream = $", stream.clone());
        conditions.add("version > $", number(query.after_version)?);
    }
    match query.order {
        Order::Forward if query.after > 0 => conditions.add("seq > $", number(query.after)?),
        Order::Backward if query.after > 0 => conditions.add("seq < $", number(query.after)?),
        _ => {}
    }
    if let Some(prefix) = &query.stream_prefix {
        conditions.add("stream >= $", prefix.clone());
        conditions.add("stream < $", beyond(prefix));
    }
    if let Some(project) = &query.project {
        conditions.add("project = $", project.to_string());
    }
    if let Some(env) = &query.env {
        conditions.add("env = $", env.to_string());
    }
    add_kinds(&mut conditions, &query.kinds);
    add_time(&mut conditions, query);
    let filter = if conditions.parts.is_empty() { String::new() } else { conditions.parts.join(" AND ") };
    let filter = if filter.is_empty() { filter } else { format!("WHERE {filter}") };
    // Within one stream the versions have the order of the log, and an index.
    let column = if query.stream.is_some() { "version" } else { "seq" };
    let direction = if query.order == Order::Backward { "DESC" } else { "ASC" };
    let sql = format!("SELECT {COLUMNS} FROM events {filter} ORDER BY {column} {direction} LIMIT {}", query.page());
    Ok((sql, conditions.arguments))
}

fn add_kinds(conditions: &mut Conditions, kinds: &[String]) {
    if kinds.is_empty() || kinds.iter().any(|kind| kind == "*") {
        return;
    }
    let exact: Vec<String> = kinds.iter().filter(|kind| !kind.ends_with('*')).cloned().collect();
    let mut wanted = Conditions { parts: Vec::new(), arguments: std::mem::take(&mut conditions.arguments) };
    if !exact.is_empty() {
        wanted.add("kind = ANY($)", exact);
    }
    for prefix in kinds.iter().filter_map(|kind| kind.strip_suffix('*')) {
        wanted.add("(kind >= $", prefix.to_owned());
        let from = wanted.parts.pop().unwrap_or_default();
        wanted.add(&format!("{} AND kind < $)", from.replace('$', "\u{1}")), beyond(prefix));
        if let Some(last) = wanted.parts.last_mut() {
            *last = last.replace('\u{1}', "$");
        }
    }
    conditions.arguments = wanted.arguments;
    conditions.parts.push(format!("({})", wanted.parts.join(" OR ")));
}

/// Times need not follow the order of the log, so each row is checked.
fn add_time(conditions: &mut Conditions, query: &Query) {
    let nanoseconds = |time: Timestamp| {
        // A time beyond what can be stored is beyond every stored time as well.
        i64::try_from(time.as_nanosecond().clamp(i64::MIN.into(), i64::MAX.into())).unwrap_or(i64::MAX)
    };
    if let Some(since) = query.since.map(nanoseconds) {
        conditions.add("time >= $", since);
    }
    if let Some(until) = query.until.map(nanoseconds) {
        conditions.add("time < $", until);
    }
}

pub(super) fn number(value: u64) -> Result<i64> {
    i64::try_from(value).map_err(|error| Fault::internal("A position is out of range.").because(error))
}

fn column<'a, T: tokio_postgres::types::FromSql<'a>>(row: &'a Row, at: usize) -> Result<T> {
    row.try_get(at).context(Code::Decode, || format!("A row of the history has no sense in column {at}."))
}

fn count(row: &Row, at: usize) -> Result<u64> {
    let value: i64 = column(row, at)?;
    u64::try_from(value).context(Code::Decode, || format!("A row of the history has {value} in column {at}."))
}

pub(crate) fn hash(row: &Row, at: usize) -> Result<Digest> {
    let bytes: &[u8] = column(row, at)?;
    bytes.try_into().map(Digest).context(Code::Decode, || "A hash of the history has the wrong length.".to_owned())
}

/// An event of [`COLUMNS`].
///
/// # Errors
/// `Decode`.
pub(crate) fn recorded(row: &Row) -> Result<Recorded> {
    let scope = match (column::<Option<&str>>(row, 8)?, column::<Option<&str>>(row, 9)?) {
        (Some(project), Some(env)) => Some(Scope::new(ProjectName::new(project)?, EnvName::new(env)?)),
        _ => None,
    };
    let actor: Actor =
        serde_json::from_str(column(row, 10)?).context(Code::Decode, || "An actor does not decode.".to_owned())?;
    let event = Event {
        id: column(row, 6)?,
        source: column(row, 5)?,
        kind: column(row, 4)?,
        subject: column(row, 7)?,
        time: Timestamp::from_nanosecond(i128::from(column::<i64>(row, 3)?)).unwrap_or(Timestamp::UNIX_EPOCH),
        stream: column(row, 1)?,
        scope,
        actor,
        data: column(row, 12)?,
    };
    Ok(Recorded { seq: count(row, 0)?, version: count(row, 2)?, chain: hash(row, 11)?, event })
}

/// The number in a column.
pub(crate) fn count_at(row: &Row, at: usize) -> Result<u64> {
    count(row, at)
}
