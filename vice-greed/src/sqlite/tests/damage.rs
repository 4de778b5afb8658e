//! Damage is found, never silent.

use std::path::Path;

use rusqlite::Connection;
use vice_core::Code;
use vice_core::store::Append;
use vice_core::testkit::event_store::{event, scope};

use super::open;

/// A closed history with 120 events; gives the bytes of its database.
async fn history(dir: &Path) -> Vec<u8> {
    let store = open(dir);
    for round in 0..4 {
        let mut events = Vec::new();
        for n in 0..30 {
            let mut event = event(&format!("{round}.{n}"), &format!("s/{}", n % 7));
            event.scope = (n % 2 == 0).then(|| scope("shop", "dev"));
            event.data = format!("{{\"n\":{n},\"text\":\"{}\"}}", "payload ".repeat(20));
            events.push(event);
        }
        store.append(Append::of(events)).await.unwrap();
    }
    store.close().await.unwrap();
    let connection = Connection::open(dir.join("history.db")).unwrap();
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    drop(connection);
    std::fs::read(dir.join("history.db")).unwrap()
}

/// Everything that the history says, read without any index; an error is an answer as well.
fn content(path: &Path) -> Result<String, rusqlite::Error> {
    let connection = Connection::open(path)?;
    let mut out = String::new();
    for sql in [
        "SELECT * FROM events NOT INDEXED ORDER BY seq",
        "SELECT * FROM words NOT INDEXED ORDER BY id",
        "SELECT * FROM streams NOT INDEXED ORDER BY id",
    ] {
        let mut statement = connection.prepare(sql)?;
        let columns = statement.column_count();
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            for column in 0..columns {
                out.push_str(&format!("{:?}|", row.get_ref(column)?));
            }
        }
    }
    Ok(out)
}

#[tokio::test]
async fn every_flip_that_changes_data_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let sound = history(dir.path()).await;
    let database = dir.path().join("history.db");
    let expected = content(&database).unwrap();
    let (mut changed, mut seed) = (0, 0x2545_f491_4f6c_dd1d_u64);
    for round in 0..120 {
        // A small generator of its own (xorshift), so that a round can be repeated by its number.
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        let at = usize::try_from(seed % sound.len() as u64).unwrap();
        let mut flipped = sound.clone();
        flipped[at] ^= 1 << (seed % 8);
        std::fs::write(&database, &flipped).unwrap();
        if content(&database).is_ok_and(|content| content == expected) {
            continue;
        }
        changed += 1;
        let found = open(dir.path()).verify().await;
        let reported = found.as_ref().map_or(true, |found| !found.problems.is_empty());
        assert!(reported, "round {round}: the flip at byte {at} changed data and was not reported: {found:?}");
    }
    assert!(changed >= 30, "only {changed} flips changed data, too few to say anything");
}

#[tokio::test]
async fn a_lost_tail_is_reported_and_not_built_upon() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for n in 0..10 {
        store.append(Append::of(vec![event(&n.to_string(), "s/1")])).await.unwrap();
    }
    store.close().await.unwrap();
    let connection = Connection::open(dir.path().join("history.db")).unwrap();
    connection.execute_batch("DROP TRIGGER events_delete; DELETE FROM events WHERE seq > 7;").unwrap();
    drop(connection);
    let store = open(dir.path());
    let problems = store.verify().await.unwrap().problems;
    assert!(problems.iter().any(|problem| problem.contains("its end is lost")), "{problems:?}");
    let fault = store.append(Append::of(vec![event("new", "s/1")])).await.unwrap_err();
    assert_eq!(fault.code(), Code::HistoryDamaged, "going on would hide the loss: {fault:?}");
}

#[tokio::test]
async fn a_wal_that_lost_its_end_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for n in 0..20 {
        store.append(Append::of(vec![event(&n.to_string(), "s/1")])).await.unwrap();
    }
    // The files as they would be after a crash: the log of SQLite is still there, and one bit of it is not.
    let crashed = tempfile::tempdir().unwrap();
    for name in ["history.db", "history.db-wal", "history.head"] {
        std::fs::copy(dir.path().join(name), crashed.path().join(name)).unwrap();
    }
    let wal = crashed.path().join("history.db-wal");
    let mut bytes = std::fs::read(&wal).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&wal, bytes).unwrap();
    let found = open(crashed.path()).verify().await.unwrap();
    assert!(found.events < 20, "SQLite itself drops what follows the damage");
    assert!(!found.problems.is_empty(), "the witness knows that there was more");
}

#[tokio::test]
async fn a_history_rewritten_as_a_whole_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.append(Append::of(vec![event("a", "s/1"), event("b", "s/1")])).await.unwrap();
    store.close().await.unwrap();
    let other = tempfile::tempdir().unwrap();
    let forged = open(other.path());
    forged.append(Append::of(vec![event("a", "s/1"), event("c", "s/1"), event("d", "s/1")])).await.unwrap();
    forged.close().await.unwrap();
    std::fs::copy(other.path().join("history.db"), dir.path().join("history.db")).unwrap();
    let problems = open(dir.path()).verify().await.unwrap().problems;
    assert!(problems.iter().any(|problem| problem.contains("not the one that was witnessed")), "{problems:?}");
}

#[tokio::test]
async fn a_missing_or_damaged_witness_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    history(dir.path()).await;
    let witness = dir.path().join("history.head");
    let mut record = std::fs::read(&witness).unwrap();
    record[15] ^= 1;
    std::fs::write(&witness, &record).unwrap();
    let problems = open(dir.path()).verify().await.unwrap().problems;
    assert!(problems[0].contains("witness"), "{problems:?}");
    std::fs::remove_file(&witness).unwrap();
    let problems = open(dir.path()).verify().await.unwrap().problems;
    assert!(problems[0].contains("is missing"), "{problems:?}");
}

#[tokio::test]
async fn damaged_fences_and_snapshots_change_no_answer() {
    use vice_core::store::{Fence, Snapshot};
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let fence = |epoch| Fence { scope: "shop/prod".into(), epoch };
    store.append(Append::of(vec![event("a", "s/1")]).fenced(fence(9))).await.unwrap();
    let snapshot = Snapshot { fold_version: 1, version: 1, state: "{\"healthy\":true}".into() };
    store.put_snapshot("fold", "s/1", snapshot).await.unwrap();
    let connection = Connection::open(dir.path().join("history.db")).unwrap();
    connection.execute_batch("UPDATE fences SET epoch = 1; UPDATE snapshots SET state = '{\"healthy\":fals}'").unwrap();
    assert_eq!(store.snapshot("fold", "s/1").await.unwrap(), None, "a damaged copy is as good as none");
    let fault = store.append(Append::of(vec![event("b", "s/1")]).fenced(fence(2))).await.unwrap_err();
    assert_eq!(fault.code(), Code::HistoryDamaged, "{fault:?}");
    let problems = store.verify().await.unwrap().problems;
    assert!(problems.iter().any(|problem| problem.contains("epoch")), "{problems:?}");
}
