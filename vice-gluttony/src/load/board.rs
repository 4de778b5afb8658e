//! Dashboards.

use std::collections::BTreeSet;

use jiff::Timestamp;
use vice_core::Result;
use vice_core::app::App;
use vice_core::delivery::{Origins, WINDOW_DAYS, attribute, days_before, origins, runs};
use vice_core::event::Payload;
use vice_core::fold;
use vice_core::fold::environment::EnvironmentState;
use vice_core::fold::rollout::RolloutView;
use vice_core::id::{EnvName, ProjectName, Scope};
use vice_core::manifest::{DashboardSpec, Panel};
use vice_core::payload::verification::VerificationFinished;
use vice_core::payload::{environment_stream, rollout_stream, verification_stream};
use vice_core::store::{EventStore, EventStoreExt, Order, Query};

use crate::view::dashboard::{Dashboard, Place, SCHEMA, panel};

/// What an empty list of panels means.
const ALL_PANELS: [Panel; 5] = [Panel::Status, Panel::Rollouts, Panel::Verifications, Panel::Holds, Panel::Frequency];

/// How many verifications of one environment are read.
const VERIFICATIONS_READ: usize = 3;

/// Computes a dashboard, perhaps of one environment only.
///
/// # Errors
/// What the store says, or `Decode`.
pub async fn dashboard(app: &App, name: &str, spec: &DashboardSpec, env: Option<&EnvName>) -> Result<Dashboard> {
    let now = app.clock.now();
    let panels = if spec.panels.is_empty() { ALL_PANELS.to_vec() } else { spec.panels.clone() };
    let since = days_before(now, WINDOW_DAYS);
    let origins = match panels.contains(&Panel::Frequency) {
        true => origins(app.events.as_ref(), since).await?,
        false => Origins::default(),
    };
    let mut places = Vec::new();
    for scope in scopes(app, &spec.projects).await? {
        if env.is_none_or(|env| *env == scope.env) {
            places.push(place(app.events.as_ref(), scope, &panels, &origins).await?);
        }
    }
    Ok(Dashboard {
        schema: SCHEMA.to_owned(),
        generated: now,
        name: name.to_owned(),
        title: spec.title.clone().unwrap_or_else(|| name.to_owned()),
        panels: panels.into_iter().map(|wanted| panel(wanted, &places, since)).collect(),
    })
}

/// The environments that the manifests name, and those that the history knows: what was deployed once is still there
/// when its section is gone.
async fn scopes(app: &App, wanted: &[ProjectName]) -> Result<BTreeSet<Scope>> {
    let chosen = |project: &ProjectName| wanted.is_empty() || wanted.contains(project);
    let mut found = BTreeSet::new();
    for (name, project) in app.workspace.projects.iter().filter(|(name, _)| chosen(name)) {
        found.extend(project.manifest.env.keys().map(|env| Scope::new(name.clone(), env.clone())));
    }
    for stream in app.events.all_streams("environment/").await? {
        let mut parts = stream.name.split('/').skip(1);
        let (Some(project), Some(env), None) = (parts.next(), parts.next(), parts.next()) else { continue };
        // A stream that breaks the naming rules is not one of ours.
        let (Ok(project), Ok(env)) = (ProjectName::new(project), EnvName::new(env)) else { continue };
        if chosen(&project) {
            found.insert(Scope::new(project, env));
        }
    }
    Ok(found)
}

async fn place(store: &dyn EventStore, scope: Scope, panels: &[Panel], origins: &Origins) -> Result<Place> {
    let (state, _) = fold::load::<EnvironmentState>(store, &environment_stream(&scope)).await?;
    let waiting = waiting(store, &state).await?;
    let verifications = match panels.contains(&Panel::Verifications) {
        true => verifications(store, &scope).await?,
        false => Vec::new(),
    };
    let mut runs = match panels.contains(&Panel::Frequency) {
        true => runs(store, &scope).await?,
        false => Vec::new(),
    };
    attribute(&mut runs, &origins.merged, &origins.made);
    Ok(Place { scope, state, waiting, verifications, runs })
}

async fn waiting(store: &dyn EventStore, state: &EnvironmentState) -> Result<Option<String>> {
    let Some(active) = &state.active else { return Ok(None) };
    let (view, _) = fold::load::<RolloutView>(store, &rollout_stream(active)).await?;
    Ok(view.waiting.map(|(reason, _)| reason))
}

async fn verifications(store: &dyn EventStore, scope: &Scope) -> Result<Vec<(Timestamp, VerificationFinished)>> {
    let newest_first = Query {
        kinds: vec![VerificationFinished::KIND.to_owned()],
        limit: VERIFICATIONS_READ,
        order: Order::Backward,
        ..Query::stream(verification_stream(scope), 0)
    };
    let mut found = Vec::new();
    for recorded in store.read(&newest_first).await? {
        if let Some(finished) = recorded.event.decode::<VerificationFinished>()? {
            found.push((recorded.event.time, finished));
        }
    }
    Ok(found)
}
