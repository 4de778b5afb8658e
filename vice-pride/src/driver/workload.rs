//! From a release to everything that a target needs to run it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use vice_core::app::App;
use vice_core::event::Payload;
use vice_core::id::Scope;
use vice_core::manifest::{ANSIBLE, HealthSpec, KUBERNETES, Project, ReloadKind, ReloadSpec};
use vice_core::payload::config::ConfigRecorded;
use vice_core::payload::recipe::{Recipe, RecipeRecorded};
use vice_core::payload::{ReleaseRef, config_stream, recipe_stream};
use vice_core::port::command::EnvValue;
use vice_core::port::config::ResolvedConfig;
use vice_core::port::target::{HealthProbe, Reload, ReloadBy, Target, Workload};
use vice_core::store::{Order, Query};
use vice_core::template::{Vars, render};
use vice_core::{Code, Digest, Fault, Millis, Result};

use super::prepare::Earlier;
use crate::artifact::{ArtifactStore, Reference, Resolver, resolve};

/// How long a new instance may take to become healthy when `vice.toml` does not say.
const READY_TIMEOUT: Millis = Millis(30_000);
/// How long requests under way may take before an old instance is stopped.
const DRAIN_TIMEOUT: Millis = Millis(30_000);
/// How long an instance may take to end after SIGTERM.
const STOP_TIMEOUT: Millis = Millis(10_000);
/// How many configurations or recipes are looked through for the one of an earlier release.
const LOOKED_THROUGH_MAX: usize = 1_000;

/// Where releases are kept.
pub(crate) fn store(app: &App) -> Result<ArtifactStore> {
    ArtifactStore::open(&app.workspace.state.join("artifacts"))
}

/// What brings artifacts in.
pub(crate) fn resolver(app: &App, project: &Project, reference: &Reference) -> Result<Resolver> {
    let mut resolver = Resolver::new(store(app)?, &project.root);
    if let (Reference::Http { .. }, Some(make)) =
        (reference, app.http.downcast_ref::<fn() -> Result<reqwest::Client>>())
    {
        resolver.http = Some(make()?);
    }
    resolver.commands = Some(Arc::clone(&app.runner));
    let passed = ["SSH_AUTH_SOCK", "PATH"].iter();
    resolver.git_env =
        passed.filter_map(|name| app.env.get(name).map(|value| ((*name).to_owned(), value.to_owned()))).collect();
    Ok(resolver)
}

/// The template variables of an environment: `project`, `env`, `version`.
pub(crate) fn vars(scope: &Scope, version: &str) -> Vars {
    Vars::from([
        ("project".to_owned(), scope.project.to_string()),
        ("env".to_owned(), scope.env.to_string()),
        ("version".to_owned(), version.to_owned()),
    ])
}

/// How `vice.toml` says that a version is run.
pub(crate) fn recipe(project: &Project, scope: &Scope, version: &str) -> Result<Recipe> {
    let manifest = &project.manifest;
    let command: &[String] = match &manifest.command {
        Some(command) => &command.0,
        None if brings_its_own(project, scope)? => &[],
        None => {
            return Err(project
                .invalid(&[], format!("{} has no `command`, so there is nothing to run.", project.file))
                .hint("Add a line such as: command = [\"./shop\", \"--port\", \"{{port}}\"]."));
        }
    };
    let mut vars = vars(scope, version);
    // The target fills these in for each unit; here they stay as they are.
    vars.insert("port".to_owned(), "{{port}}".to_owned());
    vars.insert("unit".to_owned(), "{{unit}}".to_owned());
    let place = || project.place(&["command"], "");
    let command = command.iter().map(|word| render(word, &vars).map_err(|fault| fault.at(place())));
    let health = manifest.health.as_ref().map(|health| &health.0);
    Ok(Recipe {
        command: command.collect::<Result<_>>()?,
        objects: Vec::new(),
        images: BTreeMap::new(),
        health: Some(probe(health)),
        ready_timeout: health.and_then(|health| health.ready_timeout).unwrap_or(READY_TIMEOUT),
        drain_timeout: manifest.drain_timeout.unwrap_or(DRAIN_TIMEOUT),
        stop_timeout: manifest.stop_timeout.unwrap_or(STOP_TIMEOUT),
        reload: manifest.config.reload.as_ref().map(|spec| reload(project, spec)).transpose()?,
    })
}

/// Whether every target of the environment knows by itself what to run.
fn brings_its_own(project: &Project, scope: &Scope) -> Result<bool> {
    let targets = project.env(&scope.env)?.target.as_ref();
    Ok(targets.is_some_and(|targets| targets.kinds().all(|(_, kind)| [KUBERNETES, ANSIBLE].contains(&kind))))
}

/// How `vice.toml` and the target's own files say that a version is run.
///
/// # Errors
/// What [`recipe`] and the target say.
pub(crate) async fn whole_recipe(
    project: &Project,
    scope: &Scope,
    version: &str,
    target: &dyn Target,
) -> Result<Recipe> {
    let mut recipe = recipe_as_written(project, scope, version, target).await?;
    recipe.images = target.images(version).await?;
    Ok(recipe)
}

/// As [`whole_recipe`], without asking what the tags of images point at: for what runs already.
///
/// # Errors
/// What [`recipe`] and the target say.
pub(crate) async fn recipe_as_written(
    project: &Project,
    scope: &Scope,
    version: &str,
    target: &dyn Target,
) -> Result<Recipe> {
    let mut recipe = recipe(project, scope, version)?;
    recipe.objects = target.objects(version).await?;
    Ok(recipe)
}

/// The workload of a release whose parts are at hand.
pub(crate) fn assemble(
    release: ReleaseRef,
    recipe: Recipe,
    files: Option<PathBuf>,
    config: &ResolvedConfig,
) -> Workload {
    Workload {
        release,
        files,
        command: recipe.command,
        environment: config.environment(),
        objects: recipe.objects,
        images: recipe.images,
        health: recipe.health,
        ready_timeout: recipe.ready_timeout,
        drain_timeout: recipe.drain_timeout,
        stop_timeout: recipe.stop_timeout,
        reload: recipe.reload,
    }
}

/// A release of which only the name is left.
pub(crate) fn hollow(release: &ReleaseRef) -> Workload {
    Workload {
        release: release.clone(),
        files: None,
        command: Vec::new(),
        environment: BTreeMap::new(),
        objects: Vec::new(),
        images: BTreeMap::new(),
        health: None,
        ready_timeout: READY_TIMEOUT,
        drain_timeout: DRAIN_TIMEOUT,
        stop_timeout: STOP_TIMEOUT,
        reload: None,
    }
}

/// How a running instance is given another configuration.
fn reload(project: &Project, spec: &ReloadSpec) -> Result<Reload> {
    let bad = |key: &str, text: String| {
        let fault = Fault::new(Code::ManifestInvalid, text).at(project.place(&["config", "reload", key], ""));
        fault.hint("For example:\n[config.reload]\nby = \"signal\"\nsignal = \"HUP\"")
    };
    for (key, path) in [("path", &spec.path), ("confirm", &spec.confirm)] {
        if path.as_ref().is_some_and(|path| !path.starts_with('/')) {
            return Err(bad(key, format!("`{key}` of [config.reload] is no path: it has to begin with /.")));
        }
    }
    let by = match (spec.by, spec.signal, &spec.path) {
        (ReloadKind::Signal, signal, None) => ReloadBy::Signal(signal.unwrap_or_default()),
        (ReloadKind::Http, None, Some(path)) => ReloadBy::Http(path.clone()),
        (ReloadKind::Http, _, None) => {
            return Err(bad("by", "[config.reload] by HTTP needs the `path` to post to.".to_owned()));
        }
        (ReloadKind::File, None, None) => ReloadBy::File,
        (_, Some(_), _) => return Err(bad("signal", "`signal` belongs to a reload by signal only.".to_owned())),
        (_, _, Some(_)) => return Err(bad("path", "`path` belongs to a reload by HTTP only.".to_owned())),
    };
    Ok(Reload { by, confirm: spec.confirm.clone() })
}

fn probe(spec: Option<&HealthSpec>) -> HealthProbe {
    HealthProbe {
        path: spec.and_then(|spec| spec.path.clone()),
        interval: spec.and_then(|spec| spec.interval).unwrap_or(Millis(1_000)),
        timeout: spec.and_then(|spec| spec.timeout).unwrap_or(Millis(2_000)),
        healthy_after: spec.and_then(|spec| spec.healthy_after).unwrap_or(1),
        unhealthy_after: spec.and_then(|spec| spec.unhealthy_after).unwrap_or(3),
    }
}

/// An earlier release as it was: its files from the store, its configuration from the history.
///
/// # Errors
/// `ArtifactMissing` when its files are gone and can't be fetched again, what restoring the configuration says.
pub(crate) async fn restore(
    app: &App,
    project: &Arc<Project>,
    scope: &Scope,
    release: &ReleaseRef,
) -> Result<(Workload, ResolvedConfig)> {
    let files = match release.artifact {
        Some(digest) => Some(match store(app)?.get(digest) {
            Ok(artifact) => artifact.path,
            Err(_) => fetch_again(app, project, release).await?,
        }),
        None => None,
    };
    let config = match &release.config {
        Some(digest) => app.config.restore(project, &recorded_config(app, scope, digest).await?).await?,
        None => ResolvedConfig::default(),
    };
    let recipe = match release.recipe {
        Some(digest) => recorded_recipe(app, scope, digest).await?,
        None => recipe(project, scope, &release.version)?,
    };
    Ok((assemble(release.clone(), recipe, files, &config), config))
}

/// The recorded recipe with a digest.
///
/// # Errors
/// `ConfigInvalid` when it is not in the history.
async fn recorded_recipe(app: &App, scope: &Scope, digest: Digest) -> Result<Recipe> {
    let found = find_recipe(app, scope, digest).await?;
    found.ok_or_else(|| {
        Fault::new(Code::ConfigInvalid, format!("The recipe {} of {scope} is not in the history.", digest.short()))
    })
}

/// The recorded recipe with a digest, if there is one.
pub(crate) async fn find_recipe(app: &App, scope: &Scope, digest: Digest) -> Result<Option<Recipe>> {
    let found = find::<RecipeRecorded>(app, recipe_stream(scope), |recorded| recorded.digest == digest).await?;
    Ok(found.map(|recorded| recorded.recipe))
}

async fn fetch_again(app: &App, project: &Project, release: &ReleaseRef) -> Result<PathBuf> {
    let reference = Reference::parse(&release.source)?;
    let artifact = resolve(&reference, &resolver(app, project, &reference)?, app.clock.now()).await?;
    if Some(artifact.digest) == release.artifact {
        return Ok(artifact.path);
    }
    Err(Fault::new(
        Code::ArtifactDigest,
        format!(
            "The artifact of version {} is not in the store any more, and {} holds another one now.",
            release.version, release.source
        ),
    ))
}

/// The recorded configuration with a digest.
///
/// # Errors
/// `ConfigInvalid` when it is not in the history.
pub(crate) async fn recorded_config(app: &App, scope: &Scope, digest: &str) -> Result<ConfigRecorded> {
    find_config(app, scope, digest).await?.ok_or_else(|| {
        Fault::new(Code::ConfigInvalid, format!("The configuration {digest} of {scope} is not in the history."))
    })
}

/// The recorded configuration with a digest, if there is one.
pub(crate) async fn find_config(app: &App, scope: &Scope, digest: &str) -> Result<Option<ConfigRecorded>> {
    find::<ConfigRecorded>(app, config_stream(scope), |recorded| recorded.digest == digest).await
}

/// The digest of an earlier configuration than the one in use.
///
/// # Errors
/// `UnknownName` when there is none, or when it is not clear which is meant.
pub(crate) async fn earlier_config(
    app: &App,
    scope: &Scope,
    running: Option<&str>,
    wanted: Option<&Earlier>,
) -> Result<String> {
    let query = Query { order: Order::Backward, limit: LOOKED_THROUGH_MAX, ..Query::stream(config_stream(scope), 0) };
    let mut digests: Vec<String> = Vec::new();
    for recorded in app.events.read(&query).await? {
        digests.extend(recorded.event.decode::<ConfigRecorded>()?.map(|config| config.digest));
    }
    let hint = format!("See `vice envy history --env {}`.", scope.env);
    let unknown = |text: String| Fault::new(Code::UnknownName, text).hint(hint.clone());
    let Some(Earlier::Digest(wanted)) = wanted else {
        let after = digests.iter().position(|digest| Some(digest.as_str()) == running).map_or(0, |at| at + 1);
        return digests
            .get(after)
            .cloned()
            .ok_or_else(|| unknown(format!("{scope} had no other configuration before.")));
    };
    let bare = |digest: &str| digest.strip_prefix("hmac-sha256:").unwrap_or(digest).to_owned();
    let start = bare(wanted);
    digests.retain(|digest| bare(digest).starts_with(&start));
    digests.dedup();
    match digests.as_slice() {
        [one] if start.len() >= 4 => Ok(one.clone()),
        [] => Err(unknown(format!("{scope} had no configuration {start}."))),
        _ => Err(unknown(format!("{start} is too short to tell which configuration is meant."))),
    }
}

/// The latest payload of a stream that fits.
async fn find<P: Payload>(app: &App, stream: String, fits: impl Fn(&P) -> bool) -> Result<Option<P>> {
    let query = Query { order: Order::Backward, limit: LOOKED_THROUGH_MAX, ..Query::stream(stream, 0) };
    for recorded in app.events.read(&query).await? {
        if let Some(payload) = recorded.event.decode::<P>()?
            && fits(&payload)
        {
            return Ok(Some(payload));
        }
    }
    Ok(None)
}

/// What a task or check is told besides the configuration.
pub(crate) fn told(scope: &Scope, entries: &[(&str, String)]) -> BTreeMap<String, EnvValue> {
    let base = [("VICE_PROJECT", scope.project.to_string()), ("VICE_ENV", scope.env.to_string())];
    base.iter().chain(entries).map(|(name, value)| ((*name).to_owned(), EnvValue::Plain(value.clone()))).collect()
}
