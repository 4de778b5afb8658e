//! Going on with rollouts that wait for time, or that their process has left.

use vice_core::Result;
use vice_core::app::App;
use vice_core::fold;
use vice_core::fold::environment::EnvironmentState;
use vice_core::fold::rollout::RolloutView;
use vice_core::id::{RolloutId, Scope};
use vice_core::payload::{environment_stream, rollout_stream};

use crate::driver::{EndState, Journal, lease_for, load, take_up};
use crate::lease;

/// Looks at every environment; gives each rollout under way, and each that waited for
/// its turn, with what became of it.
///
/// # Errors
/// What the store says. A rollout that can't be taken up is reported, not an error.
pub async fn tick(app: &App) -> Result<Vec<(RolloutId, String)>> {
    let mut found = Vec::new();
    for project in app.workspace.projects.values() {
        for env in project.manifest.env.keys() {
            let scope = Scope::new(project.name().clone(), env.clone());
            let stream = environment_stream(&scope);
            let (state, _) = fold::load::<EnvironmentState>(app.events.as_ref(), &stream).await?;
            // A rollout that is taken up while this process is told to end would only be paused.
            if let (Some(id), None) = (state.active, app.stop.raised()) {
                let became = go_on(app, &id).await?;
                found.push((id, became));
            }
            found.extend(super::supersede::follow(app, &scope).await);
        }
    }
    Ok(found)
}

async fn go_on(app: &App, id: &RolloutId) -> Result<String> {
    if lease::is_held(app, &id.scope).await? {
        return Ok("is being driven".to_owned());
    }
    let (view, _) = fold::load::<RolloutView>(app.events.as_ref(), &rollout_stream(id)).await?;
    // A word that came while the last driver was leaving has to be heard, whatever the rollout waits for; and what the
    // new release does with its share of the traffic has to be read, whoever is waited for.
    let now = app.clock.now();
    let due = |journal: &Journal| journal.state.wakes_at().is_some_and(|at| at <= now);
    let wanted = load(app, id).await.is_ok_and(|journal| !journal.unheard.is_empty() || due(&journal));
    match view.waiting.filter(|_| !wanted) {
        Some((reason, None)) => return Ok(format!("needs an operator: {reason}")),
        Some((reason, Some(until))) if until > now => return Ok(format!("waits until {until}: {reason}")),
        _ => {}
    }
    let ended = match lease_for(app, id).await {
        Ok(lease) => take_up(app, id, lease).await,
        Err(fault) => Err(fault),
    };
    Ok(match ended {
        Ok(ended) => match ended.state {
            EndState::Finished { outcome, .. } => format!("ended: {outcome:?}").to_lowercase(),
            EndState::Parked { reason, until: None, .. } => format!("needs an operator: {reason}"),
            EndState::Parked { reason, until: Some(until), .. } => format!("waits until {until}: {reason}"),
        },
        Err(fault) => format!("could not be taken up: {}", fault.chain().join(" ")),
    })
}
