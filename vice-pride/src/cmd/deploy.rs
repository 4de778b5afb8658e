//! `vice deploy`: the main job.

use clap::Args;
use serde_json::{Value, json};
use vice_core::app::App;
use vice_core::fold;
use vice_core::fold::environment::EnvironmentState;
use vice_core::fold::rollout::RolloutView;
use vice_core::id::{EnvName, RolloutId};
use vice_core::manifest::{EnvClass, Project, Supersede};
use vice_core::payload::environment::{Direction, RolloutOutcome};
use vice_core::payload::{environment_stream, rollout_stream};
use vice_core::port::notifier::Severity;
use vice_core::text::{Tone, paint, sanitize};
use vice_core::ui::Outcome;
use vice_core::{Class, Code, Digest, Fault, Result};

use super::forecast::foretell;
use super::plan::{render, warn_of_short_secrets};
use super::{ConsentArgs, WantedArgs};
use crate::driver::{Asks, EndState, Ended, Prepared, Want, begin, prepare, unfinished};
use crate::lease;

/// Arguments of `vice deploy`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  vice deploy\n  vice deploy shop@1.4.2 --env prod --confirm prod\n  vice deploy shop --plan 3f9c…   only if nothing has changed since `vice plan`\n  vice deploy shop --resume       go on where an earlier one stopped"
)]
pub struct DeployArgs {
    #[command(flatten)]
    wanted: WantedArgs,
    /// Another artifact than the one in vice.toml
    #[arg(long, value_name = "REFERENCE")]
    artifact: Option<String>,
    /// Go on with the rollout that is under way, and touch only units that are not done
    #[arg(long, conflicts_with_all = ["artifact", "plan", "dry_run"])]
    resume: bool,
    #[command(flatten)]
    consent: ConsentArgs,
}

/// Plans, asks what has to be asked, and rolls out.
///
/// # Errors
/// Everything that is wrong before the rollout begins; its own ends are outcomes.
pub async fn run(app: &App, args: DeployArgs) -> Result<Outcome> {
    let want = args.wanted.want(Direction::Deploy, args.artifact);
    if args.resume {
        return super::control::go_on_with(app, want, args.consent.into()).await;
    }
    roll_out(app, &want, &args.consent.into()).await
}

/// What the caller has agreed to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Consent {
    pub(crate) plan: Option<String>,
    pub(crate) confirm: Option<EnvName>,
    pub(crate) dry_run: bool,
    pub(crate) reason: Option<String>,
}

/// The way that deploy and rollback share.
pub(crate) async fn roll_out(app: &App, want: &Want, consent: &Consent) -> Result<Outcome> {
    let (_, scope) = app.scope(want.project.as_deref(), want.env.as_ref())?;
    // First of all: it also says when the state folder can't be used.
    let held = !consent.dry_run && {
        lease::require_history(app, &scope).await?;
        lease::is_held(app, &scope).await?
    };
    let stream = environment_stream(&scope);
    let (state, _) = fold::load::<EnvironmentState>(app.events.as_ref(), &stream).await?;
    let supersede = app.workspace.project(scope.project.as_str())?.env(&scope.env)?.rollout.supersede;
    let rejects = supersede == Supersede::Reject && want.direction == Direction::Deploy;
    // Asked before any expensive work; asked again, for good, when the lease is acquired.
    if held && (rejects || state.active.is_none()) {
        return Err(lease::refusal(app, &scope).await);
    }
    if let (Some(active), false) = (&state.active, consent.dry_run || rejects)
        && let Some(outcome) = super::supersede::supersede(app, want, consent, active).await?
    {
        return Ok(outcome);
    }
    let mut prepared = prepare(app, want).await?;
    warn_of_short_secrets(app, &prepared);
    if let Some(code) = app.stop.raised() {
        return Err(Fault::new(code, "Ended before anything was changed."));
    }
    let foretold = foretell(app, &prepared).await;
    if consent.dry_run {
        return Ok(render(&prepared, &foretold));
    }
    if let Some(active) = &prepared.state.active {
        return Err(unfinished(active));
    }
    let hash = prepared.plan.hash();
    agree(&prepared, consent, hash)?;
    let running = prepared.state.running.as_ref();
    let recorded = running.is_some_and(|placed| placed.release.runs_like(&prepared.plan.to));
    if prepared.plan.is_noop() && recorded {
        return Ok(nothing_to_do(&prepared));
    }
    let lease = lease::acquire(app, &scope, &format!("{} {}", want.direction.word(), prepared.plan.to.version)).await?;
    prepared.forecast = foretold.ok().map(|foretold| foretold.forecast);
    let ended = begin(app, prepared, lease, consent.reason.clone()).await?;
    conclude(app, ended).await
}

/// Production asks for its name or for the hash of the plan that was looked at.
fn agree(prepared: &Prepared, consent: &Consent, hash: Digest) -> Result<()> {
    let env = &prepared.scope.env;
    if let Some(wanted) = &consent.plan {
        if wanted.len() < 8 {
            return Err(Fault::new(Code::Usage, "--plan needs at least the first 8 digits of the hash."));
        }
        if hash.to_string().starts_with(wanted.as_str()) {
            return Ok(());
        }
        return Err(Fault::new(
            Code::PlanDrifted,
            "The plan is not the one that was agreed to: something has changed since.",
        )
        .hint(format!("The plan's hash is {hash} now. Look at it again with: vice plan.")));
    }
    confirmed(&prepared.project, env, consent.confirm.as_ref()).map_err(|fault| match &consent.confirm {
        Some(_) => fault,
        None => fault.hint(format!("Or add --plan {} for exactly this plan.", hash.short())),
    })
}

/// An environment of production class is changed only by somebody who types its name.
pub(crate) fn confirmed(project: &Project, env: &EnvName, confirm: Option<&EnvName>) -> Result<()> {
    if project.env(env)?.class != EnvClass::Prod || confirm == Some(env) {
        return Ok(());
    }
    let message = format!("{env} is of production class, so that this has to be confirmed.");
    let fault = Fault::new(Code::ConfirmationNeeded, message);
    Err(match confirm {
        Some(other) => fault.hint(format!("--confirm says {other}, but the environment is {env}.")),
        None => fault.hint(format!("Add --confirm {env}.")),
    })
}

fn nothing_to_do(prepared: &Prepared) -> Outcome {
    let release = &prepared.plan.to;
    let mut text =
        format!("{} runs {} already; nothing to do.\n", prepared.scope, paint(Tone::Strong, release.label()));
    let proven = prepared.state.running.as_ref().is_some_and(|placed| placed.proven);
    if !proven && prepared.plan.has_checks {
        text.push_str("  It was never verified in a rollout; `vice verify` runs the checks.\n");
    }
    let value = json!({
        "changed": false,
        "project": prepared.scope.project,
        "env": prepared.scope.env,
        "version": release.version,
        "outcome": "succeeded",
        "url": prepared.inventory.url,
    });
    Outcome::done(text, value)
}

/// Says how it ended, and delivers the notifications that it caused.
pub(crate) async fn conclude(app: &App, ended: Ended) -> Result<Outcome> {
    // What can't be delivered now is delivered by a later command.
    if let Err(fault) = app.notifier.pump().await {
        app.ui.say(Severity::Warning, &format!("Notifications are not delivered yet: {fault}"));
    }
    let (view, _) = fold::load::<RolloutView>(app.events.as_ref(), &rollout_stream(&ended.id)).await?;
    let url = app.locator.url(&ended.id.scope).await.ok().flatten();
    match &ended.state {
        EndState::Finished { outcome, .. } => {
            let stream = environment_stream(&ended.id.scope);
            let (state, _) = fold::load::<EnvironmentState>(app.events.as_ref(), &stream).await?;
            let held = view.to.as_ref().is_some_and(|to| state.hold_on(to).is_some());
            let done = finished(&ended, *outcome, &view, held, url.as_deref());
            Ok(followed(done, &super::supersede::follow(app, &ended.id.scope).await))
        }
        EndState::Parked { reason, until, asks, stopped } => Ok(parked(&ended, reason, *until, *asks, *stopped)),
    }
}

/// The outcome with what began after it because it had waited. The exit status stays that of the command's own rollout.
fn followed(mut outcome: Outcome, followed: &[(RolloutId, String)]) -> Outcome {
    for (id, became) in followed {
        outcome.text.push_str(&format!(
            "  {} {id}, which had waited: {}\n",
            paint(Tone::Faint, "then:"),
            sanitize(became)
        ));
    }
    if !followed.is_empty() {
        outcome.json["then"] = super::supersede::as_json(followed);
    }
    outcome
}

const fn class_of(outcome: RolloutOutcome) -> Class {
    match outcome {
        RolloutOutcome::Succeeded => Class::Done,
        RolloutOutcome::RolledBack => Class::RolledBack,
        RolloutOutcome::Failed => Class::Failed,
        RolloutOutcome::NotRestored | RolloutOutcome::Aborted => Class::NotRestored,
    }
}

fn finished(ended: &Ended, outcome: RolloutOutcome, view: &RolloutView, held: bool, url: Option<&str>) -> Outcome {
    let scope = &ended.id.scope;
    let EndState::Finished { running, reason, .. } = &ended.state else {
        return Outcome::done("", Value::Null);
    };
    let version = running.as_ref().map_or_else(|| "nothing".to_owned(), vice_core::payload::ReleaseRef::label);
    let took = view.took.map(|took| format!(" in {took}")).unwrap_or_default();
    let wanted = view.to.as_ref().map_or("?", |to| to.version.as_str());
    let mut text = match outcome {
        RolloutOutcome::Succeeded => {
            format!("{} {scope} runs {}{took}.\n", paint(Tone::Good, "✓"), paint(Tone::Strong, &version))
        }
        RolloutOutcome::RolledBack => {
            format!(
                "{} {wanted} was rolled back{took}; {scope} runs {}.\n",
                paint(Tone::Bad, "✗"),
                paint(Tone::Strong, &version)
            )
        }
        RolloutOutcome::Failed => format!(
            "{} {wanted} was not deployed; nothing was changed, {scope} runs {version}.\n",
            paint(Tone::Bad, "✗")
        ),
        RolloutOutcome::NotRestored => {
            format!(
                "{} {wanted} failed and what ran before could not be restored: somebody must look.\n",
                paint(Tone::Bad, "✗")
            )
        }
        RolloutOutcome::Aborted => format!("{} The rollout was left as it is.\n", paint(Tone::Warn, "!")),
    };
    if let Some(reason) = reason {
        text.push_str(&format!("  {}\n", sanitize(reason)));
    }
    if outcome == RolloutOutcome::RolledBack && held {
        text.push_str(&format!("  {wanted} is on hold: it is not deployed again until the hold is released.\n"));
    }
    if let (Some(url), true) = (url, running.is_some()) {
        text.push_str(&format!("  {}  {url}\n", paint(Tone::Faint, "at")));
    }
    let next = if outcome == RolloutOutcome::Succeeded { "vice report" } else { "vice why" };
    let object = if outcome == RolloutOutcome::Succeeded { scope.project.to_string() } else { ended.id.to_string() };
    text.push_str(&format!("  {} {}\n", paint(Tone::Faint, "more:"), paint(Tone::Code, format!("{next} {object}"))));
    let value = json!({
        "changed": true,
        "rollout": ended.id,
        "project": scope.project,
        "env": scope.env,
        "outcome": outcome,
        "wanted": view.to,
        "version": running.as_ref().map(|release| &release.version),
        "running": running,
        "reason": reason,
        "took_ms": view.took,
        "url": url,
    });
    let untouched = matches!(outcome, RolloutOutcome::Aborted) && running.is_some() && *running == view.from;
    let class = if untouched { Class::Failed } else { class_of(outcome) };
    Outcome::done(text, value).with_class(class)
}

fn parked(ended: &Ended, reason: &str, until: Option<jiff::Timestamp>, asks: Asks, stopped: Option<Code>) -> Outcome {
    let scope = &ended.id.scope;
    let next = until.map_or_else(|| "it needs an operator".to_owned(), |until| format!("it goes on at {until}"));
    let mut text = format!(
        "{} {} waits: {} ({next})\n  {} {}\n  {} {}\n",
        paint(Tone::Warn, "…"),
        ended.id,
        sanitize(reason),
        paint(Tone::Faint, "go on:"),
        paint(Tone::Code, format!("vice pride resume {} --env {}", scope.project, scope.env)),
        paint(Tone::Faint, "go back:"),
        paint(
            Tone::Code,
            format!(
                "vice pride abort {} --env {}{}",
                scope.project,
                scope.env,
                if asks == Asks::Leave { " --force" } else { "" }
            )
        ),
    );
    if asks == Asks::Proof {
        let promote = format!("vice pride promote {} --env {}", scope.project, scope.env);
        text.push_str(&format!("  {} {}\n", paint(Tone::Faint, "without a proof:"), paint(Tone::Code, promote)));
    }
    let mut value =
        json!({ "changed": true, "rollout": ended.id, "outcome": "waiting", "reason": reason, "until": until });
    let mut waiting = Class::Waiting;
    if let Asks::WhatHappened { op } = asks {
        waiting = Class::InDoubt;
        value["in_doubt"] = json!(op);
        let resolve = format!("vice pride resolve {op} --project {} --env {}", scope.project, scope.env);
        for (said, flag) in [("if it was done:", "--applied"), ("if it was not:", "--not-applied")] {
            let command = paint(Tone::Code, format!("{resolve} {flag}"));
            text.push_str(&format!("  {} {command}\n", paint(Tone::Faint, said)));
        }
    }
    let class = stopped.map_or(waiting, Code::class);
    Outcome::done(text, value).with_class(class)
}
