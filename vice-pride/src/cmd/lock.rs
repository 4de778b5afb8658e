//! `vice pride lock`: who may change an environment now, and taking that from somebody who hangs.

use clap::{Args, Subcommand};
use serde_json::json;
use vice_core::app::App;
use vice_core::fold;
use vice_core::fold::environment::EnvironmentState;
use vice_core::fold::lease::{Held, LeaseState};
use vice_core::fold::rollout::RolloutView;
use vice_core::id::{EnvName, Scope};
use vice_core::payload::{environment_stream, lease_stream, rollout_stream};
use vice_core::text::{Table, Tone};
use vice_core::time::ago;
use vice_core::ui::Outcome;
use vice_core::{Code, Fault, Result};

use super::ScopeArgs;
use super::deploy::confirmed;
use crate::lease;

/// Arguments of `vice pride lock`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  vice pride lock ls\n  vice pride lock steal shop --env prod --confirm prod --reason 'the runner hangs'"
)]
pub struct LockArgs {
    #[command(subcommand)]
    command: LockCommand,
}

impl LockArgs {
    /// Whether the command changes something.
    pub(crate) const fn is_graceful(&self) -> bool {
        !matches!(self.command, LockCommand::Ls(_))
    }
}

#[derive(Debug, Subcommand)]
enum LockCommand {
    /// Who holds what, since when, and what for
    #[command(visible_alias = "list")]
    Ls(ScopeArgs),
    /// Take a lease from whoever holds it, living or not: it can write no more
    Steal(StealArgs),
}

#[derive(Debug, Args)]
struct StealArgs {
    #[command(flatten)]
    scope: ScopeArgs,
    /// For environments of production class: the environment's name in full
    #[arg(long, value_name = "ENV")]
    confirm: Option<EnvName>,
    /// Why
    #[arg(long)]
    reason: String,
}

/// Runs `vice pride lock …`.
///
/// # Errors
/// `UnknownName`, `Usage`; what the store says.
pub(crate) async fn run(app: &App, args: LockArgs) -> Result<Outcome> {
    match args.command {
        LockCommand::Ls(args) => list(app, &args).await,
        LockCommand::Steal(args) => steal(app, args).await,
    }
}

/// One lease that is held.
struct Row {
    scope: Scope,
    epoch: u64,
    held: Held,
    standing: &'static str,
    does: String,
}

async fn list(app: &App, args: &ScopeArgs) -> Result<Outcome> {
    let mut rows = Vec::new();
    for scope in wanted(app, args)? {
        let (state, _) = fold::load::<LeaseState>(app.events.as_ref(), &lease_stream(&scope)).await?;
        let Some(held) = state.held else { continue };
        let (standing, does) = (lease::standing(app, &scope, &held)?, does(app, &scope).await?);
        rows.push(Row { scope, epoch: state.epoch, held, standing, does });
    }
    let text = if rows.is_empty() { "No lease is held.\n".to_owned() } else { table(app, &rows) };
    let locks: Vec<_> = rows.iter().map(as_json).collect();
    Ok(Outcome::done(text, json!({ "locks": locks })))
}

/// The environments that are meant: one, those of a project, or all.
fn wanted(app: &App, args: &ScopeArgs) -> Result<Vec<Scope>> {
    if args.env.is_some() {
        return app.scope(args.project.as_deref(), args.env.as_ref()).map(|(_, scope)| vec![scope]);
    }
    let projects = match &args.project {
        Some(name) => vec![app.workspace.project(name)?],
        None => app.workspace.projects.values().cloned().collect(),
    };
    if projects.is_empty() {
        return Err(Fault::new(Code::ManifestMissing, "There is no vice.toml here or above.")
            .hint("Run it in the folder of a project."));
    }
    let scopes = |project: &std::sync::Arc<vice_core::manifest::Project>| {
        let name = project.name().clone();
        project.manifest.env.keys().map(|env| Scope::new(name.clone(), env.clone())).collect::<Vec<_>>()
    };
    Ok(projects.iter().flat_map(scopes).collect())
}

/// What goes on in an environment.
async fn does(app: &App, scope: &Scope) -> Result<String> {
    let (state, _) = fold::load::<EnvironmentState>(app.events.as_ref(), &environment_stream(scope)).await?;
    let Some(active) = state.active else { return Ok("no rollout".to_owned()) };
    let (view, _) = fold::load::<RolloutView>(app.events.as_ref(), &rollout_stream(&active)).await?;
    Ok(match view.waiting {
        Some((reason, _)) => format!("{active}: {reason}"),
        None => format!("{active}, {} so far", vice_core::text::count(view.timeline.len(), "step", "steps")),
    })
}

fn table(app: &App, rows: &[Row]) -> String {
    let mut table = Table::with_heading(&["environment", "holder", "process", "since", "epoch", "for", "does"]);
    for row in rows {
        let holder = &row.held.holder;
        table.row([
            (Tone::Strong, row.scope.to_string()),
            (Tone::Plain, holder.actor.clone()),
            (Tone::Plain, format!("pid {} on {} {}", holder.pid, holder.host, row.standing)),
            (Tone::Plain, ago(row.held.since, app.clock.now())),
            (Tone::Plain, row.epoch.to_string()),
            (Tone::Plain, row.held.purpose.clone()),
            (Tone::Plain, row.does.clone()),
        ]);
    }
    table.render()
}

fn as_json(row: &Row) -> serde_json::Value {
    json!({
        "project": row.scope.project,
        "env": row.scope.env,
        "epoch": row.epoch,
        "holder": row.held.holder,
        "since": row.held.since,
        "purpose": row.held.purpose,
        "takeover": row.held.takeover,
        "standing": row.standing,
        "does": row.does,
    })
}

async fn steal(app: &App, args: StealArgs) -> Result<Outcome> {
    let (project, scope) = app.scope(args.scope.project.as_deref(), args.scope.env.as_ref())?;
    confirmed(&project, &scope.env, args.confirm.as_ref())?;
    let (epoch, held) = lease::steal(app, &scope, &args.reason).await?;
    let text = format!(
        "{} (pid {} on {}) can write no more to {scope}: its epoch {} was passed over.\nGo on with: vice pride resume {} --env {}.\n",
        held.holder.actor,
        held.holder.pid,
        held.holder.host,
        epoch.saturating_sub(1),
        scope.project,
        scope.env,
    );
    let value =
        json!({ "changed": true, "project": scope.project, "env": scope.env, "epoch": epoch, "from": held.holder });
    Ok(Outcome::done(text, value))
}
