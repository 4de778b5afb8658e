//! What the simulator says of a plan, beside the plan itself, and stored with the rollout that follows from it.
//!
//! It must cost hardly anything and be the same for the same plan: few runs of a fixed number, a fixed seed, a fixed
//! hour of beginning, one thread. Whoever wants to know more asks `vice pride simulate`.

use serde::Serialize;
use vice_core::app::App;
use vice_core::manifest::ModelSpec;
use vice_core::payload::environment::Direction;
use vice_core::payload::simulation::{
    AssumptionSource, Forecast, Quantiles, SimulatedEnd, SimulationMode, SimulationReport, StoryKind, Unfinished,
};
use vice_core::text::{Tone, paint};
use vice_core::{Fault, Millis, Result};
use vice_pride_engine::{Course, Plan};
use vice_pride_simulator::{Layout, Past, Setting, Study, Title, World, report};

use super::simulate;
use crate::driver::Prepared;

/// Plans of more units are not simulated by the way: a thousand units and thirty runs take about as long as one look
/// at the target.
const UNITS_MAX: usize = 200;

/// As many runs as tell a median from a bad day, within a few milliseconds.
const RUNS: u64 = 40;

/// As many where live metrics are judged: each window of each run is.
const JUDGED_RUNS: u64 = 20;

/// As many at least.
const JUDGED_RUNS_MIN: u64 = 4;

/// About so many windows of metrics are judged in one story: some tens of milliseconds.
const JUDGED_MAX: u64 = 4_000;

/// Windows are at least so long.
const WINDOW_MIN: Millis = Millis(10_000);

/// After so many a person is asked.
const WINDOWS_MAX: u64 = 500;

/// The seed of every forecast.
const SEED: u64 = 1;

/// The latest rollouts that durations are taken from. The full simulation reads more of them.
const ROLLOUTS_READ_MAX: usize = 5;

/// A Monday morning: windows of time open then, and the figures don't depend on when somebody looks.
const BEGINS_AT: i64 = 1_767_603_600;

/// A forecast with what is shown beside it and not stored.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Foretold {
    /// What is stored with the rollout.
    #[serde(flatten)]
    pub(super) forecast: Forecast,
    /// If it has a bug, the likeliest one: units times hours on the new release until that is decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) exposure_server_hours: Option<Quantiles>,
    /// Whether there is more than one bug, so that the exposure of one says little of a bad release.
    #[serde(skip)]
    pub(super) several_bugs: bool,
    /// In so many of the healthy runs somebody has to decide.
    pub(super) needs_human: u64,
    /// The keys whose values nobody said.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) assumed_keys: Vec<String>,
}

/// Simulates what was prepared; the reason when that is not done.
///
/// # Errors
/// Nothing that a plan fails for: the reason is shown instead of the figures.
pub(super) async fn foretell(app: &App, prepared: &Prepared) -> Result<Foretold, String> {
    let plan = &prepared.plan;
    if plan.direction != Direction::Deploy || plan.is_noop() {
        return Err("Only what a deploy changes is simulated.".to_owned());
    }
    if plan.units.len() > UNITS_MAX {
        return Err(format!(
            "{} units are too many to be simulated by the way; `vice pride simulate` does it.",
            plan.units.len()
        ));
    }
    let said = |fault: Fault| format!("It could not be simulated: {fault}");
    let past = simulate::past(app, &prepared.project, &prepared.scope, ROLLOUTS_READ_MAX).await.map_err(said)?;
    let foretold = simulated(prepared, &past).map_err(said)?;
    foretold.ok_or_else(|| "The simulator has no healthy story of it.".to_owned())
}

fn simulated(prepared: &Prepared, past: &Past) -> Result<Option<Foretold>> {
    let env = prepared.project.env(&prepared.scope.env)?;
    // A forecast begins with the deploy itself, before which notice was given and approval found.
    let model = ModelSpec { gate: None, ..env.model.clone().unwrap_or_default() };
    let world = World::new(&model, Layout::of_plan(&prepared.plan)?, past)?;
    let course = Course::new(coarse(&prepared.plan))?;
    let start = jiff::Timestamp::from_second(BEGINS_AT).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let setting = Setting { world: &world, course: &course, start, seed: SEED };
    let runs = affordable(setting);
    let study = Study { setting, runs, threads: 1, mode: SimulationMode::Exact };
    let title = Title { project: prepared.scope.project.clone(), env: prepared.scope.env.clone(), policy: None };
    Ok(of(&report(&study, &title)))
}

/// The plan as it is forecast: windows are not shorter than ten seconds, which the judge hardly minds, and after so many a
/// person is asked, as one would be who still waited. Without this a release that can't be proven would be judged for ever.
fn coarse(plan: &Plan) -> Plan {
    let mut plan = plan.clone();
    if let Some(analysis) = &mut plan.analysis {
        analysis.interval = analysis.interval.max(WINDOW_MIN);
        let most = Millis(analysis.interval.0.saturating_mul(WINDOWS_MAX));
        analysis.patience = Some(analysis.patience.map_or(most, |said| said.min(most)));
    }
    plan
}

/// As many runs as the plan is worth: fewer where each has many windows to judge. The same for the same plan.
fn affordable(setting: Setting<'_>) -> u64 {
    let Some(analysis) = &setting.course.plan().analysis else { return RUNS };
    let one = setting.run(0, None).events.saturating_mul(analysis.metrics.len().max(1) as u64);
    (JUDGED_MAX / one.max(1)).clamp(JUDGED_RUNS_MIN, JUDGED_RUNS)
}

fn of(report: &SimulationReport) -> Option<Foretold> {
    let healthy = report.stories.iter().find(|story| story.kind == StoryKind::Healthy)?;
    let bad = report.unhealthy();
    // The first of those that are as likely, which `max_by` would not give.
    let likeliest = bad.iter().rev().max_by(|one, two| one.1.total_cmp(&two.1));
    let asks = |end: &&vice_core::payload::simulation::EndCount| end.end == SimulatedEnd::NeedsHuman;
    let assumed = report.assumptions.iter().filter(|one| one.source == AssumptionSource::Assumed);
    Some(Foretold {
        forecast: report.forecast()?,
        exposure_server_hours: likeliest.and_then(|(story, _)| story.exposure_server_hours),
        several_bugs: bad.len() > 1,
        needs_human: healthy.outcomes.iter().find(asks).map_or(0, |end| end.runs),
        assumed_keys: assumed.map(|one| one.key.clone()).collect(),
    })
}

/// The lines below a plan.
pub(super) fn render(foretold: &Result<Foretold, String>) -> String {
    let foretold = match foretold {
        Ok(foretold) => foretold,
        Err(why) => return format!("{}\n", paint(Tone::Faint, format!("No forecast: {why}"))),
    };
    let forecast = &foretold.forecast;
    let total = &forecast.total_ms;
    let heading = paint(Tone::Strong, "Forecast:");
    let mut text = match &forecast.unfinished {
        Some(still) => format!("{heading} {}", unfinished(still, total)),
        None => {
            let [median, low, high] = [total.p50, total.p5, total.p95].map(time);
            format!("{heading} {median} ({low} to {high} in nine of ten runs)")
        }
    };
    // Of a rollout that is never over, not being rolled back is no praise.
    let over = forecast.unfinished.as_ref().is_none_or(|still| still.runs < still.of);
    if let Some(false_rollback) = forecast.false_rollback.as_ref().filter(|_| over) {
        text.push_str(&format!(
            "; a good release is rolled back with {}{}",
            percent(false_rollback.value),
            false_rollback.hi.map(|hi| format!(" (at most {})", percent(hi))).unwrap_or_default()
        ));
    }
    text.push_str(".\n");
    text.push_str(&bug(foretold));
    if foretold.needs_human > 0 {
        let (asked, runs) = (foretold.needs_human, forecast.runs);
        text.push_str(&format!("  In {asked} of {runs} runs somebody has to decide.\n"));
    }
    if forecast.assumed > 0 {
        text.push_str(&format!(
            "  {}\n",
            paint(
                Tone::Warn,
                format!(
                    "{} assumed; `vice pride simulate` lists them, and [env.NAME.model] sets them.",
                    match forecast.assumed {
                        1 => "1 input is".to_owned(),
                        many => format!("{many} inputs are"),
                    }
                )
            )
        ));
    }
    text
}

/// What is said of a rollout that is not over in some runs: how long the others take never stands alone.
fn unfinished(still: &Unfinished, total: &Quantiles) -> String {
    let (runs, of, days) = (still.runs, still.of, time(still.after_ms));
    let waits = still.waits.first().map(|waited| format!(", waiting for {}", waited.what)).unwrap_or_default();
    let not_over = format!("not over after {days} in {runs} of {of} runs{waits}");
    if total.p50 >= still.after_ms { not_over } else { format!("{} in the median, but {not_over}", time(total.p50)) }
}

/// What would become of a bug, where one is modelled.
fn bug(foretold: &Foretold) -> String {
    let unfound = |wave: &vice_core::payload::simulation::ForecastWave| {
        wave.p_unfound_after.map(|p| format!("{} after wave {}", percent(p), wave.wave))
    };
    let waves: Vec<String> = foretold.forecast.waves.iter().filter_map(unfound).collect();
    if waves.is_empty() {
        return String::new();
    }
    let shown = match waves.as_slice() {
        [first, second, .., last] if waves.len() > 4 => format!("{first}, {second}, … {last}"),
        all => all.join(", "),
    };
    let exposure = foretold.exposure_server_hours.filter(|_| !foretold.several_bugs).map(|exposure| {
        format!(
            "; until then it runs for {:.2} server-hours ({:.2} in the worst of twenty)",
            exposure.p50, exposure.p95
        )
    });
    format!("  A bug would be unfound with {shown}{}.\n", exposure.unwrap_or_default())
}

fn time(ms: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a time of a simulation, not below 0")]
    let whole = ms.max(0.0).round() as u64;
    Millis(whole).to_string()
}

fn percent(value: f64) -> String {
    match value * 100.0 {
        whole if whole >= 10.0 || whole == 0.0 => format!("{whole:.0} %"),
        small if small >= 1.0 => format!("{small:.1} %"),
        small => format!("{small:.2} %"),
    }
}
