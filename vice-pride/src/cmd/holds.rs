//! `vice pride hold`: versions that must not be deployed.

use clap::{Args, Subcommand};
use serde_json::json;
use vice_core::app::App;
use vice_core::fold;
use vice_core::fold::environment::EnvironmentState;
use vice_core::fold::rollout::RolloutView;
use vice_core::id::{RolloutId, Scope};
use vice_core::payload::environment::{HoldPlaced, HoldReleased};
use vice_core::payload::{environment_stream, rollout_stream};
use vice_core::store::{Append, Expected};
use vice_core::text::{Table, Tone, paint};
use vice_core::time::ago;
use vice_core::ui::Outcome;
use vice_core::{Code, Fault, Result};

use super::{ScopeArgs, Wanted};

/// Arguments of `vice pride hold`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  vice pride hold ls shop\n  vice pride hold release shop@2 --reason 'fixed by config'"
)]
pub struct HoldArgs {
    #[command(subcommand)]
    command: HoldCommand,
}

impl HoldArgs {
    /// Whether the command changes something.
    pub(crate) const fn is_graceful(&self) -> bool {
        !matches!(self.command, HoldCommand::Ls(_))
    }
}

#[derive(Debug, Subcommand)]
enum HoldCommand {
    /// List the holds
    #[command(visible_alias = "list")]
    Ls(ScopeArgs),
    /// Put a version on hold
    Place(ChangeArgs),
    /// Let a version be deployed again
    Release(ChangeArgs),
}

#[derive(Debug, Args)]
struct ChangeArgs {
    /// Project and version, as in shop@2
    #[arg(value_name = "PROJECT@VERSION")]
    wanted: Wanted,
    /// The environment
    #[arg(short, long)]
    env: Option<vice_core::id::EnvName>,
    /// Why
    #[arg(long)]
    reason: String,
}

/// Runs `vice pride hold …`.
///
/// # Errors
/// `UnknownName`, `Usage` without a version; what the store says.
pub(crate) async fn run(app: &App, args: HoldArgs) -> Result<Outcome> {
    match args.command {
        HoldCommand::Ls(args) => list(app, &args).await,
        HoldCommand::Place(args) => change(app, args, true).await,
        HoldCommand::Release(args) => change(app, args, false).await,
    }
}

async fn list(app: &App, args: &ScopeArgs) -> Result<Outcome> {
    let (_, scope) = app.scope(args.project.as_deref(), args.env.as_ref())?;
    let (state, _) = load(app, &scope).await?;
    let mut table = Table::with_heading(&["version", "since", "by", "reason"]);
    for (version, hold) in &state.holds {
        table.row([
            (Tone::Strong, version.clone()),
            (Tone::Plain, ago(hold.since, app.clock.now())),
            (Tone::Plain, hold.by.clone()),
            (Tone::Plain, hold.reason.clone()),
        ]);
    }
    let text = if state.holds.is_empty() { format!("No version of {scope} is on hold.\n") } else { table.render() };
    Ok(Outcome::done(text, json!({ "scope": scope, "holds": state.holds })))
}

async fn load(app: &App, scope: &Scope) -> Result<(EnvironmentState, u64)> {
    fold::load::<EnvironmentState>(app.events.as_ref(), &environment_stream(scope)).await
}

async fn change(app: &App, args: ChangeArgs, place: bool) -> Result<Outcome> {
    let (_, scope) = app.scope(args.wanted.project.as_deref(), args.env.as_ref())?;
    let version = args
        .wanted
        .version
        .ok_or_else(|| Fault::new(Code::Usage, "Which version?").hint(format!("Write {}@VERSION.", scope.project)))?;
    let (state, at) = load(app, &scope).await?;
    if place == state.holds.contains_key(&version) {
        let text = if place { "is on hold already" } else { "is not on hold" };
        return Ok(Outcome::done(format!("Version {version} of {scope} {text}.\n"), json!({ "changed": false })));
    }
    let stream = environment_stream(&scope);
    let reason = args.reason;
    let event = if place {
        let placed = HoldPlaced { scope: scope.clone(), version: version.clone(), reason, rollout: None };
        app.event(stream.clone(), Some(&scope), &placed)?
    } else {
        let released = HoldReleased { scope: scope.clone(), version: version.clone(), reason };
        app.event(stream.clone(), Some(&scope), &released)?
    };
    app.events.append(Append::of(vec![event]).expect(stream, Expected::from_version(at))).await?;
    let text = if place { "is on hold now" } else { "can be deployed again" };
    let mut text = format!("Version {version} of {scope} {text}.\n");
    let mut value = json!({ "changed": true, "version": version });
    if let Some(active) = state.active.as_ref().filter(|_| place)
        && brings(app, active, &version).await?
    {
        value["rolling_out"] = json!(active);
        let abort = format!("vice pride abort {} --env {}", scope.project, scope.env);
        text.push_str(&format!(
            "  {active} is rolling it out now, and goes on: a hold keeps a version from being deployed anew.\n  {} {}\n",
            paint(Tone::Faint, "go back:"),
            paint(Tone::Code, abort)
        ));
    }
    Ok(Outcome::done(text, value))
}

/// Whether a rollout brings the version.
async fn brings(app: &App, rollout: &RolloutId, version: &str) -> Result<bool> {
    let (view, _) = fold::load::<RolloutView>(app.events.as_ref(), &rollout_stream(rollout)).await?;
    Ok(view.to.is_some_and(|to| to.version == version || to.full_name() == version))
}
