//! `greed archive`.

use clap::Args;
use serde_json::{Value, json};
use vice_core::app::App;
use vice_core::payload::history::{DataArchived, HISTORY_STREAM};
use vice_core::text::{Table, Tone, count, paint, sanitize};
use vice_core::ui::Outcome;
use vice_core::{Code, Fault, Result};

use super::backup::scratch;
use super::moment;
use crate::archive::{self, Anchor, Limits, Made, Tools, anchors};
use crate::backup::{self, seal::Seals};

#[derive(Debug, Args)]
pub(super) struct ArchiveArgs {
    /// Where to: file:///folder or s3://bucket/prefix
    #[arg(long, value_name = "URL", required_unless_present_any = ["list", "dry_run"])]
    to: Option<String>,
    /// Only events from before this: how long ago (90d), or a time such as 2026-07-14T09:00:00Z
    #[arg(long, value_name = "TIME", required_unless_present = "list")]
    before: Option<String>,
    /// Keep the last so many rollouts of each environment, and runs of each graph, whatever their age
    #[arg(long, value_name = "N", default_value_t = 20)]
    keep: u64,
    /// Encrypt for this public key of age; can be given several times
    #[arg(short, long = "recipient", value_name = "AGE1...")]
    recipients: Vec<String>,
    /// Say what would be moved, and move nothing
    #[arg(long)]
    dry_run: bool,
    /// List the files of the archive
    #[arg(long, conflicts_with_all = ["to", "before", "dry_run", "recipients"])]
    list: bool,
}

pub(super) async fn archive(app: &App, args: ArchiveArgs) -> Result<Outcome> {
    if args.list {
        return list(app).await;
    }
    let before = moment(args.before.as_deref().unwrap_or_default(), app.clock.now())?;
    let limits = Limits { before, keep: args.keep };
    if args.dry_run {
        return Ok(previewed(limits, archive::preview(&*app.events, limits).await?));
    }
    let place = args.to.as_deref().ok_or_else(|| Fault::new(Code::Usage, "No place was named."))?;
    let (vault, seals) = (backup::vault(place, &app.env)?, Seals::new(&args.recipients, &app.env)?);
    let scratch = scratch(app, ".archive-")?;
    let tools = Tools {
        store: &*app.events,
        vault: &*vault,
        place,
        seals: &seals,
        scratch: scratch.path(),
        event: &|archived: &DataArchived| app.event(HISTORY_STREAM, None, archived),
    };
    let made = archive::archive(&tools, limits).await?;
    Ok(told(place, limits, made))
}

fn previewed(limits: Limits, made: Made) -> Outcome {
    let json = json!({ "before": limits.before, "keep": limits.keep, "events": made.events, "data_bytes": made.freed });
    let events = count(made.events, "event", "events");
    Outcome::done(
        format!("The data of {events} ({} bytes) from before {} would be moved.\n", made.freed, limits.before),
        json,
    )
}

fn told(place: &str, limits: Limits, made: Made) -> Outcome {
    let Made { files, events, stored, freed, finished } = made;
    let json = json!({
        "to": place,
        "before": limits.before,
        "keep": limits.keep,
        "files": files,
        "events": events,
        "size": stored,
        "data_bytes": freed,
        "finished": finished,
    });
    let mut text = match events {
        0 => format!("Nothing from before {} is to be archived.\n", limits.before),
        _ => format!(
            "{} the data of {}, {freed} bytes, in {} of {}; brought back and compared.\n",
            paint(Tone::Good, "Archived:"),
            count(events, "event", "events"),
            count(files, "file", "files"),
            sanitize(place.trim_end_matches('/')),
        ),
    };
    if finished > 0 {
        text += &format!("An earlier run was ended before it let go of {finished}; that is done now.\n");
    }
    Outcome::done(text, json)
}

async fn list(app: &App) -> Result<Outcome> {
    let (found, _) = anchors(&*app.events, 0).await?;
    if found.is_empty() {
        return Ok(Outcome::done("Nothing was archived.\n", json!([])));
    }
    let mut table = Table::with_heading(&["events", "from", "to", "before", "bytes", "file", "place"]);
    for Anchor { archived, .. } in &found {
        let (first, last) = ends(archived);
        table.row([
            (Tone::Strong, archived.events.to_string()),
            (Tone::Plain, first.to_string()),
            (Tone::Plain, last.to_string()),
            (Tone::Plain, archived.before.to_string()),
            (Tone::Plain, archived.size.to_string()),
            (Tone::Plain, sanitize(&archived.file)),
            (Tone::Plain, sanitize(&archived.place)),
        ]);
    }
    Ok(Outcome::done(table.render(), Value::Array(found.iter().map(described).collect())))
}

fn ends(archived: &DataArchived) -> (u64, u64) {
    let spans = &archived.spans;
    (spans.first().map_or(0, |span| span.0), spans.last().map_or(0, |span| span.1))
}

fn described(anchor: &Anchor) -> Value {
    let archived = &anchor.archived;
    let (first, last) = ends(archived);
    json!({
        "seq": anchor.seq,
        "place": archived.place,
        "file": archived.file,
        "sha256": archived.sha256,
        "size": archived.size,
        "encrypted": archived.encrypted,
        "events": archived.events,
        "first": first,
        "last": last,
        "before": archived.before,
    })
}

/// Where the data of an event are, in a sentence.
pub(super) async fn place_of(app: &App, seq: u64) -> Result<String> {
    let (found, _) = anchors(&*app.events, 0).await?;
    let anchor = found.iter().find(|anchor| anchor.archived.covers(seq));
    Ok(anchor.map_or_else(
        || "The data are missing, and no archive has them.".to_owned(),
        |Anchor { archived, .. }| format!("The data are archived in {} of {}.", archived.file, archived.place),
    ))
}
