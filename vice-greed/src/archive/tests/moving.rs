//! What an archived history says is what it said before.

use vice_core::Code;
use vice_core::fold::{self, environment::EnvironmentState, rollout::RolloutView};
use vice_core::payload::environment_stream;
use vice_core::payload::rollout::RolloutStepped;
use vice_core::store::{Append, EventStore, Expected, Order, Query};
use vice_core::testkit::event_store::{event, scope};

use super::{Bench, GO, KINDS, outside, run_whole, sound, told, without_data};
use crate::archive::preview;

#[tokio::test]
async fn everything_reads_and_verifies_as_before() {
    for kind in KINDS {
        let bench = Bench::filled(kind).await;
        let (raw, whole) = (bench.raw(), bench.whole());
        let before = told(&*raw).await;
        let seen = preview(&*whole, super::limits()).await.unwrap();
        let made = run_whole(&bench, 1).await.unwrap();
        assert_eq!((made.events, made.files, made.finished), (GO, 1, 0), "{kind}");
        assert_eq!((seen.events, seen.freed), (made.events, made.freed), "{kind}: a dry run says what will be");

        assert_eq!(told(&*whole).await, before, "{kind}");
        sound(&*whole).await;
        sound(&*raw).await;
        let bare = told(&*raw).await;
        assert_eq!(without_data(&bare), GO, "{kind}: an open handle sees that data were let go of");
        for (bare, full) in bare.iter().zip(&before) {
            assert_eq!((bare.seq, bare.version, bare.chain), (full.seq, full.version, full.chain));
            assert_eq!((&bare.event.id, &bare.event.subject), (&full.event.id, &full.event.subject));
        }
        assert!(bench.said.lock().unwrap().is_empty(), "{:?}", bench.said);
        let again = run_whole(&bench, 2).await.unwrap();
        assert_eq!((again.events, again.finished), (0, 0), "{kind}");
    }
}

#[tokio::test]
async fn what_is_decided_from_stays() {
    for kind in KINDS {
        let bench = Bench::filled(kind).await;
        let stream = environment_stream(&scope("shop", "prod"));
        let (state, _) = fold::rebuild::<EnvironmentState>(&*bench.raw(), &stream).await.unwrap();
        run_whole(&bench, 1).await.unwrap();
        std::fs::remove_dir_all(bench.archive_dir()).unwrap();
        let raw = bench.raw();
        let (after, _) = fold::rebuild::<EnvironmentState>(&*raw, &stream).await.unwrap();
        assert_eq!(after, state, "{kind}: what runs where needs no archive");
        // The last that are kept, what runs, what can be gone back to: 10 to 30.
        for number in 10..=30 {
            let name = format!("rollout/shop/prod/{number}");
            let events = raw.read(&Query::stream(name, 0)).await.unwrap();
            assert!(events.iter().all(|recorded| recorded.event.has_data()), "{kind}: {number}");
        }
        let recent = raw.read(&Query { since: Some(super::day(16)), ..Query::default() }).await.unwrap();
        assert_eq!(without_data(&recent), 0, "{kind}: nothing that is younger goes");
    }
}

#[tokio::test]
async fn rollouts_that_are_archived_fold_as_before() {
    for kind in KINDS {
        let bench = Bench::filled(kind).await;
        let (before, _) = fold::rebuild::<RolloutView>(&*bench.raw(), "rollout/shop/prod/4").await.unwrap();
        run_whole(&bench, 1).await.unwrap();
        let (after, same) = fold::rebuild::<RolloutView>(&*bench.whole(), "rollout/shop/prod/4").await.unwrap();
        assert!(same && after == before, "{kind}");
        let fault = fold::rebuild::<RolloutView>(&*bench.raw(), "rollout/shop/prod/4").await.unwrap_err();
        assert_eq!(fault.code(), Code::HistoryArchived, "{kind}: nothing is concluded from what is not there");
    }
}

#[tokio::test]
async fn appends_are_decided_as_before() {
    for kind in KINDS {
        let bench = Bench::filled(kind).await;
        run_whole(&bench, 1).await.unwrap();
        let store = bench.raw();
        let again = store.append(Append::of(vec![outside(3, 3)])).await.unwrap();
        assert_eq!(again.duplicates, 1, "{kind}: a repeated event is recognised without its data");
        let mut other = outside(3, 3);
        other.data = "{}".to_owned();
        assert_eq!(store.append(Append::of(vec![other])).await.unwrap_err().code(), Code::Conflict, "{kind}");
        let late = |version| {
            let append = Append::of(vec![event(&format!("late.{version}"), "rollout/shop/prod/4")]);
            append.expect("rollout/shop/prod/4", Expected::from_version(version))
        };
        assert_eq!(store.append(late(1)).await.unwrap_err().code(), Code::Conflict, "{kind}");
        assert_eq!(store.append(late(5)).await.unwrap().versions, [6], "{kind}: versions go on");
        sound(&*store).await;
    }
}

#[tokio::test]
async fn an_archive_that_is_away_is_said_and_nothing_is_damaged() {
    for kind in KINDS {
        let bench = Bench::filled(kind).await;
        run_whole(&bench, 1).await.unwrap();
        std::fs::remove_dir_all(bench.archive_dir()).unwrap();
        let store = bench.whole();
        let query = Query { order: Order::Forward, ..Query::stream("rollout/shop/prod/4", 0) };
        let found = store.read(&query).await.unwrap();
        assert_eq!(without_data(&found), 5, "{kind}");
        assert_eq!(found[0].event.decode::<RolloutStepped>().unwrap_err().code(), Code::HistoryArchived);
        assert_eq!(found[0].event.to_cloudevent().unwrap()["vicearchived"], true);
        store.read(&query).await.unwrap();
        let said = bench.said.lock().unwrap().clone();
        assert!(said.len() == 1 && said[0].contains(&bench.place()) && said[0].contains("60 events"), "{said:?}");
        // Who needs headers only, asks for no file.
        let bare = store.read(&Query { bare: true, ..query }).await.unwrap();
        assert_eq!((without_data(&bare), bench.said.lock().unwrap().len()), (5, 1));
        sound(&*store).await;
    }
}

#[tokio::test]
async fn what_consumers_have_not_read_stays() {
    let bench = Bench::filled("sqlite").await;
    let store = bench.raw();
    let mut cursor = event("cursor", "outbox/lust");
    cursor.kind = "dev.cdeventsx.vice-outbox.advanced.0.1.0".to_owned();
    cursor.data = serde_json::json!({ "subject": { "content": { "cursor": 16 } } }).to_string();
    store.append(Append::of(vec![cursor])).await.unwrap();
    let made = run_whole(&bench, 1).await.unwrap();
    // Two rollouts and what came from outside beside them.
    assert_eq!(made.events, 2 * 6);
}

#[tokio::test]
async fn a_copy_of_an_archived_history_is_whole_or_refused() {
    for kind in KINDS {
        let bench = Bench::filled(kind).await;
        let before = told(&*bench.raw()).await;
        run_whole(&bench, 1).await.unwrap();
        let told_to: std::sync::Arc<crate::cmd::Told> = std::sync::Arc::default();
        let (one, two) = (Bench::new("jsonl"), Bench::new("sqlite"));
        let target = one.raw();
        crate::copy::copy(&*bench.whole(), &*target, &*told_to).await.unwrap();
        assert_eq!(told(&*target).await, before, "{kind}");
        sound(&*target).await;
        std::fs::remove_dir_all(bench.archive_dir()).unwrap();
        let fault = crate::copy::copy(&*bench.whole(), &*two.raw(), &*told_to).await.unwrap_err();
        assert_eq!(fault.code(), Code::HistoryArchived, "{kind}: {fault:?}");
    }
}

#[tokio::test]
async fn stores_that_can_not_let_go_say_so() {
    let store = vice_core::memory::MemoryEventStore::default();
    super::fill(&store).await;
    let bench = Bench::new("sqlite");
    let vault = crate::backup::vault(&bench.place(), &vice_core::app::ProcessEnv::default()).unwrap();
    let fault = super::run(&store, &*vault, &bench.place(), 1).await.unwrap_err();
    assert_eq!(fault.code(), Code::Unsupported);
    assert!(!bench.archive_dir().exists(), "nothing is stored in vain");
    assert_eq!(store.let_go(1).await.unwrap_err().code(), Code::Unsupported);
}
