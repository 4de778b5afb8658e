//! A history in a stream of a real NATS server: the suites, two machines, what dies in between, what somebody altered.

use std::path::Path;
use std::sync::{Arc, Mutex};

use async_nats::jetstream;
use vice_core::Code;
use vice_core::app::ProcessEnv;
use vice_core::capability::Capability;
use vice_core::store::{Append, EventStore, Expected, Query};
use vice_core::testkit::event_store::{self, event};
use vice_core::time::SystemClock;

use crate::place::{Opening, StorePlace};

#[expect(clippy::disallowed_methods, reason = "the lab says by variables where its server is")]
fn lab(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run scripts/test, which starts the NATS server"))
}

/// A stream that no other run has.
fn stream(dir: &Path) -> String {
    dir.file_name().unwrap().to_string_lossy().replace('.', "")
}

fn opening(state: &Path, said: &Arc<Mutex<Vec<String>>>) -> Opening {
    rustls::crypto::ring::default_provider().install_default().ok();
    let said = Arc::clone(said);
    Opening {
        clock: Arc::new(SystemClock),
        env: Arc::new(ProcessEnv::default()),
        notices: Arc::new(move |text| said.lock().unwrap().push(text.to_owned())),
        state: state.to_owned(),
    }
}

fn open(url: &str, state: &Path) -> Arc<dyn EventStore> {
    StorePlace::parse(url, state).unwrap().open(&opening(state, &Arc::default())).unwrap()
}

fn url(dir: &Path) -> String {
    format!("{}/{}?sync=always", lab("VICE_LAB_NATS"), stream(dir))
}

async fn raw(dir: &Path) -> (jetstream::Context, String) {
    let client = async_nats::connect(lab("VICE_LAB_NATS")).await.unwrap();
    (jetstream::new(client), stream(dir))
}

#[tokio::test]
async fn nobody_there_is_said_and_costs_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let store = open(&format!("nats://127.0.0.1:{port}/x"), dir.path());
    let fault = store.append(Append::of(vec![event("a", "s/1")])).await.unwrap_err();
    assert_eq!(fault.code(), Code::Unreachable, "{fault:?}");
    assert!(!store.capabilities().has(Capability::Durable), "nobody said that it syncs always");
}

#[tokio::test]
async fn lab_nats_history_conforms() {
    let dirs = std::cell::RefCell::new(Vec::new());
    let make = async || {
        let dir = tempfile::tempdir().unwrap();
        let store = open(&url(dir.path()), dir.path());
        dirs.borrow_mut().push(dir);
        store
    };
    event_store::suite(make).await;
    let dir = tempfile::tempdir().unwrap();
    event_store::durable_suite(async || open(&url(dir.path()), dir.path())).await;
}

#[tokio::test]
async fn lab_nats_history_has_one_winner_of_two_machines() {
    let dir = tempfile::tempdir().unwrap();
    let url = url(dir.path());
    let machines = [open(&url, &dir.path().join("1")), open(&url, &dir.path().join("2"))];
    let mut won = 0;
    for round in 0..40_u64 {
        let claim = |n: usize| {
            let event = event(&format!("{round}.{n}"), "claim");
            machines[n].append(Append::of(vec![event]).expect("claim", Expected::from_version(round)))
        };
        let (one, two) = futures::join!(claim(0), claim(1));
        won += u64::from(one.is_ok()) + u64::from(two.is_ok());
        assert_eq!(won, round + 1, "exactly one of two gets each version");
    }
    let found = open(&url, &dir.path().join("3")).verify().await.unwrap();
    assert_eq!((found.events, found.problems), (40, Vec::new()));
}

#[tokio::test]
async fn lab_nats_history_takes_batches_larger_than_a_message() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&url(dir.path()), &dir.path().join("1"));
    let mut events: Vec<_> = (0..5).map(|n| event(&format!("large {n}"), "s/1")).collect();
    for event in &mut events {
        event.data = format!("\"{}\"", "x".repeat(900_000));
    }
    store.append(Append::of(events.clone())).await.unwrap();
    // A writer that died after its first part: whoever comes next writes behind it.
    let (context, name) = raw(dir.path()).await;
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Vice-Part", "1/2");
    context.publish_with_headers(format!("vice.{name}.history"), headers, "torn".into()).await.unwrap().await.unwrap();
    let other = open(&url(dir.path()), &dir.path().join("2"));
    other.append(Append::of(vec![event("behind", "s/1")])).await.unwrap();
    let third = open(&url(dir.path()), &dir.path().join("3"));
    let found = third.read(&Query::default()).await.unwrap();
    assert_eq!(
        found.iter().map(|recorded| &recorded.event).take(5).collect::<Vec<_>>(),
        events.iter().collect::<Vec<_>>()
    );
    assert_eq!(found.len(), 6);
    assert_eq!(store.verify().await.unwrap().problems, Vec::<String>::new());
}

#[tokio::test]
async fn lab_nats_history_that_was_altered_or_shortened_is_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&url(dir.path()), &dir.path().join("1"));
    for id in ["a", "b", "c"] {
        store.append(Append::of(vec![event(id, "s/1")])).await.unwrap();
    }
    store.close().await.unwrap();
    let (context, name) = raw(dir.path()).await;
    let source = context.get_stream(&name).await.unwrap();
    let mut messages = Vec::new();
    for sequence in 1..=3 {
        messages.push(source.get_raw_message(sequence).await.unwrap().payload.to_vec());
    }
    let config = source.cached_info().config.clone();
    // Whoever owns the server can make a stream of the same name with other content.
    let altered = String::from_utf8(messages[1].clone()).unwrap().replace("thing-b", "thing-z").into_bytes();
    assert_ne!(altered, messages[1]);
    for (content, said) in [
        (vec![messages[0].clone(), messages[1].clone()], "ends at message 2"),
        (vec![messages[0].clone(), altered, messages[2].clone()], "The batch 2"),
    ] {
        context.delete_stream(&name).await.unwrap();
        context.create_stream(config.clone()).await.unwrap();
        for message in content {
            context.publish(format!("vice.{name}.history"), message.into()).await.unwrap().await.unwrap();
        }
        let again = open(&url(dir.path()), &dir.path().join("1"));
        let problems = again.verify().await.unwrap().problems.join(" ");
        assert!(problems.contains(said), "{problems}");
    }
}

/// A server of the test's own, which it can stop.
#[expect(clippy::disallowed_methods, reason = "the test stops and starts the server")]
pub(crate) fn server(dir: &Path, port: u16) -> std::process::Child {
    let data = dir.join("data");
    std::process::Command::new(lab("VICE_LAB_NATS_SERVER"))
        .args(["-js", "-a", "127.0.0.1", "-p", &port.to_string(), "-sd"])
        .arg(data)
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap()
}

#[tokio::test]
async fn lab_nats_history_goes_on_when_its_server_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut process = server(dir.path(), port);
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {}
    let store = open(&format!("nats://127.0.0.1:{port}/shop?sync=always"), &dir.path().join("1"));
    // JetStream is up a moment after the port.
    while store.append(Append::of(vec![event("a", "s/1")])).await.is_err() {}
    process.kill().unwrap();
    process.wait().unwrap();
    for _ in 0..3 {
        let fault = store.append(Append::of(vec![event("away", "s/1")])).await.unwrap_err();
        assert_eq!(fault.code(), Code::Unreachable, "{fault:?}");
        assert!(!fault.hints().is_empty(), "{fault:?}");
    }
    let mut process = server(dir.path(), port);
    while store.append(Append::of(vec![event("b", "s/1")])).await.is_err() {}
    let found = store.verify().await.unwrap();
    assert_eq!((found.events, found.problems), (2, Vec::new()), "what was refused was not written later");
    process.kill().unwrap();
    process.wait().unwrap();
}

#[tokio::test]
async fn lab_nats_history_refuses_a_stream_that_forgets_and_warns_of_a_server_that_syncs_late() {
    let dir = tempfile::tempdir().unwrap();
    let (context, name) = raw(dir.path()).await;
    let config = jetstream::stream::Config {
        name: name.clone(),
        subjects: vec![format!("vice.{name}.history")],
        max_messages: 10,
        ..Default::default()
    };
    context.create_stream(config).await.unwrap();
    let fault = open(&url(dir.path()), dir.path()).append(Append::of(vec![event("a", "s/1")])).await.unwrap_err();
    assert_eq!(fault.code(), Code::Unsupported, "{fault:?}");

    let (nats, monitor) = (lab("VICE_LAB_NATS"), lab("VICE_LAB_NATS_MONITOR"));
    for (number, (behind, warned)) in
        [("", 1), ("?sync=always", 0), (&*format!("?monitor={monitor}"), 0), ("?monitor=http://127.0.0.1:1", 1)]
            .iter()
            .enumerate()
    {
        let said = Arc::default();
        let state = dir.path().join(number.to_string());
        let place = StorePlace::parse(&format!("{nats}/{name}-{number}{behind}"), &state).unwrap();
        let store = place.open(&opening(&state, &said)).unwrap();
        for id in ["a", "b"] {
            store.append(Append::of(vec![event(id, "s/1")])).await.unwrap();
        }
        assert_eq!(said.lock().unwrap().len(), *warned, "{behind}: {:?}", said.lock().unwrap());
    }
}

#[tokio::test]
async fn lab_nats_takes_a_copy_of_a_history_and_gives_it_back() {
    let dir = tempfile::tempdir().unwrap();
    let from = crate::tests::Kind::Sqlite.open(&dir.path().join("from"));
    crate::tests::copy::fill(&*from, 1, 151).await;
    let there = open(&url(dir.path()), &dir.path().join("machine"));
    let told = crate::cmd::Told::default();
    let copied = crate::copy::copy(&*from, &*there, &told).await.unwrap();
    assert_eq!((copied.head.seq, copied.found, copied.epochs), (300, 0, 3));
    crate::tests::copy::same(&*from, &*there).await;
    // Another machine, which has seen nothing of it, reads the same and brings it back into files.
    let other = open(&url(dir.path()), &dir.path().join("other"));
    let back = crate::tests::Kind::Sqlite.open(&dir.path().join("back"));
    crate::copy::copy(&*other, &*back, &told).await.unwrap();
    crate::tests::copy::same(&*from, &*back).await;
    assert_eq!(other.let_go(1).await.unwrap_err().code(), Code::Unsupported);
}
