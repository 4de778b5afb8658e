//! `vice wrath traffic FILE`: learns a model of traffic, and says how near what it generates is.

use std::path::PathBuf;

use serde_json::{Value, json};
use vice_core::app::App;
use vice_core::port::notifier::Severity;
use vice_core::text::{Table, Tone, count};
use vice_core::ui::Outcome;
use vice_core::{Code, Context, Fault, Millis, Result};

use super::recording::open;
use crate::replay::{By, sessions};
use crate::traffic::{self, Fit, Learnt, Visit};

/// So many bytes at the beginning tell a recording from a log.
const BEGINNING: usize = 64;

/// The most sessions that are generated for the comparison.
const SESSIONS_MAX: u64 = 10_000_000;

/// Chance makes what is rarer than this once in a thousand models.
const UNLIKELY: f64 = 0.001;

/// Arguments of `vice wrath traffic`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:
  vice wrath traffic /var/log/nginx/access.log --out shop.toml
  vice wrath traffic session.jsonl --session cookie:sid --out shop.toml
  vice wrath load http://127.0.0.1:8080 --model shop.toml --users 100 --for 5m")]
pub struct TrafficArgs {
    /// A recording, a HAR file, or an access log: nginx (combined), Caddy (JSON), or JSON lines.
    pub file: PathBuf,

    /// Write the model to this file.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,

    /// What tells sessions of a recording apart: connection, cookie:NAME or header:NAME.
    #[arg(long, value_name = "BY", default_value = "connection")]
    pub session: String,

    /// Who is away for so long comes as somebody new.
    #[arg(long, value_name = "DURATION", default_value = "30m")]
    pub gap: Millis,

    /// How many sessions to generate for the comparison.
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub sessions: u64,

    /// The number that all chance follows from.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
}

/// Learns a model.
///
/// # Errors
/// `Decode` for a file that makes no sense, `Io`, `Usage`.
pub(crate) fn run(app: &App, args: &TrafficArgs) -> Result<Outcome> {
    app.ui.format().among(&[])?;
    if args.sessions == 0 || args.sessions > SESSIONS_MAX {
        return Err(Fault::new(Code::Usage, format!("{} sessions can't be generated.", args.sessions))
            .hint(format!("Give a number from 1 to {SESSIONS_MAX}.")));
    }
    let visits = visits(app, args)?;
    if visits.is_empty() {
        return Err(Fault::new(Code::Decode, format!("{} holds no request.", args.file.display()))
            .hint("There is nothing to learn from."));
    }
    let learnt = traffic::learn(&visits, args.gap.0 as f64 / 1e3);
    let fit = traffic::fit(&learnt, args.sessions, args.seed)?;
    if let Some(out) = &args.out {
        let unwritable = || format!("{} can't be written.", out.display());
        std::fs::write(app.env.dir.join(out), learnt.model.text()?).context(Code::Io, unwritable)?;
    }
    Ok(outcome(args, &visits, &learnt, &fit))
}

fn visits(app: &App, args: &TrafficArgs) -> Result<Vec<Visit>> {
    let path = app.env.dir.join(&args.file);
    let har = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("har"));
    if har || is_recording(&path) {
        let by = By::parse(&args.session);
        let by = by.map_err(|why| {
            Fault::new(Code::Usage, format!("{why}.")).hint("`vice wrath traffic --help` has examples.")
        })?;
        let recording = open(app.ui.as_ref(), &app.env.dir, &args.file)?;
        let mut visits = traffic::of_recording(&recording, &sessions(&recording.exchanges, &by));
        visits.sort_by(|one, other| one.at.total_cmp(&other.at));
        return Ok(visits);
    }
    let (visits, nonsense) = traffic::read(&path)?;
    if nonsense > 0 {
        app.ui.say(Severity::Warning, &format!("{} made no sense.", count(nonsense as u64, "line", "lines")));
    }
    Ok(visits)
}

fn is_recording(path: &std::path::Path) -> bool {
    use std::io::Read as _;
    let mut beginning = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(BEGINNING as u64).read_to_end(&mut beginning));
    read.is_ok() && String::from_utf8_lossy(&beginning).contains("\"vice_recording\"")
}

fn outcome(args: &TrafficArgs, visits: &[Visit], learnt: &Learnt, fit: &Fit) -> Outcome {
    let mut table = Table::with_heading(&["request", "generated", "transitions", "chance", "pauses", "chance"]);
    let likely = |chance: f64| if chance < UNLIKELY { Tone::Bad } else { Tone::Good };
    for kind in &fit.kinds {
        table.row([
            (Tone::Strong, kind.kind.clone()),
            (Tone::Plain, kind.generated.to_string()),
            (Tone::Plain, format!("χ² {:.1} of {}", kind.chi_square, kind.freedom)),
            (likely(kind.chi_chance), format!("{:.3}", kind.chi_chance)),
            (Tone::Plain, format!("D {:.4}", kind.ks)),
            (likely(kind.ks_chance), format!("{:.3}", kind.ks_chance)),
        ]);
    }
    let mut text = format!(
        "{} in {}, {}\n\n{}",
        count(visits.len() as u64, "request", "requests"),
        count(learnt.sessions as u64, "session", "sessions"),
        count(learnt.model.kind.len() as u64, "kind", "kinds"),
        table.render()
    );
    text.push_str(&format!(
        "\n{} generated; a chance below {UNLIKELY} says that the mix is another one.\n",
        count(fit.sessions, "session", "sessions")
    ));
    if let Some(out) = &args.out {
        text.push_str(&format!("Wrote {}.\n", out.display()));
    }
    let kinds: Vec<Value> = fit
        .kinds
        .iter()
        .map(|kind| {
            json!({
                "request": kind.kind, "generated": kind.generated,
                "transitions": { "chi_square": kind.chi_square, "freedom": kind.freedom, "chance": kind.chi_chance },
                "pauses": { "distance": kind.ks, "chance": kind.ks_chance },
            })
        })
        .collect();
    let json = json!({
        "requests": visits.len(), "sessions": learnt.sessions, "generated_sessions": fit.sessions, "seed": args.seed,
        "kinds": kinds, "model": args.out.as_ref().map(|out| out.display().to_string()),
    });
    Outcome::done(text, json)
}
