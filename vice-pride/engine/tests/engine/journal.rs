//! A stored journal replays byte for byte, and an altered one is found.

use std::path::Path;

use crate::support::{Run, bake, rolling, task};
use serde::{Deserialize, Serialize};
use vice_core::Millis;
use vice_core::manifest::{TaskPer, TaskRun};
use vice_core::payload::environment::RolloutOutcome;
use vice_core::payload::rollout::OperatorCommand;
use vice_pride_engine::{
    CheckCounts, Course, Effect, Failure, Input, OpNo, OpResult, Plan, Recorded, Rollback, Seen, check_replay,
    judge::Reading, replay,
};

#[derive(Serialize, Deserialize)]
struct Journal {
    plan: Plan,
    steps: Vec<Recorded>,
}

const GOLDEN: &str = include_str!("../journals/rolled-back-after-takeover.json");

/// Two units with a task, a bake, a pause, a crash and a takeover, a failed verification, and a way back with a retry.
fn eventful() -> Run {
    let mut plan = rolling(2);
    bake(&mut plan, Millis::from_secs(30));
    plan.tasks = vec![task("migrate", TaskRun::Before, TaskPer::Rollout, Rollback::Command)];
    let mut run = Run::begun(plan);
    run.later(2);
    run.done();
    run.command(OperatorCommand::Pause);
    run.later(3);
    run.done();
    run.command(OperatorCommand::Resume);
    run.later(30);
    run.tell(Input::Tick);
    run.later(1);
    run.done();
    run.open.clear();
    run.tell(Input::Resumed { epoch: 2 });
    run.done();
    let op = run.take().op().unwrap();
    run.tell(Input::Observed { op, seen: Seen::NotApplied });
    run.later(4);
    run.done();
    run.later(30);
    run.tell(Input::Tick);
    run.fail(Failure::Other);
    run.fail(Failure::Unreachable);
    assert_eq!(run.run_on(), Some(RolloutOutcome::RolledBack));
    run
}

#[test]
fn the_golden_journal_is_what_the_engine_gives_today() {
    let run = eventful();
    let journal = Journal { plan: run.state.course().plan().clone(), steps: run.journal };
    let text = serde_json::to_string_pretty(&journal).unwrap() + "\n";
    let actual = Path::new(env!("CARGO_TARGET_TMPDIR")).join("rolled-back-after-takeover.json");
    std::fs::write(&actual, &text).unwrap();
    // A difference means that journals of earlier versions no longer replay: raise PLANNER_VERSION, or undo it.
    assert!(text == GOLDEN, "the journal differs from tests/journals; the new one is {}", actual.display());
}

#[test]
fn the_golden_journal_replays_byte_for_byte() {
    let journal: Journal = serde_json::from_str(GOLDEN).unwrap();
    let course = Course::new(journal.plan.clone()).unwrap();
    let state = check_replay(&course, &journal.steps).unwrap();
    assert_eq!(state.outcome(), Some(RolloutOutcome::RolledBack));
    let (again, answers) = replay(&course, journal.steps.iter().map(|step| (step.now, step.inputs.as_slice())));
    assert_eq!(again, state);
    let said = serde_json::to_string(&answers).unwrap();
    let stored: Vec<_> = journal.steps.iter().map(|step| step.answer.clone()).collect();
    assert_eq!(said, serde_json::to_string(&stored).unwrap());
    assert_eq!(serde_json::to_string_pretty(&journal).unwrap() + "\n", GOLDEN);
}

/// Another input that would have meant something else.
fn altered(input: Input) -> Option<Input> {
    Some(match input {
        Input::Tick => return None,
        Input::Begin { epoch } => Input::Begin { epoch: epoch + 1 },
        Input::Resumed { epoch } => Input::Resumed { epoch: epoch + 1 },
        Input::EffectDone { op, result: OpResult::Done } => {
            Input::EffectDone { op, result: OpResult::Failed(Failure::Task) }
        }
        Input::EffectDone { op, .. } => Input::EffectDone { op, result: OpResult::Done },
        Input::Observed { op, .. } => Input::Observed { op, seen: Seen::Unknown },
        Input::Verified { op, passed, counts } => {
            Input::Verified { op, passed, counts: CheckCounts { passed: counts.passed + 1, ..counts } }
        }
        Input::Measured { op, metric, .. } => Input::Measured { op, metric, reading: Reading::NoSeries },
        Input::Operator { .. } => Input::Operator { command: OperatorCommand::Abandon },
    })
}

#[test]
fn one_altered_input_is_found() {
    let run = eventful();
    let course = run.state.course();
    let mut tried = 0;
    for index in 0..run.journal.len() {
        let Some(other) = altered(run.journal[index].inputs[0]) else { continue };
        let mut journal = run.journal.clone();
        journal[index].inputs[0] = other;
        let mismatch = check_replay(course, &journal).expect_err("the alteration has to be found");
        assert_eq!(mismatch.step, index as u64 + 1, "{other:?}");
        assert!(mismatch.to_string().starts_with(&format!("Step {} of the journal", index + 1)));
        tried += 1;
    }
    assert!(tried > 10);
}

#[test]
fn one_altered_removed_or_added_effect_is_found() {
    let run = eventful();
    let course = run.state.course();
    for index in 0..run.journal.len() {
        let mut added = run.journal.clone();
        added[index].answer.effects.push(Effect::Verify { op: OpNo(3) });
        assert_eq!(check_replay(course, &added).unwrap_err().step, index as u64 + 1);
        if run.journal[index].answer.effects.is_empty() {
            continue;
        }
        let mut removed = run.journal.clone();
        removed[index].answer.effects.pop();
        assert_eq!(check_replay(course, &removed).unwrap_err().step, index as u64 + 1);
    }
    let mut dropped = run.journal.clone();
    dropped.remove(3);
    assert!(check_replay(course, &dropped).is_err(), "a step that is missing is found at the next one");
}
