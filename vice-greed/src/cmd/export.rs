//! `greed export`: events in the order of the log, one a line, for other programs.

use clap::{Args, ValueEnum};
use serde_json::json;
use vice_core::app::App;
use vice_core::event::Recorded;
use vice_core::store::{Order, Query};
use vice_core::ui::Outcome;
use vice_core::{Fault, Result};

use super::filter::{self, Filter, Span};
use super::log::to_json;

/// Events in memory at a time.
const PAGE: u32 = 1000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Shape {
    /// One CloudEvent in JSON a line
    Jsonl,
    /// A heading and one row an event; the data is the last column
    Csv,
}

#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    span: Span,
    /// The shape of a line
    #[arg(long = "as", value_name = "SHAPE", value_enum, default_value_t = Shape::Jsonl)]
    shape: Shape,
}

pub(super) async fn export(app: &App, args: ExportArgs) -> Result<Outcome> {
    let (mut query, wheres) = args.filter.query(PAGE)?;
    args.span.add(&mut query, app.clock.now())?;
    query.order = Order::Forward;
    let end = app.events.head().await?.seq;
    let mut count = 0_u64;
    let heading = json!({ "columns": COLUMNS });
    let mut read_by_somebody = args.shape != Shape::Csv || app.ui.emit(&COLUMNS.join(","), &heading);
    while read_by_somebody {
        if let Some(code) = app.stop.raised() {
            return Err(Fault::new(code, format!("The export was ended after {count} events.")));
        }
        let page = app.events.read(&query).await?;
        let Some(last) = page.last().map(|last| last.seq) else { break };
        let full = page.len() == query.page();
        for recorded in filter::fitting(page, &wheres).iter().filter(|recorded| recorded.seq <= end) {
            let value = to_json(recorded)?;
            let text = if args.shape == Shape::Csv { row(recorded) } else { value.to_string() };
            if !app.ui.emit(&text, &value) {
                read_by_somebody = false;
                break;
            }
            count += 1;
        }
        if !full || last >= end {
            break;
        }
        query = Query { after: last, ..query };
    }
    Ok(Outcome::done("", json!({ "count": count })))
}

const COLUMNS: [&str; 13] =
    ["seq", "time", "type", "source", "id", "subject", "project", "env", "actor", "stream", "version", "chain", "data"];

fn row(recorded: &Recorded) -> String {
    let event = &recorded.event;
    let scope = event.scope.as_ref();
    let cells: [String; 13] = [
        recorded.seq.to_string(),
        event.time.to_string(),
        event.kind.clone(),
        event.source.clone(),
        event.id.clone(),
        event.subject.clone(),
        scope.map(|scope| scope.project.to_string()).unwrap_or_default(),
        scope.map(|scope| scope.env.to_string()).unwrap_or_default(),
        event.actor.to_string(),
        event.stream.clone(),
        recorded.version.to_string(),
        recorded.chain.to_string(),
        event.data.clone(),
    ];
    cells.map(|cell| quoted(&cell)).join(",")
}

/// As RFC 4180 has it: quotes around what needs them, and quotes doubled.
fn quoted(cell: &str) -> String {
    if cell.contains(['"', ',', '\n', '\r']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell.to_owned() }
}
