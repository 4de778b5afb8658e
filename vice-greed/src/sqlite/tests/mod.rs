//! Tests of the history on SQLite.

mod damage;
mod plans;
mod refusals;

use std::path::Path;
use std::sync::Arc;

use vice_core::store::EventStore;

fn open(dir: &Path) -> Arc<dyn EventStore> {
    crate::tests::Kind::Sqlite.open(dir)
}
