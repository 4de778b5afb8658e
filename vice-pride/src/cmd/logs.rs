//! `vice logs`: the output of the instances.

use std::sync::{Mutex, PoisonError};

use clap::Args;
use serde_json::json;
use vice_core::app::App;
use vice_core::id::EnvName;
use vice_core::port::target::LogLine;
use vice_core::text::{Tone, paint, sanitize};
use vice_core::ui::{Format, Outcome};
use vice_core::{Code, Fault, Result};

use crate::backend;

/// Arguments of `vice logs`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  vice logs shop\n  vice logs shop -f --unit 2")]
pub struct LogsArgs {
    /// The project; the one of this folder when absent
    project: Option<String>,
    /// The environment
    #[arg(short, long)]
    env: Option<EnvName>,
    /// Only this unit
    #[arg(short, long)]
    unit: Option<String>,
    /// The last so many lines of each unit
    #[arg(short = 'n', long, default_value_t = 50)]
    lines: usize,
    /// Go on with new lines until interrupted
    #[arg(short, long)]
    follow: bool,
}

/// The lines are the result; with `--follow` they come as they are written. Known secrets are masked.
///
/// # Errors
/// `UnknownName`, `Unsupported` where the target has no logs.
pub async fn run(app: &App, args: LogsArgs) -> Result<Outcome> {
    let (project, scope) = app.scope(args.project.as_deref(), args.env.as_ref())?;
    let backend = backend::connect(app, &project, &scope)?;
    let kind = backend.target.describe().kind;
    let logs = backend.logs.ok_or_else(|| Fault::unsupported(kind, "logs"))?;
    // Reading logs must work while the keys are away; then nothing is known that could be masked.
    let masker = app.config.resolve(&project, &scope.env).await.map(|config| config.masker()).unwrap_or_default();
    if args.follow && app.ui.format() == Format::Json {
        return Err(Fault::new(Code::Usage, "What is followed has no end, so that it can't be one JSON document.")
            .hint("Use --format ndjson."));
    }
    let kept = Mutex::new((String::new(), Vec::new()));
    let sink = |line: LogLine| {
        let text = masker.mask(&line.text);
        let shown = format!("{} {}", paint(Tone::Faint, format!("{:>3} |", line.unit)), sanitize(&text));
        if args.follow {
            return app.ui.emit(&shown, &json!({ "type": "line", "unit": line.unit, "text": text }));
        }
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.0.push_str(&format!("{shown}\n"));
        kept.1.push(json!({ "unit": line.unit, "text": text }));
        true
    };
    logs.logs(args.unit.as_deref(), args.lines, args.follow, &sink).await?;
    let (text, lines) = kept.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(Outcome::done(text, json!({ "lines": lines })))
}
