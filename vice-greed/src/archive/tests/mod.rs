//! A history of deploys and events from outside, archived: what it says before and after, and what is left by whoever is
//! killed or has no room.

mod damage;
mod kills;
mod moving;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use serde_json::json;
use vice_core::Millis;
use vice_core::app::ProcessEnv;
use vice_core::event::{Actor, Event, Head, Payload, Recorded};
use vice_core::id::RolloutId;
use vice_core::payload::environment::{Direction, RolloutBegan, RolloutEnded, RolloutOutcome};
use vice_core::payload::history::DataArchived;
use vice_core::payload::rollout::{RolloutFinished, RolloutStepped};
use vice_core::payload::{ReleaseRef, environment_stream, rollout_stream};
use vice_core::store::{Append, EventStore, EventStoreExt, Query};
use vice_core::testkit::event_store::scope;
use vice_core::time::SystemClock;
use vice_core::{Fault, Result};

use super::{Limits, Made, Tools, archive, reunited};
use crate::backup::seal::Seals;
use crate::backup::{Vault, vault};

/// A day of these histories; one rollout begins on each.
const DAY: i64 = 86_400;

/// The kinds of history in files that can have an archive.
const KINDS: [&str; 2] = ["sqlite", "jsonl"];

fn open(kind: &str, dir: &Path) -> Arc<dyn EventStore> {
    match kind {
        "sqlite" => Arc::new(crate::SqliteStore::open(dir, Arc::new(SystemClock)).unwrap()),
        // Small segments, so that several are written anew.
        #[cfg(feature = "jsonl")]
        "jsonl" => Arc::new(crate::JsonlStore::with_segments(dir, Arc::new(|_| {}), 8 * 1024)),
        other => panic!("{other} has no archive here"),
    }
}

fn release(number: u64) -> ReleaseRef {
    let version = number.to_string();
    ReleaseRef { version, artifact: None, source: String::new(), config: None, recipe: None }
}

fn made<P: Payload>(id: String, day: i64, stream: String, payload: &P) -> Event {
    let head = Head {
        id,
        time: Timestamp::from_second(day * DAY).unwrap(),
        stream,
        scope: Some(scope("shop", "prod")),
        actor: Actor::system("test"),
        chain_id: None,
    };
    Event::new(head, payload).unwrap()
}

/// A rollout that went well, with steps of some size, and an event from outside beside it.
fn deploy(number: u64) -> Vec<Event> {
    let (scope, day) = (scope("shop", "prod"), i64::try_from(number).unwrap());
    let rollout = RolloutId { scope: scope.clone(), number };
    let (environment, journal) = (environment_stream(&scope), rollout_stream(&rollout));
    let (outcome, took, running) = (RolloutOutcome::Succeeded, Millis(5), Some(release(number)));
    let began = RolloutBegan {
        rollout: rollout.clone(),
        direction: Direction::Deploy,
        from: None,
        to: release(number),
        reason: None,
    };
    let mut events = vec![made(format!("{number}.began"), day, environment.clone(), &began)];
    for step in 1..=4 {
        let stepped = RolloutStepped {
            rollout: rollout.clone(),
            step,
            now: Timestamp::UNIX_EPOCH,
            inputs: json!(["x".repeat(300 + usize::try_from(number).unwrap() * 7)]),
            effects: json!([]),
            notes: vec![],
        };
        events.push(made(format!("{number}.{step}"), day, journal.clone(), &stepped));
    }
    let (to, reason) = (release(number), None);
    let finished =
        RolloutFinished { rollout: rollout.clone(), outcome, to, running: running.clone(), reason: None, took };
    events.push(made(format!("{number}.finished"), day, journal, &finished));
    let ended = RolloutEnded { rollout, outcome, running, proven: true, reason, took, split: false };
    events.push(made(format!("{number}.ended"), day, environment, &ended));
    events.push(outside(number, day));
    events
}

fn outside(number: u64, day: i64) -> Event {
    Event {
        id: format!("outside.{number}"),
        source: "https://ci.example".to_owned(),
        kind: "com.example.built".to_owned(),
        subject: "shop".to_owned(),
        time: Timestamp::from_second(day * DAY).unwrap(),
        stream: "inbox/shop/prod".to_owned(),
        scope: Some(scope("shop", "prod")),
        actor: Actor::system("test"),
        data: json!({ "n": number, "text": "y".repeat(200) }).to_string(),
    }
}

/// The number of rollouts of [`fill`]: the last runs, the twenty before can be gone back to, nine are over.
const ROLLOUTS: u64 = 30;

pub(crate) async fn fill(store: &dyn EventStore) {
    for number in 1..=ROLLOUTS {
        store.append(Append::of(deploy(number))).await.unwrap();
    }
}

fn day(number: i64) -> Timestamp {
    Timestamp::from_second(number * DAY).unwrap()
}

/// Everything from before the 16th day may go, if nothing needs it.
fn limits() -> Limits {
    Limits { before: day(16), keep: 3 }
}

/// Of these nine rollouts five events each, and of fifteen days one from outside.
pub(crate) const GO: u64 = 9 * 5 + 15;

struct Bench {
    dir: tempfile::TempDir,
    kind: &'static str,
    said: Arc<Mutex<Vec<String>>>,
}

impl Bench {
    fn new(kind: &'static str) -> Self {
        Self { dir: tempfile::tempdir().unwrap(), kind, said: Arc::default() }
    }

    async fn filled(kind: &'static str) -> Self {
        let bench = Self::new(kind);
        let store = bench.raw();
        fill(&*store).await;
        store.close().await.unwrap();
        bench
    }

    fn raw(&self) -> Arc<dyn EventStore> {
        open(self.kind, self.dir.path())
    }

    fn whole(&self) -> Arc<dyn EventStore> {
        let said = Arc::clone(&self.said);
        let notices: crate::Notices = Arc::new(move |text: &str| said.lock().unwrap().push(text.to_owned()));
        reunited(self.raw(), &Arc::new(ProcessEnv::default()), &notices)
    }

    fn archive_dir(&self) -> PathBuf {
        self.dir.path().join("place")
    }

    fn place(&self) -> String {
        format!("file://{}", self.archive_dir().display())
    }
}

/// Everything but what the history says of itself.
pub(crate) async fn told(store: &dyn EventStore) -> Vec<Recorded> {
    let mut all = store.read_all(Query::default()).await.unwrap();
    all.retain(|recorded| recorded.event.kind != DataArchived::KIND);
    all
}

pub(crate) fn without_data(events: &[Recorded]) -> u64 {
    events.iter().filter(|recorded| !recorded.event.has_data()).count() as u64
}

/// Numbers the events that name files, which no two runs may share.
fn naming(run: u64) -> impl Fn(&DataArchived) -> Result<Event> + Send + Sync {
    let next = std::sync::atomic::AtomicU64::new(0);
    move |archived: &DataArchived| {
        let id = format!("archived.{run}.{}", next.fetch_add(1, std::sync::atomic::Ordering::SeqCst));
        let head = Head {
            id,
            time: day(100),
            stream: vice_core::payload::history::HISTORY_STREAM.to_owned(),
            scope: None,
            actor: Actor::system("test"),
            chain_id: None,
        };
        Event::new(head, archived)
    }
}

async fn run(store: &dyn EventStore, vault: &dyn Vault, place: &str, run: u64) -> Result<Made, Fault> {
    let scratch = tempfile::tempdir().unwrap();
    let seals = Seals::new(&[], &ProcessEnv::default()).unwrap();
    let event = naming(run);
    let tools = Tools { store, vault, place, seals: &seals, scratch: scratch.path(), event: &event };
    archive(&tools, limits()).await
}

async fn run_whole(bench: &Bench, number: u64) -> Result<Made, Fault> {
    let (store, place) = (bench.whole(), bench.place());
    let vault = vault(&place, &ProcessEnv::default()).unwrap();
    let made = run(&*store, &*vault, &place, number).await;
    store.close().await.unwrap();
    made
}

/// Archives into a folder.
pub(crate) async fn archive_once(store: &dyn EventStore, place: &Path, number: u64) -> Result<Made, Fault> {
    let place = format!("file://{}", place.display());
    let vault = vault(&place, &ProcessEnv::default()).unwrap();
    run(store, &*vault, &place, number).await
}

async fn sound(store: &dyn EventStore) {
    assert_eq!(store.verify().await.unwrap().problems, Vec::<String>::new());
}
