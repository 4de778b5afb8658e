//! `vice why`: what was decided, on which evidence, and whether it follows.

use clap::Args;
use serde_json::{Value, json};
use vice_core::app::App;
use vice_core::event::Recorded;
use vice_core::fold;
use vice_core::fold::rollout::{Moment, RolloutView};
use vice_core::id::{EnvName, RolloutId};
use vice_core::payload::environment::Direction;
use vice_core::payload::judged::Judged;
use vice_core::payload::rollout::{Note, Verdict};
use vice_core::payload::verification::{CheckOutcome, SuiteResult};
use vice_core::payload::{ReleaseRef, environment_stream, rollout_stream};
use vice_core::store::{Order, Query};
use vice_core::text::{Tone, paint, sanitize};
use vice_core::time::ago;
use vice_core::ui::Outcome;
use vice_core::{Class, Code, Fault, Result};

use super::history::outcome_words;
use crate::driver::load;
use crate::driver::queue::why_dropped;

/// Arguments of `vice why`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  vice why shop.prod.12\n  vice why shop          the latest rollout of a project")]
pub struct WhyArgs {
    /// A rollout such as shop.prod.12, a project, or an event's id
    #[arg(value_name = "ROLLOUT")]
    what: Option<String>,
    /// The environment, when a project is named
    #[arg(short, long)]
    env: Option<EnvName>,
}

/// Replays the journal; a mismatch is reported and exits 1.
///
/// # Errors
/// `UnknownName`; what the store says.
pub async fn run(app: &App, args: WhyArgs) -> Result<Outcome> {
    let id = find(app, &args).await?;
    let (view, _) = fold::load::<RolloutView>(app.events.as_ref(), &rollout_stream(&id)).await?;
    if view.id.is_none() {
        if let Some(reason) = why_dropped(app, &id).await? {
            let text = format!("{id} waited for its turn and was dropped: {}\n", sanitize(&reason));
            return Ok(Outcome::done(text, json!({ "rollout": id, "outcome": "dropped", "reason": reason })));
        }
        return Err(
            Fault::new(Code::UnknownName, format!("There is no rollout {id}.")).hint("`vice history` lists them.")
        );
    }
    let replayed = recompute(app, &id).await;
    let mut text = head(&id, &view, app);
    for moment in &view.timeline {
        tell(moment, &mut text);
    }
    if let Some((reason, until)) = &view.waiting {
        let until = until.map(|until| format!(" until {until}")).unwrap_or_default();
        text.push_str(&format!("\n{} {}{until}\n", paint(Tone::Warn, "waits:"), sanitize(reason)));
    }
    let (mismatch, class) = match &replayed {
        Ok(journal) => {
            text.push_str(&format!("\nRecomputed from {} stored steps: the same decisions follow.\n", journal.steps));
            if !journal.chain_checked {
                text.push_str("The log is long; `vice greed verify` checks that nothing in it was altered.\n");
            }
            (None, Class::Done)
        }
        Err(fault) => {
            text.push_str(&format!("\n{} {}\n", paint(Tone::Bad, "mismatch:"), sanitize(&fault.chain().join(" "))));
            (Some(fault.chain().join(" ")), Class::Failed)
        }
    };
    let value = json!({ "rollout": id, "view": view, "recomputed": mismatch.is_none(), "mismatch": mismatch });
    Ok(Outcome::done(text, value).with_class(class))
}

/// A log up to this many events is checked as a whole, which takes about a second.
const CHECKED_MAX: u64 = 300_000;

/// What recomputing found.
struct Recomputed {
    steps: u64,
    chain_checked: bool,
}

/// Replays the journal, and checks that the stored inputs are those that were stored: inputs that were altered
/// consistently follow from each other, but not from the chain.
async fn recompute(app: &App, id: &RolloutId) -> Result<Recomputed> {
    let journal = load(app, id).await?;
    let chain_checked = app.events.head().await?.seq <= CHECKED_MAX;
    if chain_checked {
        let found = app.events.verify().await?;
        if !found.problems.is_empty() {
            return Err(Fault::new(Code::HistoryDamaged, "The history was altered.").because(found.problems.join(" ")));
        }
    }
    Ok(Recomputed { steps: journal.steps, chain_checked })
}

async fn find(app: &App, args: &WhyArgs) -> Result<RolloutId> {
    let what = args.what.as_deref();
    if let Some(id) = what.and_then(|what| what.parse::<RolloutId>().ok()) {
        return Ok(id);
    }
    if let Some(what) = what
        && !app.workspace.projects.contains_key(what)
        && let Some(event) = event(app, what).await?
    {
        return rollout_of(&event);
    }
    let (_, scope) = app.scope(what, args.env.as_ref())?;
    let stream = environment_stream(&scope);
    let (state, _) = fold::load::<fold::environment::EnvironmentState>(app.events.as_ref(), &stream).await?;
    state.past.first().map(|past| past.rollout.clone()).ok_or_else(|| {
        Fault::new(Code::UnknownName, format!("There was no rollout in {scope} yet."))
            .hint("`vice deploy` makes the first.")
    })
}

/// An event by its id. Ids are only indexed with their source, which for vice's own events is always the same; here
/// the streams of rollouts are searched, which is where decisions are.
async fn event(app: &App, id: &str) -> Result<Option<Recorded>> {
    if id.len() != 36 {
        return Ok(None);
    }
    let mut query = Query { stream_prefix: Some("rollout/".to_owned()), order: Order::Backward, ..Query::default() };
    loop {
        let page = app.events.read(&query).await?;
        let (full, last) = (page.len() == query.page(), page.last().map_or(0, |recorded| recorded.seq));
        if let Some(found) = page.into_iter().find(|recorded| recorded.event.id == id) {
            return Ok(Some(found));
        }
        if !full {
            return Ok(None);
        }
        query.after = last;
    }
}

fn rollout_of(recorded: &Recorded) -> Result<RolloutId> {
    let rest = recorded.event.stream.strip_prefix("rollout/").unwrap_or_default();
    rest.replace('/', ".").parse()
}

fn head(id: &RolloutId, view: &RolloutView, app: &App) -> String {
    let label = |release: &Option<ReleaseRef>| release.as_ref().map_or_else(|| "nothing".to_owned(), ReleaseRef::label);
    let (tone, words) = outcome_words(view.outcome);
    let what = if view.direction == Some(Direction::Rollback) { "rollback" } else { "deploy" };
    let when = view.started.map(|at| ago(at, app.clock.now())).unwrap_or_default();
    let mut text = format!(
        "{} {what} of {} → {} by {}, {when}: {}\n",
        paint(Tone::Strong, id.to_string()),
        label(&view.from),
        label(&view.to),
        sanitize(&view.by),
        paint(tone, words),
    );
    if let Some(reason) = &view.reason {
        text.push_str(&format!("  asked because: {}\n", sanitize(reason)));
    }
    if let Some(failure) = &view.failure {
        text.push_str(&format!("  {}\n", sanitize(failure)));
    }
    if let Some(hash) = &view.plan_hash {
        text.push_str(&format!("  plan {}\n\n", hash.short()));
    }
    text
}

fn tell(moment: &Moment, text: &mut String) {
    let at = moment.at.strftime("%H:%M:%S");
    let mut say = |line: String| text.push_str(&format!("{} {line}\n", paint(Tone::Faint, at.to_string())));
    match &moment.note {
        Note::Decided { verdict, reason, evidence } => {
            let (tone, word) = match verdict {
                Verdict::Proceed => (Tone::Good, "proceed"),
                Verdict::Hold => (Tone::Warn, "hold"),
                Verdict::Rollback => (Tone::Bad, "rollback"),
                Verdict::Inconclusive => (Tone::Warn, "inconclusive"),
            };
            say(format!("{} {}", paint(tone, word), sanitize(reason)));
            for line in rests_on(evidence) {
                text.push_str(&format!("           {}\n", paint(Tone::Faint, line)));
            }
        }
        Note::WeightsSet { weights } => say(shares(weights)),
        Note::VerifyFinished { suite } => say(format!("checks: {}", checks(suite))),
        Note::UnitFailed { unit, version, reason, .. } => {
            say(format!("unit {} → {} failed: {}", sanitize(unit), sanitize(version), sanitize(reason)));
        }
        Note::UnitFinished { unit, version, took } => {
            say(format!("unit {} runs {} ({took})", sanitize(unit), sanitize(version)));
        }
        Note::TaskFinished { task, ok, reason, .. } => {
            let said = reason.as_ref().map(|reason| format!(": {}", sanitize(reason))).unwrap_or_default();
            say(format!("task {} {}{said}", sanitize(task), if *ok { "done" } else { "failed" }));
        }
        Note::Commanded { command, by, reason } => {
            let why = reason.as_ref().map(|reason| format!(": {}", sanitize(reason))).unwrap_or_default();
            say(format!("{} said {command:?}{why}", sanitize(by)));
        }
        Note::Held { reason, until } => {
            let until = until.map(|until| format!(" (until {})", until.strftime("%H:%M:%S"))).unwrap_or_default();
            say(format!("waits: {}{until}", sanitize(reason)));
        }
        Note::Resumed { epoch } => say(format!("taken up by another process under epoch {epoch}")),
        _ => {}
    }
}

/// What a decision rests on, a fact a line.
fn rests_on(evidence: &Value) -> Vec<String> {
    let number = |key: &str| evidence.get(key).and_then(Value::as_u64).unwrap_or(0);
    let mut facts = Vec::new();
    let checks = [("passed", "passed"), ("failed", "failed"), ("errored", "could not be run")];
    let said: Vec<String> =
        checks.iter().filter(|(key, _)| number(key) > 0).map(|(key, word)| format!("{} {word}", number(key))).collect();
    if !said.is_empty() {
        facts.push(format!("checks: {}", said.join(", ")));
    }
    if number("of") > 0 {
        facts.push(format!("{} of {} units touched", number("touched"), number("of")));
    }
    if let Some(share) = evidence.get("share").and_then(Value::as_u64) {
        facts.push(format!("{} % of the traffic", share as f64 / 100.0));
    }
    let facts = if facts.is_empty() { Vec::new() } else { vec![facts.join("; ")] };
    let judged = Judged::of(evidence).map(|judged| judged.lines()).unwrap_or_default();
    facts.into_iter().chain(judged).collect()
}

/// What each version gets.
fn shares(weights: &[(String, u32)]) -> String {
    let of = |(version, share): &(String, u32)| format!("{} {} %", sanitize(version), f64::from(*share) / 100.0);
    match weights {
        [] => "traffic follows the units".to_owned(),
        weights => format!("traffic: {}", weights.iter().map(of).collect::<Vec<_>>().join(", ")),
    }
}

fn checks(suite: &SuiteResult) -> String {
    let mut parts = vec![format!("{} passed", suite.count(CheckOutcome::Passed))];
    for check in
        suite.checks.iter().filter(|check| matches!(check.outcome, CheckOutcome::Failed | CheckOutcome::Errored))
    {
        parts.push(format!("{} failed: {}", sanitize(&check.name), sanitize(&check.messages.join("; "))));
    }
    parts.join(", ")
}
