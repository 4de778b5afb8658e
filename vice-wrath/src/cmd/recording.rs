//! `vice wrath recording FILE`: what a recording holds, and the same as another file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use vice_core::app::App;
use vice_core::port::notifier::Severity;
use vice_core::text::{Table, Tone, count};
use vice_core::ui::{Outcome, Ui};
use vice_core::{Code, Context, Millis, Result};

use crate::recording::{self, Recording};
use crate::traffic::route;

/// So many routes are shown.
const ROUTES_SHOWN: usize = 30;

/// Arguments of `vice wrath recording`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:
  vice wrath recording session.jsonl
  vice wrath recording session.jsonl --to session.har
  vice wrath recording browser.har --to session.jsonl")]
pub struct RecordingArgs {
    /// The recording, or a HAR file.
    pub file: PathBuf,

    /// Write it to this file, which must not exist; as HAR when its name ends in .har.
    #[arg(long, value_name = "FILE")]
    pub to: Option<PathBuf>,
}

/// Reads a recording and says what is in it.
///
/// # Errors
/// `Decode` and `Io` as [`recording::read`].
pub(crate) fn run(app: &App, args: &RecordingArgs) -> Result<Outcome> {
    app.ui.format().among(&[])?;
    let recording = open(app.ui.as_ref(), &app.env.dir, &args.file)?;
    if let Some(to) = &args.to {
        write(app, to, &recording)?;
    }
    Ok(outcome(args, &recording))
}

/// Reads a recording and warns of what it lacks.
pub(super) fn open(ui: &dyn Ui, dir: &Path, file: &Path) -> Result<Recording> {
    let recording = recording::read(&dir.join(file))?;
    if let Some(warning) = recording.ending.warning() {
        ui.say(Severity::Warning, &warning);
    }
    Ok(recording)
}

/// Reads a recording that is to be sent, without what can't be sent again: conversations in another protocol.
pub(super) fn open_to_send(ui: &dyn Ui, dir: &Path, file: &Path) -> Result<(Recording, usize)> {
    let mut recording = open(ui, dir, file)?;
    let all = recording.exchanges.len();
    recording.exchanges.retain(|exchange| exchange.upgraded.is_none());
    let left_out = all - recording.exchanges.len();
    if left_out > 0 {
        let text = count(left_out as u64, "conversation", "conversations");
        ui.say(
            Severity::Warning,
            &format!("{text} in another protocol (WebSocket) can't be sent again and are left out."),
        );
    }
    Ok((recording, left_out))
}

fn write(app: &App, to: &Path, recording: &Recording) -> Result<()> {
    let path = app.env.dir.join(to);
    if !path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("har")) {
        return recording::save(&path, recording);
    }
    let unwritable = || format!("{} can't be written.", to.display());
    let mut file =
        std::fs::OpenOptions::new().write(true).create_new(true).open(&path).context(Code::Io, unwritable)?;
    let document = format!("{:#}\n", recording::to_har(recording));
    std::io::Write::write_all(&mut file, document.as_bytes()).context(Code::Io, unwritable)
}

fn outcome(args: &RecordingArgs, recording: &Recording) -> Outcome {
    let mut routes: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for exchange in &recording.exchanges {
        let place = routes.entry(route::of(&exchange.request)).or_default();
        place.0 += 1;
        place.1 += usize::from(exchange.answer.as_ref().is_none_or(|answer| answer.status >= 400));
    }
    let mut sorted: Vec<_> = routes.iter().collect();
    sorted.sort_by_key(|(name, (times, _))| (std::cmp::Reverse(*times), (*name).clone()));
    let mut table = Table::with_heading(&["request", "times", "failed"]);
    for (name, (times, failed)) in sorted.iter().take(ROUTES_SHOWN) {
        let tone = if *failed == 0 { Tone::Plain } else { Tone::Bad };
        table.row([(Tone::Strong, (*name).clone()), (Tone::Plain, times.to_string()), (tone, failed.to_string())]);
    }
    let length = Millis(recording.exchanges.last().map_or(0, |last| (last.at_us + last.took_us) / 1000));
    let opening = &recording.opening;
    let mut text = format!(
        "{} of {}, begun {}, over {length}\n\n{}",
        count(recording.exchanges.len() as u64, "exchange", "exchanges"),
        opening.to,
        opening.began,
        table.render()
    );
    if sorted.len() > ROUTES_SHOWN {
        text.push_str(&format!("and {} more\n", sorted.len() - ROUTES_SHOWN));
    }
    let routes: Vec<Value> = sorted
        .iter()
        .map(|(name, (times, failed))| json!({ "request": name, "times": times, "failed": failed }))
        .collect();
    let json = json!({
        "file": args.file.display().to_string(), "to": opening.to, "began": opening.began, "masked": opening.masked,
        "exchanges": recording.exchanges.len(), "length_ms": length.0, "routes": routes,
        "whole": recording.ending.warning().is_none(), "warning": recording.ending.warning(),
    });
    Outcome::done(text, json)
}
