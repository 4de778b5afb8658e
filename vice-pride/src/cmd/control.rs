//! `vice pride pause|resume|abort|abandon`: operators always win, and are always heard.

use clap::Args;
use serde_json::json;
use vice_core::app::App;
use vice_core::fold;
use vice_core::fold::environment::EnvironmentState;
use vice_core::fold::rollout::RolloutView;
use vice_core::id::{EnvName, RolloutId};
use vice_core::payload::rollout::OperatorCommand;
use vice_core::payload::{environment_stream, rollout_stream};
use vice_core::ui::Outcome;
use vice_core::{Code, Fault, Result};

use super::ScopeArgs;
use super::deploy::{Consent, conclude, confirmed};
use crate::driver::{Want, command, end_unreadable, lease_for, take_up};
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
    /// For environments of production class: the environment's name in full
    #[arg(long, value_name = "ENV")]
    confirm: Option<EnvName>,
    /// Roll back across tasks that forbid it
    #[arg(long)]
    force: bool,
    /// Why
    #[arg(long)]
    reason: Option<String>,
}

/// Arguments of `vice pride promote`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  vice pride promote shop --reason 'seen by hand, it is fine'")]
pub struct PromoteArgs {
    #[command(flatten)]
    scope: ScopeArgs,
    /// For environments of production class: the environment's name in full
    #[arg(long, value_name = "ENV")]
    confirm: Option<EnvName>,
    /// Why
    #[arg(long)]
    reason: String,
}

/// Arguments of `vice pride abandon`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  vice pride abandon shop --reason 'mended by hand'")]
pub struct AbandonArgs {
    #[command(flatten)]
    scope: ScopeArgs,
    /// For environments of production class: the environment's name in full
    #[arg(long, value_name = "ENV")]
    confirm: Option<EnvName>,
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

/// `vice deploy --resume`: goes on with the rollout under way, which has to be the one that is meant.
pub(super) async fn go_on_with(app: &App, want: Want, consent: Consent) -> Result<Outcome> {
    let id = active(app, &ScopeArgs { project: want.project, env: want.env }).await?;
    let (view, _) = fold::load::<RolloutView>(app.events.as_ref(), &rollout_stream(&id)).await?;
    let goes_to = view.to.map(|release| release.version);
    if let (Some(wanted), Some(goes_to)) = (&want.version, &goes_to)
        && wanted != goes_to
    {
        let (project, env) = (&id.scope.project, &id.scope.env);
        return Err(Fault::new(Code::Conflict, format!("{id} is under way to {goes_to}, not to {wanted}."))
            .hint(format!("Go on with it: vice deploy {project}@{goes_to} --env {env} --resume."))
            .hint(format!("Or take it back first: vice pride abort {project} --env {env}.")));
    }
    agreed(app, &id, consent.confirm.as_ref())?;
    say_and_drive(app, id, OperatorCommand::Resume, consent.reason).await
}

/// Says abort, and drives the way back if nobody does.
pub(crate) async fn abort(app: &App, args: AbortArgs) -> Result<Outcome> {
    let id = active(app, &args.scope).await?;
    agreed(app, &id, args.confirm.as_ref())?;
    let said = if args.force { OperatorCommand::ForceRollback } else { OperatorCommand::Abort };
    say_and_drive(app, id, said, args.reason).await
}

/// Lets the wave pass that is being watched, and drives on if nobody does.
pub(crate) async fn promote(app: &App, args: PromoteArgs) -> Result<Outcome> {
    let id = active(app, &args.scope).await?;
    agreed(app, &id, args.confirm.as_ref())?;
    say_and_drive(app, id, OperatorCommand::Promote, Some(args.reason)).await
}

/// Says abandon, and ends the rollout if nobody drives it.
pub(crate) async fn abandon(app: &App, args: AbandonArgs) -> Result<Outcome> {
    let id = active(app, &args.scope).await?;
    agreed(app, &id, args.confirm.as_ref())?;
    say_and_drive(app, id, OperatorCommand::Abandon, Some(args.reason)).await
}

pub(super) fn agreed(app: &App, id: &RolloutId, confirm: Option<&EnvName>) -> Result<()> {
    let project = app.workspace.project(id.scope.project.as_str())?;
    confirmed(&project, &id.scope.env, confirm)
}

pub(super) async fn say_and_drive(
    app: &App,
    id: RolloutId,
    said: OperatorCommand,
    reason: Option<String>,
) -> Result<Outcome> {
    command(app, &id, said, reason.clone()).await?;
    if lease::is_held(app, &id.scope).await? {
        let text = format!("Said to {id}, which another process drives.\n");
        return Ok(Outcome::done(text, json!({ "rollout": id, "said": said })));
    }
    let lease = lease_for(app, &id).await?;
    let ended = match take_up(app, &id, lease).await {
        Err(fault) if is_unreadable(&fault) && said == OperatorCommand::Abandon => {
            let lease = lease_for(app, &id).await?;
            let why = format!("{} {}", reason.unwrap_or_default(), fault.chain().join(" "));
            end_unreadable(app, &id, lease, why.trim().to_owned()).await?
        }
        Err(fault) if fault.code() == Code::HistoryDamaged => {
            let scope = &id.scope;
            let next = format!("vice pride abandon {} --env {} --reason WHY", scope.project, scope.env);
            return Err(fault.hint(format!("It can be ended where it is: {next}.")));
        }
        // Of another version: it says itself what can be done.
        Err(fault) if is_unreadable(&fault) => return Err(fault),
        Err(fault) => {
            return Err(fault.hint("The command is recorded; whoever takes the rollout up next hears it."));
        }
        Ok(ended) => ended,
    };
    conclude(app, ended).await
}

/// Whether the fault is that the journal can't be read: it is damaged, or another version of vice wrote it.
fn is_unreadable(fault: &Fault) -> bool {
    fault.code() == Code::HistoryDamaged || fault.details().contains_key("planner")
}

/// The rollout under way.
pub(super) async fn active(app: &App, args: &ScopeArgs) -> Result<RolloutId> {
    let (_, scope) = app.scope(args.project.as_deref(), args.env.as_ref())?;
    let (state, _) = fold::load::<EnvironmentState>(app.events.as_ref(), &environment_stream(&scope)).await?;
    state.active.ok_or_else(|| {
        Fault::new(Code::UnknownName, format!("No rollout is under way in {scope}."))
            .hint("`vice history` shows the latest.")
    })
}
