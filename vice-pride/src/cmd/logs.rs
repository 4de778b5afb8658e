//! `vice logs`: the output of the instances.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use clap::Args;
use serde_json::json;
use vice_core::app::App;
use vice_core::id::EnvName;
use vice_core::port::target::LogLine;
use vice_core::secret::{LineMasker, Masker};
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
    let show = |unit: &str, text: &str| {
        let shown = format!("{} {}", paint(Tone::Faint, format!("{unit:>3} |")), sanitize(text));
        if args.follow {
            return app.ui.emit(&shown, &json!({ "type": "line", "unit": unit, "text": text }));
        }
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.0.push_str(&format!("{shown}\n"));
        kept.1.push(json!({ "unit": unit, "text": text }));
        true
    };
    let masked = Mutex::new(Masked { masker, units: BTreeMap::new() });
    let sink = |line: LogLine| masked.lock().unwrap_or_else(PoisonError::into_inner).take(&line, show);
    logs.logs(args.unit.as_deref(), args.lines, args.follow, &sink).await?;
    masked.into_inner().unwrap_or_else(PoisonError::into_inner).finish(show);
    let (text, lines) = kept.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(Outcome::done(text, json!({ "lines": lines })))
}

/// Masks the lines of each unit as one text, so that a secret over several lines is found.
struct Masked {
    masker: Masker,
    units: BTreeMap<String, LineMasker>,
}

impl Masked {
    /// Takes a line and shows what is safe; false when nobody reads any more.
    fn take(&mut self, line: &LogLine, show: impl Fn(&str, &str) -> bool) -> bool {
        // A line that was cut may end inside a secret.
        let text = match line.text.strip_suffix('…') {
            Some(cut) => format!("{}…\n", self.masker.mask_cut(cut)),
            None => format!("{}\n", line.text),
        };
        let unit = self.units.entry(line.unit.clone()).or_insert_with(|| LineMasker::new(&self.masker));
        let mut go_on = true;
        unit.feed(text.as_bytes(), |text| go_on &= show(&line.unit, text));
        go_on
    }

    fn finish(self, show: impl Fn(&str, &str) -> bool) {
        for (name, unit) in self.units {
            unit.finish(|text| {
                show(&name, text);
            });
        }
    }
}
