//! What happens to a judged rollout that nobody drives: its release has traffic all the same, and whoever comes next
//! reads what has passed.

use jiff::{SignedDuration, Timestamp};
use vice_core::Millis;
use vice_core::payload::environment::RolloutOutcome;
use vice_core::payload::rollout::OperatorCommand as Say;
use vice_pride_engine::judge::{Analysis, Arm, Cause, MetricKind, MetricPlan, Missing, Reading};
use vice_pride_engine::{Effect, Exposure, Failure, Input, OpResult, Plan, Reason};

use crate::support::{Run, rolling};

const BAD: Reading = reading(1_000, 200);
pub(crate) const GOOD: Reading = reading(1_000, 10);

const fn arm(seen: u64, bad: u32) -> Arm {
    let mut counts = [0; 16];
    counts[0] = bad;
    Arm { seen, bad: counts }
}

pub(crate) const fn reading(seen: u64, bad: u32) -> Reading {
    Reading::Counts { stratum: 0, canary: arm(seen, bad), baseline: arm(9_000, 90) }
}

/// Two units; the first one's wave gets a tenth of the traffic, judged in windows of 10 s that are read a second later.
pub(crate) fn judged() -> Plan {
    let mut plan = rolling(2);
    plan.waves[0].exposure = Exposure::Share { basis_points: 1_000 };
    plan.waves[0].judged = true;
    let metrics = vec![MetricPlan::new("errors", MetricKind::Errors)];
    let (interval, lateness) = (Millis(10_000), Millis(1_000));
    plan.analysis = Some(Analysis { interval, lateness, blind_after: 2, metrics, ..Analysis::default() });
    plan
}

/// Until the share is in force; the window begins now.
pub(crate) fn exposed() -> Run {
    let mut run = Run::begun(judged());
    while run.state.share() != Some(1_000) {
        run.done();
    }
    run
}

/// The window that is asked for, in seconds from the beginning of the first.
fn window(run: &Run, began: Timestamp) -> (i64, i64) {
    let [Effect::Measure { from, until, .. }] = run.open[..] else { panic!("no measurement: {:?}", run.open) };
    (from.duration_since(began).as_secs(), until.duration_since(began).as_secs())
}

/// The measurement under way says this.
pub(crate) fn says(run: &mut Run, reading: Reading) -> Vec<Effect> {
    let op = run.take().op().unwrap();
    run.tell_all(&[Input::Measured { op, metric: 0, reading }, Input::EffectDone { op, result: OpResult::Done }])
}

/// The process is gone, and another takes over.
fn taken_over(run: &mut Run, epoch: u64) {
    run.open.clear();
    run.tell(Input::Resumed { epoch });
    run.done();
}

fn goes_back(run: &Run) -> bool {
    run.open.iter().any(|effect| matches!(effect, Effect::SetWeights { share: Some(0), .. }))
}

#[test]
fn what_passed_in_a_pause_is_read_and_a_rollback_waits_for_the_operator() {
    let mut run = exposed();
    let began = run.now;
    run.command(Say::Pause);
    assert_eq!(run.waits_for(), Some(Reason::Paused));
    assert_eq!(run.state.wakes_at(), began.checked_add(SignedDuration::from_secs(11)).ok(), "a window will be due");
    run.later(305);
    taken_over(&mut run, 2);
    assert_eq!(window(&run, began), (0, 300), "all that is over, in one");
    says(&mut run, BAD);
    assert!(matches!(run.waits_for(), Some(Reason::PausedThoughBad { cause: Cause::Worse { .. } })), "{:?}", run.held);
    assert!(!goes_back(&run) && run.undone().is_empty(), "an operator wanted to look");
    run.command(Say::Resume);
    assert!(goes_back(&run));
    assert_eq!(run.run_on(), Some(RolloutOutcome::RolledBack));
}

#[test]
fn resuming_goes_on_where_the_last_window_ended() {
    let mut run = exposed();
    let began = run.now;
    run.later(11);
    run.tell(Input::Tick);
    says(&mut run, GOOD);
    run.command(Say::Pause);
    run.later(60);
    run.open.clear();
    run.tell_all(&[Input::Resumed { epoch: 2 }, Input::Operator { command: Say::Resume }]);
    run.done();
    assert_eq!(window(&run, began), (10, 70));
}

#[test]
fn a_measurement_that_nobody_heard_of_is_made_again() {
    let mut run = exposed();
    let began = run.now;
    run.later(11);
    run.tell(Input::Tick);
    assert_eq!(window(&run, began), (0, 10));
    run.later(14);
    taken_over(&mut run, 2);
    assert_eq!(window(&run, began), (0, 20));
}

#[test]
fn while_a_person_is_asked_a_bad_release_goes_back_and_a_proven_one_goes_on() {
    for (reading, back) in [(BAD, true), (GOOD, false)] {
        let mut run = exposed();
        for _ in 0..2 {
            run.later(11);
            run.tell(Input::Tick);
            says(&mut run, Reading::NoTraffic);
        }
        let blind = Cause::Blind { metric: 0, why: Missing::Traffic };
        assert_eq!(run.waits_for(), Some(Reason::NoProof { cause: blind }));
        let mut epoch = 1;
        while !goes_back(&run) && matches!(run.waits_for(), Some(Reason::NoProof { .. })) && epoch < 20 {
            run.later(600);
            epoch += 1;
            taken_over(&mut run, epoch);
            says(&mut run, reading);
        }
        assert_eq!(goes_back(&run), back, "{:?}", run.held);
        let ended = if back { RolloutOutcome::RolledBack } else { RolloutOutcome::Succeeded };
        assert_eq!(run.run_on(), Some(ended));
    }
}

#[test]
fn what_a_source_does_not_know_any_more_is_silence_and_never_health() {
    for failed in [true, false] {
        let mut run = exposed();
        run.command(Say::Pause);
        run.later(300);
        run.open.clear();
        run.tell_all(&[Input::Resumed { epoch: 2 }, Input::Operator { command: Say::Resume }]);
        run.done();
        if failed {
            run.fail(Failure::Unreachable);
        } else {
            says(&mut run, Reading::Late);
        }
        let ruling = run.state.ruling().expect("a ruling");
        assert!(matches!(ruling.cause, Cause::SourceFailed { .. } | Cause::Late { .. }), "{ruling:?}");
        assert_eq!((run.state.share(), run.applied()), (Some(1_000), vec![0]), "nothing goes on");
    }
}

#[test]
fn no_more_than_a_day_is_read_at_once() {
    let mut run = exposed();
    let began = run.now;
    run.later(3 * 86_400);
    taken_over(&mut run, 2);
    assert_eq!(window(&run, began), (2 * 86_400, 3 * 86_400 - 10));
}
