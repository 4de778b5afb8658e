//! `vice status`: what runs where.

use std::sync::Arc;

use clap::Args;
use serde_json::{Value, json};
use vice_core::Result;
use vice_core::app::App;
use vice_core::fold;
use vice_core::fold::environment::EnvironmentState;
use vice_core::fold::rollout::RolloutView;
use vice_core::id::{EnvName, RolloutId, Scope};
use vice_core::manifest::Project;
use vice_core::payload::judged::Judged;
use vice_core::payload::rollout::Note;
use vice_core::payload::{environment_stream, rollout_stream};
use vice_core::port::target::{CONFIG_FACT, Inventory, UNREACHABLE, UnitHealth, UnitState};
use vice_core::text::{Table, Tone, paint};
use vice_core::time::ago;
use vice_core::ui::Outcome;

use crate::backend;

/// Arguments of `vice status`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  vice status\n  vice status shop --env prod --units")]
pub struct StatusArgs {
    /// The project; all when absent
    project: Option<String>,
    /// Only this environment
    #[arg(short, long)]
    env: Option<EnvName>,
    /// Show each unit
    #[arg(short, long)]
    units: bool,
}

/// One line of the table.
pub(crate) struct Row {
    pub(crate) scope: Scope,
    pub(crate) kind: &'static str,
    pub(crate) state: EnvironmentState,
    pub(crate) inventory: Result<Inventory>,
    /// The new release's share of the traffic in basis points, and what the judge said last, of a rollout under way.
    exposed: Option<(Option<u32>, Option<String>)>,
    /// How many units `vice.toml` asks for.
    pub(crate) units_wanted: u32,
}

impl Row {
    /// In one word, how the units are.
    pub(crate) fn health(&self) -> (Tone, String) {
        let Ok(inventory) = &self.inventory else { return (Tone::Bad, "unreachable".to_owned()) };
        let total = inventory.units.len();
        let good = inventory.units.iter().filter(|unit| unit.health == UnitHealth::Healthy).count();
        let stopped = inventory.units.iter().filter(|unit| unit.health == UnitHealth::Stopped).count();
        match (total, good) {
            (0, _) if self.state.running.is_none() || self.units_wanted == 0 => (Tone::Faint, "-".to_owned()),
            (0, _) => (Tone::Bad, "nothing runs".to_owned()),
            _ if stopped == total => (Tone::Warn, "stopped".to_owned()),
            (total, good) if good == total => (Tone::Good, format!("healthy {good}/{total}")),
            (total, good) => (Tone::Bad, format!("healthy {good}/{total}")),
        }
    }

    /// How what runs differs from what the history says should run.
    pub(crate) fn drift(&self) -> Vec<String> {
        let Ok(inventory) = &self.inventory else { return Vec::new() };
        let wanted = self.state.running.as_ref().map(|placed| &placed.release);
        let mut found: Vec<String> = inventory.units.iter().filter_map(|unit| unit_drift(unit, wanted)).collect();
        if wanted.is_some() && inventory.units.is_empty() && self.units_wanted > 0 {
            found.push("no unit is there".to_owned());
        }
        found
    }

    fn value(&self, now: jiff::Timestamp) -> Value {
        let running = self.state.running.as_ref();
        let units = self.inventory.as_ref().map(|inventory| json!(inventory.units)).unwrap_or(Value::Null);
        json!({
            "project": self.scope.project,
            "env": self.scope.env,
            "target": self.kind,
            "version": running.map(|placed| &placed.release.version),
            "release": running.map(|placed| &placed.release),
            "since": running.map(|placed| placed.since),
            "age_ms": running.map(|placed| vice_core::Millis::between(placed.since, now)),
            "by": running.map(|placed| &placed.by),
            "rollout": running.map(|placed| &placed.rollout),
            "proven": running.is_some_and(|placed| placed.proven),
            "health": self.health().1,
            "drift": self.drift(),
            "active_rollout": self.state.active,
            "queued_rollout": self.state.queued.as_ref().map(|queued| &queued.rollout),
            "holds": self.state.holds,
            "canary_share": self.exposed.as_ref().and_then(|(share, _)| *share),
            "judged": self.exposed.as_ref().and_then(|(_, said)| said.as_ref()),
            "url": self.inventory.as_ref().ok().and_then(|inventory| inventory.url.clone()),
            "metrics_url": self.inventory.as_ref().ok().and_then(|inventory| inventory.metrics.clone()),
            "units": units,
        })
    }
}

fn unit_drift(unit: &UnitState, wanted: Option<&vice_core::payload::ReleaseRef>) -> Option<String> {
    if let Some(why) = unit.facts.get(UNREACHABLE) {
        return Some(format!("unit {} can't be asked: {why}", unit.name));
    }
    match (&unit.release, wanted) {
        (Some(has), Some(wanted)) if has.runs_like(wanted) => {
            let drift = unit.facts.get(CONFIG_FACT)?;
            Some(format!("unit {} runs {} with another configuration: {drift}", unit.name, has.version))
        }
        (Some(has), Some(wanted)) if has.version == wanted.version => {
            let what = match (has.artifact == wanted.artifact, has.config == wanted.config) {
                (false, _) => "artifact",
                (true, false) => "configuration",
                (true, true) => "command or health",
            };
            Some(format!("unit {} runs {} with another {what}", unit.name, has.version))
        }
        (Some(has), _) => Some(format!("unit {} runs {}", unit.name, has.version)),
        (None, Some(_)) => Some(format!("unit {} runs nothing", unit.name)),
        (None, None) => None,
    }
}

/// Reads the history and asks the targets; starts and changes nothing.
///
/// # Errors
/// `UnknownName`; what the store says. A target that does not answer is a line, not an error.
pub async fn run(app: &App, args: StatusArgs) -> Result<Outcome> {
    let rows = rows(app, args.project.as_deref(), args.env.as_ref()).await?;
    let now = app.clock.now();
    let mut text = table(&rows, now);
    for row in &rows {
        remarks(row, args.units, &mut text);
    }
    if rows.is_empty() {
        text = "No project here. `vice init` writes a vice.toml.\n".to_owned();
    }
    let values: Vec<Value> = rows.iter().map(|row| row.value(now)).collect();
    Ok(Outcome::done(text, json!({ "environments": values })))
}

/// The rows for every environment, or for those that were named.
pub(crate) async fn rows(app: &App, project: Option<&str>, env: Option<&EnvName>) -> Result<Vec<Row>> {
    let projects: Vec<Arc<Project>> = match project {
        Some(name) => vec![app.workspace.project(name)?],
        None => app.workspace.projects.values().cloned().collect(),
    };
    let mut rows = Vec::new();
    for project in projects {
        for name in project.manifest.env.keys().filter(|name| env.is_none_or(|env| env == *name)) {
            rows.push(row(app, &project, Scope::new(project.name().clone(), name.clone())).await?);
        }
    }
    if let (Some(env), true, Some(name)) = (env, rows.is_empty(), project) {
        app.workspace.project(name)?.env(env)?;
    }
    Ok(rows)
}

async fn row(app: &App, project: &Project, scope: Scope) -> Result<Row> {
    let (state, _) = fold::load::<EnvironmentState>(app.events.as_ref(), &environment_stream(&scope)).await?;
    let (kind, inventory) = match backend::connect(app, project, &scope) {
        Ok(backend) => (backend.target.describe().kind, backend.target.inventory().await),
        Err(fault) => ("?", Err(fault)),
    };
    let units_wanted = project.env(&scope.env)?.instances.unwrap_or(1);
    let exposed = match &state.active {
        Some(active) => Some(exposed(app, active).await?),
        None => None,
    };
    Ok(Row { scope, kind, state, inventory, exposed, units_wanted })
}

/// How far the new release of a rollout under way is exposed: the share in force, none where traffic follows the
/// units, and the judge's latest words.
async fn exposed(app: &App, active: &RolloutId) -> Result<(Option<u32>, Option<String>)> {
    let (view, _) = fold::load::<RolloutView>(app.events.as_ref(), &rollout_stream(active)).await?;
    Ok(exposure(&view))
}

/// The share in force and the judge's latest words.
pub(super) fn exposure(view: &RolloutView) -> (Option<u32>, Option<String>) {
    let notes = || view.timeline.iter().rev().map(|moment| &moment.note);
    let share = notes().find_map(|note| match note {
        Note::WeightsSet { weights } => Some(weights.last().map(|(_, share)| *share)),
        _ => None,
    });
    let said = notes().find_map(|note| match note {
        Note::Judged { reason, evidence, .. } => {
            let figures = Judged::of(evidence).map(|judged| format!(" ({})", judged.counts()));
            Some(format!("{reason}{}", figures.unwrap_or_default()))
        }
        _ => None,
    });
    (share.flatten(), said)
}

fn table(rows: &[Row], now: jiff::Timestamp) -> String {
    let mut table = Table::with_heading(&["project", "env", "target", "version", "since", "by", "health", "drift"]);
    for row in rows {
        let running = row.state.running.as_ref();
        let (tone, health) = row.health();
        let version = match running {
            Some(placed) if placed.proven => (Tone::Strong, placed.release.version.clone()),
            Some(placed) => (Tone::Strong, format!("{} (unproven)", placed.release.version)),
            None => (Tone::Faint, "-".to_owned()),
        };
        let drift = row.drift();
        table.row([
            (Tone::Plain, row.scope.project.to_string()),
            (Tone::Plain, row.scope.env.to_string()),
            (Tone::Faint, row.kind.to_owned()),
            version,
            (Tone::Plain, running.map_or_else(|| "-".into(), |placed| ago(placed.since, now))),
            (Tone::Plain, running.map_or_else(|| "-".into(), |placed| placed.by.clone())),
            (tone, health),
            if drift.is_empty() {
                (Tone::Faint, "none".into())
            } else {
                (Tone::Warn, format!("{} found", drift.len()))
            },
        ]);
    }
    table.render()
}

fn remarks(row: &Row, units: bool, text: &mut String) {
    let mut say =
        |tone: Tone, line: String| text.push_str(&format!("  {}\n", paint(tone, vice_core::text::sanitize(&line))));
    if let Err(fault) = &row.inventory {
        say(Tone::Bad, format!("{}: {}", row.scope, fault.chain().join(" ")));
    }
    for drift in row.drift() {
        say(Tone::Warn, format!("{}: {drift}", row.scope));
    }
    if let Some(rollout) = &row.state.active {
        say(
            Tone::Warn,
            format!("{}: rollout {rollout} is under way; `vice why {rollout}` says where it stands", row.scope),
        );
    }
    if let Some((share, said)) = &row.exposed {
        if let Some(share) = share {
            say(
                Tone::Warn,
                format!("{}: the new release has {} % of the traffic", row.scope, f64::from(*share) / 100.0),
            );
        }
        if let Some(said) = said {
            say(Tone::Plain, format!("{}: {said}", row.scope));
        }
    }
    if let Some(queued) = &row.state.queued {
        let version = queued.version.as_ref().map(|version| format!(" with version {version}")).unwrap_or_default();
        say(Tone::Plain, format!("{}: {} waits for its turn{version}", row.scope, queued.rollout));
    }
    for (version, hold) in &row.state.holds {
        say(Tone::Warn, format!("{}: version {version} is on hold: {}", row.scope, hold.reason));
    }
    if let (Ok(inventory), true) = (&row.inventory, units) {
        for unit in &inventory.units {
            let release = unit.release.as_ref().map_or("-", |release| release.version.as_str());
            let mut facts = vec![release.to_owned(), format!("{:?}", unit.health).to_lowercase()];
            facts.extend(unit.facts.iter().map(|(key, value)| format!("{key} {value}")));
            say(Tone::Plain, format!("{} unit {}: {}", row.scope, unit.name, facts.join(", ")));
        }
    }
    if let Ok(Inventory { url: Some(url), .. }) = &row.inventory {
        say(Tone::Faint, format!("{}: {url}", row.scope));
    }
}
