//! `greed dead`: what rules could not get done, and what to do about it.

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use vice_core::app::App;
use vice_core::fold;
use vice_core::manifest::Project;
use vice_core::store::Append;
use vice_core::text::{Table, Tone, count};
use vice_core::time::ago;
use vice_core::ui::Outcome;
use vice_core::{Code, Fault, Result};

use crate::rules::{self, Buried, DeadLetters, Discarded, Queued, Retried};

#[derive(Debug, Args)]
pub(super) struct DeadArgs {
    #[command(subcommand)]
    command: DeadCommand,
    /// The project; the one of this folder when absent
    #[arg(short, long, global = true)]
    project: Option<String>,
}

#[derive(Debug, Subcommand)]
enum DeadCommand {
    /// List them
    #[command(after_help = "Example:\n  vice greed dead list")]
    List,
    /// Show one whole
    #[command(after_help = "Example:\n  vice greed dead show 3f2a9c")]
    Show {
        /// The key, or its beginning
        key: String,
    },
    /// Put one, or all, back into the queue, and try
    #[command(after_help = "Examples:\n  vice greed dead retry 3f2a9c\n  vice greed dead retry --all")]
    Retry(Choice),
    /// Say that one, or all, need nothing any more
    #[command(after_help = "Example:\n  vice greed dead drop 3f2a9c")]
    Drop(Choice),
}

#[derive(Debug, Args)]
struct Choice {
    /// The key, or its beginning
    #[arg(required_unless_present = "all")]
    key: Option<String>,
    /// All of the project
    #[arg(long, conflicts_with = "key")]
    all: bool,
}

pub(super) async fn dead(app: &App, args: DeadArgs) -> Result<Outcome> {
    let project = app.workspace.project_or_here(args.project.as_deref())?;
    let stream = rules::dead_stream(project.name());
    let (state, _): (DeadLetters, u64) = fold::load(app.events.as_ref(), &stream).await?;
    match args.command {
        DeadCommand::List => Ok(list(app, &state)),
        DeadCommand::Show { key } => show(app, find(&state, &key)?).await,
        DeadCommand::Retry(choice) => retry(app, &project, chosen(&state, &choice)?).await,
        DeadCommand::Drop(choice) => discard(app, &project, chosen(&state, &choice)?).await,
    }
}

fn list(app: &App, state: &DeadLetters) -> Outcome {
    let mut letters: Vec<&Buried> = state.letters.values().collect();
    letters.sort_by_key(|buried| buried.order);
    let now = app.clock.now();
    let mut table = Table::with_heading(&["key", "rule", "event", "what", "tries", "given up", "why"]);
    for Buried { letter, since, .. } in &letters {
        let what = letter.effect.as_ref().map_or_else(|| "the rule itself".to_owned(), rules::Effect::show);
        table.row([
            (Tone::Code, letter.key.chars().take(12).collect()),
            (Tone::Strong, letter.rule.clone()),
            (Tone::Plain, letter.cause.seq.to_string()),
            (Tone::Plain, what),
            (Tone::Plain, letter.attempts.to_string()),
            (Tone::Plain, ago(*since, now)),
            (Tone::Faint, letter.reason.clone()),
        ]);
    }
    let text = if letters.is_empty() { "There are no dead letters.\n".to_owned() } else { table.render() };
    let json: Vec<Value> = letters.iter().map(|buried| json!(buried)).collect();
    Outcome::done(text, json!({ "dead": json }))
}

fn find<'a>(state: &'a DeadLetters, key: &str) -> Result<&'a Buried> {
    let found: Vec<&Buried> = state.letters.values().filter(|buried| buried.letter.key.starts_with(key)).collect();
    let shown: String = key.chars().take(80).collect();
    match found.as_slice() {
        [one] => Ok(one),
        [] => Err(Fault::new(Code::UnknownName, format!("No dead letter has a key that begins with {shown:?}."))
            .hint("`vice greed dead list` lists the keys.")),
        _ => Err(Fault::new(Code::Usage, format!("More than one key begins with {shown:?}.")).hint("Give more of it.")),
    }
}

fn chosen<'a>(state: &'a DeadLetters, choice: &Choice) -> Result<Vec<&'a Buried>> {
    match &choice.key {
        Some(key) => find(state, key).map(|buried| vec![buried]),
        None => Ok(state.letters.values().collect()),
    }
}

async fn show(app: &App, buried: &Buried) -> Result<Outcome> {
    let letter = &buried.letter;
    let event = rules::event_at(app, letter.cause.seq, &letter.cause.id).await?;
    let event = event.map(|recorded| recorded.event.to_cloudevent()).transpose()?;
    let json = json!({ "letter": buried, "event": event });
    let text = serde_json::to_string_pretty(&json).unwrap_or_default();
    Ok(Outcome::done(format!("{}\n", vice_core::text::sanitize(&text).replace("\\n", "\n")), json))
}

async fn retry(app: &App, project: &std::sync::Arc<Project>, letters: Vec<&Buried>) -> Result<Outcome> {
    let (rules_stream, dead_stream) = (rules::rules_stream(project.name()), rules::dead_stream(project.name()));
    let ruleset = rules::Ruleset::of(project)?;
    let mut retried = 0_u64;
    for Buried { letter, .. } in letters {
        let key = letter.key.clone();
        let mut events = vec![app.event(&dead_stream, None, &Retried { key: key.clone() })?];
        match &letter.effect {
            Some(effect) => {
                let queued =
                    Queued { key, rule: letter.rule.clone(), cause: letter.cause.clone(), effect: effect.clone() };
                events.push(app.event(&rules_stream, None, &queued)?);
            }
            // The rule itself was stopped: it is asked again, as it is now.
            None => events.extend(rules::again(app, &ruleset, letter).await?),
        }
        app.events.append(Append::of(events)).await?;
        retried += 1;
    }
    let pumped = rules::pump(app).await?;
    let left: DeadLetters = fold::load(app.events.as_ref(), &dead_stream).await?.0;
    let text = format!(
        "{} put back, {} done, {} waiting.\n",
        count(retried, "letter", "letters"),
        pumped.done,
        pumped.waiting
    );
    Ok(Outcome::done(
        text,
        json!({ "retried": retried, "done": pumped.done, "waiting": pumped.waiting, "dead": left.letters.len() }),
    ))
}

async fn discard(app: &App, project: &Project, letters: Vec<&Buried>) -> Result<Outcome> {
    let stream = rules::dead_stream(project.name());
    let each = letters.iter().map(|buried| app.event(&stream, None, &Discarded { key: buried.letter.key.clone() }));
    let events = each.collect::<Result<Vec<_>>>()?;
    let dropped = events.len() as u64;
    if dropped > 0 {
        app.events.append(Append::of(events)).await?;
    }
    Ok(Outcome::done(format!("{} dropped.\n", count(dropped, "letter", "letters")), json!({ "dropped": dropped })))
}
