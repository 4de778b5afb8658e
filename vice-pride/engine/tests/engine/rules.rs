//! One test a rule of the engine, each by the effects that a driver would see.

use crate::support::{BAD, GOOD, Run, at_once, bake, done, release, rolling, task};
use vice_core::Millis;
use vice_core::manifest::{TaskPer, TaskRun, VerifyWhen};
use vice_core::payload::environment::{Direction, RolloutOutcome};
use vice_core::payload::rollout::{Finding, OperatorCommand as Say};
use vice_pride_engine::{
    CheckCounts, Effect, Exposure, Failure, Input, NoDetails, OpNo, OpResult, Plan, Reason, Rollback, Seen, TaskDoes,
    TaskNo, UnitAction, UnitNo, describe_reason, notes_named,
};

fn has(run: &Run, wanted: impl Fn(&Effect) -> bool) -> bool {
    run.all.iter().any(wanted)
}

fn hold_placed(run: &Run) -> bool {
    has(run, |effect| matches!(effect, Effect::PlaceHold { .. }))
}

fn verifications(run: &Run) -> usize {
    run.all.iter().filter(|effect| matches!(effect, Effect::Verify { .. })).count()
}

#[test]
fn nothing_happens_before_the_fence_is_up() {
    let mut run = Run::new(rolling(2));
    assert_eq!(run.tell(Input::Tick), []);
    assert_eq!(run.held, [Reason::NotBegun]);
    assert_eq!(run.tell(Input::Begin { epoch: 7 }), [Effect::Fence { op: OpNo(0), epoch: 7 }]);
    assert_eq!(run.held, [Reason::Fencing]);
    assert_eq!(run.done(), [Effect::Apply { op: OpNo(1), unit: UnitNo(0), attempt: 1 }]);
    run.tell(Input::Begin { epoch: 7 });
    assert_eq!(run.held[0], Reason::AlreadyBegun);
}

#[test]
fn a_plan_without_changes_ends_at_once() {
    let mut plan = rolling(2);
    plan.units.iter_mut().for_each(|unit| unit.action = UnitAction::Keep);
    plan.waves.clear();
    let mut run = Run::new(plan);
    assert_eq!(run.tell(Input::Begin { epoch: 1 }), [Effect::Finish { outcome: RolloutOutcome::Succeeded }]);
}

#[test]
fn waves_follow_each_other_and_each_is_verified_before_the_next() {
    let mut run = Run::begun(rolling(3));
    for unit in 0..3 {
        assert!(matches!(run.take(), Effect::Apply { unit: UnitNo(asked), .. } if asked == unit));
        let op = run.state.in_flight().next().unwrap().0;
        let effects = run.tell(Input::EffectDone { op, result: OpResult::Done });
        assert!(matches!(effects[..], [Effect::Verify { .. }]), "{effects:?}");
        run.done();
    }
    assert_eq!(run.state.outcome(), Some(RolloutOutcome::Succeeded));
    assert!(run.state.is_proven());
    assert_eq!(run.state.running(), Some(&release("2")));
}

#[test]
fn at_most_max_down_units_change_at_once_and_the_reason_says_so() {
    let mut run = Run::begun(at_once(5, 2));
    assert_eq!(run.applied(), [0, 1]);
    assert_eq!(run.held, [Reason::AtLimit { limit: 0 }]);
    run.done();
    assert_eq!(run.applied(), [0, 1, 2]);
    assert_eq!(run.run_on(), Some(RolloutOutcome::Succeeded));
}

#[test]
fn baking_waits_until_its_time_and_a_clock_that_goes_back_repeats_nothing() {
    let mut plan = rolling(2);
    bake(&mut plan, Millis::from_secs(60));
    let mut run = Run::begun(plan);
    let effects = run.done();
    let until = Millis::from_secs(60).after(run.now);
    assert_eq!(effects, [Effect::Wait { until: Some(until), reason: Reason::Baking { wave: 1 } }]);
    run.later(59);
    assert_eq!(run.tell(Input::Tick), [], "it is too early");
    run.later(1);
    assert!(matches!(run.tell(Input::Tick)[..], [Effect::Verify { .. }]));
    run.later(-3_600);
    assert_eq!(run.tell(Input::Tick), []);
    run.done();
    assert!(matches!(run.done()[..], [Effect::Wait { until: Some(again), .. }] if again > until));
}

#[test]
fn verification_at_the_end_runs_once_and_never_means_unproven() {
    for (when, count, proven) in [(VerifyWhen::End, 1, true), (VerifyWhen::Never, 0, false)] {
        let mut plan = rolling(3);
        plan.verify = when;
        let mut run = Run::begun(plan);
        assert_eq!(run.run_on(), Some(RolloutOutcome::Succeeded));
        assert_eq!((verifications(&run), run.state.is_proven()), (count, proven));
    }
}

#[test]
fn a_task_after_the_waves_is_followed_by_one_more_verification() {
    let mut plan = rolling(1);
    plan.tasks = vec![task("warm", TaskRun::After, TaskPer::Rollout, Rollback::Safe)];
    let mut run = Run::begun(plan);
    assert_eq!(run.run_on(), Some(RolloutOutcome::Succeeded));
    assert_eq!(verifications(&run), 2);
}

#[test]
fn a_failed_unit_before_anything_changed_is_a_plain_failure() {
    let mut run = Run::begun(rolling(2));
    assert_eq!(run.fail(Failure::Unhealthy), [Effect::Finish { outcome: RolloutOutcome::Failed }]);
    assert_eq!(run.state.running(), Some(&release("1")));
}

#[test]
fn a_failed_verification_undoes_in_reverse_verifies_and_holds_the_version() {
    let mut run = Run::begun(rolling(3));
    for _ in 0..3 {
        run.done();
    }
    assert!(matches!(run.open[..], [Effect::Verify { .. }]));
    run.fail(Failure::Other);
    assert_eq!(run.run_on(), Some(RolloutOutcome::RolledBack));
    assert_eq!((run.applied(), run.undone()), (vec![0, 1], vec![1, 0]));
    assert_eq!(verifications(&run), 3, "what runs again is verified as well");
    assert!(matches!(
        run.all[run.all.len() - 2],
        Effect::PlaceHold { reason: Reason::ChecksFailed { failed: 1, of: 3 } }
    ));
    assert_eq!(run.state.running(), Some(&release("1")));
}

#[test]
fn no_data_is_not_a_pass() {
    for counts in [CheckCounts::default(), CheckCounts { errored: 1, ..GOOD }] {
        let mut run = Run::begun(rolling(1));
        run.done();
        let op = run.take().op().unwrap();
        run.tell(Input::Verified { op, passed: true, counts });
        assert_eq!(run.state.cause(), Some(Reason::ChecksInconclusive));
    }
}

#[test]
fn units_under_way_end_before_the_way_back_begins_and_max_down_holds_there_too() {
    let mut run = Run::begun(at_once(4, 2));
    run.done();
    assert_eq!(run.fail(Failure::Unhealthy), [], "one more is under way");
    assert_eq!(run.held, [Reason::InFlight { ops: 1 }]);
    let effects = run.done();
    assert!(matches!(effects[..], [Effect::Undo { unit: UnitNo(2), .. }, Effect::Undo { unit: UnitNo(0), .. }]));
    assert_eq!(run.run_on(), Some(RolloutOutcome::RolledBack));
}

#[test]
fn a_first_deploy_that_fails_is_removed_and_not_verified() {
    let mut plan = rolling(2);
    plan.from = None;
    plan.units.iter_mut().for_each(|unit| unit.before = None);
    let mut run = Run::begun(plan);
    run.done();
    run.tell(Input::Verified { op: OpNo(2), passed: false, counts: BAD });
    run.open.remove(0);
    assert_eq!(run.run_on(), Some(RolloutOutcome::RolledBack));
    assert_eq!((run.undone(), verifications(&run), run.state.running()), (vec![0], 1, None));
}

#[test]
fn tasks_are_taken_back_around_the_units_in_reverse() {
    let mut plan = rolling(1);
    let mut announce = task("announce", TaskRun::After, TaskPer::Rollout, Rollback::Safe);
    announce.on_rollback = true;
    plan.tasks = vec![
        task("migrate", TaskRun::Before, TaskPer::Rollout, Rollback::Command),
        task("seed", TaskRun::Before, TaskPer::Rollout, Rollback::Command),
        task("drain", TaskRun::Before, TaskPer::Unit, Rollback::Command),
        task("join", TaskRun::After, TaskPer::Unit, Rollback::Command),
        announce,
    ];
    let mut run = Run::begun(plan);
    for _ in 0..5 {
        run.done();
    }
    run.fail(Failure::Other);
    assert_eq!(run.run_on(), Some(RolloutOutcome::RolledBack));
    let forward = [(0, None, false), (1, None, false), (2, Some(0), false), (3, Some(0), false)];
    let back = [(3, Some(0), true), (2, Some(0), true), (1, None, true), (0, None, true), (4, None, false)];
    assert_eq!(run.tasks(), [&forward[..], &back[..]].concat());
    let told = run.all.iter().filter_map(|effect| match effect {
        Effect::RunTask { direction, .. } => Some(*direction),
        _ => None,
    });
    assert_eq!(told.filter(|direction| *direction == Direction::Rollback).count(), 5);
}

fn at_the_barrier() -> Run {
    let mut plan = rolling(2);
    plan.tasks = vec![task("migrate", TaskRun::Before, TaskPer::Rollout, Rollback::Forbid)];
    let mut run = Run::begun(plan);
    run.done();
    run.done();
    let effects = run.fail(Failure::Other);
    let reason = Reason::RollbackForbidden { task: TaskNo(0) };
    assert_eq!(effects, [Effect::Wait { until: None, reason }]);
    run.later(100_000);
    assert_eq!(run.tell(Input::Tick), [], "time does not cross a barrier");
    run
}

#[test]
fn going_back_across_a_task_that_forbids_it_asks() {
    let mut run = at_the_barrier();
    assert_eq!(run.command(Say::Abort), []);
    assert_eq!(run.held[0], Reason::NothingFor { command: Say::Abort });
    let mut forced = at_the_barrier();
    assert!(matches!(forced.command(Say::ForceRollback)[..], [Effect::Undo { .. }]));
    assert_eq!(forced.run_on(), Some(RolloutOutcome::RolledBack));
    let mut left = at_the_barrier();
    assert_eq!(left.command(Say::Abandon), [Effect::Finish { outcome: RolloutOutcome::Aborted }]);
    let mut again = at_the_barrier();
    assert!(matches!(again.command(Say::Resume)[..], [Effect::Verify { .. }]), "what failed is tried again");
    assert_eq!(again.run_on(), Some(RolloutOutcome::Succeeded));
}

#[test]
fn a_rollback_plan_across_a_forbidding_task_asks_before_anything() {
    let mut plan = rolling(1);
    plan.direction = Direction::Rollback;
    plan.tasks = vec![task("migrate", TaskRun::Before, TaskPer::Rollout, Rollback::Forbid)];
    plan.tasks[0].does = TaskDoes::Forbid;
    let mut run = Run::begun(plan.clone());
    assert_eq!(run.waits_for(), Some(Reason::RollbackForbidden { task: TaskNo(0) }));
    assert!(matches!(run.command(Say::ForceRollback)[..], [Effect::Apply { .. }]));
    assert_eq!(run.run_on(), Some(RolloutOutcome::Succeeded));
    assert_eq!(run.tasks(), []);
    let mut at_once = Run::new(plan);
    at_once.tell_all(&[Input::Begin { epoch: 1 }, Input::Operator { command: Say::ForceRollback }]);
    assert!(matches!(at_once.done()[..], [Effect::Apply { .. }]), "force can be said with begin");
}

#[test]
fn a_rollback_that_fails_places_no_hold_on_the_proven_release() {
    let mut plan = rolling(2);
    plan.direction = Direction::Rollback;
    let mut run = Run::begun(plan);
    run.done();
    run.fail(Failure::Other);
    assert_eq!(run.run_on(), Some(RolloutOutcome::RolledBack));
    assert!(!hold_placed(&run));
}

#[test]
fn undo_is_tried_three_times_with_pauses_and_then_somebody_must_look() {
    let mut run = Run::begun(rolling(2));
    run.done();
    run.fail(Failure::Other);
    for tries in 1..=2 {
        let effects = run.fail(Failure::Unreachable);
        assert!(
            matches!(effects[..], [Effect::Wait { until: Some(_), reason: Reason::Retrying { tries: said, of: 3 } }] if said == tries)
        );
        assert_eq!(run.tell(Input::Tick), []);
        run.later(10);
        assert!(matches!(run.tell(Input::Tick)[..], [Effect::Undo { .. }]));
    }
    run.fail(Failure::Unreachable);
    assert_eq!(run.state.outcome(), Some(RolloutOutcome::NotRestored));
    assert!(hold_placed(&run));
    assert_eq!(run.state.running(), None);
}

#[test]
fn a_rollback_whose_checks_never_pass_is_not_restored() {
    let mut run = Run::begun(rolling(2));
    run.done();
    run.fail(Failure::Other);
    run.done();
    for _ in 0..3 {
        run.fail(Failure::Other);
        run.later(10);
        run.tell(Input::Tick);
    }
    assert_eq!(run.state.outcome(), Some(RolloutOutcome::NotRestored));
}

#[test]
fn pause_lets_what_runs_end_and_begins_nothing() {
    let mut run = Run::begun(at_once(3, 1));
    assert_eq!(run.command(Say::Pause), []);
    assert_eq!(run.held, [Reason::InFlight { ops: 1 }]);
    assert_eq!(run.done(), [Effect::Wait { until: None, reason: Reason::Paused }]);
    assert_eq!(run.command(Say::Pause), [], "twice is once");
    assert!(matches!(run.command(Say::Resume)[..], [Effect::Apply { unit: UnitNo(1), .. }]));
}

#[test]
fn abort_goes_back_without_a_hold_and_abandon_leaves_everything() {
    let mut run = Run::begun(rolling(3));
    run.done();
    run.command(Say::Abort);
    assert_eq!(run.run_on(), Some(RolloutOutcome::RolledBack));
    assert!(!hold_placed(&run), "an operator's word says nothing about the release");
    let mut left = Run::begun(rolling(3));
    assert_eq!(left.command(Say::Abandon), [], "one unit is under way");
    assert_eq!(left.done(), [Effect::Finish { outcome: RolloutOutcome::Aborted }]);
    let mut untouched = Run::begun(rolling(3));
    untouched.command(Say::Abort);
    untouched.fail(Failure::Unhealthy);
    assert_eq!(untouched.state.outcome(), Some(RolloutOutcome::Aborted));
}

/// Two units; the first one's wave moves a tenth of the traffic, and is watched.
fn sharing() -> Plan {
    let mut plan = rolling(2);
    plan.waves[0].exposure = Exposure::Share { basis_points: 1_000 };
    plan.waves[0].bake = Millis(60_000);
    plan
}

fn weights(run: &Run) -> Vec<Option<u32>> {
    let share = |effect: &Effect| match effect {
        Effect::SetWeights { share, .. } => Some(*share),
        _ => None,
    };
    run.all.iter().filter_map(share).collect()
}

/// Until the share is in force.
fn shared() -> Run {
    let mut run = Run::begun(sharing());
    while run.state.share() != Some(1_000) {
        run.done();
    }
    run
}

#[test]
fn abandoning_gives_traffic_back_to_the_units_and_ends_even_if_that_fails() {
    let mut run = shared();
    assert!(matches!(run.command(Say::Abandon)[..], [Effect::SetWeights { share: None, .. }]));
    assert_eq!(run.done(), [Effect::Finish { outcome: RolloutOutcome::Aborted }]);
    assert_eq!((run.state.share(), run.state.is_split(), run.undone()), (None, false, vec![]));
    let mut failed = shared();
    failed.command(Say::Abandon);
    assert_eq!(failed.fail(Failure::Unreachable), [Effect::Finish { outcome: RolloutOutcome::Aborted }]);
    assert!(failed.state.is_split(), "whoever comes next has to know");
    let mut taken_over = shared();
    taken_over.open.clear();
    taken_over.tell_all(&[Input::Resumed { epoch: 2 }, Input::Operator { command: Say::Abandon }]);
    assert!(matches!(taken_over.open[..], [Effect::Fence { .. }]), "never before the fence is up");
    taken_over.fail(Failure::Unreachable);
    assert_eq!(taken_over.state.outcome(), Some(RolloutOutcome::Aborted));
    assert!(taken_over.state.is_split());
}

#[test]
fn a_rollout_after_one_that_left_a_share_frees_traffic_before_anything_else() {
    let plan = Plan { frees_traffic: true, ..rolling(2) };
    let mut run = Run::begun(plan.clone());
    assert!(matches!(run.open[..], [Effect::SetWeights { share: None, .. }]), "{:?}", run.open);
    assert!(run.applied().is_empty());
    assert_eq!(run.run_on(), Some(RolloutOutcome::Succeeded));
    assert_eq!((weights(&run), run.state.is_split()), (vec![None], false));
    let mut failed = Run::begun(plan);
    failed.fail(Failure::Unreachable);
    assert_eq!(failed.state.outcome(), Some(RolloutOutcome::Failed), "nothing was changed");
    assert!(failed.state.is_split());
}

#[test]
fn taking_over_fences_first_and_then_observes_everything_in_flight() {
    let mut run = Run::begun(at_once(3, 2));
    assert_eq!(run.applied(), [0, 1]);
    run.open.clear();
    assert_eq!(run.tell(Input::Resumed { epoch: 1 }), []);
    assert_eq!(run.held[0], Reason::StaleEpoch { epoch: 1 });
    assert_eq!(run.tell(Input::Resumed { epoch: 2 }), [Effect::Fence { op: OpNo(3), epoch: 2 }]);
    assert_eq!(run.tell(done(1)), [], "what the orphan says is not heard before the fence");
    assert_eq!(run.done(), [Effect::Observe { op: OpNo(1) }, Effect::Observe { op: OpNo(2) }]);
    let effects = run.tell(Input::Observed { op: OpNo(1), seen: Seen::Applied });
    assert!(matches!(effects[..], [Effect::Apply { unit: UnitNo(2), .. }]), "applied is done");
    let effects = run.tell(Input::Observed { op: OpNo(2), seen: Seen::NotApplied });
    assert_eq!(effects, [Effect::Apply { op: OpNo(2), unit: UnitNo(1), attempt: 2 }], "the same number again");
}

#[test]
fn a_verification_in_flight_runs_again_and_tasks_are_observed() {
    let mut plan = rolling(1);
    plan.tasks = vec![task("migrate", TaskRun::Before, TaskPer::Rollout, Rollback::Safe)];
    let mut run = Run::begun(plan);
    run.tell(Input::Resumed { epoch: 2 });
    run.open.remove(0);
    assert_eq!(run.done(), [Effect::Observe { op: OpNo(1) }]);
    run.done();
    run.done();
    run.open.clear();
    run.tell(Input::Resumed { epoch: 3 });
    assert!(matches!(run.done()[..], [Effect::Verify { .. }]));
}

#[test]
fn what_nobody_can_tell_waits_for_an_operator_and_never_loops() {
    let doubtful = || {
        let mut run = Run::begun(at_once(2, 1));
        run.open.clear();
        run.tell(Input::Resumed { epoch: 2 });
        run.done();
        let reason = Reason::InDoubt { op: OpNo(1) };
        assert_eq!(run.fail(Failure::Other), [Effect::Wait { until: None, reason }]);
        assert_eq!(run.tell(Input::Tick), []);
        run
    };
    let mut again = doubtful();
    assert!(matches!(again.command(Say::Resume)[..], [Effect::Apply { unit: UnitNo(0), attempt: 1, .. }]));
    assert_eq!(again.run_on(), Some(RolloutOutcome::Succeeded));
    let mut back = doubtful();
    assert!(matches!(back.command(Say::Abort)[..], [Effect::Undo { undoes: OpNo(1), .. }]));
    assert_eq!(back.run_on(), Some(RolloutOutcome::RolledBack));
    // Somebody has looked: it goes on behind it, or does it now, and says it once.
    let resolve = |found| Say::Resolve { op: 1, found };
    let mut applied = doubtful();
    assert!(matches!(applied.command(resolve(Finding::Applied))[..], [Effect::Apply { unit: UnitNo(1), .. }]));
    applied.command(resolve(Finding::Applied));
    assert_eq!(applied.held[0], Reason::NothingFor { command: resolve(Finding::Applied) });
    assert_eq!(applied.run_on(), Some(RolloutOutcome::Succeeded));
    assert_eq!(applied.applied(), [0, 1]);
    let mut not = doubtful();
    assert!(matches!(
        not.command(resolve(Finding::NotApplied))[..],
        [Effect::Apply { unit: UnitNo(0), attempt: 1, .. }]
    ));
    not.fail(Failure::Unhealthy);
    assert_eq!(not.run_on(), Some(RolloutOutcome::Failed), "nothing was changed");
    assert_eq!(not.undone(), [0_u32; 0], "what is known not to be done is not taken back");
    // Done again and failed: the first time may still have changed the unit, so it is taken back.
    let mut failed = doubtful();
    failed.command(Say::Resume);
    failed.fail(Failure::Unhealthy);
    assert_eq!(failed.run_on(), Some(RolloutOutcome::RolledBack));
    assert_eq!(failed.undone(), [0]);
}

#[test]
fn a_fence_that_fails_ends_a_new_rollout_and_parks_a_resumed_one() {
    let mut run = Run::new(rolling(1));
    run.tell(Input::Begin { epoch: 1 });
    assert_eq!(run.fail(Failure::Unreachable), [Effect::Finish { outcome: RolloutOutcome::Failed }]);
    let mut run = Run::begun(rolling(2));
    run.done();
    run.open.clear();
    run.tell(Input::Resumed { epoch: 2 });
    run.fail(Failure::Unreachable);
    assert_eq!(run.waits_for(), Some(Reason::FenceFailed { failure: Failure::Unreachable }));
    assert!(matches!(run.command(Say::Resume)[..], [Effect::Fence { epoch: 2, .. }]));
    run.done();
    assert_eq!(run.run_on(), Some(RolloutOutcome::Succeeded));
}

#[test]
fn strangers_and_latecomers_are_ignored_with_a_reason() {
    let mut run = Run::begun(rolling(2));
    run.tell(done(77));
    assert_eq!(run.held[0], Reason::UnknownOp { op: OpNo(77) });
    run.tell(done(0));
    assert_eq!(run.held[0], Reason::LateAnswer { op: OpNo(0) });
    run.tell(Input::Verified { op: OpNo(1), passed: true, counts: GOOD });
    assert_eq!(run.held[0], Reason::LateAnswer { op: OpNo(1) }, "an apply is not answered by checks");
    run.run_on();
    run.command(Say::Abort);
    assert_eq!(run.held[0], Reason::Finished);
}

#[test]
fn notes_have_names_and_whole_sentences() {
    let mut run = Run::begun(rolling(2));
    run.fail(Failure::Unhealthy);
    let plan = run.state.course().plan().clone();
    let notes: Vec<_> = run.journal.iter().flat_map(|recorded| recorded.answer.notes.clone()).collect();
    let named = notes_named(&notes, &plan, &NoDetails);
    assert_eq!(named.len(), notes.len());
    let text = serde_json::to_string_pretty(&named).unwrap();
    for part in ["\"unit\": \"1\"", "The unit 1 could not be changed: it did not get healthy.", "\"version\": \"2\""] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
    let reason = Reason::RollbackForbidden { task: TaskNo(5) };
    assert!(describe_reason(&reason, &plan).contains("#5"), "an unknown number is printed and not a panic");
}
