//! A run of scenarios in the shapes that people and CI systems read. Each shape has a file and is made of the same
//! [`RunResult`]; nothing here decides what a result means.

mod annotations;
pub(crate) mod html;
mod junit;
mod tap;
mod text;

use serde_json::{Value, json};
use vice_core::payload::verification::CheckOutcome;
use vice_core::ui::Format;
use vice_core::{Code, Fault, Result};

use crate::play::result::RunResult;

/// What a report says beside the results.
pub(crate) struct About {
    /// Project and environment, or a word for what they were played against.
    pub(crate) place: String,
    pub(crate) version: Option<String>,
}

/// The formats beside text and JSON.
pub(crate) const FORMATS: &[Format] = &[Format::Junit, Format::Html, Format::Tap, Format::Github, Format::Gitlab];

/// The document of a format; the text for people where it is none of a report.
///
/// # Errors
/// `Internal` when it does not serialise, which is a bug.
pub(crate) fn document(format: Format, about: &About, run: &RunResult) -> Result<String> {
    Ok(match format {
        Format::Junit => junit::document(about, run)?,
        Format::Html => html::document(about, run),
        Format::Tap => tap::document(run),
        Format::Github => annotations::github(run),
        Format::Gitlab => annotations::gitlab(run),
        Format::Json | Format::Ndjson => json(about, run).to_string(),
        _ => text::text(about, run),
    })
}

/// The run for machines.
pub(crate) fn json(about: &About, run: &RunResult) -> Value {
    let mut json = summary(about, run);
    json["scenarios"] = json!(run.scenarios);
    json
}

/// The same without the scenarios: as values they take several times what they take as results, and whoever reads
/// another format never sees them.
pub(crate) fn summary(about: &About, run: &RunResult) -> Value {
    let count = |outcome| run.count(outcome);
    json!({
        "place": about.place,
        "version": about.version,
        "ok": run.suite().passed(),
        "passed": count(CheckOutcome::Passed),
        "failed": count(CheckOutcome::Failed),
        "errored": count(CheckOutcome::Errored),
        "skipped": count(CheckOutcome::Skipped),
        "started": run.started,
        "took_ms": run.took_ms,
    })
}

/// Where another report of the same run goes: `KIND=FILE`.
#[derive(Debug, Clone)]
pub(crate) struct Extra {
    pub(crate) format: Format,
    pub(crate) file: String,
}

/// Takes `KIND=FILE` apart.
///
/// # Errors
/// `Usage` with the kinds that there are.
pub(crate) fn extra(text: &str) -> Result<Extra> {
    let formats = || FORMATS.iter().chain(&[Format::Json]);
    let known = || formats().map(|format| format.name()).collect::<Vec<_>>().join(", ");
    let parsed = text.split_once('=').filter(|(_, file)| !file.is_empty());
    let found = parsed.and_then(|(kind, file)| Some((formats().find(|format| format.name() == kind)?, file)));
    match found {
        Some((format, file)) => Ok(Extra { format: *format, file: file.to_owned() }),
        None => Err(Fault::new(Code::Usage, format!("--report takes KIND=FILE, and got {text:?}."))
            .hint(format!("Kinds: {}.", known()))),
    }
}
