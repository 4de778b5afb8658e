//! `greed memory`: what is remembered of each environment, computed from the events alone and compared with what the
//! copies say from which every other command starts; and how often and how well deploys go, by the four figures of DORA.

use jiff::Timestamp;
use serde_json::{Value, json};
use vice_core::app::App;
use vice_core::delivery::{Figures, Origins, Run, WINDOW_DAYS, attribute, days_before, figures, origins, runs};
use vice_core::fold::environment::EnvironmentState;
use vice_core::fold::lease::LeaseState;
use vice_core::fold::rollout::RolloutView;
use vice_core::fold::{self, Fold};
use vice_core::id::Scope;
use vice_core::store::{EventStoreExt, StreamHead};
use vice_core::text::{Table, Tone, count, sanitize};
use vice_core::ui::Outcome;
use vice_core::{Code, Result};

/// What was computed.
#[derive(Default)]
struct Found {
    streams: usize,
    /// Streams whose copy said something else; it has been replaced.
    differed: Vec<String>,
    /// Streams whose data are in an archive that is not at hand.
    away: usize,
}

impl Found {
    /// The state of a stream, noted when its copy differed.
    async fn rebuild<F: Fold>(&mut self, app: &App, stream: &StreamHead) -> Result<F> {
        let (state, same) = fold::rebuild::<F>(&*app.events, &stream.name).await?;
        self.streams += 1;
        if !same {
            self.differed.push(stream.name.clone());
        }
        Ok(state)
    }
}

pub(super) async fn memory(app: &App) -> Result<Outcome> {
    let mut found = Found::default();
    let mut delivery = Delivery::begin(app).await?;
    let mut table = Table::with_heading(&["environment", "runs", "since", "by", "last proven", "under way"]);
    let mut listed = Vec::new();
    for stream in app.events.all_streams("environment/").await? {
        let state = found.rebuild::<EnvironmentState>(app, &stream).await?;
        let name = stream.name.trim_start_matches("environment/");
        row(&mut table, name, &state);
        let figures = delivery.look(app, name).await?;
        listed.push(described(name, &state, figures.as_ref()));
    }
    for stream in app.events.all_streams("lease/").await? {
        found.rebuild::<LeaseState>(app, &stream).await?;
    }
    for stream in app.events.all_streams("rollout/").await? {
        match found.rebuild::<RolloutView>(app, &stream).await {
            Err(fault) if fault.code() == Code::HistoryArchived => found.away += 1,
            other => drop(other?),
        }
    }
    let mut text = if listed.is_empty() { "Nothing was deployed yet.\n".to_owned() } else { table.render() };
    text += &delivery.table();
    text += &match found.differed.len() {
        0 => format!("What is remembered is what the events say ({}).\n", count(found.streams, "stream", "streams")),
        _ => format!("Copies said something else and were computed anew: {}.\n", sanitize(&found.differed.join(", "))),
    };
    if found.away > 0 {
        text += &format!("The data of {} are archived and not at hand.\n", count(found.away, "rollout", "rollouts"));
    }
    let json = json!({
        "environments": listed,
        "delivery": shown(&delivery.of_all()),
        "window_days": WINDOW_DAYS,
        "streams": found.streams,
        "differed": found.differed,
        "archived": found.away,
    });
    Ok(Outcome::done(text, json))
}

/// How often and how well deploys went in the last weeks.
struct Delivery {
    since: Timestamp,
    origins: Origins,
    /// The environments in which any ended.
    environments: Vec<(String, Figures)>,
    /// The runs of all of them.
    runs: Vec<Run>,
}

impl Delivery {
    async fn begin(app: &App) -> Result<Self> {
        let since = days_before(app.clock.now(), WINDOW_DAYS);
        let origins = origins(&*app.events, since).await?;
        Ok(Self { since, origins, environments: Vec::new(), runs: Vec::new() })
    }

    /// The figures of an environment; none for a name that is none.
    async fn look(&mut self, app: &App, name: &str) -> Result<Option<Figures>> {
        let Some(scope) = Scope::parse(name) else { return Ok(None) };
        let mut found = runs(&*app.events, &scope).await?;
        attribute(&mut found, &self.origins.merged, &self.origins.made);
        let of_it = figures(&found, self.since);
        self.environments.push((name.to_owned(), of_it.clone()));
        self.runs.extend(found);
        Ok(Some(of_it))
    }

    fn of_all(&self) -> Figures {
        figures(&self.runs, self.since)
    }

    fn table(&self) -> String {
        if self.environments.is_empty() {
            return String::new();
        }
        let titles = ["last 28 days", "deploys a week", "lead time", "change failures", "time to restore"];
        let mut table = Table::with_heading(&titles);
        let all = (self.environments.len() > 1).then(|| ("all".to_owned(), self.of_all()));
        for (name, found) in self.environments.iter().chain(&all) {
            let cell = |text: Option<String>| match text {
                Some(text) => (Tone::Plain, text),
                None => (Tone::Faint, "no data".to_owned()),
            };
            table.row([
                (Tone::Strong, sanitize(name)),
                cell(found.per_week().map(|week| format!("{week} (of {})", found.deploys))),
                cell(found.lead_shown()),
                cell(found.share(found.change_failures)),
                cell(found.restore_shown()),
            ]);
        }
        format!("\n{}\n", table.render())
    }
}

/// The four figures, each with how many events it rests on; null where there are none.
fn shown(found: &Figures) -> Value {
    let deploys = found.deploys as f64;
    let rate = (found.deploys > 0).then(|| found.change_failures as f64 / deploys);
    let per_week = (found.deploys > 0).then(|| deploys * 7.0 / WINDOW_DAYS as f64);
    json!({
        "deploys_per_week": { "value": per_week, "deploys": found.deploys },
        "lead_time_ms": { "value": found.lead, "changes": found.changes },
        "change_failure_rate": { "value": rate, "failures": found.change_failures, "deploys": found.deploys },
        "time_to_restore_ms": { "value": found.restore, "restored": found.restored, "open": found.unrestored },
    })
}

/// The last version that was proven, running or before.
fn proven(state: &EnvironmentState) -> Option<&str> {
    let running = state.running.iter().filter(|placed| placed.proven);
    running.chain(&state.proven).next().map(|placed| placed.release.version.as_str())
}

fn row(table: &mut Table, name: &str, state: &EnvironmentState) {
    let running = state.running.as_ref();
    let or_none = |text: Option<String>| sanitize(&text.unwrap_or_else(|| "-".to_owned()));
    table.row([
        (Tone::Strong, sanitize(name)),
        (Tone::Plain, or_none(running.map(|placed| placed.release.version.clone()))),
        (Tone::Plain, or_none(running.map(|placed| placed.since.to_string()))),
        (Tone::Plain, or_none(running.map(|placed| placed.by.clone()))),
        (Tone::Plain, or_none(proven(state).map(str::to_owned))),
        (Tone::Plain, or_none(state.active.as_ref().map(ToString::to_string))),
    ]);
}

fn described(name: &str, state: &EnvironmentState, figures: Option<&Figures>) -> Value {
    let running = state.running.as_ref();
    json!({
        "environment": name,
        "version": running.map(|placed| &placed.release.version),
        "since": running.map(|placed| placed.since),
        "by": running.map(|placed| &placed.by),
        "proven": proven(state),
        "active": state.active.as_ref().map(ToString::to_string),
        "holds": state.holds.keys().collect::<Vec<_>>(),
        "rollouts": state.past.len(),
        "delivery": figures.map(shown),
    })
}
