use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use vice_core::port::target::{Target, Traffic, Weight, WeightTable};

use crate::support::{Client, Ground, place, service};

const UNITS: [&str; 4] = ["1", "2", "3", "4"];
const WORKERS: usize = 8;
const REQUESTS_MIN: usize = 10_000;

#[derive(Default)]
struct Load {
    stop: AtomicBool,
    done: AtomicUsize,
    failed: AtomicUsize,
    reconnects: AtomicUsize,
}

async fn worker(load: Arc<Load>, url: String, number: usize) {
    let mut client = Client::connect(&url).await.unwrap();
    let body = Bytes::from(vec![b'a' + u8::try_from(number).unwrap(); 1500]);
    for turn in 0.. {
        if load.stop.load(Ordering::SeqCst) {
            return;
        }
        let sent = (turn % 2 == 0).then(|| body.clone());
        let fine = match client.ask(sent.clone()).await {
            Ok((200, _, echoed)) => sent.is_none_or(|sent| sent == echoed),
            Ok(_) => false,
            Err(_) => {
                load.reconnects.fetch_add(1, Ordering::SeqCst);
                client = Client::connect(&url).await.unwrap();
                false
            }
        };
        load.done.fetch_add(1, Ordering::SeqCst);
        load.failed.fetch_add(usize::from(!fine), Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn updates_and_rollbacks_under_load_fail_no_request() {
    let (ground, one, two) = (Ground::new(), service("1", &[]), service("2", &[]));
    let target = ground.target();
    for unit in UNITS {
        ground.place(unit, &one).await;
    }
    let (url, load) = (ground.url().await, Arc::new(Load::default()));
    let workers: Vec<_> =
        (0..WORKERS).map(|number| tokio::spawn(worker(Arc::clone(&load), url.clone(), number))).collect();
    let ops = UNITS.map(|unit| place(&format!("update-{unit}"), 2, unit, &two, Some(&one)));
    let mut cycles = 0;
    while load.done.load(Ordering::SeqCst) < REQUESTS_MIN {
        for op in &ops {
            target.apply(op, Some(&two)).await.unwrap();
        }
        for op in ops.iter().rev() {
            target.undo(op, Some(&one)).await.unwrap();
        }
        cycles += 1;
    }
    load.stop.store(true, Ordering::SeqCst);
    for worker in workers {
        worker.await.unwrap();
    }
    let (done, failed) = (load.done.load(Ordering::SeqCst), load.failed.load(Ordering::SeqCst));
    assert_eq!((failed, load.reconnects.load(Ordering::SeqCst)), (0, 0), "of {done}");
    assert!(done >= REQUESTS_MIN);
    assert_eq!(ground.instances().len(), UNITS.len());
    let counts = target.counts().await.unwrap();
    let counted: u64 = counts.iter().map(|version| version.requests).sum();
    assert_eq!(counted, done as u64, "{counts:?}");
    println!("{done} requests in {cycles} updates and rollbacks, {failed} failed; {counts:?}");
}

#[tokio::test]
async fn weights_split_exactly_and_end_with_the_last_but_one_version() {
    let (ground, one, two) = (Ground::new(), service("1", &[]), service("2", &[]));
    let target = ground.target();
    for (unit, release) in [("1", &one), ("2", &one), ("3", &two)] {
        ground.place(unit, release).await;
    }
    let weight = |version: &str, basis_points| Weight { version: version.to_owned(), basis_points };
    let table = WeightTable { epoch: 1, weights: vec![weight("1", 9_000), weight("2", 1_000)] };
    target.set_weights(&table).await.unwrap();
    let mut client = Client::connect(&ground.url().await).await.unwrap();
    let mut of_two = 0;
    for _ in 0..200 {
        let (_, who, _) = client.ask(None).await.unwrap();
        of_two += usize::from(who.starts_with("2 "));
    }
    assert_eq!(of_two, 20);
    let back = place("back", 1, "3", &one, Some(&two));
    target.apply(&back, Some(&one)).await.unwrap();
    assert_eq!(target.table().await.unwrap().weights, [weight("1", 10_000)]);
}

#[tokio::test]
async fn a_drained_unit_gets_nothing_until_it_is_placed_again() {
    let (ground, one) = (Ground::new(), service("1", &[]));
    let target = ground.target();
    for unit in ["1", "2"] {
        ground.place(unit, &one).await;
    }
    target.drain("1", 1, vice_core::Millis::from_secs(5)).await.unwrap();
    let pid = ground.unit("1").await.facts["pid"].clone();
    let mut client = Client::connect(&ground.url().await).await.unwrap();
    for _ in 0..20 {
        assert!(!client.ask(None).await.unwrap().1.ends_with(&format!(" {pid}")));
    }
    assert_eq!(ground.unit("1").await.facts["traffic"], "drained");
    let again = place("again", 1, "1", &one, Some(&one));
    target.apply(&again, Some(&one)).await.unwrap();
    let pid = ground.unit("1").await.facts["pid"].clone();
    let mut seen = 0;
    for _ in 0..20 {
        seen += usize::from(client.ask(None).await.unwrap().1.ends_with(&format!(" {pid}")));
    }
    assert_eq!(seen, 10);
}
