//! A fault simulator around the pure engine and the rules of its driver: seeded clocks, network, store, targets and tasks.
//! Each life has a phase in which things go wrong, and then one in which nothing does and it has to come to an end. What
//! must never be is asserted at each event: an effect twice, a limit broken on the target, a write of a holder that was
//! passed over, anything after the end, a journal that does not replay.
//!
//! One assumption: what a living driver has sent over a connection that it gave up does not arrive later. What a dead
//! one had sent may arrive at any time.

mod acts;
mod draw;
mod driver;
mod store;
mod target;
mod world;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use arbtest::arbitrary::Unstructured;
use vice_pride_engine::Plan;

use crate::plans::{bytes, random_plan};
use draw::Draw;
use world::{Knobs, Tally, World};

/// How many events the lives of one run have together, at least.
const EVENTS: u64 = 1_000_000;

/// How many pairs of crashes are tried.
const PAIRS: u64 = 10_000;

fn plan_of(seed: u64) -> Plan {
    random_plan(&mut Unstructured::new(&bytes(seed))).unwrap()
}

/// How bad a life is: every kind of trouble is rare in some of them and common in others.
fn troubles(draw: &mut Draw) -> Knobs {
    let mut much = |most: u64| if draw.per_mille(500) { draw.below(most) } else { 0 };
    Knobs {
        crash: much(30),
        stop: much(20),
        steal: much(10),
        lose: much(150),
        slow: much(100),
        vague: much(100),
        fail: much(250),
        command: much(30),
        jump: much(30),
        repeat: much(200),
        lie: 0,
    }
}

fn life(seed: u64, change: impl FnOnce(&mut World)) -> World {
    let mut draw = Draw::new(seed);
    let knobs = troubles(&mut draw);
    let trouble = draw.below(400);
    let mut world = World::new(&plan_of(seed), draw, knobs);
    change(&mut world);
    for _ in 0..trouble {
        if world.finished.is_some() || !world.turn() {
            break;
        }
    }
    world.settles();
    world
}

/// Two crashes at drawn moments of a rollout where everything else goes well, or fails in its own right.
fn pair(seed: u64) -> World {
    let mut draw = Draw::new(seed);
    let knobs = Knobs { fail: if draw.per_mille(500) { 60 } else { 0 }, ..Knobs::default() };
    let (first, then) = (1 + draw.below(60), 1 + draw.below(40));
    let mut world = World::new(&plan_of(seed), draw, knobs);
    world.doomed = vec![first, first + then];
    while world.finished.is_none() && world.tally.events <= first + then && world.turn() {}
    world.settles();
    world
}

/// A target that says anything. What it says can't be right, but no rule of vice's own may break over it.
fn lied_to(seed: u64) -> World {
    life(seed, |world| {
        world.knobs.lie = 200;
        world.honest = false;
    })
}

#[track_caller]
fn replayable<T>(test: &str, seed: u64, run: impl FnOnce() -> T) -> T {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(result) => result,
        Err(panic) => {
            let why = panic.downcast_ref::<String>().cloned();
            let why = why.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default();
            panic!(
                "Seed {seed} failed: {why}\nReplay it: VICE_TEST_SEED={seed} cargo nextest run -p vice-pride-engine -E 'test(=faults::{test})'"
            );
        }
    }
}

/// One seed where the environment names it, else all of them until `enough`.
fn seeds(test: &str, mut enough: impl FnMut(&World, u64) -> bool, run: impl Fn(u64) -> World) {
    let chosen = asked("VICE_TEST_SEED");
    if let Some(seed) = chosen {
        replayable(test, seed, || run(seed));
        return;
    }
    let first = asked("VICE_TEST_SEED_FROM").unwrap_or(1);
    for seed in first.. {
        let world = replayable(test, seed, || run(seed));
        if enough(&world, seed - first + 1) {
            return;
        }
    }
}

#[test]
fn a_million_events_of_trouble_break_no_rule() {
    let (mut all, mut ends) = (Tally::default(), BTreeMap::new());
    let enough = |world: &World, _: u64| {
        let tally = world.tally;
        all.events += tally.events;
        all.steps += tally.steps;
        all.crashes += tally.crashes;
        all.stops += tally.stops;
        all.takeovers += tally.takeovers;
        all.conflicts += tally.conflicts;
        all.stale_appends += tally.stale_appends;
        all.stale_requests += tally.stale_requests;
        all.settled += tally.settled;
        all.doubts += tally.doubts;
        *ends.entry(format!("{:?}", world.finished)).or_insert(0_u32) += 1;
        all.events >= EVENTS
    };
    seeds("a_million_events_of_trouble_break_no_rule", enough, |seed| life(seed, |_| {}));
    if asked("VICE_TEST_SEED").is_some() {
        return;
    }
    // A world in which nothing happens proves nothing.
    let counts = [
        all.crashes,
        all.stops,
        all.takeovers,
        all.conflicts,
        all.stale_appends,
        all.stale_requests,
        all.settled,
        all.doubts,
    ];
    assert!(counts.iter().all(|count| *count > 100), "{all:?}");
    assert_eq!(ends.len(), 5, "every outcome is reached: {ends:?} {all:?}");
}

#[test]
fn ten_thousand_pairs_of_crashes_break_no_rule() {
    let mut twice = 0;
    let enough = |world: &World, count: u64| {
        twice += u64::from(world.tally.crashes == 2);
        count >= PAIRS
    };
    seeds("ten_thousand_pairs_of_crashes_break_no_rule", enough, pair);
    assert!(twice > PAIRS / 5 || asked("VICE_TEST_SEED").is_some(), "{twice} of {PAIRS} died twice");
}

#[test]
fn a_target_that_lies_breaks_no_rule_of_ours() {
    seeds("a_target_that_lies_breaks_no_rule_of_ours", |_, count| count >= 1_000, lied_to);
}

/// The simulator has to be able to fail: a target that does not fence is found out.
#[test]
fn a_target_without_a_fence_is_found_out() {
    let caught = (1..400).any(|seed| {
        let run = || life(seed, |world| world.target.fenceless = true);
        catch_unwind(AssertUnwindSafe(run)).is_err()
    });
    assert!(caught, "no seed shows what is wrong without a fence");
}

#[test]
fn the_same_seed_is_the_same_life() {
    for seed in 1..50 {
        let (one, two) = (life(seed, |_| {}), life(seed, |_| {}));
        assert_eq!(
            format!("{:?}{:?}", one.tally, one.store.entries),
            format!("{:?}{:?}", two.tally, two.store.entries)
        );
    }
}

/// A number of the environment: which seed to replay, or where to begin.
#[expect(clippy::disallowed_methods, reason = "whoever replays a seed says so in the environment")]
fn asked(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}
