//! The suites that every history passes.

use std::cell::RefCell;

use vice_core::testkit::event_store;

use super::Kind;

#[tokio::test]
async fn every_history_conforms() {
    for kind in Kind::ALL {
        let dirs = RefCell::new(Vec::new());
        let make = async || {
            let dir = tempfile::tempdir().unwrap();
            let store = kind.open(dir.path());
            dirs.borrow_mut().push(dir);
            store
        };
        event_store::suite(make).await;
    }
}

#[tokio::test]
async fn every_history_conforms_across_restarts() {
    for kind in Kind::ALL {
        let dir = tempfile::tempdir().unwrap();
        event_store::durable_suite(async || kind.open(dir.path())).await;
    }
}

#[tokio::test]
async fn looking_creates_nothing() {
    for kind in Kind::ALL.into_iter().filter(|kind| kind.is_in_files()) {
        let dir = tempfile::tempdir().unwrap();
        let store = kind.open(&dir.path().join("state"));
        assert_eq!(store.head().await.unwrap().seq, 0);
        assert_eq!(store.verify().await.unwrap().problems, Vec::<String>::new());
        store.close().await.unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
