//! `greed log` and `greed tail`.

use clap::Args;
use jiff::Timestamp;
use serde_json::{Value, json};
use vice_core::app::App;
use vice_core::event::Recorded;
use vice_core::id::{EnvName, ProjectName};
use vice_core::store::{Order, PAGE_MAX, Query};
use vice_core::text::{Table, Tone, paint, sanitize};
use vice_core::time::ago;
use vice_core::ui::{Format, Outcome};
use vice_core::{Code, Fault, Millis, Result};

use super::moment;

/// How long one wait for new events takes at most, so that a request to stop is seen soon.
const WAIT: Millis = Millis(200);

#[derive(Debug, Args)]
pub(super) struct Filter {
    /// Only events of this project
    #[arg(short, long, value_name = "NAME")]
    project: Option<ProjectName>,
    /// Only events of this environment
    #[arg(short, long, value_name = "NAME")]
    env: Option<EnvName>,
    /// Only events of this type; * at the end stands for anything; can be given several times
    #[arg(short = 't', long = "type", value_name = "TYPE")]
    kinds: Vec<String>,
    /// Only events of this stream
    #[arg(long, value_name = "STREAM")]
    stream: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct LogArgs {
    #[command(flatten)]
    filter: Filter,
    /// Not before this time: how long ago (2h, 3d), or a time such as 2026-07-14T09:00:00Z
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Before this time, written in the same way
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
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

impl Filter {
    fn query(self, limit: u32) -> Result<Query> {
        if let Some(kind) =
            self.kinds.iter().find(|kind| kind.trim_end_matches('*').contains('*') || kind.ends_with("**"))
        {
            let shown: String = kind.chars().take(80).collect();
            return Err(Fault::new(Code::Usage, format!("The type {shown:?} has a * that is not at its end."))
                .hint("Write for example 'dev.cdevents.service.*'."));
        }
        Ok(Query {
            project: self.project,
            env: self.env,
            kinds: self.kinds,
            stream: self.stream,
            limit: usize::try_from(limit).unwrap_or(PAGE_MAX),
            order: Order::Backward,
            ..Query::default()
        })
    }
}

pub(super) async fn log(app: &App, args: LogArgs) -> Result<Outcome> {
    let now = app.clock.now();
    let mut query = args.filter.query(args.limit)?;
    query.since = args.since.map(|text| moment(&text, now)).transpose()?;
    query.until = args.until.map(|text| moment(&text, now)).transpose()?;
    let events = app.events.read(&query).await?;
    let values = events.iter().map(to_json).collect::<Result<Vec<_>>>()?;
    if app.ui.format() == Format::Ndjson {
        for value in &values {
            if !app.ui.emit("", value) {
                break;
            }
        }
        return Ok(Outcome::done("", json!({ "count": values.len() })));
    }
    Ok(Outcome::done(table(&events, now), Value::Array(values)))
}

pub(super) async fn tail(app: &App, args: TailArgs) -> Result<Outcome> {
    let query = args.filter.query(args.limit)?;
    let place = app.events.head().await?.seq;
    let mut shown = 0_u64;
    if args.limit > 0 {
        let mut last = app.events.read(&Query { after: place + 1, ..query.clone() }).await?;
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
        follow(app, query, place, &mut shown).await?;
    }
    Ok(ended(shown))
}

/// Tells what comes after `place` until nobody reads any more; fails when the process is asked to end.
async fn follow(app: &App, mut query: Query, mut place: u64, shown: &mut u64) -> Result<()> {
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
