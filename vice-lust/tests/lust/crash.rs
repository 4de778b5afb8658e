//! A process is killed at every append that delivering makes, just before it and just after it. Whatever the point,
//! a later process delivers every message, and every copy of a message carries the same key.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use tokio::sync::Notify;
use vice_core::capability::{BackendInfo, Capabilities};
use vice_core::event::Recorded;
use vice_core::memory::MemoryEventStore;
use vice_core::port::notifier::Notifier;
use vice_core::store::{Append, Appended, EventStore, LogHead, Query, Snapshot, StreamHead, Verification};
use vice_core::{Millis, Result};
use vice_lust::payload::Queued;

use crate::receiver::Receiver;
use crate::support::{World, hold, notice, rules};

/// A history whose user is killed at its n-th append: the call never comes back.
struct Mortal {
    store: Arc<MemoryEventStore>,
    appends_left: AtomicUsize,
    /// Whether the last append still reaches the disk.
    written: bool,
    killed: Arc<Notify>,
}

#[async_trait]
impl EventStore for Mortal {
    async fn append(&self, append: Append) -> Result<Appended> {
        let left = self.appends_left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if left.is_ok() {
            return self.store.append(append).await;
        }
        if self.written {
            self.store.append(append).await?;
        }
        self.killed.notify_one();
        std::future::pending().await
    }
    fn describe(&self) -> BackendInfo {
        self.store.describe()
    }
    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }
    async fn read(&self, query: &Query) -> Result<Vec<Recorded>> {
        self.store.read(query).await
    }
    async fn head(&self) -> Result<LogHead> {
        self.store.head().await
    }
    async fn streams(&self, prefix: &str, after: &str, limit: usize) -> Result<Vec<StreamHead>> {
        self.store.streams(prefix, after, limit).await
    }
    async fn fences(&self) -> Result<BTreeMap<String, u64>> {
        self.store.fences().await
    }
    async fn snapshot(&self, fold: &str, stream: &str) -> Result<Option<Snapshot>> {
        self.store.snapshot(fold, stream).await
    }
    async fn put_snapshot(&self, fold: &str, stream: &str, snapshot: Snapshot) -> Result<()> {
        self.store.put_snapshot(fold, stream, snapshot).await
    }
    async fn wait(&self, after: u64, at_most: Millis) -> Result<LogHead> {
        self.store.wait(after, at_most).await
    }
    async fn beat(&self, scope: &str, mark: &str) -> Result<()> {
        self.store.beat(scope, mark).await
    }
    async fn pulse(&self, scope: &str) -> Result<Option<String>> {
        self.store.pulse(scope).await
    }
    async fn let_go(&self, anchor: u64) -> Result<u64> {
        self.store.let_go(anchor).await
    }
    async fn verify(&self) -> Result<Verification> {
        self.store.verify().await
    }
    async fn close(&self) -> Result<()> {
        self.store.close().await
    }
}

/// Runs `work` on a notifier until it is killed at append number `at`; false when it ended before.
async fn live_until<F: Future + Send + 'static>(
    world: &World,
    at: usize,
    written: bool,
    work: impl FnOnce(vice_lust::Lust) -> F,
) -> bool
where
    F::Output: Send,
{
    let killed = Arc::new(Notify::new());
    let (store, signal) = (world.store.clone(), killed.clone());
    let mortal = Mortal { store, appends_left: AtomicUsize::new(at), written, killed: signal };
    let process = tokio::spawn(work(world.lust_on(Arc::new(mortal))));
    let abort = process.abort_handle();
    tokio::select! {
        () = killed.notified() => { abort.abort(); true }
        ended = process => { drop(ended.unwrap()); false }
    }
}

/// Later processes deliver what is left; then every message has arrived, under one key each.
async fn everything_arrives(world: &World, receiver: &mut Receiver, messages: usize, case: &str) {
    for _ in 0..2 {
        world.clock.advance(Millis::from_secs(61));
        world.lust().pump().await.unwrap();
    }
    let mut copies: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for request in receiver.all() {
        copies.entry(request.header("idempotency-key").unwrap().to_owned()).or_default().push(request.body);
    }
    assert_eq!(copies.len(), messages, "{case}");
    for bodies in copies.values() {
        assert!(bodies.len() <= 2 && bodies.iter().all(|body| *body == bodies[0]), "{case}: {bodies:?}");
    }
    let queued = world.history::<Queued>().await;
    assert_eq!(queued.len(), messages, "{case}: nothing is queued twice");
}

#[tokio::test]
async fn killed_anywhere_a_pump_loses_nothing() {
    for written in [false, true] {
        let mut at = 0;
        loop {
            let mut receiver = Receiver::start([]).await;
            let world = World::new(&rules(&receiver.url, "\"hold\""));
            world.happen("environment/hello/dev", &hold("one")).await;
            world.happen("environment/hello/dev", &hold("two")).await;
            let killed = live_until(&world, at, written, |lust| async move { lust.pump().await.unwrap() }).await;
            everything_arrives(&world, &mut receiver, 2, &format!("append {at}, written: {written}")).await;
            if !killed {
                break;
            }
            at += 1;
        }
        assert_eq!(at, 5, "one append queues; each message is claimed and settled");
    }
}

#[tokio::test]
async fn killed_anywhere_a_posted_message_arrives_once_it_was_stored() {
    for (at, written, messages) in [(0, false, 0), (0, true, 1), (1, false, 1), (1, true, 1)] {
        let mut receiver = Receiver::start([]).await;
        let world = World::new(&rules(&receiver.url, "\"message\""));
        let posted = notice(&world, "n1");
        let work = |lust: vice_lust::Lust| async move { drop(lust.notify(posted).await) };
        assert!(live_until(&world, at, written, work).await);
        everything_arrives(&world, &mut receiver, messages, &format!("append {at}, written: {written}")).await;
    }
}
