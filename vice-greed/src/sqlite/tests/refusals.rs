//! What is refused, and how it reads.

use rusqlite::Connection;
use vice_core::Code;
use vice_core::store::Append;
use vice_core::testkit::event_store::event;
use vice_core::time::SystemClock;

use std::sync::Arc;

use super::open;
use crate::sqlite::{FORMAT, SqliteStore, schema};

fn one(id: &str) -> Append {
    Append::of(vec![event(id, "s/1")])
}

#[test]
fn sqlite_is_one_without_the_wal_reset_race() {
    schema::require_safe_sqlite().unwrap();
    assert!(rusqlite::version_number() >= 3_051_003, "{}", rusqlite::version());
}

#[tokio::test]
async fn a_newer_format_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.append(one("a")).await.unwrap();
    store.close().await.unwrap();
    let database = dir.path().join("history.db");
    Connection::open(&database).unwrap().pragma_update(None, "user_version", FORMAT + 1).unwrap();
    let before = std::fs::read(&database).unwrap();
    let fault = SqliteStore::open(dir.path(), Arc::new(SystemClock)).unwrap_err();
    assert_eq!(fault.code(), Code::HistoryNewer);
    // A store that was open already finds out by itself.
    assert_eq!(store.append(one("b")).await.unwrap_err().code(), Code::HistoryNewer);
    assert_eq!(store.head().await.unwrap_err().code(), Code::HistoryNewer);
    assert!(std::fs::read(&database).unwrap() == before, "a newer history was written over");
}

#[tokio::test]
async fn rows_can_be_neither_changed_nor_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.append(one("a")).await.unwrap();
    let connection = Connection::open(dir.path().join("history.db")).unwrap();
    for sql in [
        "UPDATE events SET data = 'x'",
        "UPDATE events SET seq = 9",
        "DELETE FROM events",
        "UPDATE streams SET name = 'x'",
        "DELETE FROM streams",
        "UPDATE words SET text = 'x'",
        "DELETE FROM words",
    ] {
        let error = connection.execute(sql, []).unwrap_err().to_string();
        assert!(error.contains("append-only"), "{sql}: {error}");
    }
    assert_eq!(store.verify().await.unwrap().problems, Vec::<String>::new());
}

#[tokio::test]
async fn other_files_are_not_taken_for_a_history() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("history.db"), "this is a text, and not a short one at that".repeat(50)).unwrap();
    let store = open(dir.path());
    for fault in [store.append(one("a")).await.unwrap_err(), store.head().await.unwrap_err()] {
        assert_eq!(fault.code(), Code::HistoryDamaged, "{fault:?}");
        assert!(!fault.hints().is_empty());
    }
    assert_eq!(store.verify().await.unwrap().problems.len(), 1);
}

#[tokio::test]
async fn a_state_folder_that_can_not_be_written_says_so() {
    let dir = tempfile::tempdir().unwrap();
    // A file where the folder should be stops every user, root among them.
    std::fs::write(dir.path().join("state"), "").unwrap();
    let fault = open(&dir.path().join("state")).append(one("a")).await.unwrap_err();
    assert_eq!(fault.code(), Code::StateUnwritable, "{fault:?}");
    assert!(!fault.hints().is_empty());
}

#[tokio::test]
async fn a_full_database_refuses_and_stays_readable() {
    let dir = tempfile::tempdir().unwrap();
    let database = dir.path().join("history.db");
    let mut connection = schema::open_writer(&database).unwrap();
    let pages: u32 = connection.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
    connection.pragma_update(None, "max_page_count", pages + 4).unwrap();
    let transaction = connection.transaction().unwrap();
    let error = (0..100)
        .find_map(|n| transaction.execute("INSERT INTO streams(name) VALUES (?1 || hex(zeroblob(2000)))", [n]).err())
        .expect("the database fills up");
    drop(transaction);
    let fault = crate::sqlite::errors::writing(error, &database);
    assert_eq!(fault.code(), Code::StateUnwritable, "{fault:?}");
    assert!(fault.to_string().contains("disk is full"));
    let store = open(dir.path());
    assert_eq!(store.append(one("a")).await.unwrap().seqs, [1]);
}

#[tokio::test]
async fn a_history_that_was_replaced_is_not_written_any_more() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.append(one("a")).await.unwrap();
    let database = dir.path().join("history.db");
    std::fs::copy(&database, dir.path().join("other.db")).unwrap();
    std::fs::rename(dir.path().join("other.db"), &database).unwrap();
    let fault = store.append(one("b")).await.unwrap_err();
    assert_eq!(fault.code(), Code::Conflict, "{fault:?}");
}
