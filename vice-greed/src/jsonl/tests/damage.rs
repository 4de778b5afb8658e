//! Damage is found, refused, and never taken for a torn end.

use vice_core::Code;
use vice_core::store::{Append, EventStore, Query};
use vice_core::testkit::event_store::event;

use super::{history, open, segments};
use crate::jsonl::{FOLDER, WITNESS};

#[tokio::test]
async fn every_flipped_bit_is_reported_and_not_built_upon() {
    let dir = tempfile::tempdir().unwrap();
    history(dir.path(), 12).await;
    let mut files = segments(dir.path());
    files.push(dir.path().join(FOLDER).join(WITNESS));
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    for file in files {
        let sound = std::fs::read(&file).unwrap();
        for round in 0..40 {
            // A small generator of its own (xorshift), so that a round can be repeated by its number.
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            let at = usize::try_from(seed % sound.len() as u64).unwrap();
            let mut flipped = sound.clone();
            flipped[at] ^= 1 << (seed % 8);
            std::fs::write(&file, &flipped).unwrap();
            let store = open(dir.path());
            let found = store.verify().await;
            let reported = found.as_ref().map_or(true, |found| !found.problems.is_empty());
            let place = format!("round {round}: byte {at} of {}", file.display());
            assert!(reported, "{place} was not reported: {found:?}");
            let fault = store.append(Append::of(vec![event("new", "s/1")])).await.unwrap_err();
            assert!(matches!(fault.code(), Code::HistoryDamaged | Code::HistoryNewer), "{place}: {fault:?}");
        }
        std::fs::write(&file, sound).unwrap();
    }
    assert_eq!(open(dir.path()).verify().await.unwrap().problems, Vec::<String>::new());
}

#[tokio::test]
async fn lines_that_were_taken_out_or_exchanged_are_reported() {
    let dir = tempfile::tempdir().unwrap();
    history(dir.path(), 3).await;
    let path = segments(dir.path()).remove(0);
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    for change in 0..3 {
        let mut changed = lines.clone();
        match change {
            0 => drop(changed.remove(3)),
            1 => changed.swap(2, 3),
            _ => changed.insert(3, lines[2]),
        }
        std::fs::write(&path, changed.join("\n") + "\n").unwrap();
        let store = open(dir.path());
        assert!(!store.verify().await.unwrap().problems.is_empty(), "change {change}");
        let fault = store.read(&Query::default()).await.unwrap_err();
        assert_eq!(fault.code(), Code::HistoryDamaged, "change {change}: {fault:?}");
    }
}

#[tokio::test]
async fn a_missing_segment_is_reported_wherever_it_was() {
    let dir = tempfile::tempdir().unwrap();
    history(dir.path(), 40).await;
    let files = segments(dir.path());
    for at in [0, 1, files.len() - 1] {
        let kept = std::fs::read(&files[at]).unwrap();
        std::fs::remove_file(&files[at]).unwrap();
        let store = open(dir.path());
        assert!(!store.verify().await.unwrap().problems.is_empty(), "segment {at}");
        let fault = store.append(Append::of(vec![event("new", "s/1")])).await.unwrap_err();
        assert_eq!(fault.code(), Code::HistoryDamaged, "segment {at}: {fault:?}");
        std::fs::write(&files[at], kept).unwrap();
    }
}

#[tokio::test]
async fn a_rewritten_history_is_reported_by_the_witness() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    history(dir.path(), 2).await;
    let store = open(other.path());
    let events = ["a", "b", "c", "d", "e"].map(|id| event(id, "s/1"));
    store.append(Append::of(events.to_vec())).await.unwrap();
    store.close().await.unwrap();
    std::fs::copy(&segments(other.path())[0], &segments(dir.path())[0]).unwrap();
    let problems = open(dir.path()).verify().await.unwrap().problems;
    assert!(problems.iter().any(|problem| problem.contains("not the one that was witnessed")), "{problems:?}");
}
