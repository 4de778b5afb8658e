//! The database's format: tables, indexes and what a connection must be set to.
//!
//! Format 1, and 2 when the data of events were archived (`data` is empty then, and its hash is not that of nothing).
//! `events` has one row for each event; texts that repeat are numbers into `words` (types, sources, actors,
//! projects, environments) and `streams`. All three only ever grow: triggers refuse every update and deletion, and
//! [`vice_core::chain`] covers their content. `fences` and `snapshots` carry checksums of their own: a fence that a
//! flipped bit has lowered must not let an old writer in, and a damaged snapshot must not change an answer.
//!
//! `user_version` is the format, `application_id` spells `vice`. A newer format is refused, never written over.

use std::io::Read;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use vice_core::{Code, Fault, Result};

use super::errors;
use crate::disk::{make_private_dir, unwritable};

/// The newest format that this version knows.
pub const FORMAT: u32 = ARCHIVED;

/// The format of a database all of whose events have their data.
pub(crate) const PLAIN: u32 = 1;

/// The format of a database that has let go of data: an earlier vice would take them for damaged.
pub(crate) const ARCHIVED: u32 = 2;

/// `vice` in ASCII.
const APPLICATION: u32 = 0x7669_6365;

/// The first SQLite without the WAL-reset race (3.7.0 to 3.51.2), whose trigger is several processes writing one file.
const SQLITE_MIN: i32 = 3_051_003;

/// A writer holds the lock for one transaction, which takes milliseconds; under a slow disk, seconds.
const BUSY: Duration = Duration::from_secs(15);

const SCHEMA: &str = "
CREATE TABLE streams(
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;
CREATE TABLE words(
    id INTEGER PRIMARY KEY,
    class INTEGER NOT NULL,
    text TEXT NOT NULL,
    UNIQUE(class, text)
) STRICT;
CREATE TABLE events(
    seq INTEGER PRIMARY KEY,
    stream INTEGER NOT NULL REFERENCES streams(id),
    version INTEGER NOT NULL,
    time INTEGER NOT NULL,
    kind INTEGER NOT NULL REFERENCES words(id),
    source INTEGER NOT NULL REFERENCES words(id),
    id TEXT NOT NULL,
    subject TEXT NOT NULL,
    project INTEGER REFERENCES words(id),
    env INTEGER REFERENCES words(id),
    actor INTEGER NOT NULL REFERENCES words(id),
    body_hash BLOB NOT NULL,
    chain BLOB NOT NULL,
    data TEXT NOT NULL,
    UNIQUE(source, id),
    UNIQUE(stream, version)
) STRICT;
CREATE INDEX events_project ON events(project) WHERE project IS NOT NULL;
CREATE INDEX events_kind ON events(kind);
CREATE INDEX events_time ON events(time);
CREATE TRIGGER events_delete BEFORE DELETE ON events BEGIN SELECT RAISE(ABORT, 'the history is append-only'); END;
CREATE TRIGGER streams_update BEFORE UPDATE ON streams BEGIN SELECT RAISE(ABORT, 'the history is append-only'); END;
CREATE TRIGGER streams_delete BEFORE DELETE ON streams BEGIN SELECT RAISE(ABORT, 'the history is append-only'); END;
CREATE TRIGGER words_update BEFORE UPDATE ON words BEGIN SELECT RAISE(ABORT, 'the history is append-only'); END;
CREATE TRIGGER words_delete BEFORE DELETE ON words BEGIN SELECT RAISE(ABORT, 'the history is append-only'); END;
CREATE TABLE fences(
    scope TEXT PRIMARY KEY,
    epoch INTEGER NOT NULL,
    sum BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE snapshots(
    fold TEXT NOT NULL,
    stream TEXT NOT NULL,
    fold_version INTEGER NOT NULL,
    version INTEGER NOT NULL,
    state TEXT NOT NULL,
    sum BLOB NOT NULL,
    PRIMARY KEY(fold, stream)
) STRICT, WITHOUT ROWID;
";

/// Refuses every update of an event, except while data are let go of.
pub(super) const UPDATE_TRIGGER: &str = "CREATE TRIGGER events_update BEFORE UPDATE ON events BEGIN
    SELECT RAISE(ABORT, 'the history is append-only'); END;";

/// Which texts a row of `words` belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Class {
    Kind = 1,
    Source = 2,
    Actor = 3,
    Project = 4,
    Env = 5,
}

/// Refuses a SQLite that can corrupt a database which several processes write.
pub(crate) fn require_safe_sqlite() -> Result<()> {
    let version = rusqlite::version_number();
    if version >= SQLITE_MIN {
        return Ok(());
    }
    Err(Fault::internal(format!(
        "SQLite {} can damage a history; 3.51.3 is the first that is safe.",
        rusqlite::version()
    )))
}

pub(crate) fn busy_timeout(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY)
}

/// Looks at the file's first bytes, which costs microseconds where a connection costs a millisecond. What is not clear
/// from there is left to the connection.
pub(crate) fn refuse_newer_file(path: &Path) -> Result<()> {
    let mut header = [0_u8; 72];
    let read = std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut header));
    let (mut format, mut application) = ([0; 4], [0; 4]);
    format.copy_from_slice(&header[60..64]);
    application.copy_from_slice(&header[68..72]);
    if read.is_ok() && u32::from_be_bytes(application) == APPLICATION {
        refuse_newer(u32::from_be_bytes(format), path)?;
    }
    Ok(())
}

fn refuse_newer(format: u32, path: &Path) -> Result<()> {
    if format <= FORMAT {
        return Ok(());
    }
    let message =
        format!("The history in {} has format {format}; this vice knows formats up to {FORMAT}.", path.display());
    Err(Fault::new(Code::HistoryNewer, message).hint("A newer vice wrote it. Use that version or a later one."))
}

/// The format of an open database; 0 when it is still empty.
fn check_identity(connection: &Connection, path: &Path) -> Result<u32> {
    let number = |pragma: &str| connection.query_row(pragma, [], |row| row.get::<_, u32>(0));
    let format = number("PRAGMA user_version").map_err(|error| errors::reading(error, path))?;
    let application = number("PRAGMA application_id").map_err(|error| errors::reading(error, path))?;
    if application != APPLICATION && (application != 0 || format != 0) {
        return Err(Fault::new(Code::HistoryDamaged, format!("{} is not a history of vice.", path.display()))
            .hint("Move the file away; `vice greed restore URL` brings a backup back."));
    }
    refuse_newer(format, path)?;
    Ok(format)
}

const COMMON: &str = "PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF;";

/// A connection that writes; makes folder and database where they are missing.
pub(crate) fn open_writer(path: &Path) -> Result<Connection> {
    let writing = |error| errors::writing(error, path);
    if let Some(dir) = path.parent() {
        make_private_dir(dir).map_err(|error| unwritable(error, dir))?;
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags).map_err(writing)?;
    busy_timeout(&connection).map_err(writing)?;
    connection.execute_batch(COMMON).map_err(writing)?;
    if check_identity(&connection, path)? == 0 {
        create(&mut connection).map_err(writing)?;
        check_identity(&connection, path)?;
    }
    // The journal size bounds what a long transaction leaves behind; the cache holds the upper levels of all indexes.
    let settings = "PRAGMA synchronous = FULL; PRAGMA journal_size_limit = 67108864; PRAGMA cache_size = -16384;";
    connection.execute_batch(settings).map_err(writing)?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(connection)
}

/// Another process may be doing the same: whoever gets the lock first makes the tables.
fn create(connection: &mut Connection) -> rusqlite::Result<()> {
    use_wal(connection)?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let format: u32 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if format == 0 {
        transaction.execute_batch(SCHEMA)?;
        transaction.execute_batch(UPDATE_TRIGGER)?;
        transaction.pragma_update(None, "application_id", APPLICATION)?;
        transaction.pragma_update(None, "user_version", PLAIN)?;
    }
    transaction.commit()
}

/// SQLite does not wait for the lock that changing the journal mode takes, so this does, for a bounded time.
pub(crate) fn use_wal(connection: &Connection) -> rusqlite::Result<()> {
    let mut tries = 0;
    loop {
        match connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get::<_, String>(0)) {
            Ok(mode) if mode == "wal" => return Ok(()),
            Err(error) if tries >= 500 => return Err(error),
            Ok(_) if tries >= 500 => return Err(rusqlite::Error::InvalidQuery),
            _ => tries += 1,
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The format of a database file; the plain one where there is none.
pub(crate) fn format_of(path: &Path) -> Result<u32> {
    match open_reader(path)? {
        Some(connection) => check_identity(&connection, path),
        None => Ok(PLAIN),
    }
}

/// A connection that reads; `None` while there is no history yet.
pub(crate) fn open_reader(path: &Path) -> Result<Option<Connection>> {
    let reading = |error| errors::reading(error, path);
    if !path.try_exists().unwrap_or(true) {
        return Ok(None);
    }
    let connection = match connect_reader(path, false) {
        // The shared-memory file of the log can't be made in a read-only folder or on a full disk. When nobody has left
        // a log behind, the file itself is the whole history and can be read as it stands.
        Err(error) if (is_unwritable(&error) || errors::is_full(&error)) && !has_wal(path) => {
            connect_reader(path, true).map_err(reading)?
        }
        other => other.map_err(reading)?,
    };
    connection.set_prepared_statement_cache_capacity(64);
    Ok((check_identity(&connection, path)? != 0).then_some(connection))
}

fn connect_reader(path: &Path, frozen: bool) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = if frozen {
        let escaped = path.to_string_lossy().replace('%', "%25").replace('?', "%3f").replace('#', "%23");
        let flags = flags | OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
        Connection::open_with_flags(format!("file:{escaped}?immutable=1"), flags)?
    } else {
        Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_READ_WRITE)?
    };
    busy_timeout(&connection)?;
    connection.execute_batch("PRAGMA query_only = ON; PRAGMA trusted_schema = OFF;")?;
    // Touches the file, so that what is wrong with it is found here.
    connection.query_row("PRAGMA schema_version", [], |row| row.get::<_, i64>(0))?;
    Ok(connection)
}

fn is_unwritable(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{CannotOpen, PermissionDenied, ReadOnly};
    matches!(error.sqlite_error_code(), Some(CannotOpen | PermissionDenied | ReadOnly))
}

/// Whether a connection reads the file as it stood when it was opened: it may not be used for long.
pub(crate) fn is_frozen(connection: &Connection) -> bool {
    connection.is_readonly("main").unwrap_or(true)
}

fn has_wal(path: &Path) -> bool {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    std::fs::metadata(name).is_ok_and(|metadata| metadata.len() > 0)
}
