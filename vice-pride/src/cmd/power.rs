//! `vice pride start|stop|restart`: instances as they are, without a new version.

use clap::Args;
use serde_json::json;
use vice_core::app::App;
use vice_core::capability::Capability;
use vice_core::id::EnvName;
use vice_core::payload::environment::{PowerChanged, PowerState};
use vice_core::payload::environment_stream;
use vice_core::port::target::{Change, Op};
use vice_core::store::Append;
use vice_core::ui::{Outcome, Progress, ProgressState};
use vice_core::{Code, Fault, Result};

use super::ScopeArgs;
use super::deploy::confirmed;
use crate::{backend, lease};

/// Arguments of `vice pride start`, `stop` and `restart`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  vice pride stop shop --env dev\n  vice pride restart shop")]
pub struct PowerArgs {
    #[command(flatten)]
    scope: ScopeArgs,
    /// Only this unit
    #[arg(short, long)]
    unit: Option<String>,
    /// For environments of production class: the environment's name in full
    #[arg(long, value_name = "ENV")]
    confirm: Option<EnvName>,
    /// Why
    #[arg(long)]
    reason: Option<String>,
}

/// Starts what is stopped.
pub(crate) async fn start(app: &App, args: PowerArgs) -> Result<Outcome> {
    change(app, args, &Change::Start, PowerState::Started, "started").await
}

/// Stops what runs.
pub(crate) async fn stop(app: &App, args: PowerArgs) -> Result<Outcome> {
    change(app, args, &Change::Stop, PowerState::Stopped, "stopped").await
}

/// Stops and starts, one unit after another.
pub(crate) async fn restart(app: &App, args: PowerArgs) -> Result<Outcome> {
    change(app, args, &Change::Restart, PowerState::Restarted, "restarted").await
}

async fn change(app: &App, args: PowerArgs, change: &Change, state: PowerState, done: &str) -> Result<Outcome> {
    let (project, scope) = app.scope(args.scope.project.as_deref(), args.scope.env.as_ref())?;
    confirmed(&project, &scope.env, args.confirm.as_ref())?;
    let backend = backend::connect(app, &project, &scope)?;
    // Asked first: a plug-in says what it can do when it is first asked something.
    let inventory = backend.target.inventory().await?;
    backend.target.capabilities().require(Capability::StartStop, backend.target.describe().kind, done)?;
    let units = wanted_units(&inventory, args.unit.as_deref(), &scope)?;
    let lease = lease::acquire(app, &scope, done).await?;
    let result = async {
        backend.target.fence(lease.epoch()).await?;
        let whole = args.unit.is_none();
        let power = PowerChanged { scope: scope.clone(), state, reason: args.reason };
        let event = app.event(environment_stream(&scope), Some(&scope), &power)?;
        let run = event.id.clone();
        // The intent is on disk before anything is done; a part of an environment changes nothing about the whole.
        if whole {
            app.events.append(Append::of(vec![event]).fenced(lease.fence())).await?;
        }
        for unit in &units {
            let id = format!("power/{run}/{unit}");
            let op = Op { id, epoch: lease.epoch(), unit: unit.clone(), change: change.clone(), before: None };
            backend.target.apply(&op, None).await?;
            let text = format!("unit {unit} {done}");
            app.ui.progress(Progress { key: format!("unit/{unit}"), text, state: ProgressState::Done, gist: None });
        }
        Ok::<(), Fault>(())
    }
    .await;
    let released = lease.release(app).await;
    result.and(released)?;
    let text = format!(
        "{} of {scope} {done}.\n",
        if units.len() == 1 { "1 unit".into() } else { format!("{} units", units.len()) }
    );
    Ok(Outcome::done(text, json!({ "scope": scope, "units": units, "state": state })))
}

fn wanted_units(
    inventory: &vice_core::port::target::Inventory,
    only: Option<&str>,
    scope: &vice_core::id::Scope,
) -> Result<Vec<String>> {
    let names: Vec<String> = inventory.units.iter().map(|unit| unit.name.clone()).collect();
    if names.is_empty() {
        return Err(
            Fault::new(Code::UnknownName, format!("Nothing is deployed in {scope}.")).hint("`vice deploy` does that.")
        );
    }
    match only {
        None => Ok(names),
        Some(unit) if names.iter().any(|name| name == unit) => Ok(vec![unit.to_owned()]),
        Some(unit) => Err(Fault::new(Code::UnknownName, format!("{scope} has no unit {unit:?}."))
            .hint(format!("It has: {}.", names.join(", ")))),
    }
}
