//! `greed log` and `greed tail`.

use clap::Args;
use jiff::Timestamp;
use serde_json::{Value, json};
use vice_core::app::App;
use vice_core::event::Recorded;
use vice_core::store::{Order, PAGE_MAX, Query};
use vice_core::text::{Table, Tone, paint, sanitize};
use vice_core::time::ago;
use vice_core::ui::{Format, Outcome};
use vice_core::{Fault, Millis, Result};

use super::filter::{self, Filter, Span, Where};
use super::links::Links;

/// How long one wait for new events takes at most, so that a request to stop is seen soon.
const WAIT: Millis = Millis(200);

#[derive(Debug, Args)]
pub(super) struct LogArgs {
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    span: Span,
    /// Say of each event what it came from: its rollout, the events that it names, the change behind a version
    #[arg(long)]
    explain: bool,
    /// At most so many
    #[arg(short = 'n', long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
}

#[derive(Debug, Args)]
pub(super) struct TailArgs {
    #[command(flatten)]
    filter: Filter,
    /// Begin with the last so many events
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    limit: u32,
    /// Go on with new events until interrupted
    #[arg(short, long)]
    follow: bool,
}

pub(super) async fn log(app: &App, args: LogArgs) -> Result<Outcome> {
    let now = app.clock.now();
    let (mut query, wheres) = args.filter.query(args.limit)?;
    args.span.add(&mut query, now)?;
    // One line an event needs no data.
    query.bare = wheres.is_empty() && !args.explain && app.ui.format() == Format::Text;
    let events = filter::collect(&*app.events, query, &wheres).await?;
    let values = events.iter().map(to_json).collect::<Result<Vec<_>>>()?;
    if app.ui.format() == Format::Ndjson {
        for value in &values {
            if !app.ui.emit("", value) {
                break;
            }
        }
        return Ok(Outcome::done("", json!({ "count": values.len() })));
    }
    let text = if args.explain { explained(app, &events, now).await? } else { table(&events, now) };
    Ok(Outcome::done(text, Value::Array(values)))
}

/// One line an event, and under it what it came from.
async fn explained(app: &App, events: &[Recorded], now: Timestamp) -> Result<String> {
    let links = Links::around(&*app.events, events).await?;
    let mut out = String::new();
    for recorded in events {
        out += &line(recorded, now);
        out.push('\n');
        for because in links.of(recorded) {
            out += &format!("     {}\n", paint(Tone::Faint, format!("└ {}", sanitize(&because))));
        }
    }
    Ok(if out.is_empty() { "No events.\n".to_owned() } else { out })
}

pub(super) async fn tail(app: &App, args: TailArgs) -> Result<Outcome> {
    let (query, wheres) = args.filter.query(args.limit)?;
    let place = app.events.head().await?.seq;
    let mut shown = 0_u64;
    if args.limit > 0 {
        let mut last = filter::collect(&*app.events, Query { after: place + 1, ..query.clone() }, &wheres).await?;
        last.reverse();
        let running = args.follow || app.ui.format() == Format::Ndjson;
        if !running {
            let values = last.iter().map(to_json).collect::<Result<Vec<_>>>()?;
            return Ok(Outcome::done(table(&last, app.clock.now()), Value::Array(values)));
        }
        if !emit(app, &last, &mut shown)? {
            return Ok(ended(shown));
        }
    }
    if args.follow {
        follow(app, query, &wheres, place, &mut shown).await?;
    }
    Ok(ended(shown))
}

/// Tells what comes after `place` until nobody reads any more; fails when the process is asked to end.
async fn follow(app: &App, mut query: Query, wheres: &[Where], mut place: u64, shown: &mut u64) -> Result<()> {
    query.order = Order::Forward;
    query.limit = 0;
    loop {
        heed_stop(app)?;
        let head = app.events.wait(place, WAIT).await?;
        while place < head.seq {
            heed_stop(app)?;
            let events = app.events.read(&Query { after: place, ..query.clone() }).await?;
            let full = events.len() == PAGE_MAX;
            place = if full { events.last().map_or(head.seq, |last| last.seq) } else { read_to(&events, head.seq) };
            let events = filter::fitting(events, wheres);
            if !emit(app, &events, shown)? {
                return Ok(());
            }
        }
    }
}

/// Up to where the log is read: what was appended while it was read may be among the events already.
fn read_to(events: &[Recorded], head: u64) -> u64 {
    events.last().map_or(head, |last| last.seq.max(head))
}

/// Fails when this process was asked to end, so that whoever started it sees why it did.
fn heed_stop(app: &App) -> Result<()> {
    match app.stop.raised() {
        Some(code) => Err(Fault::new(code, "Following the history was ended.")),
        None => Ok(()),
    }
}

/// The end of a running result: everything is shown, or nobody reads any more.
fn ended(shown: u64) -> Outcome {
    Outcome::done("", json!({ "count": shown }))
}

/// Tells each event; false when nobody reads any more.
fn emit(app: &App, events: &[Recorded], shown: &mut u64) -> Result<bool> {
    for recorded in events {
        let text = line(recorded, app.clock.now());
        if !app.ui.emit(&text, &to_json(recorded)?) {
            return Ok(false);
        }
        *shown += 1;
    }
    Ok(true)
}

/// The whole CloudEvent with its place in the log.
pub(super) fn to_json(recorded: &Recorded) -> Result<Value> {
    let mut value = recorded.event.to_cloudevent()?;
    value["viceseq"] = json!(recorded.seq);
    value["viceversion"] = json!(recorded.version);
    value["vicechain"] = json!(recorded.chain);
    Ok(value)
}

/// The part of a type that tells it apart: without the reversed domain and the version.
pub(super) fn short_kind(kind: &str) -> String {
    let known = ["dev.cdeventsx.vice-", "dev.cdevents."];
    match known.iter().find_map(|prefix| kind.strip_prefix(prefix)) {
        Some(rest) => rest.splitn(3, '.').take(2).collect::<Vec<_>>().join("."),
        None => kind.to_owned(),
    }
}

/// What a type says about how things went, by its last word.
pub(super) fn tone(kind: &str) -> Tone {
    let short = short_kind(kind);
    match short.rsplit('.').next().unwrap_or("") {
        "rolledback" | "placed" | "failed" | "detected" => Tone::Bad,
        "waiting" | "commanded" | "removed" => Tone::Warn,
        "deployed" | "upgraded" | "finished" | "ended" | "rolloutended" | "published" | "resolved" => Tone::Good,
        _ => Tone::Plain,
    }
}

fn cells(recorded: &Recorded, now: Timestamp) -> [(Tone, String); 6] {
    let event = &recorded.event;
    [
        (Tone::Faint, recorded.seq.to_string()),
        (Tone::Faint, ago(event.time, now)),
        (tone(&event.kind), short_kind(&event.kind)),
        (Tone::Strong, event.scope.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string)),
        (Tone::Plain, event.actor.to_string()),
        (Tone::Plain, event.subject.clone()),
    ]
}

fn line(recorded: &Recorded, now: Timestamp) -> String {
    let cells = cells(recorded, now);
    cells.iter().map(|(tone, text)| paint(*tone, sanitize(text))).collect::<Vec<_>>().join("  ")
}

fn table(events: &[Recorded], now: Timestamp) -> String {
    if events.is_empty() {
        return "No events.\n".to_owned();
    }
    let mut table = Table::with_heading(&["seq", "when", "type", "where", "who", "subject"]);
    for recorded in events {
        table.row(cells(recorded, now));
    }
    table.render()
}
