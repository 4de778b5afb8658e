//! Letting go of data that were archived. In one transaction the trigger that refuses updates is taken away, the data that
//! an anchor in this very log names are emptied, and the trigger is made again: a kill at any moment leaves all or nothing
//! of it. Headers, hashes and numbers are not touched, so that the chain stays whole.

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use vice_core::Result;

use super::schema::{self, ARCHIVED, UPDATE_TRIGGER};
use super::{Place, errors};
use crate::gaps::spans_of;

/// The database is made anew when so large a part of it is free, so that each page is written a few times in all and not
/// once for each archive.
const FREE_PARTS: i64 = 4;

/// A smaller database is not worth the while, in pages of 4 KiB.
const PAGES_MIN: i64 = 1024;

/// Empties what the anchor names; gives how many events had their data still.
pub(super) fn let_go(place: &Place, anchor: u64) -> Result<u64> {
    let path = &place.database;
    let writing = |error| errors::writing(error, path);
    let mut connection = schema::open_writer(path)?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(writing)?;
    let found: Option<(String, String)> = transaction
        .query_row(
            "SELECT words.text, data FROM events JOIN words ON words.id = kind WHERE seq = ?1",
            [anchor],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()
        .map_err(writing)?;
    let (kind, data) = found.unzip();
    let spans = spans_of(anchor, kind.as_deref(), &data.unwrap_or_default())?;
    let gone = empty(&transaction, &spans).map_err(writing)?;
    transaction.commit().map_err(writing)?;
    if gone > 0 {
        shrink(&connection);
    }
    Ok(gone)
}

fn empty(connection: &Connection, spans: &[(u64, u64)]) -> rusqlite::Result<u64> {
    connection.execute_batch("DROP TRIGGER events_update")?;
    let mut gone = 0;
    {
        let sql = "UPDATE events SET data = '' WHERE seq BETWEEN ?1 AND ?2 AND data <> ''";
        let mut statement = connection.prepare(sql)?;
        for (first, last) in spans {
            gone += statement.execute(params![first, last])? as u64;
        }
    }
    connection.execute_batch(UPDATE_TRIGGER)?;
    connection.pragma_update(None, "user_version", ARCHIVED)?;
    Ok(gone)
}

/// Gives the space back to the disk. When somebody reads meanwhile, or the disk has no room for a second copy, the free
/// pages stay and are used for what comes.
fn shrink(connection: &Connection) {
    let number = |pragma: &str| connection.query_row(pragma, [], |row| row.get::<_, i64>(0));
    let (Ok(free), Ok(all)) = (number("PRAGMA freelist_count"), number("PRAGMA page_count")) else { return };
    if all < PAGES_MIN || free < all / FREE_PARTS {
        return;
    }
    let shrunk = connection
        .execute_batch("VACUUM")
        .and_then(|()| connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0)));
    if let Err(error) = shrunk {
        tracing::info!(%error, "the space of what was archived stays with the database");
    }
}
