//! `vice plan`: what a deploy would change, byte for byte the same for the same input.

use clap::Args;
use serde_json::json;
use vice_core::app::App;
use vice_core::capability::Capability;
use vice_core::manifest::VerifyWhen;
use vice_core::payload::ReleaseRef;
use vice_core::payload::environment::Direction;
use vice_core::port::notifier::Severity;
use vice_core::text::{Table, Tone, count, paint, sanitize};
use vice_core::ui::Outcome;
use vice_core::{Class, Result};
use vice_pride_engine::{Plan, TaskDoes, UnitChange};

use super::WantedArgs;
use super::forecast::{self, Foretold, foretell};
use crate::driver::{Prepared, prepare};

/// Arguments of `vice plan`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  vice plan\n  vice plan shop@1.4.2 --env prod --detailed-exitcode")]
pub struct PlanArgs {
    #[command(flatten)]
    wanted: WantedArgs,
    /// Another artifact than the one in vice.toml
    #[arg(long, value_name = "REFERENCE")]
    artifact: Option<String>,
    /// Exit with 3 when there are changes
    #[arg(long)]
    detailed_exitcode: bool,
}

/// Plans and prints; changes nothing but the artifact store.
///
/// # Errors
/// Everything that would stop the deploy before it begins.
pub async fn run(app: &App, args: PlanArgs) -> Result<Outcome> {
    let want = args.wanted.want(Direction::Deploy, args.artifact);
    let prepared = prepare(app, &want).await?;
    warn_of_short_secrets(app, &prepared);
    let foretold = foretell(app, &prepared).await;
    let outcome = render(&prepared, &foretold);
    let changes = !prepared.plan.is_noop();
    Ok(if changes && args.detailed_exitcode { outcome.with_class(Class::Changes) } else { outcome })
}

/// Secrets that no output of a program can be cleared of.
pub(super) fn warn_of_short_secrets(app: &App, prepared: &Prepared) {
    for (key, length) in prepared.config.unmaskable() {
        let text = format!("The secret {key} has only {length} bytes: too short to be masked in what programs print.");
        app.ui.say(Severity::Warning, &text);
    }
}

/// The plan as a diff, with what the simulator says of it.
pub(super) fn render(prepared: &Prepared, foretold: &Result<Foretold, String>) -> Outcome {
    let plan = &prepared.plan;
    let summary = plan.summary();
    let from = plan.from.as_ref().map_or_else(|| "nothing".to_owned(), ReleaseRef::label);
    let mut text = format!(
        "{} {}: {from} → {}\n\n",
        if plan.direction == Direction::Deploy { "Deploy" } else { "Roll back" },
        paint(Tone::Strong, prepared.scope.to_string()),
        paint(Tone::Strong, plan.to.label()),
    );
    text.push_str(&units(prepared));
    if !plan.is_noop() {
        tasks(prepared, &mut text);
    }
    for change in &prepared.config_changes {
        let side =
            |value: &Option<String>| value.as_ref().map_or_else(|| "(absent)".to_owned(), |value| sanitize(value));
        text.push_str(&format!(
            "  config {}: {} → {}\n",
            sanitize(&change.key),
            side(&change.before),
            side(&change.after)
        ));
    }
    if plan.frees_traffic {
        text.push_str("  traffic, which an earlier rollout left split, follows the units again before anything else\n");
    }
    let checks = checks(plan);
    text.push_str(&format!(
        "\n{} to create, {} to update, {} to remove, {} to keep; {}; {checks}.\n",
        summary.create,
        summary.update,
        summary.remove,
        summary.keep,
        count(plan.waves.len(), "wave", "waves"),
    ));
    let hash = plan.hash();
    if plan.is_noop() {
        text.push_str("Nothing to do.\n");
    } else {
        text.push_str(&forecast::render(foretold));
        text.push_str(&format!(
            "Plan {}: {}\n",
            hash.short(),
            paint(
                Tone::Code,
                format!(
                    "vice deploy {}@{} --env {} --plan {}",
                    prepared.scope.project,
                    plan.to.version,
                    prepared.scope.env,
                    hash.short()
                )
            )
        ));
    }
    let value = json!({
        "project": prepared.scope.project,
        "env": prepared.scope.env,
        "hash": hash,
        "changes": !plan.is_noop(),
        "summary": summary,
        "plan": plan,
        "config_changes": prepared.config_changes,
        "forecast": foretold.as_ref().ok(),
        "no_forecast": foretold.as_ref().err(),
    });
    Outcome::done(text, value)
}

const fn checks(plan: &Plan) -> &'static str {
    match (plan.has_checks, plan.verify) {
        (false, _) => "no checks, so it will not be proven",
        (true, VerifyWhen::EachWave) => "checks after each wave",
        (true, VerifyWhen::End) => "checks at the end",
        (true, VerifyWhen::Never) => "checks are switched off, so it will not be proven",
    }
}

fn units(prepared: &Prepared) -> String {
    let plan = &prepared.plan;
    let mut table = Table::default();
    let wave_of = |index: usize| {
        plan.waves.iter().position(|wave| wave.units.iter().any(|unit| unit.index() == index)).map(|wave| wave + 1)
    };
    for (index, unit) in plan.units.iter().enumerate() {
        let change = unit.change();
        let (mark, tone) = match change {
            UnitChange::Create => ("+", Tone::Good),
            UnitChange::Update => ("~", Tone::Warn),
            UnitChange::Remove => ("-", Tone::Bad),
            UnitChange::Keep => ("=", Tone::Faint),
        };
        let before = unit.before.as_ref().map_or_else(|| "nothing".to_owned(), ReleaseRef::label);
        let after = match change {
            UnitChange::Remove => "nothing".to_owned(),
            UnitChange::Keep => before.clone(),
            UnitChange::Create | UnitChange::Update => plan.to.label(),
        };
        table.row([
            (tone, format!("  {mark} {}", change.word())),
            (Tone::Plain, format!("unit {}", unit.name)),
            (
                Tone::Plain,
                if before == after {
                    same_label(unit.before.as_ref(), prepared, change)
                } else {
                    format!("{before} → {after}")
                },
            ),
            (Tone::Faint, wave_of(index).map_or_else(String::new, |wave| format!("wave {wave}"))),
        ]);
    }
    table.render()
}

/// Two releases that are called alike may differ in what the name does not say.
fn same_label(before: Option<&ReleaseRef>, prepared: &Prepared, change: UnitChange) -> String {
    let to = &prepared.plan.to;
    let label = to.label();
    let Some(before) = before.filter(|_| change == UnitChange::Update) else { return label };
    let mut differs = Vec::new();
    if before.config != to.config {
        differs.push("configuration");
    }
    if before.recipe != to.recipe {
        differs.push("command or health");
    }
    if differs.is_empty() {
        format!("{label}, which is not healthy")
    } else {
        let reloads = prepared.workload.reload.is_some()
            && to.only_reconfigures(before)
            && prepared.backend.target.capabilities().has(Capability::Reload);
        let how = if reloads { ", reloaded in place" } else { "" };
        format!("{label} with another {}{how}", differs.join(" and "))
    }
}

fn tasks(prepared: &Prepared, text: &mut String) {
    for task in &prepared.plan.tasks {
        let run = format!("{:?}", task.run).to_lowercase();
        let per = format!("{:?}", task.per).to_lowercase();
        let what = match task.does {
            TaskDoes::Run => "runs",
            TaskDoes::TakeBack => "is taken back",
            TaskDoes::Forbid => "forbids going back: an operator is asked",
        };
        let rollback = format!("{:?}", task.rollback).to_lowercase();
        text.push_str(&format!("  task {} {what} {run}, once per {per}; rollback: {rollback}\n", sanitize(&task.name)));
    }
}
