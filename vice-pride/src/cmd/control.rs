//! `vice pride pause|resume|abort|abandon`: operators always win, and are always heard.

use clap::Args;
use serde_json::json;
use vice_core::app::App;
use vice_core::fold;
use vice_core::fold::environment::EnvironmentState;
use vice_core::id::RolloutId;
use vice_core::payload::environment_stream;
use vice_core::payload::rollout::OperatorCommand;
use vice_core::ui::Outcome;
use vice_core::{Code, Fault, Result};

use super::ScopeArgs;
use super::deploy::conclude;
use crate::driver::{command, lease_for, take_up};
use crate::lease;

/// Arguments of `vice pride pause`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  vice pride pause shop --reason 'the database team asks'")]
pub struct PauseArgs {
    #[command(flatten)]
    scope: ScopeArgs,
    /// Why
    #[arg(long)]
    reason: Option<String>,
}

/// Arguments of `vice pride resume`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  vice pride resume shop")]
pub struct ResumeArgs {
    #[command(flatten)]
    scope: ScopeArgs,
    /// Why
    #[arg(long)]
    reason: Option<String>,
}

/// Arguments of `vice pride abort`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  vice pride abort shop\n  vice pride abort shop --force   also across tasks that forbid going back"
)]
pub struct AbortArgs {
    #[command(flatten)]
    scope: ScopeArgs,
    /// Roll back across tasks that forbid it
    #[arg(long)]
    force: bool,
    /// Why
    #[arg(long)]
    reason: Option<String>,
}

/// Arguments of `vice pride abandon`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  vice pride abandon shop --reason 'mended by hand'")]
pub struct AbandonArgs {
    #[command(flatten)]
    scope: ScopeArgs,
    /// Why
    #[arg(long)]
    reason: String,
}

/// Says pause.
pub(crate) async fn pause(app: &App, args: PauseArgs) -> Result<Outcome> {
    let id = active(app, &args.scope).await?;
    command(app, &id, OperatorCommand::Pause, args.reason).await?;
    let text = format!("{id} starts nothing new. Go on with: vice pride resume {}.\n", id.scope.project);
    Ok(Outcome::done(text, json!({ "rollout": id, "said": "pause" })))
}

/// Says resume, and drives on if nobody does.
pub(crate) async fn resume(app: &App, args: ResumeArgs) -> Result<Outcome> {
    let id = active(app, &args.scope).await?;
    say_and_drive(app, id, OperatorCommand::Resume, args.reason).await
}

/// Says abort, and drives the way back if nobody does.
pub(crate) async fn abort(app: &App, args: AbortArgs) -> Result<Outcome> {
    let id = active(app, &args.scope).await?;
    let said = if args.force { OperatorCommand::ForceRollback } else { OperatorCommand::Abort };
    say_and_drive(app, id, said, args.reason).await
}

/// Says abandon, and ends the rollout if nobody drives it.
pub(crate) async fn abandon(app: &App, args: AbandonArgs) -> Result<Outcome> {
    let id = active(app, &args.scope).await?;
    say_and_drive(app, id, OperatorCommand::Abandon, Some(args.reason)).await
}

async fn say_and_drive(app: &App, id: RolloutId, said: OperatorCommand, reason: Option<String>) -> Result<Outcome> {
    command(app, &id, said, reason).await?;
    if lease::is_held(app, &id.scope)? {
        let text = format!("Said to {id}, which another process drives.\n");
        return Ok(Outcome::done(text, json!({ "rollout": id, "said": said })));
    }
    let lease = lease_for(app, &id).await?;
    let ended = take_up(app, &id, lease).await?;
    conclude(app, ended).await
}

/// The rollout under way.
async fn active(app: &App, args: &ScopeArgs) -> Result<RolloutId> {
    let (_, scope) = app.scope(args.project.as_deref(), args.env.as_ref())?;
    let (state, _) = fold::load::<EnvironmentState>(app.events.as_ref(), &environment_stream(&scope)).await?;
    state.active.ok_or_else(|| {
        Fault::new(Code::UnknownName, format!("No rollout is under way in {scope}."))
            .hint("`vice history` shows the latest.")
    })
}
