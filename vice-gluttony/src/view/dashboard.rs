//! A dashboard: several panels over several projects and environments.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use vice_core::Millis;
use vice_core::delivery::{DEFINITIONS, Figures, Run, WINDOW_DAYS, figures};
use vice_core::fold::environment::{EnvironmentState, Past, Placed};
use vice_core::id::{RolloutId, Scope};
use vice_core::manifest::Panel;
use vice_core::payload::environment::Direction;
use vice_core::payload::verification::{CheckOutcome, CheckResult, VerificationFinished};

use super::Standing;

/// The name and version of this shape; the number grows when a field changes its meaning.
pub const SCHEMA: &str = "vice.report.dashboard/1";

/// How many rollouts and verifications are listed.
pub const LISTED_MAX: usize = 20;

/// A dashboard.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Dashboard {
    /// [`SCHEMA`].
    pub schema: String,
    /// When it was made.
    pub generated: Timestamp,
    /// Its name.
    pub name: String,
    /// Its heading.
    pub title: String,
    /// The panels in the order that was asked for.
    pub panels: Vec<PanelView>,
}

/// One panel with its content.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "panel", rename_all = "snake_case")]
pub enum PanelView {
    /// What runs where.
    Status {
        /// One row for each environment.
        rows: Vec<StatusRow>,
    },
    /// The latest rollouts, newest first.
    Rollouts {
        /// The rollouts.
        rows: Vec<RolloutRow>,
    },
    /// The latest verifications, newest first.
    Verifications {
        /// The runs of checks.
        rows: Vec<VerificationRow>,
    },
    /// Versions that must not be deployed.
    Holds {
        /// The holds.
        rows: Vec<HoldRow>,
    },
    /// How often and how well deploys go.
    Frequency {
        /// Over how many days.
        window_days: u64,
        /// One row for each environment; several are followed by one for all.
        rows: Vec<FrequencyRow>,
        /// What each figure means.
        definitions: Vec<Definition>,
    },
}

/// What runs in one environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusRow {
    /// Where.
    pub scope: Scope,
    /// What.
    pub running: Option<Placed>,
    /// Whether somebody stopped it on purpose.
    pub stopped: bool,
    /// The rollout under way.
    pub active: Option<RolloutId>,
    /// For what it waits.
    pub waiting: Option<String>,
    /// The versions on hold.
    pub holds: Vec<String>,
}

/// A rollout in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutRow {
    /// Which.
    pub rollout: RolloutId,
    /// Deploy or rollback.
    pub direction: Direction,
    /// The version that was wanted.
    pub version: String,
    /// How it stands.
    pub standing: Standing,
    /// When it began.
    pub began: Timestamp,
    /// How long it took.
    #[serde(rename = "took_ms")]
    pub took: Option<Millis>,
    /// Who asked.
    pub by: String,
    /// Why it did not succeed.
    pub reason: Option<String>,
}

/// A run of checks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerificationRow {
    /// Where.
    pub scope: Scope,
    /// When it ended.
    pub at: Timestamp,
    /// The version that ran.
    pub version: Option<String>,
    /// The rollout that asked.
    pub rollout: Option<RolloutId>,
    /// Whether it passed.
    pub passed: bool,
    /// In counts.
    pub summary: String,
    /// How long it took.
    #[serde(rename = "took_ms")]
    pub took: Millis,
    /// The checks that did not pass.
    pub failures: Vec<CheckResult>,
}

/// A version that must not be deployed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldRow {
    /// Where.
    pub scope: Scope,
    /// The version.
    pub version: String,
    /// Why.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
    /// Who placed it.
    pub by: String,
}

/// The figures of one environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrequencyRow {
    /// Where; none for all together.
    pub scope: Option<Scope>,
    /// The figures.
    pub figures: Figures,
}

/// What a figure means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    /// The figure.
    pub name: String,
    /// What it means.
    pub meaning: String,
}

/// What was read for one environment; what no panel asks for is left empty.
#[derive(Debug, Clone)]
pub struct Place {
    /// Where.
    pub scope: Scope,
    /// Its state.
    pub state: EnvironmentState,
    /// For what the active rollout waits.
    pub waiting: Option<String>,
    /// The latest verifications with the time of their event, newest first.
    pub verifications: Vec<(Timestamp, VerificationFinished)>,
    /// The rollouts of the window.
    pub runs: Vec<Run>,
}

/// Computes one panel. `since` is the start of the window of the figures.
#[must_use]
pub fn panel(panel: Panel, places: &[Place], since: Timestamp) -> PanelView {
    match panel {
        Panel::Status => PanelView::Status { rows: places.iter().map(status).collect() },
        Panel::Rollouts => PanelView::Rollouts { rows: rollouts(places) },
        Panel::Verifications => PanelView::Verifications { rows: verifications(places) },
        Panel::Holds => PanelView::Holds { rows: places.iter().flat_map(holds).collect() },
        Panel::Frequency => PanelView::Frequency {
            window_days: WINDOW_DAYS,
            rows: frequency(places, since),
            definitions: DEFINITIONS
                .map(|(name, meaning)| Definition { name: name.to_owned(), meaning: meaning.to_owned() })
                .into(),
        },
    }
}

fn status(place: &Place) -> StatusRow {
    StatusRow {
        scope: place.scope.clone(),
        running: place.state.running.clone(),
        stopped: place.state.stopped,
        active: place.state.active.clone(),
        waiting: place.waiting.clone(),
        holds: place.state.holds.keys().cloned().collect(),
    }
}

fn rollouts(places: &[Place]) -> Vec<RolloutRow> {
    let mut rows: Vec<RolloutRow> =
        places.iter().flat_map(|place| place.state.past.iter().map(|past| rollout(place, past))).collect();
    rows.sort_by(|one, two| (two.began, &one.rollout).cmp(&(one.began, &two.rollout)));
    rows.truncate(LISTED_MAX);
    rows
}

fn rollout(place: &Place, past: &Past) -> RolloutRow {
    let waits = place.waiting.is_some() && place.state.active.as_ref() == Some(&past.rollout);
    RolloutRow {
        rollout: past.rollout.clone(),
        direction: past.direction,
        version: past.to.version.clone(),
        standing: Standing::of(past.outcome, waits),
        began: past.began,
        took: past.took,
        by: past.by.clone(),
        reason: past.reason.clone(),
    }
}

fn verifications(places: &[Place]) -> Vec<VerificationRow> {
    let mut rows: Vec<VerificationRow> =
        places.iter().flat_map(|place| place.verifications.iter().map(verification)).collect();
    rows.sort_by(|one, two| (two.at, &one.scope).cmp(&(one.at, &two.scope)));
    rows.truncate(LISTED_MAX);
    rows
}

fn verification((at, finished): &(Timestamp, VerificationFinished)) -> VerificationRow {
    let suite = &finished.suite;
    let failed = |check: &&CheckResult| matches!(check.outcome, CheckOutcome::Failed | CheckOutcome::Errored);
    VerificationRow {
        scope: finished.scope.clone(),
        at: *at,
        version: finished.version.clone(),
        rollout: finished.rollout.clone(),
        passed: suite.passed(),
        summary: super::sentence::suite(suite),
        took: suite.took,
        failures: suite.checks.iter().filter(failed).cloned().collect(),
    }
}

fn holds(place: &Place) -> impl Iterator<Item = HoldRow> {
    place.state.holds.iter().map(|(version, hold)| HoldRow {
        scope: place.scope.clone(),
        version: version.clone(),
        reason: hold.reason.clone(),
        since: hold.since,
        by: hold.by.clone(),
    })
}

fn frequency(places: &[Place], since: Timestamp) -> Vec<FrequencyRow> {
    let row = |scope: Option<Scope>, runs: &[Run]| FrequencyRow { scope, figures: figures(runs, since) };
    let mut rows: Vec<FrequencyRow> = places.iter().map(|place| row(Some(place.scope.clone()), &place.runs)).collect();
    if rows.len() > 1 {
        let all: Vec<Run> = places.iter().flat_map(|place| place.runs.iter().cloned()).collect();
        rows.push(row(None, &all));
    }
    rows
}
