//! The history in memory: nothing survives the process, everything else is as in every store. Deterministic.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use futures::channel::oneshot;

use crate::capability::{BackendInfo, Capabilities, Capability};
use crate::chain::{Chainer, Header};
use crate::digest::Digest;
use crate::event::{Event, Recorded};
use crate::fault::{Fault, Result};
use crate::store::{Append, Appended, EventStore, LogHead, Order, Query, Snapshot, StreamHead, Verification};
use crate::time::Millis;

/// A history in memory.
#[derive(Debug, Default)]
pub struct MemoryEventStore {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    log: Mutex<Log>,
    grown: Condvar,
}

#[derive(Debug, Default)]
struct Log {
    events: Vec<Recorded>,
    /// Position in `events` by source and id.
    known: HashMap<(String, String), usize>,
    streams: BTreeMap<String, u64>,
    fences: BTreeMap<String, u64>,
    snapshots: BTreeMap<(String, String), Snapshot>,
    beats: BTreeMap<String, String>,
}

impl Shared {
    /// A test that panicked elsewhere must not make every later one fail: each change below is made at once or not at all.
    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log {
    fn head(&self) -> LogHead {
        let last = self.events.last();
        LogHead { seq: last.map_or(0, |last| last.seq), chain: last.map_or(Digest::ZERO, |last| last.chain) }
    }

    fn version(&self, stream: &str) -> u64 {
        self.streams.get(stream).copied().unwrap_or(0)
    }

    /// Where the event is already.
    fn find(&self, event: &Event) -> Result<Option<&Recorded>> {
        let Some(at) = self.known.get(&(event.source.clone(), event.id.clone())) else { return Ok(None) };
        let recorded = &self.events[*at];
        if recorded.event.same_content(event) { Ok(Some(recorded)) } else { Err(Fault::other_content(event)) }
    }

    /// Where all the events are already, if they all are.
    fn repeated(&self, events: &[Event]) -> Result<Option<Appended>> {
        let mut found = Appended { seqs: Vec::new(), versions: Vec::new(), duplicates: events.len() };
        let mut all = !events.is_empty();
        for event in events {
            match self.find(event)? {
                Some(recorded) => {
                    found.seqs.push(recorded.seq);
                    found.versions.push(recorded.version);
                }
                None => all = false,
            }
        }
        Ok(all.then_some(found))
    }

    fn check(&self, append: &Append) -> Result<()> {
        if let Some(fence) = &append.fence {
            let highest = self.fences.get(&fence.scope).copied().unwrap_or(0);
            if fence.epoch < highest {
                return Err(Fault::fenced(fence, highest));
            }
        }
        for (stream, expected) in &append.conditions {
            let version = self.version(stream);
            if !expected.holds(version) {
                return Err(Fault::unexpected(stream, *expected, version));
            }
        }
        // Two events of one append may have the same id: then the second repeats the first, or nothing is written.
        for (index, event) in append.events.iter().enumerate() {
            let earlier = &append.events[..index];
            let twin = earlier.iter().find(|other| other.id == event.id && other.source == event.source);
            if twin.is_some_and(|twin| !twin.same_content(event)) {
                return Err(Fault::other_content(event));
            }
        }
        Ok(())
    }

    fn append(&mut self, append: Append) -> Result<Appended> {
        append.events.iter().try_for_each(Event::check)?;
        if let Some(repeated) = self.repeated(&append.events)? {
            return Ok(repeated);
        }
        self.check(&append)?;
        if let Some(fence) = append.fence {
            self.fences.insert(fence.scope, fence.epoch);
        }
        let mut appended = Appended { seqs: Vec::new(), versions: Vec::new(), duplicates: 0 };
        for event in append.events {
            let (seq, version) = match self.find(&event)? {
                Some(recorded) => {
                    appended.duplicates += 1;
                    (recorded.seq, recorded.version)
                }
                None => self.push(event),
            };
            appended.seqs.push(seq);
            appended.versions.push(version);
        }
        Ok(appended)
    }

    fn push(&mut self, event: Event) -> (u64, u64) {
        let head = self.head();
        let (seq, version) = (head.seq + 1, self.version(&event.stream) + 1);
        let body = Digest::of(event.data.as_bytes());
        let chain = Chainer::default().link(&head.chain, &Header::of(&event, seq, version), &body);
        self.streams.insert(event.stream.clone(), version);
        self.known.insert((event.source.clone(), event.id.clone()), self.events.len());
        self.events.push(Recorded { seq, version, chain, event });
        (seq, version)
    }
}

#[async_trait]
impl EventStore for MemoryEventStore {
    fn describe(&self) -> BackendInfo {
        BackendInfo { kind: "memory", location: "memory".into(), shared: false }
    }

    fn capabilities(&self) -> Capabilities {
        use Capability::{Beats, ConditionalAppend, Query, Snapshots, Subscribe, Verify};
        Capabilities::of([ConditionalAppend, Query, Subscribe, Snapshots, Verify, Beats])
    }

    async fn append(&self, append: Append) -> Result<Appended> {
        let appended = self.shared.log().append(append)?;
        self.shared.grown.notify_all();
        Ok(appended)
    }

    async fn read(&self, query: &Query) -> Result<Vec<Recorded>> {
        let log = self.shared.log();
        let fitting = |recorded: &&Recorded| query.matches(recorded);
        Ok(match query.order {
            Order::Forward => log.events.iter().filter(fitting).take(query.page()).cloned().collect(),
            Order::Backward => log.events.iter().rev().filter(fitting).take(query.page()).cloned().collect(),
        })
    }

    async fn head(&self) -> Result<LogHead> {
        Ok(self.shared.log().head())
    }

    async fn streams(&self, prefix: &str, after: &str, limit: usize) -> Result<Vec<StreamHead>> {
        let log = self.shared.log();
        let fitting = log.streams.iter().filter(|(name, _)| name.starts_with(prefix) && name.as_str() > after);
        Ok(fitting.take(limit).map(|(name, version)| StreamHead { name: name.clone(), version: *version }).collect())
    }

    async fn fences(&self) -> Result<BTreeMap<String, u64>> {
        Ok(self.shared.log().fences.clone())
    }

    async fn snapshot(&self, fold: &str, stream: &str) -> Result<Option<Snapshot>> {
        Ok(self.shared.log().snapshots.get(&(fold.to_owned(), stream.to_owned())).cloned())
    }

    async fn put_snapshot(&self, fold: &str, stream: &str, snapshot: Snapshot) -> Result<()> {
        self.shared.log().snapshots.insert((fold.to_owned(), stream.to_owned()), snapshot);
        Ok(())
    }

    async fn wait(&self, after: u64, at_most: Millis) -> Result<LogHead> {
        let head = self.shared.log().head();
        if head.seq > after || at_most == Millis::ZERO {
            return Ok(head);
        }
        // The core has no runtime and so no timer; a thread that sleeps on the condition has both in one.
        let shared = Arc::clone(&self.shared);
        let (answer, answered) = oneshot::channel();
        std::thread::spawn(move || {
            let log = shared.log();
            let until_grown =
                shared.grown.wait_timeout_while(log, at_most.as_duration(), |log| log.head().seq <= after);
            let (log, _) = until_grown.unwrap_or_else(PoisonError::into_inner);
            // Nobody listens any more when the caller has given up, and then nobody misses the answer.
            answer.send(log.head()).ok();
        });
        answered.await.map_err(|_| Fault::internal("The thread that waits for events has ended."))
    }

    async fn beat(&self, scope: &str, mark: &str) -> Result<()> {
        self.shared.log().beats.insert(scope.to_owned(), mark.to_owned());
        Ok(())
    }

    async fn pulse(&self, scope: &str) -> Result<Option<String>> {
        Ok(self.shared.log().beats.get(scope).cloned())
    }

    async fn let_go(&self, _: u64) -> Result<u64> {
        Err(Fault::unsupported("memory", "archiving"))
    }

    async fn verify(&self) -> Result<Verification> {
        let log = self.shared.log();
        let (mut chainer, mut previous, mut problems) = (Chainer::default(), Digest::ZERO, Vec::new());
        for recorded in &log.events {
            let body = Digest::of(recorded.event.data.as_bytes());
            let header = Header::of(&recorded.event, recorded.seq, recorded.version);
            if chainer.link(&previous, &header, &body) != recorded.chain {
                problems.push(format!("Event {} does not fit into the chain.", recorded.seq));
            }
            previous = recorded.chain;
        }
        Ok(Verification { events: log.head().seq, head: log.head(), problems })
    }

    async fn close(&self) -> Result<()> {
        Ok(())
    }
}
