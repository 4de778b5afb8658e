//! From numbers to names: the notes of vice-core, which terminal, report, notification and `why` read. Driver and
//! simulator both come through here, so real and simulated rollouts are drawn alike.

use jiff::Timestamp;
use serde_json::Value;
use vice_core::Millis;
use vice_core::payload::rollout::{Note, OperatorCommand};
use vice_core::payload::verification::{CheckOutcome, CheckResult, SuiteResult};

use crate::course::WHOLE;
use crate::input::{CheckCounts, Failure};
use crate::judge::{Cause, Ruling};
use crate::note::EngineNote;
use crate::number::{OpNo, TaskNo, UnitNo};
use crate::plan::{Plan, UnitAction};
use crate::reason::{Names, Reason};

/// The texts that the engine does not have: the driver's side table.
pub trait Details {
    /// The id that the target knows an operation by.
    fn op_id(&self, op: OpNo) -> String;
    /// What was said when an operation failed, bounded and masked.
    fn failure(&self, op: OpNo) -> Option<String>;
    /// What the checks said.
    fn suite(&self, op: OpNo) -> Option<SuiteResult>;
    /// What the sources of the metrics said when they were read last, where something was wrong.
    fn measured(&self) -> Option<String>;
    /// Who gave a command, and why.
    fn operator(&self, command: OperatorCommand) -> (String, Option<String>);
}

/// No texts: what a simulation has.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoDetails;

impl Details for NoDetails {
    fn op_id(&self, op: OpNo) -> String {
        op.0.to_string()
    }
    fn failure(&self, _: OpNo) -> Option<String> {
        None
    }
    fn suite(&self, _: OpNo) -> Option<SuiteResult> {
        None
    }
    fn measured(&self) -> Option<String> {
        None
    }
    fn operator(&self, _: OperatorCommand) -> (String, Option<String>) {
        ("operator".to_owned(), None)
    }
}

impl Names for Plan {
    fn unit(&self, unit: UnitNo) -> String {
        self.units.get(unit.index()).map_or_else(|| format!("#{}", unit.0), |unit| unit.name.clone())
    }
    fn task(&self, task: TaskNo) -> String {
        self.tasks.get(task.index()).map_or_else(|| format!("#{}", task.0), |task| task.name.clone())
    }
    fn limit(&self, limit: u32) -> String {
        self.limits.get(limit as usize).map_or_else(|| format!("#{limit}"), |limit| limit.name.clone())
    }
    fn exclusion(&self, exclusion: u32) -> String {
        self.exclusions.get(exclusion as usize).map_or_else(|| format!("#{exclusion}"), |found| found.name.clone())
    }
    fn order(&self, order: u32) -> String {
        self.orders.get(order as usize).map_or_else(|| format!("#{order}"), |found| found.name.clone())
    }
    fn window(&self, window: u32) -> String {
        self.windows.get(window as usize).map_or_else(|| format!("#{window}"), |found| found.name.clone())
    }
    fn cause(&self, cause: Cause) -> String {
        self.analysis.as_ref().map_or_else(|| format!("{cause:?}."), |analysis| cause.sentence(analysis))
    }
}

/// A reason as a whole sentence with the plan's names.
#[must_use]
pub fn describe_reason(reason: &Reason, plan: &Plan) -> String {
    reason.sentence(plan)
}

/// The notes that people read, one for each of the engine's, in the same order.
#[must_use]
pub fn notes_named(notes: &[EngineNote], plan: &Plan, details: &dyn Details) -> Vec<Note> {
    let namer = Namer { plan, details };
    notes.iter().map(|note| namer.note(*note)).collect()
}

struct Namer<'a> {
    plan: &'a Plan,
    details: &'a dyn Details,
}

impl Namer<'_> {
    fn note(&self, note: EngineNote) -> Note {
        match note {
            EngineNote::Fenced { epoch } => Note::Fenced { epoch },
            EngineNote::WaveStarted { wave } => self.wave_started(wave),
            EngineNote::WaveFinished { wave } => Note::WaveFinished { wave: wave + 1 },
            EngineNote::UnitStarted { .. } | EngineNote::UnitFinished { .. } | EngineNote::UnitFailed { .. } => {
                self.unit_note(note)
            }
            EngineNote::TaskStarted { task, unit, direction, .. } => {
                Note::TaskStarted { task: self.plan.task(task), unit: unit.map(|unit| self.plan.unit(unit)), direction }
            }
            EngineNote::TaskFinished { task, unit, op, failure, took } => Note::TaskFinished {
                task: self.plan.task(task),
                unit: unit.map(|unit| self.plan.unit(unit)),
                ok: failure.is_none(),
                reason: failure.map(|failure| self.failure(op, failure)),
                took,
            },
            EngineNote::VerifyStarted { direction, .. } => Note::VerifyStarted { direction },
            EngineNote::VerifyFinished { op, counts, started, took } => Note::VerifyFinished {
                suite: self.details.suite(op).unwrap_or_else(|| nameless_suite(counts, started, took)),
            },
            EngineNote::Weighed { share } => Note::WeightsSet { weights: self.weights(share) },
            EngineNote::Judged { ruling } => self.judged(ruling),
            EngineNote::Decided { verdict, reason, evidence } => Note::Decided {
                verdict,
                reason: describe_reason(&reason, self.plan),
                evidence: serde_json::to_value(evidence).unwrap_or(Value::Null),
            },
            EngineNote::Held { reason, until } => Note::Held { reason: describe_reason(&reason, self.plan), until },
            EngineNote::Commanded { command } => {
                let (by, reason) = self.details.operator(command);
                Note::Commanded { command, by, reason }
            }
            EngineNote::Resumed { epoch } => Note::Resumed { epoch },
            EngineNote::Finished { outcome } => Note::Finished { outcome },
        }
    }

    fn wave_started(&self, wave: u32) -> Note {
        let units = self.plan.waves.get(wave as usize).map(|wave| wave.units.as_slice()).unwrap_or_default();
        Note::WaveStarted {
            wave: wave + 1,
            of: u32::try_from(self.plan.waves.len()).unwrap_or(u32::MAX),
            units: units.iter().map(|unit| self.plan.unit(*unit)).collect(),
            direction: self.plan.direction,
        }
    }

    /// Version and share; empty where traffic follows the units.
    fn weights(&self, share: Option<u32>) -> Vec<(String, u32)> {
        let Some(share) = share else { return Vec::new() };
        let before = self.plan.from.iter().map(|from| (from.version.clone(), WHOLE.saturating_sub(share)));
        before.chain([(self.plan.to.version.clone(), share)]).collect()
    }

    fn judged(&self, ruling: Ruling) -> Note {
        let metrics = self.plan.analysis.as_ref().map(|analysis| &analysis.metrics);
        let metric = metrics.and_then(|metrics| metrics.get(usize::from(ruling.evidence.metric)));
        Note::Judged {
            verdict: ruling.verdict,
            metric: metric.map(|metric| metric.name.clone()),
            reason: self.with_what_sources_said(ruling.cause),
            share: (ruling.evidence.share.get() * f64::from(WHOLE)).round() as u32,
            evidence: serde_json::to_value(ruling.evidence).unwrap_or(Value::Null),
        }
    }

    /// A cause that lacks figures, with why: the judge knows only that they are not there.
    fn with_what_sources_said(&self, cause: Cause) -> String {
        let sentence = self.plan.cause(cause);
        match self.details.measured().filter(|_| cause.lacks_figures()) {
            Some(said) => format!("{sentence} {said}"),
            None => sentence,
        }
    }

    fn unit_note(&self, note: EngineNote) -> Note {
        match note {
            EngineNote::UnitFinished { unit, back, took, .. } => {
                Note::UnitFinished { unit: self.plan.unit(unit), version: self.version(unit, back), took }
            }
            EngineNote::UnitFailed { unit, op, back, failure, took } => Note::UnitFailed {
                unit: self.plan.unit(unit),
                version: self.version(unit, back),
                reason: self.failure(op, failure),
                took,
            },
            EngineNote::UnitStarted { unit, op, back } => Note::UnitStarted {
                unit: self.plan.unit(unit),
                version: self.version(unit, back),
                op: self.details.op_id(op),
            },
            other => self.note(other),
        }
    }

    /// The version that a unit goes to: the plan's, or on the way back the one before. `none`: it is removed.
    fn version(&self, unit: UnitNo, back: bool) -> String {
        let Some(entry) = self.plan.units.get(unit.index()) else { return "none".to_owned() };
        match (back, entry.action, &entry.before) {
            (true, _, Some(before)) => before.version.clone(),
            (true, _, None) | (false, UnitAction::Remove, _) => "none".to_owned(),
            (false, _, _) => self.plan.to.version.clone(),
        }
    }

    fn failure(&self, op: OpNo, failure: Failure) -> String {
        self.details.failure(op).unwrap_or_else(|| failure.clause().to_owned())
    }
}

/// Counts drawn as checks, where nobody has the checks themselves.
fn nameless_suite(counts: CheckCounts, started: Timestamp, took: Millis) -> SuiteResult {
    let groups = [
        (CheckOutcome::Passed, counts.passed),
        (CheckOutcome::Failed, counts.failed),
        (CheckOutcome::Errored, counts.errored),
    ];
    let outcomes = groups.into_iter().flat_map(|(outcome, count)| std::iter::repeat_n(outcome, count as usize));
    let check = |(index, outcome): (usize, CheckOutcome)| CheckResult {
        name: format!("check-{}", index + 1),
        kind: "simulated".to_owned(),
        subject: String::new(),
        outcome,
        attempts: 1,
        took: Millis::ZERO,
        messages: Vec::new(),
    };
    SuiteResult { started, took, checks: outcomes.enumerate().map(check).collect() }
}
