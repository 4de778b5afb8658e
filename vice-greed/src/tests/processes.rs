//! Several processes on one history, and what a SIGKILL leaves behind. The child is this test binary, started anew.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use vice_core::Millis;
use vice_core::store::{Append, Query};
use vice_core::testkit::event_store::event;

use super::Kind;

const CHILD_KIND: &str = "GREED_TEST_CHILD_KIND";
const CHILD_DIR: &str = "GREED_TEST_CHILD_DIR";
const CHILD_RUN: &str = "GREED_TEST_CHILD_RUN";
const CHILD_COUNT: &str = "GREED_TEST_CHILD_COUNT";

#[expect(clippy::disallowed_methods, reason = "a test of what another process does starts one")]
fn child(kind: Kind, dir: &Path, run: &str, count: u32) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "tests::processes::the_child_writes", "--nocapture", "--test-threads=1"])
        .env(CHILD_KIND, kind.name())
        .env(CHILD_DIR, dir)
        .env(CHILD_RUN, run)
        .env(CHILD_COUNT, count.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[expect(clippy::disallowed_methods, reason = "the child is told by variables what to do")]
fn told(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// What the child does: several writers, each printing the ids that were acknowledged to it. As a test of its own it
/// writes into a folder of its own.
#[tokio::test]
async fn the_child_writes() {
    let own = tempfile::tempdir().unwrap();
    let dir = told(CHILD_DIR).map_or_else(|| own.path().to_owned(), Into::into);
    let run = told(CHILD_RUN).unwrap_or_else(|| "own".to_owned());
    let count: u32 = told(CHILD_COUNT).map_or(3, |count| count.parse().unwrap());
    let kind = told(CHILD_KIND).map_or(Kind::Sqlite, |name| Kind::named(&name));
    let store = kind.open(&dir);
    let writer = async |writer: u32| {
        for n in 0..count {
            let id = format!("{run}.{writer}.{n}");
            store.append(Append::of(vec![event(&id, &format!("w/{writer}"))])).await.unwrap();
            let mut out = std::io::stdout().lock();
            writeln!(out, "ack {id} end").unwrap();
            out.flush().unwrap();
        }
    };
    futures::future::join_all((0..4).map(writer)).await;
    assert!(store.head().await.unwrap().seq >= u64::from(count) * 4);
    store.close().await.unwrap();
}

/// The id of an acknowledgement that arrived whole.
fn acknowledged(line: &str) -> Option<String> {
    let (_, rest) = line.split_once("ack ")?;
    rest.strip_suffix(" end").map(str::to_owned)
}

async fn stored(kind: Kind, dir: &Path) -> HashSet<String> {
    let store = kind.open(dir);
    let found = store.verify().await.unwrap();
    assert_eq!(found.problems, Vec::<String>::new());
    let events = store.read(&Query::default()).await.unwrap();
    assert!(events.iter().zip(1..).all(|(recorded, seq)| recorded.seq == seq), "the log has a gap");
    events.into_iter().map(|recorded| recorded.event.id).collect()
}

#[tokio::test]
async fn two_processes_write_at_once_and_lose_nothing() {
    for kind in Kind::ALL {
        two_processes(kind).await;
    }
}

async fn two_processes(kind: Kind) {
    let dir = tempfile::tempdir().unwrap();
    let count = if kind.is_in_files() { 50 } else { 6 };
    let (one, two) = (child(kind, dir.path(), "one", count), child(kind, dir.path(), "two", count));
    let store = kind.open(dir.path());
    let mut expected = HashSet::new();
    for n in 0..count {
        let id = format!("parent.{n}");
        store.append(Append::of(vec![event(&id, "w/0")])).await.unwrap();
        expected.insert(id);
    }
    for process in [one, two] {
        let output = process.wait_with_output().unwrap();
        assert!(output.status.success());
        expected.extend(String::from_utf8(output.stdout).unwrap().lines().filter_map(acknowledged));
    }
    assert_eq!(u32::try_from(expected.len()), Ok(9 * count));
    assert_eq!(stored(kind, dir.path()).await, expected);
}

#[tokio::test]
async fn a_killed_writer_loses_no_acknowledged_event() {
    for kind in Kind::ALL {
        killed_writers(kind).await;
    }
}

async fn killed_writers(kind: Kind) {
    let dir = tempfile::tempdir().unwrap();
    let mut expected = HashSet::new();
    // A push takes a hundred times as long as a sync.
    let rounds = if kind.is_in_files() { 20 } else { 3 };
    for round in 0..rounds {
        let mut process = child(kind, dir.path(), &round.to_string(), 1_000_000);
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        // The kill comes after so many acknowledgements, another number each round.
        let wanted = 1 + (round * 37) % 90;
        let mut seen = 0;
        while seen < wanted {
            let line = lines.next().expect("the child goes on until it is killed").unwrap();
            if let Some(id) = acknowledged(&line) {
                seen += 1;
                expected.insert(id);
            }
        }
        process.kill().unwrap();
        expected.extend(lines.map_while(Result::ok).filter_map(|line| acknowledged(&line)));
        process.wait().unwrap();
    }
    let stored = stored_all(kind, dir.path()).await;
    let lost: Vec<&String> = expected.difference(&stored).collect();
    assert_eq!(lost, Vec::<&String>::new(), "acknowledged events are lost");
}

/// As [`stored`], for a history of any length.
async fn stored_all(kind: Kind, dir: &Path) -> HashSet<String> {
    use vice_core::store::EventStoreExt;
    let store = kind.open(dir);
    assert_eq!(store.verify().await.unwrap().problems, Vec::<String>::new());
    let events = store.read_all(Query::default()).await.unwrap();
    events.into_iter().map(|recorded| recorded.event.id).collect()
}

#[tokio::test]
async fn waiting_sees_what_another_process_appends() {
    for kind in Kind::ALL {
        let dir = tempfile::tempdir().unwrap();
        let (here, there) = (kind.open(dir.path()), kind.open(dir.path()));
        let hour = Millis::from_secs(3600);
        let (woken, _) = futures::join!(here.wait(0, hour), there.append(Append::of(vec![event("a", "s/1")])));
        assert_eq!(woken.unwrap().seq, 1);
    }
}

#[tokio::test]
async fn conditions_hold_between_processes() {
    for kind in Kind::ALL {
        conditions_hold(kind).await;
    }
}

async fn conditions_hold(kind: Kind) {
    use vice_core::store::Expected;
    let dir = tempfile::tempdir().unwrap();
    let stores = [kind.open(dir.path()), kind.open(dir.path())];
    let mut won = 0;
    let rounds: u64 = if kind.is_in_files() { 30 } else { 8 };
    for round in 0..rounds {
        let claim = |n: usize| {
            let event = event(&format!("{round}.{n}"), "claim");
            stores[n].append(Append::of(vec![event]).expect("claim", Expected::from_version(round)))
        };
        let (one, two) = futures::join!(claim(0), claim(1));
        won += u64::from(one.is_ok()) + u64::from(two.is_ok());
        assert_eq!(won, round + 1, "exactly one of two gets each version");
    }
}
