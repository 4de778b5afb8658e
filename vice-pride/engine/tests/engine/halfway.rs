//! Units that have begun and are not done: windows, and units that were given up.

use vice_core::manifest::{TaskPer, TaskRun};
use vice_core::payload::environment::RolloutOutcome;
use vice_core::payload::rollout::OperatorCommand as Say;
use vice_pride_engine::{Effect, Failure, FailurePolicy, Input, Plan, Reason, Rollback, UnitNo, UnitSet, Window};

use crate::support::{Run, at_once, task};

/// 2027-01-15 08:00 UTC is when a run begins; units may begin until ten past nine.
fn morning(mut plan: Plan) -> Plan {
    plan.windows = vec![Window {
        name: "morning".into(),
        members: None,
        days: Vec::new(),
        from: "07:00".parse().unwrap(),
        until: "08:10".parse().unwrap(),
        zone: "UTC".into(),
    }];
    plan
}

fn hooked(units: u32) -> Plan {
    let mut plan = at_once(units, 1);
    plan.tasks = vec![
        task("drain", TaskRun::Before, TaskPer::Unit, Rollback::Safe),
        task("undrain", TaskRun::After, TaskPer::Unit, Rollback::Safe),
    ];
    morning(plan)
}

#[test]
fn a_window_that_closes_does_not_leave_a_unit_in_the_middle() {
    let mut run = Run::begun(hooked(2));
    run.done();
    run.later(1_000);
    run.done();
    assert_eq!(run.tasks(), [(0, Some(0), false), (1, Some(0), false)], "it is put back into service at once");
    run.done();
    assert_eq!(run.applied(), [0]);
    assert!(matches!(run.waits_for(), Some(Reason::OutsideWindow { .. })), "and the next one waits: {:?}", run.held);
    assert_eq!(run.run_on(), Some(RolloutOutcome::Succeeded));
}

#[test]
fn a_unit_that_failed_is_tried_again_after_the_window_has_closed() {
    let mut plan = morning(at_once(2, 1));
    plan.failures = FailurePolicy { retries: 1, tolerate: 0 };
    let mut run = Run::begun(plan);
    run.later(1_000);
    run.fail(Failure::Unhealthy);
    assert_eq!(run.applied(), [0, 0], "it is down, and does not stay so until tomorrow");
    run.done();
    assert!(matches!(run.waits_for(), Some(Reason::OutsideWindow { .. })), "{:?}", run.held);
}

#[test]
fn a_window_that_opens_while_others_change_is_not_slept_through() {
    let mut plan = at_once(2, 2);
    plan.windows = morning(at_once(1, 1)).windows;
    plan.windows[0].from = "08:30".parse().unwrap();
    plan.windows[0].until = "09:30".parse().unwrap();
    plan.windows[0].members = Some(UnitSet::from_units([UnitNo(1)]));
    let mut run = Run::begun(plan);
    assert_eq!(run.applied(), [0], "the other one has to wait");
    let opens = run.state.wakes_at().expect("its window opens while the first one changes");
    assert_eq!(opens.duration_since(run.now).as_secs(), 1_800);
    run.now = opens;
    run.tell(Input::Tick);
    assert_eq!(run.applied(), [0, 1]);
}

#[test]
fn units_that_were_given_up_and_fill_a_limit_are_named_and_tried_again() {
    let mut plan = at_once(4, 1);
    plan.failures = FailurePolicy { retries: 0, tolerate: 3 };
    let mut run = Run::begun(plan);
    run.done();
    run.fail(Failure::Unhealthy);
    assert_eq!(run.waits_for(), Some(Reason::GivenUp { units: 1 }), "{:?}", run.held);
    assert_eq!(run.applied(), [0, 1], "one may be down, and it is");
    run.command(Say::Resume);
    assert!(matches!(run.open[..], [Effect::Apply { .. }]), "{:?}", run.open);
    assert_eq!(run.run_on(), Some(RolloutOutcome::Succeeded));
    let mut applied = run.applied();
    applied.sort_unstable();
    assert_eq!(applied, [0, 1, 1, 2, 3]);
}
