//! `vice wrath traffic FILE`: learns a model of traffic, and says how near what it generates is.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Value, json};
use vice_core::app::App;
use vice_core::port::notifier::Severity;
use vice_core::text::{Table, Tone, count, paint};
use vice_core::ui::Outcome;
use vice_core::{Code, Context, Fault, Millis, Result};

use super::recording::open_to_send;
use crate::replay::{By, sessions};
use crate::traffic::{self, Fit, Model, Sorting, Visit};

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
  vice wrath traffic session.jsonl --session cookie:sid --persona cookie:plan --out shop.toml
  vice wrath traffic access.log --persona 'robot=header:user-agent~(?i)bot' --persona first --out shop.toml
  vice wrath traffic shop.toml
  vice wrath load http://127.0.0.1:8080 --model shop.toml --users 100 --for 5m")]
pub struct TrafficArgs {
    /// A recording, a HAR file, or an access log: nginx (combined), Caddy (JSON), or JSON lines; or a model (.toml), which
    /// is then only looked at.
    pub file: PathBuf,

    /// Write the model to this file.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,

    /// What tells sessions of a recording apart: connection, cookie:NAME or header:NAME.
    #[arg(long, value_name = "BY", default_value = "connection")]
    pub session: String,

    /// What sorts sessions into personas: first (their first request), cookie:NAME, header:NAME or field:NAME (of a log), a
    /// persona for each value; or NAME=BY~PATTERN, with target besides. May be repeated; the first that fits decides.
    #[arg(long, value_name = "RULE")]
    pub persona: Vec<String>,

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
    if args.file.extension().is_some_and(|extension| extension == "toml") {
        return written(app, args);
    }
    let sorting = Sorting::parse(&args.persona).map_err(|why| {
        Fault::new(Code::Usage, format!("A rule of personas makes no sense: {why}."))
            .hint("`vice wrath traffic --help` has examples.")
    })?;
    let visits = visits(app, args, &sorting)?;
    if visits.is_empty() {
        return Err(Fault::new(Code::Decode, format!("{} holds no request.", args.file.display()))
            .hint("There is nothing to learn from."));
    }
    let learnt = traffic::learn(&visits, args.gap.0 as f64 / 1e3, &sorting);
    let fit = traffic::fit(&learnt.model, &learnt.pauses, args.sessions, args.seed)?;
    if let Some(out) = &args.out {
        let unwritable = || format!("{} can't be written.", out.display());
        std::fs::write(app.env.dir.join(out), learnt.model.text()?).context(Code::Io, unwritable)?;
    }
    let said = format!(
        "{} in {}, {}",
        count(visits.len() as u64, "request", "requests"),
        count(learnt.sessions as u64, "session", "sessions"),
        count(learnt.model.kind.len() as u64, "kind", "kinds"),
    );
    let mut outcome = outcome(args, &said, &fit);
    outcome.json["requests"] = visits.len().into();
    outcome.json["sessions"] = learnt.sessions.into();
    Ok(outcome)
}

/// What a model that somebody wrote generates.
fn written(app: &App, args: &TrafficArgs) -> Result<Outcome> {
    if args.out.is_some() || !args.persona.is_empty() {
        return Err(Fault::new(Code::Usage, "A model is only looked at; there is nothing to learn from it.")
            .hint("Name a recording or an access log instead, or leave --out and --persona out."));
    }
    let unreadable = || format!("The model {} can't be read.", args.file.display());
    let text = std::fs::read_to_string(app.env.dir.join(&args.file)).context(Code::Io, unreadable)?;
    let model = Model::parse(&text)?;
    let fit = traffic::fit(&model, &BTreeMap::new(), args.sessions, args.seed)?;
    let kinds = count(model.kind.len() as u64, "kind", "kinds");
    let said = format!("{kinds}, {}", count(model.persona.len() as u64, "persona", "personas"));
    Ok(outcome(args, &said, &fit))
}

fn visits(app: &App, args: &TrafficArgs, sorting: &Sorting) -> Result<Vec<Visit>> {
    let path = app.env.dir.join(&args.file);
    let har = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("har"));
    if har || is_recording(&path) {
        let by = By::parse(&args.session);
        let by = by.map_err(|why| {
            Fault::new(Code::Usage, format!("{why}.")).hint("`vice wrath traffic --help` has examples.")
        })?;
        let (recording, _) = open_to_send(app.ui.as_ref(), &app.env.dir, &args.file)?;
        let mut visits = traffic::of_recording(&recording, &sessions(&recording.exchanges, &by), sorting);
        visits.sort_by(|one, other| one.at.total_cmp(&other.at));
        return Ok(visits);
    }
    let (visits, nonsense) = traffic::read(&path, sorting)?;
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

fn likely(chance: f64) -> Tone {
    if chance < UNLIKELY { Tone::Bad } else { Tone::Good }
}

fn outcome(args: &TrafficArgs, said: &str, fit: &Fit) -> Outcome {
    let mut text = format!("{said}\n\n");
    let several = fit.personas.len() > 1;
    if several {
        text.push_str(&personas(fit));
        text.push('\n');
    }
    text.push_str(&kinds(fit, several));
    text.push_str(&format!(
        "\n{} generated; a chance below {UNLIKELY} says that the mix is another one.\n",
        count(fit.sessions, "session", "sessions")
    ));
    if let Some(out) = &args.out {
        text.push_str(&format!("Wrote {}.\n", out.display()));
    }
    Outcome::done(text, json(args, fit))
}

/// The personas, with their shares as wanted and as generated.
fn personas(fit: &Fit) -> String {
    let weight: f64 = fit.personas.iter().map(|(_, weight, _)| weight).sum();
    let mut table = Table::with_heading(&["persona", "share", "generated"]);
    for (name, own, times) in &fit.personas {
        let found = 100.0 * *times as f64 / fit.sessions.max(1) as f64;
        table.row([
            (Tone::Strong, name.clone()),
            (Tone::Plain, format!("{:.2} %", 100.0 * own / weight)),
            (Tone::Plain, format!("{found:.2} %")),
        ]);
    }
    let chance = paint(likely(fit.mix.chance), format!("{:.3}", fit.mix.chance));
    format!("{}χ² {:.1} of {}, chance {chance}\n", table.render(), fit.mix.statistic, fit.mix.freedom)
}

fn kinds(fit: &Fit, several: bool) -> String {
    let mut titles = vec!["request", "generated", "transitions", "chance", "pauses", "chance"];
    if several {
        titles.insert(0, "persona");
    }
    let mut table = Table::with_heading(&titles);
    // What a single persona begins with is seldom a question.
    for kind in fit.kinds.iter().filter(|kind| several || !kind.kind.is_empty()) {
        let name = if kind.kind.is_empty() { "(begins)" } else { &kind.kind };
        let mut cells = vec![
            (Tone::Strong, name.to_owned()),
            (Tone::Plain, kind.generated.to_string()),
            (Tone::Plain, format!("χ² {:.1} of {}", kind.chi.statistic, kind.chi.freedom)),
            (likely(kind.chi.chance), format!("{:.3}", kind.chi.chance)),
            (Tone::Plain, format!("D {:.4}", kind.ks)),
            (likely(kind.ks_chance), format!("{:.3}", kind.ks_chance)),
        ];
        if several {
            cells.insert(0, (Tone::Plain, kind.persona.clone()));
        }
        table.row(cells);
    }
    table.render()
}

fn json(args: &TrafficArgs, fit: &Fit) -> Value {
    let chi =
        |chi: &traffic::ChiSquare| json!({ "chi_square": chi.statistic, "freedom": chi.freedom, "chance": chi.chance });
    let of_kind = |kind: &traffic::KindFit| {
        json!({
            "persona": kind.persona, "request": kind.kind, "generated": kind.generated, "transitions": chi(&kind.chi),
            "pauses": { "distance": kind.ks, "chance": kind.ks_chance },
        })
    };
    let (begins, kinds): (Vec<_>, Vec<_>) = fit.kinds.iter().partition(|kind| kind.kind.is_empty());
    let personas: Vec<Value> = fit
        .personas
        .iter()
        .map(|(name, weight, times)| json!({ "persona": name, "weight": weight, "generated": times }))
        .collect();
    json!({
        "generated_sessions": fit.sessions, "seed": args.seed, "personas": personas, "mix": chi(&fit.mix),
        "begins": begins.into_iter().map(of_kind).collect::<Vec<_>>(),
        "kinds": kinds.into_iter().map(of_kind).collect::<Vec<_>>(),
        "model": args.out.as_ref().map(|out| out.display().to_string()),
    })
}
