//! What playing scenarios found, as values that reports, histories and series are made of. Everything in here is
//! masked and short enough to be shown.

use jiff::Timestamp;
use serde::Serialize;
use vice_core::Millis;
use vice_core::payload::verification::{CheckOutcome, CheckResult, SuiteResult};

/// So many findings of one step are kept.
pub(crate) const FINDINGS_MAX: usize = 20;

/// The part of a scenario that a step belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Phase {
    Setup,
    Step,
    Teardown,
}

/// Something that does not hold, or that could not be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// One line that says it all.
    pub(crate) message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) expected: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) got: Option<String>,
    /// Where the two differ, a line each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) diff: Vec<String>,
    pub(crate) file: String,
    pub(crate) line: usize,
}

/// One step's result. Times are in milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct StepResult {
    pub(crate) name: String,
    pub(crate) kind: &'static str,
    pub(crate) subject: String,
    pub(crate) phase: Phase,
    pub(crate) outcome: CheckOutcome,
    pub(crate) attempts: u32,
    /// From the begin of the scenario.
    pub(crate) began_ms: f64,
    /// With all attempts.
    pub(crate) took_ms: f64,
    /// Of the last attempt: until the answer began, and until it had ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) first_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) latency_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<u16>,
    pub(crate) bytes: usize,
    /// Whether its time ran out.
    #[serde(skip)]
    pub(crate) late: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) findings: Vec<Finding>,
    pub(crate) file: String,
    pub(crate) line: usize,
}

/// One scenario's result, for one row of its table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct ScenarioResult {
    pub(crate) name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) row: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) about: Option<String>,
    pub(crate) file: String,
    pub(crate) line: usize,
    pub(crate) tags: Vec<String>,
    pub(crate) outcome: CheckOutcome,
    /// Why it was not played.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// From the begin of the run.
    pub(crate) began_ms: f64,
    pub(crate) took_ms: f64,
    pub(crate) steps: Vec<StepResult>,
}

/// A whole run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct RunResult {
    pub(crate) started: Timestamp,
    pub(crate) took_ms: f64,
    pub(crate) scenarios: Vec<ScenarioResult>,
}

impl ScenarioResult {
    /// The name with the row.
    pub(crate) fn title(&self) -> String {
        if self.row.is_empty() { self.name.clone() } else { format!("{} [{}]", self.name, self.row) }
    }

    /// The first step that did not pass, with what was found.
    pub(crate) fn first_bad(&self) -> Option<&StepResult> {
        self.steps.iter().find(|step| is_bad(step.outcome))
    }
}

/// Whether an outcome is one that somebody must look at.
pub(crate) const fn is_bad(outcome: CheckOutcome) -> bool {
    matches!(outcome, CheckOutcome::Failed | CheckOutcome::Errored)
}

/// The outcome of several: what was seen to fail outweighs what could not be done.
pub(crate) fn together(outcomes: impl Iterator<Item = CheckOutcome>) -> CheckOutcome {
    let weight = |outcome: &CheckOutcome| match outcome {
        CheckOutcome::Failed => 3,
        CheckOutcome::Errored => 2,
        CheckOutcome::Passed => 1,
        CheckOutcome::Skipped => 0,
    };
    outcomes.max_by_key(weight).unwrap_or(CheckOutcome::Skipped)
}

impl RunResult {
    /// How many scenarios ended so.
    pub(crate) fn count(&self, outcome: CheckOutcome) -> usize {
        self.scenarios.iter().filter(|scenario| scenario.outcome == outcome).count()
    }

    /// The run as the history knows runs: a scenario is a check.
    pub(crate) fn suite(&self) -> SuiteResult {
        let check = |scenario: &ScenarioResult| {
            let bad = scenario.steps.iter().filter(|step| is_bad(step.outcome));
            let lines =
                bad.flat_map(|step| step.findings.iter().map(|finding| format!("{}: {}", step.name, finding.message)));
            CheckResult {
                name: scenario.title(),
                kind: "scenario".to_owned(),
                subject: scenario.file.clone(),
                outcome: scenario.outcome,
                attempts: u32::from(!scenario.steps.is_empty()),
                took: millis(scenario.took_ms),
                messages: scenario.reason.iter().cloned().chain(lines).collect(),
            }
        };
        SuiteResult {
            started: self.started,
            took: millis(self.took_ms),
            checks: self.scenarios.iter().map(check).collect(),
        }
    }
}

/// Whole milliseconds.
pub(crate) fn millis(ms: f64) -> Millis {
    Millis(ms.max(0.0).round() as u64)
}
