//! The driver over a thousand hosts whose operations take their time: how long a rollout takes is a matter of its
//! constraints, and what one host does is nothing to the others. Time is the runtime's, which jumps ahead while nothing
//! is to be done; `bench/driver/run` measures the same on a real clock.
#![expect(
    clippy::unwrap_used,
    reason = "in a test, a panic is the report; this covers the helpers beside the test functions"
)]

mod world;

use std::time::Duration;

use tokio::time::Instant;
use world::{Hosts, World, ending};

const HOSTS: usize = 1_000;
const AT_ONCE: usize = 20;
const TAKES: Duration = Duration::from_secs(10);
/// What the constraint makes of it: fifty rounds.
const BOUND: Duration = Duration::from_secs(500);

const ROLLOUT: &str = "strategy = \"all-at-once\"\nmax_down = 20";

#[tokio::test(start_paused = true)]
async fn a_rollout_takes_what_its_limit_says() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::new(dir.path(), Hosts::new(HOSTS, TAKES, &[]), Duration::ZERO, ROLLOUT);
    let prepared = world.prepared().await;
    let began = Instant::now();
    let ended = world.deploy(prepared).await;
    let took = began.elapsed();
    assert_eq!((ending(&ended).trim(), world.hosts.runs("2")), ("Succeeded", HOSTS));
    assert!(took >= BOUND && took <= BOUND + Duration::from_millis(500), "{took:?}");
    let counts = world.hosts.counts();
    assert_eq!((counts.applied, counts.most_at_once, counts.fences), (HOSTS, AT_ONCE, 1), "{counts:?}");
    assert_eq!(counts.inventories, 1, "what is there was asked once, before the plan");
}

/// What is begun has to be on disk first: each change waits for two appends at most, the one under way and its own.
#[tokio::test(start_paused = true)]
async fn a_slow_history_costs_each_round_two_appends_at_most() {
    let (dir, append) = (tempfile::tempdir().unwrap(), Duration::from_millis(300));
    let world = World::new(dir.path(), Hosts::new(HOSTS, TAKES, &[]), append, ROLLOUT);
    let prepared = world.prepared().await;
    let began = Instant::now();
    let ended = world.deploy(prepared).await;
    let took = began.elapsed();
    assert_eq!((ending(&ended).trim(), world.hosts.runs("2")), ("Succeeded", HOSTS));
    let rounds = u32::try_from(HOSTS / AT_ONCE).unwrap();
    // The lease, the opening, the fence and the end have appends of their own.
    assert!(took <= BOUND + append * 2 * rounds + append * 8, "{took:?}");
    assert_eq!(world.hosts.counts().most_at_once, AT_ONCE);
    // What is answered together is stored together.
    assert!(world.store.appends() <= HOSTS, "{} appends", world.store.appends());
}

#[tokio::test(start_paused = true)]
async fn hosts_that_fall_silent_are_asked_alone() {
    let dir = tempfile::tempdir().unwrap();
    let silent = ["h7", "h77", "h500", "h501", "h999"];
    let rollout = format!("{ROLLOUT}\nfailures = {{ tolerate = 5 }}");
    let world = World::new(dir.path(), Hosts::new(HOSTS, TAKES, &silent), Duration::ZERO, &rollout);
    let prepared = world.prepared().await;
    world.deploy(prepared).await;
    assert_eq!(world.hosts.runs("2"), HOSTS - silent.len());
    let counts = world.hosts.counts();
    assert_eq!((counts.fences, counts.fences_of_one), (1, silent.len()), "{counts:?}");
}
