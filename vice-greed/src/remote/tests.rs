//! The history of a service as another machine sees it.

use std::cell::RefCell;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::watch;
use vice_core::Code;
use vice_core::app::ProcessEnv;
use vice_core::memory::MemoryEventStore;
use vice_core::store::{Append, EventStore};
use vice_core::testkit::event_store::{self, event};
use vice_core::time::SystemClock;

use crate::place::{Opening, StorePlace};
use crate::service::History;
use crate::tests::Kind;

/// Serves a store on a free port until the test ends; gives its address.
async fn serve(store: Arc<dyn EventStore>) -> String {
    let (_stop, draining) = watch::channel(false);
    let history = History::new(store, draining);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let router = history.readers().merge(history.writers());
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

fn open(address: &str, state: &Path) -> Arc<dyn EventStore> {
    rustls::crypto::ring::default_provider().install_default().ok();
    let vars = [("VICE_HISTORY_TOKEN".to_owned(), "some-token".to_owned())].into_iter().collect();
    let opening = Opening {
        clock: Arc::new(SystemClock),
        env: Arc::new(ProcessEnv { vars, ..ProcessEnv::default() }),
        notices: Arc::new(|_| {}),
        state: state.to_owned(),
    };
    StorePlace::parse(address, state).unwrap().open(&opening).unwrap()
}

#[tokio::test]
async fn every_history_conforms_through_a_service() {
    let kept = RefCell::new(Vec::new());
    let make = async || {
        let dir = tempfile::tempdir().unwrap();
        let store = open(&serve(Kind::Sqlite.open(&dir.path().join("there"))).await, &dir.path().join("here"));
        kept.borrow_mut().push(dir);
        store
    };
    event_store::suite(make).await;
    let dir = tempfile::tempdir().unwrap();
    let there = serve(Kind::Sqlite.open(&dir.path().join("there"))).await;
    event_store::durable_suite(async || open(&there, &dir.path().join("here"))).await;
}

#[tokio::test]
async fn a_history_that_was_rewound_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let there = Arc::new(MemoryEventStore::default());
    let address = serve(there).await;
    let store = open(&address, dir.path());
    for id in ["a", "b"] {
        store.append(Append::of(vec![event(id, "s/1")])).await.unwrap();
    }
    let seen = store.head().await.unwrap();
    assert_eq!(seen.seq, 2);
    // The same address, and another history behind it: what this machine saw is kept under the address.
    let other = serve(Arc::new(MemoryEventStore::default())).await;
    let elsewhere = open(&other, &dir.path().join("other"));
    elsewhere.append(Append::of(vec![event("a", "s/1")])).await.unwrap();
    elsewhere.head().await.unwrap();
    let folder = |dir: &Path| {
        let shared = dir.join("shared");
        std::fs::read_dir(shared).unwrap().next().unwrap().unwrap().path().join("history.head")
    };
    std::fs::copy(folder(dir.path()), folder(&dir.path().join("other"))).unwrap();
    let fault = elsewhere.head().await.unwrap_err();
    assert_eq!(fault.code(), Code::HistoryDamaged, "{fault:?}");
    let problems = elsewhere.verify().await.unwrap().problems;
    assert!(problems.iter().any(|problem| problem.contains("its end is lost")), "{problems:?}");
}

#[tokio::test]
async fn silence_and_nonsense_have_their_words() {
    let dir = tempfile::tempdir().unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let store = open(&format!("http://127.0.0.1:{port}"), dir.path());
    let fault = store.append(Append::of(vec![event("a", "s/1")])).await.unwrap_err();
    assert_eq!(fault.code(), Code::Unreachable, "{fault:?}");
    let fault = open(&format!("{}/prefix", serve(Arc::new(MemoryEventStore::default())).await), dir.path());
    let fault = fault.head().await.unwrap_err();
    assert!(fault.to_string().contains("no history at"), "{fault:?}");
}

#[tokio::test]
async fn a_large_history_comes_page_by_page() {
    let dir = tempfile::tempdir().unwrap();
    let there = Arc::new(MemoryEventStore::default());
    for batch in 0..3 {
        let events = (0..500).map(|n| event(&format!("{batch}.{n}"), "s/1")).collect();
        there.append(Append::of(events)).await.unwrap();
    }
    let mut large: Vec<_> = (0..12).map(|n| event(&format!("large {n}"), "s/2")).collect();
    for event in &mut large {
        event.data = format!("\"{}\"", "x".repeat(1_000_000));
    }
    there.append(Append::of(large)).await.unwrap();
    let store = open(&serve(there.clone()).await, dir.path());
    crate::tests::copy::same(&*there, &*store).await;
    let backward =
        vice_core::store::Query { order: vice_core::store::Order::Backward, limit: 700, ..Default::default() };
    assert_eq!(store.read(&backward).await.unwrap(), there.read(&backward).await.unwrap());
}

#[tokio::test]
async fn a_history_is_copied_to_a_service_and_back() {
    let dir = tempfile::tempdir().unwrap();
    let from = Kind::Sqlite.open(&dir.path().join("from"));
    crate::tests::copy::fill(&*from, 1, 151).await;
    let there = open(&serve(Kind::Sqlite.open(&dir.path().join("there"))).await, &dir.path().join("here"));
    let told = crate::cmd::Told::default();
    let copied = crate::copy::copy(&*from, &*there, &told).await.unwrap();
    assert_eq!((copied.head.seq, copied.found, copied.epochs), (300, 0, 3));
    crate::tests::copy::same(&*from, &*there).await;
    // It goes on where it ended, and back into files.
    crate::tests::copy::fill(&*from, 151, 155).await;
    assert_eq!(crate::copy::copy(&*from, &*there, &told).await.unwrap().found, 300);
    let back = Kind::Sqlite.open(&dir.path().join("back"));
    crate::copy::copy(&*there, &*back, &told).await.unwrap();
    crate::tests::copy::same(&*from, &*back).await;
    let fault = there.let_go(1).await.unwrap_err();
    assert!(fault.code() == Code::Unsupported && fault.hints()[0].contains("vice serve"), "{fault:?}");
}
