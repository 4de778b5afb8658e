//! The rules, checked by code that looks only at the trace of a simulated run.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::{Decision, Node, Scheduler, State};

/// A made-up graph and what its steps will do.
#[derive(Debug, Clone)]
struct Script {
    needs: Vec<BTreeSet<usize>>,
    always: Vec<bool>,
    fails: Vec<bool>,
    holds: Vec<bool>,
    parallel: usize,
    /// Which of the running steps ends next, modulo their number.
    order: Vec<usize>,
}

fn script() -> impl Strategy<Value = Script> {
    (1..12_usize).prop_flat_map(|count| {
        let bits = |share: f64| prop::collection::vec(prop::bool::weighted(share), count);
        let edges = prop::collection::vec(prop::bool::weighted(0.3), count * count);
        (edges, bits(0.2), bits(0.15), bits(0.85), 1..5_usize, prop::collection::vec(0..100_usize, count)).prop_map(
            move |(edges, always, fails, holds, parallel, order)| {
                let needs = (0..count).map(|to| (0..to).filter(|from| edges[to * count + from]).collect()).collect();
                Script { needs, always, fails, holds, parallel, order }
            },
        )
    })
}

/// What happened, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Happened {
    Started(usize),
    Ended(usize, bool),
    Skipped(usize),
}

fn simulate(script: &Script) -> (Vec<Happened>, Scheduler) {
    let nodes = script.needs.iter().zip(&script.always);
    let nodes = nodes.map(|(needs, always)| Node { needs: needs.clone(), always: *always }).collect();
    let mut scheduler = Scheduler::new(nodes, script.parallel);
    let (mut trace, mut running, mut order) = (Vec::new(), Vec::new(), script.order.iter().cycle());
    loop {
        let decision = scheduler.poll(|index| script.holds[index]);
        trace.extend(decision.skip.iter().map(|index| Happened::Skipped(*index)));
        trace.extend(decision.start.iter().map(|index| Happened::Started(*index)));
        running.extend(decision.start);
        if running.is_empty() {
            return (trace, scheduler);
        }
        let index: usize = running.remove(order.next().unwrap() % running.len());
        let good = !script.fails[index];
        scheduler.end(index, if good { State::Succeeded } else { State::Failed });
        trace.push(Happened::Ended(index, good));
    }
}

fn position(trace: &[Happened], wanted: Happened) -> Option<usize> {
    trace.iter().position(|happened| *happened == wanted)
}

/// Whether a step will never start, by the rules alone: its need was skipped or did not succeed, or it was held back.
fn check(script: &Script, trace: &[Happened], scheduler: &Scheduler) {
    let first_failure = trace.iter().position(|happened| matches!(happened, Happened::Ended(_, false)));
    for (index, needs) in script.needs.iter().enumerate() {
        let started = position(trace, Happened::Started(index));
        let skipped = position(trace, Happened::Skipped(index));
        let succeeded = |need: &usize| position(trace, Happened::Ended(*need, true));
        let need_skipped = needs.iter().any(|need| position(trace, Happened::Skipped(*need)).is_some());
        let all_succeeded = needs.iter().all(|need| succeeded(need).is_some());
        assert!(scheduler.state(index).ended(), "every step comes to an end");
        assert!(started.is_none() || skipped.is_none());
        if let Some(at) = started {
            if script.always[index] {
                let ended = |need: &usize| {
                    let ends = [Happened::Ended(*need, true), Happened::Ended(*need, false), Happened::Skipped(*need)];
                    let done = ends.iter().any(|end| position(trace, *end).is_some_and(|end| end < at));
                    done || scheduler.state(*need) == State::Blocked
                };
                assert!(needs.iter().all(ended), "an always step waits for what it needs");
            } else {
                assert!(needs.iter().all(|need| succeeded(need).is_some_and(|end| end < at)), "dependencies hold");
                assert!(first_failure.is_none_or(|failure| at < failure), "nothing new after a failure");
                assert!(script.holds[index], "the condition holds");
            }
            continue;
        }
        assert!(!script.always[index], "an always step runs in every run");
        match scheduler.state(index) {
            State::Skipped => assert!(need_skipped || (all_succeeded && !script.holds[index])),
            State::Blocked => assert!(first_failure.is_some(), "without a failure nothing is blocked"),
            other => panic!("{index} is {other:?} without having started"),
        }
    }
}

fn most_at_once(trace: &[Happened]) -> usize {
    let (mut running, mut most) = (0_usize, 0);
    for happened in trace {
        match happened {
            Happened::Started(_) => running += 1,
            Happened::Ended(..) => running -= 1,
            Happened::Skipped(_) => {}
        }
        most = most.max(running);
    }
    most
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_run_keeps_the_rules(script in script()) {
        let (trace, scheduler) = simulate(&script);
        check(&script, &trace, &scheduler);
        prop_assert!(most_at_once(&trace) <= script.parallel);
        prop_assert!(scheduler.ended());
    }

    #[test]
    fn without_failures_all_that_is_not_skipped_succeeds(mut script in script()) {
        script.fails.fill(false);
        script.holds.fill(true);
        let (trace, scheduler) = simulate(&script);
        check(&script, &trace, &scheduler);
        for index in 0..script.needs.len() {
            prop_assert_eq!(scheduler.state(index), State::Succeeded);
        }
    }

    #[test]
    fn the_same_script_gives_the_same_trace(script in script()) {
        prop_assert_eq!(simulate(&script).0, simulate(&script).0);
    }
}

fn nodes(needs: &[&[usize]]) -> Vec<Node> {
    needs.iter().map(|needs| Node { needs: needs.iter().copied().collect(), always: false }).collect()
}

#[test]
fn independent_steps_fill_the_free_places() {
    let mut scheduler = Scheduler::new(nodes(&[&[], &[], &[], &[0, 1]]), 2);
    assert_eq!(scheduler.poll(|_| true).start, [0, 1]);
    assert_eq!(scheduler.poll(|_| true), Decision::default());
    scheduler.end(1, State::Succeeded);
    assert_eq!(scheduler.poll(|_| true).start, [2]);
    scheduler.end(0, State::Succeeded);
    assert_eq!(scheduler.poll(|_| true).start, [3]);
}

#[test]
fn a_skip_reaches_steps_that_stand_before_it() {
    let mut scheduler = Scheduler::new(nodes(&[&[2], &[], &[1]]), 4);
    let decision = scheduler.poll(|index| index != 1);
    assert_eq!(decision, Decision { start: vec![], skip: vec![1, 2, 0] });
    assert!(scheduler.ended() && !scheduler.failed());
}

#[test]
fn a_step_that_is_put_back_runs_again() {
    let mut scheduler = Scheduler::new(nodes(&[&[]]), 1);
    assert_eq!(scheduler.poll(|_| true).start, [0]);
    scheduler.put_back(0);
    assert!(!scheduler.ended());
    assert_eq!(scheduler.poll(|_| true).start, [0]);
}
