//! Epochs only grow, also through a restore. Targets and stores refuse whoever comes with an epoch lower than one that
//! they have seen, and a history of last week knows only those of last week.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use rusqlite::Connection;
use vice_core::event::Event;
use vice_core::id::Scope;
use vice_core::store::{Append, EventStore, Fence};
use vice_core::time::SystemClock;
use vice_core::{Code, Fault, Result};

use crate::sqlite::{self, SqliteStore, fences};

/// The events by which a scope's lease is acquired and given back at an epoch.
pub(crate) type Passing<'a> = dyn Fn(&Scope, u64) -> Result<Vec<Event>> + Send + Sync + 'a;

/// Raises the epochs of the history in `dir`, which nobody else has open, to those of the one that it replaces.
/// Gives how many had to be raised.
pub(super) async fn raise(dir: &Path, seen: &BTreeMap<String, u64>, passing: &Passing<'_>) -> Result<usize> {
    let database = dir.join(sqlite::DATABASE);
    let known = fences(&database)?;
    let lower = |scope: &str, epoch: u64| known.get(scope).is_none_or(|known| *known < epoch);
    let raised: Vec<(&String, &u64)> = seen.iter().filter(|(scope, epoch)| lower(scope, **epoch)).collect();
    if raised.is_empty() {
        return Ok(0);
    }
    let store = SqliteStore::open(dir, Arc::new(SystemClock))?;
    for (scope, epoch) in &raised {
        // The state of a lease takes its epoch from the events; the store takes it from the fence.
        // Not every fence is that of an environment.
        let events = Scope::parse(scope).map_or(Ok(Vec::new()), |scope| passing(&scope, **epoch))?;
        let fence = Fence { scope: (*scope).clone(), epoch: **epoch };
        store.append(Append::of(events).fenced(fence)).await?;
    }
    store.close().await?;
    whole(&database)?;
    Ok(raised.len())
}

/// Brings everything into the one file that is moved.
pub(super) fn whole(database: &Path) -> Result<()> {
    let busy = Connection::open(database)
        .and_then(|connection| connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0)))
        .map_err(|error| sqlite::writing(error, database))?;
    if busy == 0 {
        return Ok(());
    }
    Err(Fault::new(Code::Backup, format!("Somebody has {} open.", database.display())).hint("Restore again."))
}
