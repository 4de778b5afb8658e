//! One rollout.

use vice_core::app::App;
use vice_core::fold;
use vice_core::fold::environment::EnvironmentState;
use vice_core::fold::rollout::RolloutView;
use vice_core::id::{RolloutId, Scope};
use vice_core::payload::{environment_stream, rollout_stream};
use vice_core::{Code, Fault, Result};

use crate::view::rollout::RolloutReport;

/// The id of the latest rollout of an environment.
///
/// # Errors
/// `UnknownName` when there is none yet; what the store says.
pub(crate) async fn latest(app: &App, scope: &Scope) -> Result<RolloutId> {
    let (state, _) = fold::load::<EnvironmentState>(app.events.as_ref(), &environment_stream(scope)).await?;
    if state.last_number == 0 {
        let Scope { project, env } = scope;
        let message = format!("Nothing was deployed to {env} of {project} yet, so there is nothing to report.");
        return Err(Fault::new(Code::UnknownName, message).hint(deploy_hint(app, scope)));
    }
    Ok(RolloutId { scope: scope.clone(), number: state.last_number })
}

/// How to deploy there, without the environment where it needs no naming.
fn deploy_hint(app: &App, scope: &Scope) -> String {
    let Scope { project, env } = scope;
    let chosen = app.workspace.project(project.as_str()).and_then(|found| found.choose_env(None));
    if chosen.is_ok_and(|chosen| chosen == *env) {
        format!("Run `vice deploy {project}` first.")
    } else {
        format!("Run `vice deploy {project} --env {env}` first.")
    }
}

/// The report of a rollout.
///
/// # Errors
/// `UnknownName` when there is no such rollout; what the store says, or `Decode`.
pub async fn rollout(app: &App, id: &RolloutId) -> Result<RolloutReport> {
    let store = app.events.as_ref();
    let (view, version) = fold::load::<RolloutView>(store, &rollout_stream(id)).await?;
    if version == 0 {
        let Scope { project, env } = &id.scope;
        return Err(Fault::new(Code::UnknownName, format!("There is no rollout {id}."))
            .hint(format!("`vice history {project} --env {env}` lists those that exist.")));
    }
    let (state, _) = fold::load::<EnvironmentState>(store, &environment_stream(&id.scope)).await?;
    RolloutReport::new(view, &state, app.clock.now())
}
