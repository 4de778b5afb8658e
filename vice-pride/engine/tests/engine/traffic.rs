//! Shares of the traffic and what moves them: a bake, an alarm, a late answer, an operator.

use vice_core::Millis;
use vice_core::manifest::{TaskPer, TaskRun};
use vice_core::payload::environment::RolloutOutcome;
use vice_core::payload::rollout::OperatorCommand as Say;
use vice_pride_engine::judge::{Cause, Missing, Reading};
use vice_pride_engine::{Effect, Exposure, Failure, Input, Plan, Reason, Rollback, UnitNo, Wave};

use crate::parked::{GOOD, exposed, judged, reading, says};
use crate::support::{Run, task};

/// Until a share of the new release is in force that is watched.
fn watched(plan: Plan) -> Run {
    let mut run = Run::begun(plan);
    while !matches!(run.waits_for(), Some(Reason::Watching { .. })) {
        run.done();
    }
    run
}

/// The next window says this.
fn window(run: &mut Run, reading: Reading) {
    run.now = run.state.wakes_at().expect("a window is due");
    run.tell(Input::Tick);
    says(run, reading);
    // The share follows.
    while matches!(run.open.first(), Some(Effect::SetWeights { .. })) {
        run.done();
    }
}

/// A tenth of the traffic, then three tenths, each judged; then the second unit.
fn in_two_steps() -> Plan {
    let mut plan = judged();
    plan.waves[1].units = Vec::new();
    plan.waves[1].exposure = Exposure::Share { basis_points: 3_000 };
    plan.waves[1].judged = true;
    plan.waves.push(Wave::of(vec![UnitNo(1)]));
    plan
}

/// One window without traffic is borne, with the second one a person is asked.
fn until_blind(run: &mut Run) {
    window(run, Reading::NoTraffic);
    assert!(matches!(run.waits_for(), Some(Reason::Judging { .. })), "{:?}", run.held);
    window(run, Reading::NoTraffic);
    let blind = Cause::Blind { metric: 0, why: Missing::Traffic };
    assert_eq!(run.waits_for(), Some(Reason::NoProof { cause: blind }));
}

#[test]
fn a_ramp_that_is_proven_and_still_watched_stays_below_its_cap() {
    let mut plan = judged();
    plan.waves[0].exposure = Exposure::Ramp;
    plan.waves[0].bake = Millis(3_600_000);
    let mut run = watched(plan);
    let began = run.now;
    let mut highest = 0;
    while run.state.share().is_some() && run.state.outcome().is_none() {
        window(&mut run, GOOD);
        highest = highest.max(run.state.share().unwrap_or(0));
        assert!(highest <= 5_000, "half of the units carry at most half of the traffic: {highest}");
    }
    assert_eq!(highest, 5_000, "and it goes as far as that");
    assert!(run.now.duration_since(began).as_secs() >= 3_600, "not before its time is over");
    assert_eq!(run.run_on(), Some(RolloutOutcome::Succeeded));
}

#[test]
fn an_alarm_is_not_left_by_a_source_that_does_not_answer() {
    let mut run = exposed();
    window(&mut run, reading(1_000, 22));
    let alarm = run.state.ruling().unwrap();
    assert!(alarm.alarmed, "{alarm:?}");
    assert_eq!(run.state.share(), Some(500), "halved");
    window(&mut run, Reading::Failed);
    assert!(matches!(run.state.ruling().unwrap().cause, Cause::SourceFailed { .. }));
    assert_eq!(run.state.share(), Some(500), "and not given back in the dark");
}

#[test]
fn a_window_of_an_earlier_share_does_not_let_the_next_one_pass() {
    let mut run = watched(in_two_steps());
    // A window is being read; meanwhile an operator lets the first share pass.
    run.now = run.state.wakes_at().unwrap();
    run.tell(Input::Tick);
    let measurement = run.take();
    run.command(Say::Promote);
    while run.state.share() != Some(3_000) {
        run.done();
    }
    run.open.insert(0, measurement);
    says(&mut run, GOOD);
    assert_eq!(run.state.share(), Some(3_000), "what was seen of a tenth says nothing of three tenths");
    assert_eq!(run.applied(), [0]);
    let passed = (0..50).any(|_| {
        window(&mut run, GOOD);
        run.state.share() != Some(3_000)
    });
    assert!(passed, "its own windows do");
}

#[test]
fn resume_waits_longer_when_the_judge_could_not_tell() {
    let mut run = exposed();
    until_blind(&mut run);
    run.command(Say::Resume);
    assert!(matches!(run.waits_for(), Some(Reason::Watching { .. })), "{:?}", run.held);
    until_blind(&mut run);
}

#[test]
fn the_next_wave_of_one_that_was_promoted_is_watched_anew() {
    let mut run = watched(in_two_steps());
    until_blind(&mut run);
    run.command(Say::Promote);
    while run.state.share() != Some(3_000) {
        run.done();
    }
    until_blind(&mut run);
}

#[test]
fn why_a_person_was_asked_stays_the_reason_when_figures_come_in_again() {
    let mut run = exposed();
    for _ in 0..2 {
        window(&mut run, Reading::Failed);
    }
    let blind = Some(Reason::NoProof { cause: Cause::Blind { metric: 0, why: Missing::Source } });
    assert_eq!(run.waits_for(), blind);
    window(&mut run, GOOD_BUT_FEW);
    assert_eq!(run.waits_for(), blind, "{:?}", run.held);
    run.command(Say::Resume);
    assert!(matches!(run.waits_for(), Some(Reason::Watching { .. })), "{:?}", run.held);
}

/// A window is due long before the answer about the one before it.
fn slow_window(run: &mut Run, reading: Reading) {
    assert!(matches!(run.open[..], [Effect::Measure { .. }]), "{:?}", run.open);
    run.later(15);
    says(run, reading);
}

#[test]
fn a_source_that_is_slower_than_its_windows_keeps_nobody_from_asking_a_person() {
    let mut run = exposed();
    run.later(11);
    run.tell(Input::Tick);
    slow_window(&mut run, Reading::Failed);
    slow_window(&mut run, Reading::Failed);
    let blind = Some(Reason::NoProof { cause: Cause::Blind { metric: 0, why: Missing::Source } });
    assert_eq!(run.waits_for(), blind, "{:?}", run.held);
    assert!(run.open.is_empty(), "nothing is under way");
    // Time has it read again.
    run.tell(Input::Tick);
    slow_window(&mut run, Reading::Failed);
    assert_eq!(run.waits_for(), blind);
}

#[test]
fn a_source_that_is_slower_than_its_windows_does_not_hold_up_a_pause() {
    let mut run = exposed();
    run.later(11);
    run.tell(Input::Tick);
    run.command(Say::Pause);
    slow_window(&mut run, GOOD);
    assert_eq!(run.waits_for(), Some(Reason::Paused), "{:?}", run.held);
    assert!(run.open.is_empty());
    run.command(Say::Promote);
    assert_eq!(run.waits_for(), Some(Reason::Paused), "a pause is lifted by resume alone");
    run.command(Say::Resume);
    assert_eq!(run.run_on(), Some(RolloutOutcome::Succeeded));
}

#[test]
fn after_a_resume_at_a_barrier_it_is_measured_again() {
    let mut plan = judged();
    plan.tasks = vec![task("migrate", TaskRun::Before, TaskPer::Rollout, Rollback::Forbid)];
    let mut run = watched(plan);
    window(&mut run, GOOD_BUT_FEW);
    run.command(Say::Abort);
    assert!(matches!(run.waits_for(), Some(Reason::RollbackForbidden { .. })), "{:?}", run.held);
    assert_eq!(run.state.wakes_at(), None);
    run.later(600);
    let resumed = run.now;
    run.command(Say::Resume);
    assert!(matches!(run.waits_for(), Some(Reason::Watching { .. })), "{:?}", run.held);
    run.now = run.state.wakes_at().expect("a window will be due");
    run.tell(Input::Tick);
    let [Effect::Measure { from, .. }] = run.open[..] else { panic!("{:?}", run.open) };
    assert_eq!(from, resumed, "what passed while it was to go back is nobody's");
    for _ in 0..200 {
        match run.open.first() {
            Some(Effect::Measure { .. }) => drop(says(&mut run, GOOD)),
            Some(_) => drop(run.done()),
            None if run.state.outcome().is_some() => break,
            None => {
                run.now = run.state.wakes_at().expect("it goes on by itself");
                run.tell(Input::Tick);
            }
        }
    }
    assert_eq!(run.state.outcome(), Some(RolloutOutcome::Succeeded));
}

/// Not enough for a proof.
const GOOD_BUT_FEW: Reading = reading(100, 1);

#[test]
fn a_first_unit_that_fails_leaves_no_share_behind() {
    let mut run = Run::begun(judged());
    while !matches!(run.open.first(), Some(Effect::Apply { .. })) {
        run.done();
    }
    assert_eq!(run.state.share(), Some(0), "traffic is kept away from what comes");
    run.fail(Failure::Unhealthy);
    assert!(matches!(run.open[..], [Effect::SetWeights { share: None, .. }]), "{:?}", run.open);
    assert_eq!(run.done(), [Effect::Finish { outcome: RolloutOutcome::Failed }]);
    assert!(!run.state.is_split());
    // Where that fails as well, whoever comes next is told.
    let mut run = Run::begun(judged());
    while !matches!(run.open.first(), Some(Effect::Apply { .. })) {
        run.done();
    }
    run.fail(Failure::Unhealthy);
    assert_eq!(run.fail(Failure::Unreachable), [Effect::Finish { outcome: RolloutOutcome::Failed }]);
    assert!(run.state.is_split());
}
