//! `vice history`: the rollouts so far.

use clap::Args;
use serde_json::{Value, json};
use vice_core::app::App;
use vice_core::fold;
use vice_core::fold::environment::{EnvironmentState, Past};
use vice_core::fold::rollout::RolloutView;
use vice_core::id::{EnvName, Scope};
use vice_core::payload::environment::{Direction, RolloutOutcome};
use vice_core::payload::{environment_stream, rollout_stream};
use vice_core::text::{Table, Tone, sanitize};
use vice_core::time::ago;
use vice_core::ui::Outcome;
use vice_core::{Millis, Result};

use super::status::exposure;

/// Arguments of `vice history`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  vice history\n  vice history shop --env prod --limit 5")]
pub struct HistoryArgs {
    /// The project; all when absent
    project: Option<String>,
    /// Only this environment
    #[arg(short, long)]
    env: Option<EnvName>,
    /// At most so many
    #[arg(short = 'n', long, default_value_t = 20)]
    limit: usize,
}

/// How an outcome is said.
pub(crate) const fn outcome_words(outcome: Option<RolloutOutcome>) -> (Tone, &'static str) {
    match outcome {
        None => (Tone::Warn, "under way"),
        Some(RolloutOutcome::Succeeded) => (Tone::Good, "succeeded"),
        Some(RolloutOutcome::RolledBack) => (Tone::Warn, "rolled back"),
        Some(RolloutOutcome::Failed) => (Tone::Bad, "failed, nothing changed"),
        Some(RolloutOutcome::NotRestored) => (Tone::Bad, "not restored"),
        Some(RolloutOutcome::Aborted) => (Tone::Bad, "left as it was"),
    }
}

/// The latest rollouts of every environment, newest first.
///
/// # Errors
/// `UnknownName`; what the store says.
pub async fn run(app: &App, args: HistoryArgs) -> Result<Outcome> {
    let mut past: Vec<Past> = Vec::new();
    for project in app.workspace.projects.values() {
        if args.project.as_ref().is_some_and(|name| name != project.name().as_str()) {
            continue;
        }
        for env in project.manifest.env.keys().filter(|env| args.env.as_ref().is_none_or(|wanted| wanted == *env)) {
            let scope = Scope::new(project.name().clone(), env.clone());
            let stream = environment_stream(&scope);
            past.extend(fold::load::<EnvironmentState>(app.events.as_ref(), &stream).await?.0.past);
        }
    }
    if let (Some(name), true) = (&args.project, past.is_empty()) {
        let project = app.workspace.project(name)?;
        if let Some(env) = &args.env {
            project.env(env)?;
        }
    }
    past.sort_by(|one, two| two.began.cmp(&one.began).then(two.rollout.cmp(&one.rollout)));
    past.truncate(args.limit);
    let now = app.clock.now();
    let mut values = Vec::new();
    let mut table = Table::with_heading(&["rollout", "what", "version", "when", "by", "took", "outcome"]);
    for one in &past {
        let (tone, words) = outcome_words(one.outcome);
        let mut value = json!(one);
        let said = match one.outcome {
            Some(_) => one.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default(),
            None => under_way(app, one, &mut value).await?,
        };
        values.push(value);
        let so_far = || format!("{} so far", Millis::between(one.began, now));
        table.row([
            (Tone::Strong, one.rollout.to_string()),
            (Tone::Plain, if one.direction == Direction::Deploy { "deploy" } else { "rollback" }.to_owned()),
            (Tone::Plain, one.to.version.clone()),
            (Tone::Plain, ago(one.began, now)),
            (Tone::Plain, one.by.clone()),
            (Tone::Plain, one.took.map_or_else(so_far, |took| took.to_string())),
            (tone, format!("{words}{said}")),
        ]);
    }
    let text =
        if past.is_empty() { "No rollouts yet. `vice deploy` makes the first.\n".to_owned() } else { table.render() };
    Ok(Outcome::done(text, json!({ "rollouts": values })))
}

/// Where a rollout under way stands: for what it waits, and how much of the traffic the new release has.
async fn under_way(app: &App, past: &Past, value: &mut Value) -> Result<String> {
    let (view, _) = fold::load::<RolloutView>(app.events.as_ref(), &rollout_stream(&past.rollout)).await?;
    let (share, _) = exposure(&view);
    let waits = view.waiting.map(|(reason, _)| reason);
    value["canary_share"] = json!(share);
    value["waits"] = json!(waits);
    let share = share.map(|share| format!(", {} % of the traffic", f64::from(share) / 100.0)).unwrap_or_default();
    let waits = waits.map(|reason| format!("; waits: {}", sanitize(&reason))).unwrap_or_default();
    Ok(format!("{share}{waits}"))
}
