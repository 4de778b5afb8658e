//! `greed show`.

use clap::Args;
use vice_core::app::App;
use vice_core::event::Recorded;
use vice_core::store::{Order, PAGE_MAX, Query};
use vice_core::text::{Tone, paint, sanitize};
use vice_core::time::ago;
use vice_core::ui::Outcome;
use vice_core::{Code, Context, Fault, Result};

use super::archive::place_of;
use super::log::{short_kind, to_json, tone};

#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    /// The event's id, or its number in the log
    #[arg(value_name = "ID|SEQ")]
    event: String,
}

pub(super) async fn show(app: &App, args: ShowArgs) -> Result<Outcome> {
    let recorded = find(app, &args.event).await?;
    let value = to_json(&recorded)?;
    let data = match recorded.event.has_data() {
        true => serde_json::to_string_pretty(&value["data"])
            .context(Code::Internal, || "The data of an event does not print.".to_owned())?,
        false => place_of(app, recorded.seq).await?,
    };
    Ok(Outcome::done(text(app, &recorded, &data), value))
}

fn text(app: &App, recorded: &Recorded, data: &str) -> String {
    let event = &recorded.event;
    let title = paint(tone(&event.kind), sanitize(&short_kind(&event.kind)));
    let mut out = format!("{} {title}\n", paint(Tone::Strong, format!("Event {}", recorded.seq)));
    let when = format!("{} ({})", event.time, ago(event.time, app.clock.now()));
    let place = event.scope.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
    let stream = format!("{}, version {}", event.stream, recorded.version);
    let who = format!("{}, known by {}", event.actor, event.actor.evidence);
    let fields = [
        ("type", event.kind.clone()),
        ("id", event.id.clone()),
        ("source", event.source.clone()),
        ("subject", event.subject.clone()),
        ("when", when),
        ("where", place),
        ("who", who),
        ("stream", stream),
        ("chain", recorded.chain.to_string()),
    ];
    for (name, value) in fields {
        out += &format!("  {} {}\n", paint(Tone::Faint, format!("{name:<8}")), sanitize(&value));
    }
    for line in data.lines() {
        out += &format!("  {}\n", sanitize(line));
    }
    out
}

/// A number is a place in the log; anything else is an id, looked for from the newest event on.
async fn find(app: &App, wanted: &str) -> Result<Recorded> {
    let missing = || {
        let shown: String = wanted.chars().take(80).collect();
        Fault::new(Code::UnknownName, format!("The history has no event {shown:?}."))
            .hint("`vice greed log` lists events with their numbers; --format json shows their ids.")
    };
    if let Ok(seq) = wanted.parse::<u64>() {
        let query = Query { after: seq.saturating_sub(1), limit: 1, ..Query::default() };
        let found = app.events.read(&query).await?.into_iter().find(|recorded| recorded.seq == seq);
        if let Some(recorded) = found {
            return Ok(recorded);
        }
    }
    let mut query = Query { order: Order::Backward, limit: 1000, ..Query::default() };
    debug_assert!(query.limit <= PAGE_MAX, "a page is never larger than the store gives");
    loop {
        let page = app.events.read(&query).await?;
        let full = page.len() == query.limit;
        let last = page.last().map_or(0, |recorded| recorded.seq);
        if let Some(recorded) = page.into_iter().find(|recorded| recorded.event.id == wanted) {
            return Ok(recorded);
        }
        if !full || last <= 1 {
            return Err(missing());
        }
        query.after = last;
    }
}
