//! What a write that was cut off leaves is dropped and said; what was acknowledged never is.

use vice_core::Code;
use vice_core::store::{Append, EventStore, Query};
use vice_core::testkit::event_store::event;

use super::{history, open, open_told, segments};
use crate::jsonl::{FOLDER, WITNESS};

/// The history before its last append, the whole bytes of the last segment, and where that append begins.
async fn before_and_after(dir: &std::path::Path) -> (Vec<u8>, Vec<u8>, usize) {
    history(dir, 3).await;
    let witness = std::fs::read(dir.join(FOLDER).join(WITNESS)).unwrap();
    let path = segments(dir).pop().unwrap();
    let before = std::fs::read(&path).unwrap().len();
    let store = open(dir);
    store.append(Append::of(vec![event("x", "s/1"), event("y", "s/1"), event("z", "t/1")])).await.unwrap();
    store.close().await.unwrap();
    (witness, std::fs::read(&path).unwrap(), before)
}

#[tokio::test]
async fn an_append_that_was_cut_off_anywhere_is_dropped_and_said() {
    let dir = tempfile::tempdir().unwrap();
    let (witness, bytes, before) = before_and_after(dir.path()).await;
    let (path, head) = (segments(dir.path()).pop().unwrap(), dir.path().join(FOLDER).join(WITNESS));
    for cut in (before + 1..bytes.len()).step_by(17).chain([bytes.len() - 2, bytes.len() - 1]) {
        std::fs::write(&path, &bytes[..cut]).unwrap();
        std::fs::write(&head, &witness).unwrap();
        let (store, told) = open_told(dir.path());
        assert_eq!(store.head().await.unwrap().seq, 6, "cut at {cut}: what was not whole is not read");
        assert_eq!(store.verify().await.unwrap().problems, Vec::<String>::new(), "cut at {cut}");
        let again = store.append(Append::of(vec![event("n", "s/1")])).await.unwrap();
        assert_eq!(again.seqs, [7], "cut at {cut}");
        let said = format!("{:?}", told.lock().unwrap());
        assert!(said.contains(&format!("{} bytes", cut - before)), "cut at {cut}: {said}");
        store.close().await.unwrap();
        let store = open(dir.path());
        assert_eq!(store.verify().await.unwrap().problems, Vec::<String>::new(), "cut at {cut}");
        assert_eq!(store.read(&Query::default()).await.unwrap().len(), 7);
    }
}

#[tokio::test]
async fn an_acknowledged_append_that_was_cut_off_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    let (_, bytes, before) = before_and_after(dir.path()).await;
    let path = segments(dir.path()).pop().unwrap();
    for cut in [before, before + 1, bytes.len() - 1] {
        std::fs::write(&path, &bytes[..cut]).unwrap();
        let store = open(dir.path());
        let problems = store.verify().await.unwrap().problems;
        assert!(!problems.is_empty(), "cut at {cut}: the witness knows that there was more");
        let fault = store.append(Append::of(vec![event("n", "s/1")])).await.unwrap_err();
        assert_eq!(fault.code(), Code::HistoryDamaged, "cut at {cut}: {fault:?}");
        assert_eq!(std::fs::read(&path).unwrap().len(), cut, "damage is left as it is");
    }
}

#[tokio::test]
async fn a_segment_that_was_only_begun_is_begun_again() {
    for begun in [&b""[..], b"{\"crc\":\"12"] {
        let dir = tempfile::tempdir().unwrap();
        history(dir.path(), 3).await;
        let next = dir.path().join(FOLDER).join(crate::jsonl::log::segment_name(7));
        std::fs::write(&next, begun).unwrap();
        let store = open(dir.path());
        assert_eq!(store.head().await.unwrap().seq, 6);
        assert_eq!(store.append(Append::of(vec![event("n", "s/1")])).await.unwrap().seqs, [7]);
        store.close().await.unwrap();
        let store = open(dir.path());
        assert_eq!(store.verify().await.unwrap().problems, Vec::<String>::new(), "{begun:?}");
        assert_eq!(store.head().await.unwrap().seq, 7);
    }
}

#[tokio::test]
async fn long_histories_have_several_segments() {
    let dir = tempfile::tempdir().unwrap();
    history(dir.path(), 60).await;
    assert!(segments(dir.path()).len() > 5, "{:?}", segments(dir.path()));
    let store = open(dir.path());
    assert_eq!(store.verify().await.unwrap().events, 120);
    let events = store.read(&Query::default()).await.unwrap();
    assert!(events.iter().zip(1..).all(|(recorded, seq)| recorded.seq == seq), "events come from all segments");
    assert_eq!(store.read(&Query::stream("s/1", 70)).await.unwrap().len(), 2);
}
