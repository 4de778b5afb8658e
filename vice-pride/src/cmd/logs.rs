//! `vice logs`: the output of the instances.

use clap::Args;
use serde_json::json;
use vice_core::app::App;
use vice_core::id::EnvName;
use vice_core::port::target::LogLine;
use vice_core::text::{Tone, paint, sanitize};
use vice_core::ui::Outcome;
use vice_core::{Fault, Result};

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

/// Streams the lines to standard output as they come; known secrets are masked.
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
    let count = std::sync::atomic::AtomicUsize::new(0);
    let sink = |line: LogLine| {
        count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let text = masker.mask(&line.text);
        let shown = format!("{} {}", paint(Tone::Faint, format!("{:>3} |", line.unit)), sanitize(&text));
        app.ui.emit(&shown, &json!({ "type": "line", "unit": line.unit, "text": text }))
    };
    logs.logs(args.unit.as_deref(), args.lines, args.follow, &sink).await?;
    let count = count.into_inner();
    Ok(Outcome::done("", json!({ "lines": count })))
}
