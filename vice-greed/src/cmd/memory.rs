//! `greed memory`: what is remembered of each environment, computed from the events alone and compared with what the
//! copies say from which every other command starts.

use serde_json::{Value, json};
use vice_core::app::App;
use vice_core::fold::environment::EnvironmentState;
use vice_core::fold::lease::LeaseState;
use vice_core::fold::rollout::RolloutView;
use vice_core::fold::{self, Fold};
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
    let mut table = Table::with_heading(&["environment", "runs", "since", "by", "last proven", "under way"]);
    let mut listed = Vec::new();
    for stream in app.events.all_streams("environment/").await? {
        let state = found.rebuild::<EnvironmentState>(app, &stream).await?;
        let name = stream.name.trim_start_matches("environment/");
        row(&mut table, name, &state);
        listed.push(described(name, &state));
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
    text += &match found.differed.len() {
        0 => format!("What is remembered is what the events say ({}).\n", count(found.streams, "stream", "streams")),
        _ => format!("Copies said something else and were computed anew: {}.\n", sanitize(&found.differed.join(", "))),
    };
    if found.away > 0 {
        text += &format!("The data of {} are archived and not at hand.\n", count(found.away, "rollout", "rollouts"));
    }
    let json =
        json!({ "environments": listed, "streams": found.streams, "differed": found.differed, "archived": found.away });
    Ok(Outcome::done(text, json))
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

fn described(name: &str, state: &EnvironmentState) -> Value {
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
    })
}
