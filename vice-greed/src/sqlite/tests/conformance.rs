//! The suites that every history passes.

use std::cell::RefCell;
use std::path::Path;
use std::sync::Arc;

use vice_core::store::EventStore;
use vice_core::testkit::event_store;
use vice_core::time::SystemClock;

use crate::sqlite::SqliteStore;

pub(super) fn open(dir: &Path) -> Arc<dyn EventStore> {
    Arc::new(SqliteStore::open(dir, Arc::new(SystemClock)).unwrap())
}

#[tokio::test]
async fn the_sqlite_history_conforms() {
    let dirs = RefCell::new(Vec::new());
    let make = async || {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        dirs.borrow_mut().push(dir);
        store
    };
    event_store::suite(make).await;
}

#[tokio::test]
async fn the_sqlite_history_conforms_across_restarts() {
    let dir = tempfile::tempdir().unwrap();
    event_store::durable_suite(async || open(dir.path())).await;
}

#[tokio::test]
async fn looking_creates_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("state"));
    assert_eq!(store.head().await.unwrap().seq, 0);
    assert_eq!(store.verify().await.unwrap().problems, Vec::<String>::new());
    store.close().await.unwrap();
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}
