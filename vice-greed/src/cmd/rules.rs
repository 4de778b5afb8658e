//! `greed rules`: what the rules are, what is wrong with them, what they would do, and letting them work.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use vice_core::app::App;
use vice_core::event::Recorded;
use vice_core::fold;
use vice_core::manifest::Project;
use vice_core::store::{PAGE_MAX, Query};
use vice_core::text::{Table, Tone, count};
use vice_core::ui::Outcome;
use vice_core::{Class, Code, Context as _, Digest, Fault, Millis, Result};

use super::filter::Span;
use crate::ingest::cloudevent;
use crate::rules::{self, Advice, RuleState, Trial, Tried};

/// Events that are tried at a time.
const PAGE: usize = 1_000;

/// The longest line of a file with events, in bytes.
const LINE_BYTES_MAX: usize = 2 * vice_core::event::DATA_BYTES_MAX;

#[derive(Debug, Args)]
pub(super) struct RulesArgs {
    #[command(subcommand)]
    command: RulesCommand,
}

#[derive(Debug, Subcommand)]
enum RulesCommand {
    /// List the rules of a project, how often each fired and what waits
    #[command(after_help = "Example:\n  vice greed rules list")]
    List {
        /// The project; the one of this folder when absent
        #[arg(short, long)]
        project: Option<String>,
    },
    /// Say what is wrong with the rules, and what is worth a look
    #[command(after_help = "Example:\n  vice greed rules lint")]
    Lint {
        /// The project; the one of this folder when absent
        #[arg(short, long)]
        project: Option<String>,
    },
    /// Run the rules over recorded events and show what would have fired; nothing is stored or done
    #[command(
        after_help = "Examples:\n  vice greed rules test --since 2h\n  vice greed rules test failed-tests --file events.jsonl --format json"
    )]
    Test(TestArgs),
    /// Let the rules act on new events and carry out what is due, for a bounded time
    #[command(after_help = "Examples:\n  vice greed rules run\n  vice greed rules run --follow")]
    Run {
        /// Go on with the events that come, until interrupted
        #[arg(short, long)]
        follow: bool,
    },
}

#[derive(Debug, Args)]
struct TestArgs {
    /// Only this rule
    rule: Option<String>,
    /// The project; the one of this folder when absent
    #[arg(short, long)]
    project: Option<String>,
    /// A file with one CloudEvent in JSON a line, instead of the history
    #[arg(long, value_name = "FILE", conflicts_with_all = ["since", "until"])]
    file: Option<PathBuf>,
    #[command(flatten)]
    span: Span,
}

pub(super) async fn rules(app: &App, args: RulesArgs) -> Result<Outcome> {
    match args.command {
        RulesCommand::List { project } => list(app, project.as_deref()).await,
        RulesCommand::Lint { project } => lint(app, project.as_deref()),
        RulesCommand::Test(args) => test(app, args).await,
        RulesCommand::Run { follow } => run(app, follow).await,
    }
}

async fn list(app: &App, project: Option<&str>) -> Result<Outcome> {
    let project = app.workspace.project_or_here(project)?;
    let rules = rules::Ruleset::of(&project)?;
    let (state, _): (RuleState, u64) = fold::load(app.events.as_ref(), &rules::rules_stream(project.name())).await?;
    let mut table =
        Table::with_heading(&["rule", "types", "window", "then", "fired", "waiting", "open windows", "late"]);
    let mut json = Vec::new();
    for line in rules.lines() {
        let name = line.name;
        let fired = state.fired.get(name).copied().unwrap_or(0);
        let waiting = state.pending.values().filter(|pending| pending.queued.rule == name).count();
        let (open, late) = state.panes.get(name).map_or((0, 0), |panes| (panes.open(), panes.late));
        table.row([
            (Tone::Strong, name.to_owned()),
            (Tone::Plain, line.kinds.clone()),
            (Tone::Plain, if line.window { "yes" } else { "" }.to_owned()),
            (Tone::Plain, line.then.to_owned()),
            (Tone::Plain, fired.to_string()),
            (Tone::Plain, waiting.to_string()),
            (Tone::Plain, open.to_string()),
            (Tone::Plain, late.to_string()),
        ]);
        json.push(json!({ "rule": name, "types": line.kinds, "window": line.window, "then": line.then,
            "fired": fired, "waiting": waiting, "openWindows": open, "late": late }));
    }
    let name = project.name();
    let text = if json.is_empty() { format!("{name} has no rules.\n") } else { table.render() };
    Ok(Outcome::done(text, json!({ "project": name, "rules": json, "cursor": state.cursor })))
}

fn lint(app: &App, project: Option<&str>) -> Result<Outcome> {
    let project = app.workspace.project_or_here(project)?;
    let found = rules::lint(&project, &app.actions)?;
    let mut table = Table::with_heading(&["rule", "", "what"]);
    for Advice { rule, wrong, said } in &found {
        let (tone, word) = if *wrong { (Tone::Bad, "wrong") } else { (Tone::Warn, "look") };
        table.row([(Tone::Strong, rule.clone()), (tone, word.to_owned()), (Tone::Plain, said.clone())]);
    }
    let rules = project.manifest.rule.len();
    let text = if found.is_empty() {
        format!("{}, nothing to say.\n", count(rules as u64, "rule", "rules"))
    } else {
        table.render()
    };
    let json: Vec<Value> =
        found.iter().map(|advice| json!({ "rule": advice.rule, "wrong": advice.wrong, "said": advice.said })).collect();
    let class = if found.iter().any(|advice| advice.wrong) { Class::Failed } else { Class::Done };
    Ok(Outcome::done(text, json!({ "rules": rules, "advice": json })).with_class(class))
}

async fn test(app: &App, args: TestArgs) -> Result<Outcome> {
    let project = app.workspace.project_or_here(args.project.as_deref())?;
    if let Some(name) = &args.rule
        && !project.manifest.rule.iter().any(|rule| rule.name == *name)
    {
        return Err(rules::unknown_rule(&project, name));
    }
    let mut trial = Trial::new(&project, args.rule.clone())?;
    match &args.file {
        Some(file) => from_file(app, &mut trial, &app.env.dir.join(file))?,
        None => from_history(app, &mut trial, args.span).await?,
    }
    Ok(told(&project, &trial))
}

async fn from_history(app: &App, trial: &mut Trial, span: Span) -> Result<()> {
    let now = app.clock.now();
    let mut query = Query { limit: PAGE, ..Query::default() };
    span.add(&mut query, now)?;
    loop {
        let page = app.events.read(&query).await?;
        let end = page.len() < PAGE;
        trial.take(&page, now, end)?;
        let Some(last) = page.last().filter(|_| !end) else { return Ok(()) };
        query.after = last.seq;
    }
}

fn from_file(app: &App, trial: &mut Trial, path: &std::path::Path) -> Result<()> {
    let unreadable = || format!("{} can't be read.", path.display());
    let file = std::fs::File::open(path).context(Code::Io, unreadable)?;
    let now = app.clock.now();
    let mut reader = BufReader::new(file);
    let (mut page, mut seq) = (Vec::new(), 0);
    loop {
        let mut line = String::new();
        let mut limited = std::io::Read::take(&mut reader, LINE_BYTES_MAX as u64 + 1);
        let read = limited.read_line(&mut line).context(Code::Io, unreadable)?;
        if read > LINE_BYTES_MAX {
            return Err(Fault::new(Code::Usage, format!("Line {} of {} is too long.", seq + 1, path.display())));
        }
        if read > 0 {
            seq += 1;
        }
        if !line.trim().is_empty() {
            let (event, _) = cloudevent::read(&line, None, &app.actor, now)
                .map_err(|fault| fault.detail("line", seq).hint(format!("It is line {seq} of {}.", path.display())))?;
            page.push(Recorded { seq, version: seq, chain: Digest::of(b""), event });
        }
        if page.len() == PAGE.min(PAGE_MAX) || read == 0 {
            trial.take(&page, now, read == 0)?;
            page.clear();
        }
        if read == 0 {
            return Ok(());
        }
    }
}

fn told(project: &Project, trial: &Trial) -> Outcome {
    let mut table = Table::with_heading(&["event", "time", "type", "subject", "rule", "what", "detail"]);
    for Tried { rule, cause, time, what, detail } in &trial.tried {
        let tone = match *what {
            "fires" => Tone::Good,
            "stopped" => Tone::Bad,
            "late" | "unclear" => Tone::Warn,
            _ => Tone::Faint,
        };
        table.row([
            (Tone::Code, if cause.seq == 0 { "-".to_owned() } else { cause.seq.to_string() }),
            (Tone::Faint, time.to_string()),
            (Tone::Plain, cause.kind.clone()),
            (Tone::Plain, cause.subject.clone()),
            (Tone::Strong, rule.clone()),
            (tone, (*what).to_owned()),
            (Tone::Plain, detail.clone()),
        ]);
    }
    let fired = trial.tried.iter().filter(|tried| tried.what == "fires").count() as u64;
    let mut text = if trial.tried.is_empty() { String::new() } else { table.render() };
    text.push_str(&format!(
        "{} looked at, {} fired.\n",
        count(trial.events, "event", "events"),
        count(fired, "rule", "rules")
    ));
    if trial.more > 0 {
        text.push_str(&format!("{} more lines are left out.\n", trial.more));
    }
    let json: Vec<Value> = trial
        .tried
        .iter()
        .map(|tried| {
            json!({
                "seq": tried.cause.seq, "id": tried.cause.id, "type": tried.cause.kind, "subject": tried.cause.subject,
                "time": tried.time.to_string(), "rule": tried.rule, "what": tried.what, "detail": tried.detail,
            })
        })
        .collect();
    Outcome::done(
        text,
        json!({ "project": project.name(), "events": trial.events, "fired": fired,
        "leftOut": trial.more, "tried": json }),
    )
}

async fn run(app: &App, follow: bool) -> Result<Outcome> {
    let mut all = rules::Pumped::default();
    loop {
        let seen = app.events.head().await?.seq;
        all += rules::pump(app).await?;
        if !follow || app.stop.raised().is_some() {
            break;
        }
        app.events.wait(seen, Millis::from_secs(1)).await?;
    }
    let text = format!(
        "{} read, {} fired, {} done, {} dead.\n",
        count(all.read, "event", "events"),
        all.fired,
        all.done,
        all.dead
    );
    Ok(Outcome::done(text, json!({ "read": all.read, "fired": all.fired, "done": all.done, "dead": all.dead })))
}
