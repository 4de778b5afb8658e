//! A process is killed at every append that delivering makes, just before it and just after it. Whatever the point,
//! a later process delivers every message, and every copy of a message carries the same key.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use tokio::sync::Notify;
use vice_core::memory::MemoryEventStore;
use vice_core::port::notifier::Notifier;
use vice_core::store::{Append, Appended, EventStore, StoreLayer};
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
impl StoreLayer for Mortal {
    fn inner(&self) -> &dyn EventStore {
        &*self.store
    }
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
