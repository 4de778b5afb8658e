//! The history of a service as another machine sees it.

use std::cell::RefCell;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::watch;
use vice_core::Code;
use vice_core::app::ProcessEnv;
use vice_core::event::{Event, Recorded};
use vice_core::id::ProjectName;
use vice_core::memory::MemoryEventStore;
use vice_core::store::{Append, EventStore, EventStoreExt, Expected, Fence, Order, Query, Snapshot, StreamHead};
use vice_core::testkit::event_store::{self, event, scope};
use vice_core::time::SystemClock;

use crate::place::{Opening, StorePlace};
use crate::service::{Bounds, History};
use crate::tests::Kind;

/// Serves a store on a free port until the test ends; gives its address.
async fn serve(store: Arc<dyn EventStore>) -> String {
    serve_to(store, None).await
}

/// Serves it as whoever is bound to these projects sees it.
async fn serve_to(store: Arc<dyn EventStore>, bounds: Option<Bounds>) -> String {
    let (_stop, draining) = watch::channel(false);
    let history = History::new(store, draining);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let mut router = history.readers().merge(history.writers());
    if let Some(bounds) = bounds {
        router = router.layer(axum::Extension(bounds));
    }
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
    let backward = Query { order: Order::Backward, limit: 700, ..Default::default() };
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

fn bound_to(names: &[&str]) -> Option<Bounds> {
    Some(Bounds::of(names.iter().map(|name| ProjectName::new(*name).unwrap())))
}

fn of(project: &str, number: usize) -> Event {
    let scope = scope(project, "prod");
    Event { scope: Some(scope), ..event(&format!("{project}.{number}"), &format!("rollout/{project}/prod/{number}")) }
}

/// Long runs of two projects, so that whole pages have nothing of the other.
async fn two_projects() -> Arc<MemoryEventStore> {
    let there = Arc::new(MemoryEventStore::default());
    let numbers = (0..1_200).map(|n| ("cart", n)).chain((0..30).map(|n| ("shop", n)));
    let all: Vec<Event> = numbers.chain((1_200..2_400).map(|n| ("cart", n))).map(|(name, n)| of(name, n)).collect();
    for part in all.chunks(300) {
        there.append(Append::of(part.to_vec())).await.unwrap();
    }
    there.append(Append::of(vec![event("shared", "outbox/lust")]).fenced(fence("shop/prod", 3))).await.unwrap();
    there.append(Append::of(vec![of("shop", 30)]).fenced(fence("cart/prod", 7))).await.unwrap();
    there
}

fn fence(scope: &str, epoch: u64) -> Fence {
    Fence { scope: scope.into(), epoch }
}

#[tokio::test]
async fn whoever_is_bound_sees_their_events_and_no_others() {
    let (dir, there) = (tempfile::tempdir().unwrap(), two_projects().await);
    let store = open(&serve_to(there.clone(), bound_to(&["shop"])).await, dir.path());
    let mine = |events: Vec<Recorded>| -> Vec<Recorded> {
        let theirs = |recorded: &Recorded| recorded.event.scope == Some(scope("shop", "prod"));
        events.into_iter().filter(theirs).collect()
    };
    let all = there.read_all(Query::default()).await.unwrap();
    let seen = store.read_all(Query::default()).await.unwrap();
    assert_eq!(seen.len(), 31);
    assert_eq!(seen, mine(all.clone()));
    let backward = Query { order: Order::Backward, limit: 7, ..Query::default() };
    let latest: Vec<Recorded> = mine(all).into_iter().rev().take(7).collect();
    assert_eq!(store.read(&backward).await.unwrap(), latest, "the last seven, through pages without any");
    let names = |streams: Vec<StreamHead>| streams.into_iter().map(|stream| stream.name);
    let listed: Vec<String> = names(store.all_streams("").await.unwrap()).collect();
    assert!(listed.len() == 31 && listed.iter().all(|name| name.starts_with("rollout/shop/")), "{listed:?}");
    assert_eq!(store.fences().await.unwrap(), [("shop/prod".to_owned(), 3)].into());
    assert_eq!(store.head().await.unwrap(), there.head().await.unwrap(), "the end is everybody's");
    // What is asked of others by name is refused, and says why.
    let project = Some(ProjectName::new("cart").unwrap());
    for query in [Query::stream("rollout/cart/prod/1", 0), Query { project, ..Query::default() }] {
        let fault = store.read(&query).await.unwrap_err();
        assert!(fault.to_string().starts_with("The token is bound to the project shop, and"), "{fault:?}");
    }
    assert_eq!(store.read(&Query::stream("outbox/lust", 0)).await.unwrap(), []);
    let found = store.verify().await.unwrap();
    assert_eq!((found.events, found.problems, found.head), (2_432, Vec::new(), there.head().await.unwrap()));
    let both = open(&serve_to(there.clone(), bound_to(&["shop", "cart"])).await, &dir.path().join("both"));
    assert_eq!(both.read_all(Query::default()).await.unwrap().len(), 2_431);
}

#[tokio::test]
async fn whoever_is_bound_adds_to_their_projects_only() {
    let (dir, there) = (tempfile::tempdir().unwrap(), two_projects().await);
    let store = open(&serve_to(there.clone(), bound_to(&["shop"])).await, dir.path());
    let head = there.head().await.unwrap();
    let state = || Snapshot { fold_version: 1, version: 1, state: "{}".into() };
    for append in [
        Append::of(vec![of("cart", 9_000)]),
        Append::of(vec![of("shop", 9_000), of("cart", 9_000)]),
        Append::of(vec![event("x", "inbox")]),
        Append::of(vec![event("x", "outbox/lust")]),
        Append::of(vec![Event { scope: Some(scope("cart", "prod")), ..of("shop", 9_000) }]),
        Append::of(vec![of("shop", 9_000)]).expect("rollout/cart/prod/1", Expected::from_version(1)),
        Append::of(vec![of("shop", 9_000)]).fenced(fence("cart/prod", 8)),
    ] {
        let shown = format!("{append:?}");
        let fault = store.append(append).await.unwrap_err();
        assert!(fault.to_string().starts_with("The token is bound to the project shop, and"), "{shown}: {fault:?}");
    }
    for stream in ["rollout/cart/prod/1", "outbox/lust", "inbox"] {
        assert!(store.put_snapshot("fold", stream, state()).await.is_err(), "{stream}");
        there.put_snapshot("fold", stream, state()).await.unwrap();
    }
    assert!(store.snapshot("fold", "rollout/cart/prod/1").await.is_err());
    assert_eq!(store.snapshot("fold", "outbox/lust").await.unwrap(), None, "others are in it");
    for scope in ["cart/prod", "cart", ""] {
        assert!(store.beat(scope, "mark").await.is_err() && store.pulse(scope).await.is_err(), "{scope}");
    }
    assert_eq!(there.head().await.unwrap(), head, "nothing was added");

    let own = Append::of(vec![of("shop", 9_000)]).expect("rollout/shop/prod/9000", Expected::NoStream);
    store.append(own.fenced(fence("shop/prod", 4))).await.unwrap();
    store.put_snapshot("fold", "rollout/shop/prod/1", state()).await.unwrap();
    assert_eq!(store.snapshot("fold", "rollout/shop/prod/1").await.unwrap(), Some(state()));
    store.beat("shop/prod", "mark").await.unwrap();
    assert_eq!(store.pulse("shop/prod").await.unwrap(), Some("mark".into()));
}
