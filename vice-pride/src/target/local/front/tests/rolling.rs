//! Instances come and go under load; no request may notice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::net::TcpStream;
use tokio::sync::{Notify, oneshot, watch};
use vice_core::Millis;

use super::super::{Front, Upstream};
use super::support::*;

const CLIENTS: usize = 6;
const REQUESTS_MIN: usize = 10_000;

/// What the clients saw, all together.
#[derive(Default)]
struct Seen {
    good: AtomicUsize,
    failed: AtomicUsize,
    resets: AtomicUsize,
}

/// Keeps one connection busy with GET and POST until told to stop. A lost connection counts as a reset and is opened
/// again, so that every failure is counted and none hides the next.
async fn load(addr: std::net::SocketAddr, seen: Arc<Seen>, progress: watch::Sender<usize>, stop: Arc<AtomicBool>) {
    let mut client = Raw::connect(addr).await;
    let mut turn = 0usize;
    while !stop.load(Ordering::SeqCst) {
        turn += 1;
        let body = vec![b'a' + u8::try_from(turn % 26).unwrap(); (turn * 997) % 20_000];
        let posts = turn.is_multiple_of(2);
        let request = if posts { post(&body) } else { GET.as_bytes().to_vec() };
        let sent = tokio::io::AsyncWriteExt::write_all(&mut client.stream, &request).await;
        match client.message().await {
            Some(response) if sent.is_ok() => {
                let wanted = if posts { &body[..] } else { b"" };
                let right = response.status() == 200 && response.body == wanted;
                if right { &seen.good } else { &seen.failed }.fetch_add(1, Ordering::SeqCst);
            }
            _ => {
                seen.resets.fetch_add(1, Ordering::SeqCst);
                client = Raw::connect(addr).await;
            }
        }
        progress.send_modify(|done| *done += 1);
    }
}

async fn after(progress: &mut watch::Receiver<usize>, more: usize) {
    let goal = *progress.borrow() + more;
    progress.wait_for(|done| *done >= goal).await.unwrap();
}

async fn echo() -> Backend {
    Backend::answering(|request| ok(&request.body)).await
}

fn instance(index: usize, version: &str, backend: &Backend) -> Upstream {
    Upstream { id: format!("{index}@{version}"), addr: backend.addr, weight: 1, version: version.to_owned() }
}

/// Replaces every instance, one by one, as a rollout does; the old process is killed as soon as its drain has ended.
async fn roll(
    front: &Front,
    running: &mut [(Upstream, Backend)],
    version: &str,
    progress: &mut watch::Receiver<usize>,
) {
    for index in 0..running.len() {
        let new = echo().await;
        let new = (instance(index, version, &new), new);
        let mut table: Vec<_> = running.iter().map(|(upstream, _)| upstream.clone()).collect();
        table.push(new.0.clone());
        front.set_table(table.clone());
        after(progress, 200).await;
        let (old, process) = std::mem::replace(&mut running[index], new);
        assert_eq!(front.drain(&old.id, Millis::from_secs(60)).await.in_flight_left, 0);
        process.kill().await;
        after(progress, 50).await;
        table.retain(|upstream| *upstream != old);
        front.set_table(table);
        after(progress, 200).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_instances_are_replaced_and_rolled_back_under_load_without_a_failed_request() {
    let mut running = Vec::new();
    for index in 0..4 {
        let backend = echo().await;
        running.push((instance(index, "1", &backend), backend));
    }
    let front = front(running.iter().map(|(upstream, _)| upstream.clone()).collect()).await;
    let (progress, mut progressed) = watch::channel(0);
    let (seen, stop) = (Arc::new(Seen::default()), Arc::new(AtomicBool::new(false)));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| tokio::spawn(load(front.local_addr(), Arc::clone(&seen), progress.clone(), Arc::clone(&stop))))
        .collect();

    roll(&front, &mut running, "2", &mut progressed).await;
    roll(&front, &mut running, "1b", &mut progressed).await;
    progressed.wait_for(|done| *done >= REQUESTS_MIN).await.unwrap();
    stop.store(true, Ordering::SeqCst);
    for client in clients {
        client.await.unwrap();
    }

    let (failed, resets) = (seen.failed.load(Ordering::SeqCst), seen.resets.load(Ordering::SeqCst));
    let good = seen.good.load(Ordering::SeqCst);
    assert_eq!((failed, resets), (0, 0), "of {good} good requests");
    assert!(good >= REQUESTS_MIN);
    let counts = front.counts();
    assert_eq!(counts.len(), 12);
    assert_eq!(counts.iter().map(|it| it.status_2xx).sum::<u64>(), good as u64);
    assert_eq!(counts.iter().map(|it| it.connect_failures + it.upstream_errors).sum::<u64>(), 0);
    assert!(counts.iter().all(|it| it.requests > 0), "every instance has served");
}

/// A backend that says when a request has come, and answers when told to.
async fn held() -> (Backend, Arc<Notify>, oneshot::Sender<()>) {
    let (release, released) = oneshot::channel();
    let released = std::sync::Mutex::new(Some(released));
    let arrived = Arc::new(Notify::new());
    let notify = Arc::clone(&arrived);
    let backend = Backend::start(move |mut raw| {
        let (notify, released) = (Arc::clone(&notify), released.lock().unwrap().take().unwrap());
        async move {
            raw.message().await.unwrap();
            notify.notify_one();
            released.await.unwrap();
            raw.send(ok("late")).await;
            raw.until(b"never").await;
        }
    })
    .await;
    (backend, arrived, release)
}

#[tokio::test]
async fn a_drain_waits_for_what_is_in_flight_and_closes_what_is_idle() {
    let (old, arrived, release) = held().await;
    let new = Backend::named("new").await;
    let front = Arc::new(front(vec![upstream("old", old.addr, 1), upstream("new", new.addr, 0)]).await);
    let mut client = Raw::connect(front.local_addr()).await;
    client.send(post(b"body")).await;
    arrived.notified().await;

    // Weights change while the request is in flight.
    front.set_table(vec![upstream("old", old.addr, 0), upstream("new", new.addr, 1)]);
    let mut other = Raw::connect(front.local_addr()).await;
    assert_eq!(other.ask(GET).await.text(), "new");
    assert_eq!(front.drain("old", Millis(10)).await.in_flight_left, 1);

    // The upstream is removed while the request is in flight; its drain goes on.
    front.set_table(vec![upstream("new", new.addr, 1)]);
    assert_eq!(front.drain("old", Millis(10)).await.in_flight_left, 1);
    let draining = tokio::spawn({
        let front = Arc::clone(&front);
        async move { front.drain("old", Millis::from_secs(60)).await }
    });
    release.send(()).unwrap();
    assert_eq!(client.message().await.unwrap().text(), "late");
    assert_eq!(draining.await.unwrap().in_flight_left, 0);
    assert_eq!(front.drain("never seen", Millis::ZERO).await.in_flight_left, 0);
}

#[tokio::test]
async fn a_drained_upstream_keeps_no_connection_and_gets_no_request() {
    let (closed, mut closes) = tokio::sync::mpsc::unbounded_channel();
    let a = Backend::start(move |mut raw| {
        let closed = closed.clone();
        async move {
            while raw.message().await.is_some() {
                raw.send(ok("a")).await;
            }
            closed.send(()).unwrap();
        }
    })
    .await;
    let b = Backend::named("b").await;
    let front = front(vec![upstream("a", a.addr, 1), upstream("b", b.addr, 1)]).await;
    let mut client = Raw::connect(front.local_addr()).await;
    for name in ["a", "b", "a", "b"] {
        assert_eq!(client.ask(GET).await.text(), name);
    }
    assert_eq!(front.drain("a", Millis::from_secs(60)).await.in_flight_left, 0);
    closes.recv().await.unwrap();
    for _ in 0..10 {
        assert_eq!(client.ask(GET).await.text(), "b");
    }
    // A new table with a weight brings it back, connections included.
    front.set_table(vec![upstream("a", a.addr, 1)]);
    for _ in 0..10 {
        assert_eq!(client.ask(GET).await.text(), "a");
    }
    assert_eq!(a.connections.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_killed_upstream_costs_only_what_it_was_doing() {
    let (a, arrived, _release) = held().await;
    let b = Backend::named("b").await;
    let front = front(vec![upstream("a", a.addr, 1)]).await;
    let (mut gets, mut other) = (Raw::connect(front.local_addr()).await, Raw::connect(front.local_addr()).await);
    gets.send(GET).await;
    arrived.notified().await;
    front.set_table(vec![upstream("a", a.addr, 1), upstream("b", b.addr, 1)]);
    a.kill().await;
    // What was in flight may be repeated, so it is; whoever comes later finds the connection refused.
    assert_eq!(gets.message().await.unwrap().text(), "b");
    for _ in 0..100 {
        assert_eq!(other.ask(post(b"body")).await.text(), "b");
    }
    let counts = front.counts();
    assert_eq!((counts[0].upstream_errors, counts[0].requests), (1, 0));
    assert!(counts[0].connect_failures >= 50, "{counts:?}");
}

#[tokio::test]
async fn a_shutdown_finishes_what_is_in_flight_and_refuses_what_comes_later() {
    let (backend, arrived, release) = held().await;
    let front = Arc::new(front(vec![upstream("a", backend.addr, 1)]).await);
    let mut client = Raw::connect(front.local_addr()).await;
    let mut idle = Raw::connect(front.local_addr()).await;
    client.send(post(b"body")).await;
    arrived.notified().await;
    let closing = tokio::spawn({
        let front = Arc::clone(&front);
        async move { front.shutdown(Millis::from_secs(60)).await }
    });
    assert!(idle.rest().await.is_empty(), "an idle connection is closed at once");
    while TcpStream::connect(front.local_addr()).await.is_ok() {
        tokio::task::yield_now().await;
    }
    release.send(()).unwrap();
    assert_eq!(client.message().await.unwrap().text(), "late");
    assert!(closing.await.unwrap());
    assert!(client.rest().await.is_empty());
}

#[tokio::test]
async fn a_shutdown_cuts_what_outlasts_its_grace() {
    let (backend, arrived, _release) = held().await;
    let front = front(vec![upstream("a", backend.addr, 1)]).await;
    let mut client = Raw::connect(front.local_addr()).await;
    client.send(post(b"body")).await;
    arrived.notified().await;
    assert!(!front.shutdown(Millis(20)).await);
    assert!(client.message().await.is_none());
}
