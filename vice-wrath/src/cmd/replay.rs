//! `vice wrath replay FILE`: sends a recording again and compares.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::json;
use url::Url;
use vice_core::app::App;
use vice_core::port::notifier::Severity;
use vice_core::ui::{Outcome, Progress, ProgressState};
use vice_core::{Class, Code, Context, Fault, Millis, Result};

use super::record::{authority, upstream};
use super::recording::open_to_send;
use crate::http::parse_url;
use crate::load::Protocol;
use crate::replay::{self, Arm, By, Plan, Report, Rules};

/// The most sessions at the same time.
const CONCURRENCY_MAX: usize = 4096;

/// The most rounds of repetition.
const ROUNDS_MAX: usize = 1000;

/// Arguments of `vice wrath replay`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:
  vice wrath replay session.jsonl --to http://127.0.0.1:8081
  vice wrath replay session.jsonl --to http://127.0.0.1:8081 --speed 10x --session cookie:sid
  vice wrath replay session.jsonl --to http://old:8080 --against http://new:8080 --speed max --save differences.toml")]
pub struct ReplayArgs {
    /// The recording, or a HAR file.
    pub file: PathBuf,

    /// The server to send it to; with --against, the version that is taken as right.
    #[arg(long, value_name = "URL")]
    pub to: String,

    /// Send the same to this version, and say what it answers otherwise.
    #[arg(long, value_name = "URL")]
    pub against: Option<String>,

    /// How fast: 1x as recorded, 2x twice as fast, max as fast as answers come.
    #[arg(long, value_name = "SPEED", default_value = "1x")]
    pub speed: String,

    /// What tells sessions apart, whose requests keep their order: connection, cookie:NAME or header:NAME.
    #[arg(long, value_name = "BY", default_value = "connection")]
    pub session: String,

    /// Rules: values to set and to capture, and what not to compare (TOML).
    #[arg(long, value_name = "FILE")]
    pub rules: Option<PathBuf>,

    /// Do not compare this header; may be repeated.
    #[arg(long, value_name = "NAME")]
    pub ignore_header: Vec<String>,

    /// Do not compare what stands at this JSON Pointer (* for any part); may be repeated.
    #[arg(long, value_name = "POINTER")]
    pub ignore_json: Vec<String>,

    /// Send each request once instead of twice; what is noise is then not learnt.
    #[arg(long, conflicts_with = "against")]
    pub once: bool,

    /// How often a session is sent again at most to prove what it showed (with --against).
    #[arg(long, value_name = "N", default_value_t = 25)]
    pub confirm: usize,

    /// How many sessions may be under way at once.
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub concurrency: usize,

    /// How long an answer is waited for.
    #[arg(long, value_name = "DURATION", default_value = "30s")]
    pub timeout: Millis,

    /// Send the recorded Host instead of that of the server.
    #[arg(long)]
    pub keep_host: bool,

    /// Speak HTTP/2.
    #[arg(long)]
    pub http2: bool,

    /// Trust the certificate authorities of this PEM file instead of the machine's.
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,

    /// Write checks that show the differences again to this file.
    #[arg(long, value_name = "FILE")]
    pub save: Option<PathBuf>,
}

fn usage(why: impl Into<String>) -> Fault {
    Fault::new(Code::Usage, why).hint("`vice wrath replay --help` has examples.")
}

/// Replays a recording.
///
/// # Errors
/// `Usage`, `Decode` for what is no recording, `Unreachable` when nothing answers at all, `Interrupted`.
pub(crate) async fn run(app: &App, args: ReplayArgs) -> Result<Outcome> {
    app.ui.format().among(&[])?;
    let speed = speed(&args.speed).map_err(usage)?;
    let by = By::parse(&args.session).map_err(|why| usage(format!("{why}.")))?;
    if args.concurrency == 0 || args.concurrency > CONCURRENCY_MAX || args.confirm > ROUNDS_MAX {
        return Err(usage(format!(
            "There may be 1 to {CONCURRENCY_MAX} sessions at once and {ROUNDS_MAX} repetitions."
        )));
    }
    let rules = rules(app, &args)?;
    let (recording, left_out) = open_to_send(app.ui.as_ref(), &app.env.dir, &args.file)?;
    if recording.exchanges.is_empty() {
        return Err(Fault::new(Code::Decode, "The recording holds no exchange.")
            .hint("Record again; the recorder has to stand between a client and the server."));
    }
    let to = arm(app, &args, &args.to).await?;
    let against = match &args.against {
        Some(url) => Some(arm(app, &args, url).await?),
        None => None,
    };
    let two = against.is_some();
    let sessions = replay::sessions(&recording.exchanges, &by);
    let exchanges = recording.exchanges.clone();
    let kept = sessions.clone();
    let plan = Plan {
        recording,
        sessions,
        rules,
        speed,
        concurrency: args.concurrency,
        to,
        against,
        learn: !args.once,
        rounds: args.confirm,
    };
    let all = exchanges.len();
    let report = replay::run(plan, &app.stop, |sent| {
        let text = format!("replay: {sent} of {all} requests");
        let gist = Some("replay".to_owned());
        app.ui.progress(Progress { key: "replay".to_owned(), text, state: ProgressState::Running, gist });
    })
    .await?;
    if report.sent == 0 {
        return Err(Fault::new(Code::Decode, "Not one request of the recording could be sent.")
            .hint("Bodies that were not kept can't be sent; record with a larger --body-max."));
    }
    let saved = save(app, &args, &report, || replay::scenario(&exchanges, &kept, &report))?;
    let mut outcome = outcome(&report, two, saved.as_deref(), kept.len());
    outcome.json["left_out"] = left_out.into();
    Ok(outcome)
}

fn outcome(report: &Report, two: bool, saved: Option<&str>, sessions: usize) -> Outcome {
    let differs = !report.findings.is_empty() || !report.slower.is_empty();
    let mut json = replay::json(report);
    json["sessions"] = sessions.into();
    json["saved"] = json!(saved);
    let class = if differs { Class::Verification } else { Class::Done };
    Outcome { class, text: replay::text(report, two), json }
}

fn speed(text: &str) -> std::result::Result<Option<f64>, String> {
    if text == "max" {
        return Ok(None);
    }
    let factor = text.strip_suffix('x').and_then(|number| number.parse::<f64>().ok());
    let factor = factor.filter(|factor| factor.is_finite() && *factor > 0.0 && *factor <= 1e6);
    factor.map(Some).ok_or_else(|| format!("`{text}` is not a speed; write for example 1x, 0.5x, 10x or max."))
}

fn rules(app: &App, args: &ReplayArgs) -> Result<Rules> {
    let mut rules = match &args.rules {
        None => Rules::default(),
        Some(file) => {
            let text = std::fs::read_to_string(app.env.dir.join(file));
            let text = text.context(Code::Io, || format!("The rules {} can't be read.", file.display()))?;
            Rules::parse(&text, &app.env)?
        }
    };
    args.ignore_header.iter().for_each(|name| rules.ignore_header(name));
    args.ignore_json.iter().for_each(|pointer| rules.ignore_json(pointer));
    Ok(rules)
}

async fn arm(app: &App, args: &ReplayArgs, text: &str) -> Result<Arc<Arm>> {
    let url: Url = parse_url(text, false).map_err(|why| usage(format!("The server {why}.")))?;
    if url.path() != "/" || url.query().is_some() {
        return Err(usage("A server is named by scheme, host and port; paths are those of the recording."));
    }
    let protocol = if args.http2 { Protocol::Http2 } else { Protocol::Http1 };
    Ok(Arc::new(Arm {
        upstream: upstream(app, &url, args.ca.as_ref(), protocol).await?,
        authority: authority(&url),
        scheme: url.scheme().to_owned(),
        patience: args.timeout.as_duration(),
        keep_host: args.keep_host,
        absolute: args.http2,
    }))
}

/// Writes the checks, where there are differences and a file was named.
fn save(app: &App, args: &ReplayArgs, report: &Report, scenario: impl FnOnce() -> String) -> Result<Option<String>> {
    let Some(file) = args.save.as_ref().filter(|_| !report.findings.is_empty()) else { return Ok(None) };
    let unwritable = || format!("{} can't be written.", file.display());
    std::fs::write(app.env.dir.join(file), scenario()).context(Code::Io, unwritable)?;
    app.ui.say(Severity::Success, &format!("Wrote {}.", file.display()));
    Ok(Some(file.display().to_string()))
}
