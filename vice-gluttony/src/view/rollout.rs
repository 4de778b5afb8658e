//! The report of one rollout.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use vice_core::fold::environment::{EnvironmentState, Hold, Placed};
use vice_core::fold::rollout::{Moment, RolloutView};
use vice_core::id::{EnvName, ProjectName, RolloutId};
use vice_core::payload::ReleaseRef;
use vice_core::payload::environment::Direction;
use vice_core::payload::propagation::Propagation;
use vice_core::payload::rollout::{ConfigChange, Note, Verdict};
use vice_core::payload::verification::SuiteResult;
use vice_core::{Fault, Millis, Result};

use super::compare::{Comparison, compare};
use super::expected::{Expected, expected};
use super::lanes::{Timeline, timeline};
use super::next::{Next, steps};
use super::spread::spread;
use super::{Mood, Standing, sentence};

/// The name and version of this shape; the number grows when a field changes its meaning.
pub const SCHEMA: &str = "vice.report.rollout/1";

/// Everything that a report says about one rollout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RolloutReport {
    /// [`SCHEMA`].
    pub schema: String,
    /// When the report was made.
    pub generated: Timestamp,
    /// The rollout.
    pub rollout: RolloutId,
    /// Its project.
    pub project: ProjectName,
    /// Its environment.
    pub env: EnvName,
    /// Deploy or rollback.
    pub direction: Direction,
    /// How it stands.
    pub standing: Standing,
    /// The whole story in one sentence.
    pub headline: String,
    /// Who asked.
    pub by: String,
    /// Why, where somebody said.
    pub reason: Option<String>,
    /// What ran before.
    pub from: Option<ReleaseRef>,
    /// What was wanted.
    pub to: ReleaseRef,
    /// What ran right after it.
    pub left_running: Option<ReleaseRef>,
    /// Why it did not succeed.
    pub failure: Option<String>,
    /// For what it waits.
    pub waiting: Option<WaitingFor>,
    /// The hash of its plan.
    pub plan_hash: Option<String>,
    /// When it started.
    pub started: Timestamp,
    /// When it ended.
    pub finished: Option<Timestamp>,
    /// From start to end, or to now.
    #[serde(rename = "took_ms")]
    pub took: Millis,
    /// The duration against the rollouts before it; none without earlier ones, and none while it is under way.
    pub comparison: Option<Comparison>,
    /// Changes of the configuration, secrets masked.
    pub config_changes: Vec<ConfigChange>,
    /// What happened when.
    pub timeline: Timeline,
    /// How it spread over its units; none before the first one changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spread: Option<Propagation>,
    /// What the simulator had said; none when it was not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<Expected>,
    /// Runs of the checks.
    pub verifications: Vec<Verified>,
    /// What was decided.
    pub decisions: Vec<Decision>,
    /// The whole journal in sentences, without the windows in which the judgement stayed as it was.
    pub log: Vec<LogLine>,
    /// What runs in the environment now.
    pub now: RunsNow,
    /// How to go on.
    pub next: Vec<Next>,
}

/// For what a rollout waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitingFor {
    /// For what.
    pub reason: String,
    /// When something can happen by itself.
    pub until: Option<Timestamp>,
}

/// A run of the checks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// When it ended.
    pub at: Timestamp,
    /// Of which movement.
    pub direction: Direction,
    /// Whether it passed.
    pub passed: bool,
    /// What was found.
    pub suite: SuiteResult,
}

/// A decision of the engine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// When.
    pub at: Timestamp,
    /// What.
    pub verdict: Verdict,
    /// Why.
    pub reason: String,
    /// The numbers that it rests on.
    pub evidence: Value,
}

/// One sentence of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// When.
    pub at: Timestamp,
    /// How long after the start.
    #[serde(rename = "after_ms")]
    pub after: Millis,
    /// In which step of the engine.
    pub step: u64,
    /// How good it is.
    pub mood: Mood,
    /// What happened.
    pub text: String,
}

/// What runs in the environment when the report is made, which may be long after the rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunsNow {
    /// What.
    pub running: Option<Placed>,
    /// Whether somebody stopped it on purpose.
    pub stopped: bool,
    /// The hold on the version that this rollout wanted.
    pub hold: Option<Hold>,
}

impl RolloutReport {
    /// Computes the report.
    ///
    /// # Errors
    /// `Decode` when the stream does not begin as every rollout does.
    pub fn new(view: RolloutView, state: &EnvironmentState, now: Timestamp) -> Result<Self> {
        let begun = (view.id.clone(), view.direction, view.to.clone(), view.started);
        let (Some(id), Some(direction), Some(to), Some(started)) = begun else {
            let message = "The stream of this rollout does not begin with its start.";
            return Err(Fault::new(vice_core::Code::Decode, message).hint("Run `vice greed verify`."));
        };
        let standing = Standing::of(view.outcome, view.waiting.is_some());
        let waiting = view.waiting.clone().map(|(reason, until)| WaitingFor { reason, until });
        let took = view.took.unwrap_or_else(|| Millis::between(started, now));
        let comparison = view.took.and_then(|took| compare(&id, took, &state.past));
        let last = view.timeline.last().map_or(started, |moment| moment.at);
        // A rollout that waits for days would squeeze everything that happened into the left edge.
        let edge = view.finished.unwrap_or(if waiting.is_some() { last } else { now });
        let hold = state.holds.get(&to.version).cloned();
        let drawn = spread(&view, started, edge.max(last));
        let expected = view.forecast.map(|said| expected(said, &view.timeline, started, (standing, view.took)));
        Ok(Self {
            schema: SCHEMA.to_owned(),
            generated: now,
            project: id.scope.project.clone(),
            env: id.scope.env.clone(),
            direction,
            standing,
            spread: drawn,
            expected,
            headline: headline(direction, standing, &to, view.running.as_ref(), took),
            by: view.by,
            reason: view.reason,
            from: view.from,
            left_running: view.running,
            failure: view.failure,
            waiting,
            plan_hash: view.plan_hash.map(|hash| hash.to_string()),
            started,
            finished: view.finished,
            took,
            comparison,
            config_changes: view.config_changes,
            timeline: timeline(&view.timeline, started, edge, view.finished.is_some()),
            verifications: verifications(&view.timeline),
            decisions: view.timeline.iter().filter_map(decision).collect(),
            log: log(&view.timeline, started),
            next: steps(&id, standing, hold.as_ref().map(|_| to.version.as_str()), state),
            now: RunsNow { running: state.running.clone(), stopped: state.stopped, hold },
            to,
            rollout: id,
        })
    }
}

fn headline(
    direction: Direction,
    standing: Standing,
    to: &ReleaseRef,
    running: Option<&ReleaseRef>,
    took: Millis,
) -> String {
    let what = match direction {
        Direction::Deploy => format!("The deploy of version {}", to.version),
        Direction::Rollback => format!("The rollback to version {}", to.version),
    };
    let runs =
        running.map_or_else(|| "nothing is known to run".to_owned(), |left| format!("version {} runs", left.version));
    match standing {
        Standing::Succeeded => format!("{what} succeeded in {took}."),
        Standing::RolledBack => format!("{what} failed and was rolled back after {took}: {runs}."),
        Standing::Failed => format!("{what} failed after {took}, before anything was changed."),
        Standing::NotRestored => format!("{what} failed after {took} and could not be undone: somebody must look."),
        Standing::Aborted => format!("{what} was ended by an operator after {took}: {runs}."),
        Standing::Running => format!("{what} has been under way for {took}."),
        Standing::Waiting => format!("{what} waits, {took} after its start."),
    }
}

fn verifications(moments: &[Moment]) -> Vec<Verified> {
    let mut direction = Direction::Deploy;
    let mut found = Vec::new();
    for moment in moments {
        match &moment.note {
            Note::VerifyStarted { direction: started } => direction = *started,
            Note::VerifyFinished { suite } => {
                found.push(Verified { at: moment.at, direction, passed: suite.passed(), suite: suite.clone() });
            }
            _ => {}
        }
    }
    found
}

fn decision(moment: &Moment) -> Option<Decision> {
    let Note::Decided { verdict, reason, evidence } = &moment.note else { return None };
    Some(Decision { at: moment.at, verdict: *verdict, reason: reason.clone(), evidence: evidence.clone() })
}

fn log(moments: &[Moment], started: Timestamp) -> Vec<LogLine> {
    let mut judged = None;
    let news = moments.iter().filter(|moment| match moment.note {
        Note::Judged { verdict, .. } => judged.replace(verdict) != Some(verdict),
        _ => true,
    });
    news.map(|moment| log_line(moment, started)).collect()
}

fn log_line(moment: &Moment, started: Timestamp) -> LogLine {
    let (mood, text) = sentence::of(&moment.note);
    LogLine { at: moment.at, after: Millis::between(started, moment.at), step: moment.step, mood, text }
}
