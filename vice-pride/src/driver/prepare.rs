//! From what somebody wants to a plan: version, artifact, configuration, what is there, and the difference.

use std::sync::Arc;

use serde_json::Value;
use vice_core::app::App;
use vice_core::event::DATA_BYTES_MAX;
use vice_core::fold;
use vice_core::fold::environment::EnvironmentState;
use vice_core::id::{EnvName, Scope};
use vice_core::manifest::{CheckSpec, EnvClass, Project};
use vice_core::payload::config::{ConfigRecorded, StoredEntry, StoredValue};
use vice_core::payload::environment::Direction;
use vice_core::payload::rollout::ConfigChange;
use vice_core::payload::simulation::Forecast;
use vice_core::payload::{ReleaseRef, environment_stream};
use vice_core::port::command::CommandSpec;
use vice_core::port::config::ResolvedConfig;
use vice_core::port::target::{Inventory, UNREACHABLE, UnitState, Workload};
use vice_core::secret::masked;
use vice_core::template::{names, render};
use vice_core::text::count;
use vice_core::ui::{Progress, ProgressState};
use vice_core::{Code, Fault, Millis, Result};
use vice_pride_engine::{Exposure, Plan, PlanRequest, UnitAction, plan};

use super::analysis::analysis;
use super::exposure::cannot_split;
use super::version::check_version;
use super::workload;
use crate::artifact::{Reference, newest_version, resolve};
use crate::backend::{Backend, connect};

/// What somebody wants.
#[derive(Debug, Clone)]
pub struct Want {
    /// The project; the one of the working folder when absent.
    pub project: Option<String>,
    /// The environment.
    pub env: Option<EnvName>,
    /// The version, if it was named.
    pub version: Option<String>,
    /// Forward, or back to what was proven.
    pub direction: Direction,
    /// Another artifact than the one of `vice.toml`.
    pub artifact: Option<String>,
    /// What runs stays, with this configuration.
    pub config: Option<Earlier>,
}

/// An earlier configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Earlier {
    /// The one before the one that is in use.
    Previous,
    /// The one whose digest begins so.
    Digest(String),
}

/// Everything that is known before a rollout begins. Nothing was changed yet.
pub struct Prepared {
    /// The project.
    pub project: Arc<Project>,
    /// Project and environment.
    pub scope: Scope,
    /// The target.
    pub backend: Backend,
    /// The history of the environment.
    pub state: EnvironmentState,
    /// Up to which version of its stream.
    pub state_version: u64,
    /// What is on the target.
    pub inventory: Inventory,
    /// What will be done.
    pub plan: Plan,
    /// What shall run.
    pub workload: Workload,
    /// Its configuration.
    pub config: ResolvedConfig,
    /// The configuration as it is stored.
    pub record: ConfigRecorded,
    /// How the configuration differs from what runs, masked.
    pub config_changes: Vec<ConfigChange>,
    /// The number that the rollout will have.
    pub number: u64,
    /// What would change on the target in detail, where it was asked and can tell.
    pub preview: Vec<String>,
    /// What the simulator says of it, where it was asked; stored with the rollout.
    pub forecast: Option<Forecast>,
}

/// Finds everything out and plans. Changes nothing but the artifact store.
///
/// # Errors
/// Everything that is wrong with the request, before anything is changed.
pub async fn prepare(app: &App, want: &Want) -> Result<Prepared> {
    let (project, scope) = app.scope(want.project.as_deref(), want.env.as_ref())?;
    let backend = connect(app, &project, &scope)?;
    let stream = environment_stream(&scope);
    let (state, version) = fold::load::<EnvironmentState>(app.events.as_ref(), &stream).await?;
    let (workload, config) = match want.direction {
        _ if want.config.is_some() => reconfigured(app, &project, &scope, &state, want).await?,
        Direction::Deploy => forward(app, &project, &scope, &state, &backend, want).await?,
        Direction::Rollback => backward(app, &project, &scope, &state, want).await?,
    };
    let wanted = Wanted { direction: want.direction, workload, config };
    planned(app, Found { project, scope, backend, state, version }, wanted).await
}

/// An environment as it was found.
pub(crate) struct Found {
    pub(crate) project: Arc<Project>,
    pub(crate) scope: Scope,
    pub(crate) backend: Backend,
    pub(crate) state: EnvironmentState,
    pub(crate) version: u64,
}

/// What shall run there.
pub(crate) struct Wanted {
    pub(crate) direction: Direction,
    pub(crate) workload: Workload,
    pub(crate) config: ResolvedConfig,
}

/// Refuses shares that the target could not bring into force, before anything is begun.
async fn check_shares(scope: &Scope, backend: &Backend, plan: &Plan) -> Result<()> {
    let Some(traffic) = backend.traffic.as_ref() else {
        let splits = plan.waves.iter().any(|wave| wave.exposure != Exposure::Units);
        return if splits { Err(cannot_split(scope)) } else { Ok(()) };
    };
    if plan.from.is_none() {
        return Ok(());
    }
    for wave in &plan.waves {
        match wave.exposure {
            Exposure::Share { basis_points } => traffic.check_share(basis_points).await?,
            // A ramp goes through every share, from the smallest.
            Exposure::Ramp => traffic.check_share(1).await?,
            _ => {}
        }
    }
    Ok(())
}

/// Plans the difference between what is there and what shall be.
pub(crate) async fn planned(app: &App, found: Found, wanted: Wanted) -> Result<Prepared> {
    let Found { project, scope, backend, state, version: state_version } = found;
    let Wanted { direction, workload, config } = wanted;
    let inventory = backend.target.inventory().await?;
    all_known(&inventory)?;
    let spec = project.env(&scope.env)?;
    let topology = crate::topology::load(&project, &scope.env)?;
    let units: Vec<String> = match &topology {
        Some(_) => Vec::new(),
        None => (1..=spec.instances.unwrap_or(1)).map(|number| number.to_string()).collect(),
    };
    let applies = |check: &CheckSpec| check.only.is_empty() || check.only.contains(&scope.env);
    // Where nothing shall run there is nothing that a check could ask.
    let runs = topology.as_ref().map_or(!units.is_empty(), |tree| !tree.is_empty());
    let has_checks = runs && project.manifest.check.values().any(applies);
    let mut plan = plan(&PlanRequest {
        direction,
        from: state.running.as_ref().map(|placed| placed.release.clone()),
        to: workload.release.clone(),
        units,
        topology: topology.as_ref(),
        inventory: &inventory,
        rollout: &spec.rollout,
        tasks: project.manifest.task.iter().map(|(name, task)| (name.as_str(), task)).collect(),
        has_checks,
        analysis: analysis(&project, &scope.env)?,
    })
    .map_err(|fault| {
        let key = fault.details().get("key").and_then(Value::as_str).unwrap_or_default().to_owned();
        let path = ["env", scope.env.as_str(), "rollout", key.as_str()];
        fault.at(project.place(&path, ""))
    })?;
    refuse_uncovered(&scope, &plan, &config)?;
    check_shares(&scope, &backend, &plan).await?;
    recordable(&plan)?;
    plan.frees_traffic = state.split && backend.traffic.is_some() && !plan.is_noop();
    let record = app.config.record(&scope, &config);
    let config_changes = config_changes(app, &scope, &state, &record).await?;
    Ok(Prepared {
        number: state.last_number + 1,
        forecast: None,
        preview: Vec::new(),
        project,
        scope,
        backend,
        state,
        state_version,
        inventory,
        plan,
        workload,
        config,
        record,
        config_changes,
    })
}

/// Refuses what could not be begun: the plan is recorded before anything is changed, and is one event.
fn recordable(plan: &Plan) -> Result<()> {
    // Beside it stand the releases, the tasks and the reason.
    const BYTES_MAX: usize = DATA_BYTES_MAX - 64 * 1024;
    let (units, bytes) = (plan.units.len(), serde_json::to_vec(plan).map_or(0, |bytes| bytes.len()));
    if bytes <= BYTES_MAX {
        return Ok(());
    }
    let most = units.saturating_mul(BYTES_MAX) / bytes;
    Err(Fault::new(Code::Unsupported, format!("The plan for {units} units is too large to be recorded as one event."))
        .because(format!("It takes {} KiB, and {} are there for it.", bytes / 1024, BYTES_MAX / 1024))
        .hint(format!("Give parts of the fleet environments of their own, each of at most about {most} units."))
        .detail("units", units))
}

/// A rollout has to know what every unit runs: what it goes back to must not be guessed.
fn all_known(inventory: &Inventory) -> Result<()> {
    let silent = |unit: &&UnitState| unit.facts.contains_key(UNREACHABLE);
    let Some(first) = inventory.units.iter().find(silent) else { return Ok(()) };
    let names: Vec<&str> = inventory.units.iter().filter(silent).take(5).map(|unit| unit.name.as_str()).collect();
    let why = first.facts.get(UNREACHABLE).map(String::as_str).unwrap_or_default();
    Err(Fault::new(Code::Unreachable, format!("What runs on {} can't be told.", names.join(", ")))
        .because(why)
        .hint("Bring them back, or take them out of the target's hosts for as long as they are away.")
        .detail("units", names.iter().map(ToString::to_string).collect::<Vec<_>>()))
}

/// What a deploy wants, as far as it can be told without asking the target: for one that has to wait for its turn.
///
/// # Errors
/// Everything that is wrong with the request by itself; `Held` for a version that is on hold.
pub(crate) async fn wanted_release(app: &App, want: &Want) -> Result<ReleaseRef> {
    let (project, scope) = app.scope(want.project.as_deref(), want.env.as_ref())?;
    let stream = environment_stream(&scope);
    let (state, _) = fold::load::<EnvironmentState>(app.events.as_ref(), &stream).await?;
    let backend = connect(app, &project, &scope)?;
    Ok(forward(app, &project, &scope, &state, &backend, want).await?.0.release)
}

async fn forward(
    app: &App,
    project: &Arc<Project>,
    scope: &Scope,
    state: &EnvironmentState,
    backend: &Backend,
    want: &Want,
) -> Result<(Workload, ResolvedConfig)> {
    let target = backend.target.as_ref();
    let version = version(app, project, scope, want).await?;
    if let Some(hold) = version.as_ref().and_then(|version| state.holds.get(version).map(|hold| (version, hold))) {
        return Err(held(scope, hold.0, hold.1));
    }
    let config = app.config.resolve(project, &scope.env).await?;
    let digest = config.bound();
    let pattern = want.artifact.as_ref().or(project.manifest.artifact.as_ref());
    let Some(pattern) = pattern else {
        let version = version.ok_or_else(|| unknown_version(project))?;
        let recipe = workload::whole_recipe(project, scope, &version, target).await?;
        let (source, recorded) = (String::new(), Some(recipe.digest()));
        let release = ReleaseRef { version, artifact: None, source, config: digest, recipe: recorded };
        refuse_held(scope, state, &release)?;
        return Ok((workload::assemble(release, recipe, None, &config), config));
    };
    // What was named on the command line stands nowhere in the file.
    let place = || want.artifact.is_none().then(|| project.place(&["artifact"], "")).flatten();
    let vars = workload::vars(scope, version.as_deref().unwrap_or_default());
    let text = render(pattern, &vars).map_err(|fault| fault.at(place()))?;
    let reference = Reference::parse(&text).map_err(|fault| fault.at(place()))?;
    let key = "artifact".to_owned();
    app.ui.progress(Progress {
        key: key.clone(),
        text: format!("taking in {text}"),
        state: ProgressState::Running,
        gist: None,
    });
    let resolved = resolve(&reference, &workload::resolver(app, project, &reference)?, app.clock.now()).await;
    let artifact = match resolved {
        Ok(artifact) => artifact,
        Err(fault) => {
            app.ui.progress(Progress {
                key,
                text: format!("artifact {text}"),
                state: ProgressState::Failed,
                gist: None,
            });
            return Err(fault.at(place()));
        }
    };
    let said = format!("artifact {} ({})", artifact.digest.short(), count(artifact.files, "file", "files"));
    app.ui.progress(Progress { key, text: said, state: ProgressState::Done, gist: None });
    let version = version.unwrap_or_else(|| artifact.digest.short());
    let recipe = workload::whole_recipe(project, scope, &version, target).await?;
    let (source, recorded) = (artifact.origin.reference, Some(recipe.digest()));
    let release = ReleaseRef { version, artifact: Some(artifact.digest), source, config: digest, recipe: recorded };
    refuse_held(scope, state, &release)?;
    Ok((workload::assemble(release, recipe, Some(artifact.path), &config), config))
}

/// The version that is meant: the named one, that of `vice.toml`, git's, or that of the newest artifact. None when the
/// artifact's own digest has to serve.
async fn version(app: &App, project: &Project, scope: &Scope, want: &Want) -> Result<Option<String>> {
    if let Some(version) = want.version.as_ref() {
        check_version(version)?;
        return Ok(Some(version.clone()));
    }
    if project.env(&scope.env)?.class == EnvClass::Prod {
        return Err(Fault::new(
            Code::ConfirmationNeeded,
            format!("{} is of production class: which version?", scope.env),
        )
        .hint(format!("Write it out: {}@VERSION --env {}.", scope.project, scope.env)));
    }
    if let Some(version) = &project.manifest.version {
        check_version(version).map_err(|fault| fault.at(project.place(&["version"], "")))?;
        return Ok(Some(version.clone()));
    }
    let pattern = want.artifact.as_ref().or(project.manifest.artifact.as_ref());
    let versioned = match pattern {
        Some(pattern) => names(pattern)?.iter().any(|name| name == "version"),
        None => false,
    };
    let described = describe(app, project).await;
    match (pattern, versioned) {
        (Some(pattern), true) => {
            let known = crate::artifact::versions(pattern, &project.root);
            let by_git = described.filter(|version| known.contains(version));
            by_git.or_else(|| newest_version(pattern, &project.root)).map(Some).ok_or_else(|| {
                unknown_version(project).hint(format!("No file fits {pattern:?} below {}.", project.root.display()))
            })
        }
        _ => Ok(described),
    }
}

fn unknown_version(project: &Project) -> Fault {
    Fault::new(Code::ArtifactMissing, format!("Which version of {} is to be deployed can't be told.", project.name()))
        .hint(format!("Name it, as in {}@1.0, or set `version` in {}.", project.name(), project.file))
}

/// What `git describe` says, where the project lies in a repository and the answer can be a version.
async fn describe(app: &App, project: &Project) -> Option<String> {
    let argv = ["git", "describe", "--tags", "--always", "--dirty"].map(str::to_owned).to_vec();
    let output = app.runner.run(CommandSpec::new(argv, project.root.clone(), Millis(10_000))).await.ok()?;
    let version = output.stdout.trim().to_owned();
    (output.ok() && check_version(&version).is_ok()).then_some(version)
}

/// Refuses a configuration that says nothing of a unit that shall run: an earlier one, of before the unit was there.
fn refuse_uncovered(scope: &Scope, plan: &Plan, config: &ResolvedConfig) -> Result<()> {
    let mut running = plan.units.iter().filter(|unit| unit.action != UnitAction::Remove);
    let uncovered = running.find(|unit| !config.variants.is_empty() && config.variant_of(&unit.name).is_none());
    uncovered.map_or(Ok(()), |unit| {
        let message = format!("The configuration of {scope} says nothing of the unit {}.", unit.name);
        Err(Fault::new(Code::ConfigInvalid, message)
            .hint("It was made before the unit was there. Deploy, instead of going back.")
            .detail("unit", unit.name.as_str()))
    })
}

fn refuse_held(scope: &Scope, state: &EnvironmentState, release: &ReleaseRef) -> Result<()> {
    state.hold_on(release).map_or(Ok(()), |(name, hold)| Err(held(scope, &name, hold)))
}

fn held(scope: &Scope, version: &str, hold: &fold::environment::Hold) -> Fault {
    Fault::new(Code::Held, format!("Version {version} is on hold in {scope}: {}", hold.reason))
        .hint(format!(
            "Release it with: vice pride hold release {}@{version} --env {} --reason WHY.",
            scope.project, scope.env
        ))
        .detail("placed_by", hold.by.clone())
}

async fn backward(
    app: &App,
    project: &Arc<Project>,
    scope: &Scope,
    state: &EnvironmentState,
    want: &Want,
) -> Result<(Workload, ResolvedConfig)> {
    let placed = match &want.version {
        None => state.rollback_target(),
        Some(version) => state.proven.iter().find(|placed| placed.release.version == *version),
    };
    let Some(placed) = placed else {
        let known: Vec<&str> = state.proven.iter().map(|placed| placed.release.version.as_str()).collect();
        let message = match &want.version {
            Some(version) => format!("Version {version} was never proven in {scope}."),
            None => format!("No earlier version was proven in {scope}."),
        };
        let fault = Fault::new(Code::UnknownName, message);
        return Err(if known.is_empty() {
            fault.hint("Deploy the version that you want instead: `vice deploy`.")
        } else {
            fault.hint(format!("Proven: {}.", known.join(", ")))
        });
    };
    refuse_held(scope, state, &placed.release)?;
    let (mut workload, config) = workload::restore(app, project, scope, &placed.release).await?;
    // Secrets resolve to their current values, so that the configuration may have another digest than it had.
    workload.release.config = config.bound();
    Ok((workload, config))
}

/// What runs now, with an earlier configuration. It goes through the same plan, gates and judge as new code would.
async fn reconfigured(
    app: &App,
    project: &Arc<Project>,
    scope: &Scope,
    state: &EnvironmentState,
    want: &Want,
) -> Result<(Workload, ResolvedConfig)> {
    let running = &state.running.as_ref().map(|placed| &placed.release);
    let running = running.ok_or_else(|| Fault::new(Code::UnknownName, format!("Nothing runs in {scope}.")))?;
    let earlier = workload::earlier_config(app, scope, running.config.as_deref(), want.config.as_ref()).await?;
    let release = ReleaseRef { config: Some(earlier), ..running.clone() };
    let (mut workload, config) = workload::restore(app, project, scope, &release).await?;
    // Secrets resolve to their current values.
    workload.release.config = config.bound();
    refuse_held(scope, state, &workload.release)?;
    Ok((workload, config))
}

/// The keys whose values differ from the configuration of what runs; secrets are masked and only said to have changed
/// when nothing else tells the two apart.
async fn config_changes(
    app: &App,
    scope: &Scope,
    state: &EnvironmentState,
    record: &ConfigRecorded,
) -> Result<Vec<ConfigChange>> {
    let running = state.running.as_ref().and_then(|placed| placed.release.config.as_ref());
    let before = match running {
        Some(digest) => workload::find_config(app, scope, digest).await?,
        None => None,
    };
    let (old, new) = (before.as_ref().map(ConfigRecorded::named_entries).unwrap_or_default(), record.named_entries());
    let shown = |key: &str, value: &StoredValue| match value {
        StoredValue::Plain(Value::String(text)) => text.clone(),
        StoredValue::Plain(other) => other.to_string(),
        StoredValue::Secret(_) => masked(key),
    };
    let mut changes = Vec::new();
    let keys: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for key in keys {
        let (before, after) = (old.get(key), new.get(key));
        // Secrets are stored by name; that one changed is told by the digests, where both have them.
        let digest = |side: Option<&(&StoredEntry, Option<&String>)>| side.and_then(|(_, digest)| *digest).cloned();
        let digest_differs = matches!((digest(before), digest(after)), (Some(one), Some(two)) if one != two);
        if digest_differs || before.map(|(entry, _)| &entry.value) != after.map(|(entry, _)| &entry.value) {
            changes.push(ConfigChange {
                key: key.clone(),
                before: before.map(|(entry, _)| shown(key, &entry.value)),
                after: after.map(|(entry, _)| shown(key, &entry.value)),
            });
        }
    }
    Ok(changes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan_for(units: usize) -> Plan {
        plan(&PlanRequest {
            direction: Direction::Deploy,
            from: None,
            to: ReleaseRef { version: "2".into(), artifact: None, source: String::new(), config: None, recipe: None },
            units: (0..units).map(|number| format!("host-{number}.example.com")).collect(),
            topology: None,
            inventory: &Inventory::default(),
            rollout: &serde_json::from_value(serde_json::json!({ "strategy": "all-at-once" })).unwrap(),
            tasks: Vec::new(),
            has_checks: false,
            analysis: None,
        })
        .unwrap()
    }

    #[test]
    fn a_plan_that_no_event_can_hold_is_refused_with_what_fits() {
        recordable(&plan_for(2_000)).unwrap();
        let fault = recordable(&plan_for(50_000)).unwrap_err();
        assert_eq!(fault.code(), Code::Unsupported);
        assert!(fault.to_string().contains("50000 units"), "{fault}");
        let most: usize = fault.hints()[0].split_whitespace().filter_map(|word| word.parse().ok()).next().unwrap();
        recordable(&plan_for(most * 95 / 100)).unwrap();
    }
}
