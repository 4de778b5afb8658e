//! `vice pride adopt`: takes over what runs already, so that the first deploy knows what it replaces and can go back.
//! Nothing is restarted. What is adopted counts as unproven: no rollout has checked it.

use clap::Args;
use serde_json::json;
use vice_core::app::App;
use vice_core::fold;
use vice_core::fold::environment::EnvironmentState;
use vice_core::id::{EnvName, Scope};
use vice_core::payload::environment::Direction;
use vice_core::payload::{ReleaseRef, environment_stream};
use vice_core::port::config::ResolvedConfig;
use vice_core::port::target::Workload;
use vice_core::ui::{Outcome, Progress, ProgressState};
use vice_core::{Code, Fault, Result};

use super::Wanted as Named;
use super::deploy::{conclude, confirmed};
use crate::backend::{Backend, connect};
use crate::driver::{Found, Wanted, begin, planned, unfinished, workload};
use crate::lease::{self, Lease};
use crate::target::{Adopted, Adoption};

/// Arguments of `vice pride adopt`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  vice pride adopt shop@1.3.0 --env prod --confirm prod\n  vice pride adopt shop@1.3.0 --env prod --path /opt/shop --pid 4711"
)]
pub struct AdoptArgs {
    /// Project and the version that runs, as in shop@1.3.0
    #[arg(value_name = "PROJECT@VERSION")]
    wanted: Named,
    /// The environment
    #[arg(short, long)]
    env: Option<EnvName>,
    /// The folder that it runs in, on each host; that of the process when absent
    #[arg(long)]
    path: Option<String>,
    /// The process, where there is one host; the one that listens on the environment's port when absent
    #[arg(long)]
    pid: Option<u32>,
    /// For environments of production class: the environment's name in full
    #[arg(long, value_name = "ENV")]
    confirm: Option<EnvName>,
    /// Why, for the history
    #[arg(long)]
    reason: Option<String>,
}

/// Takes over what runs as the version that is named.
///
/// # Errors
/// `Unsupported` where the target can't; `Conflict` where something was deployed already; what the target says.
pub(crate) async fn run(app: &App, args: AdoptArgs) -> Result<Outcome> {
    let Some(version) = args.wanted.version.clone() else {
        return Err(Fault::new(Code::Usage, "Which version runs there?").hint("Name it, as in shop@1.3.0."));
    };
    check_path(args.path.as_deref())?;
    let (project, scope) = app.scope(args.wanted.project.as_deref(), args.env.as_ref())?;
    confirmed(&project, &scope.env, args.confirm.as_ref())?;
    let backend = connect(app, &project, &scope)?;
    let [keeper] = backend.keepers.as_slice() else {
        let fault = Fault::unsupported(backend.target.describe().kind, "adopting what runs");
        return Err(fault.hint("It works with one target of kind ssh or kubernetes."));
    };
    let lease = lease::acquire(app, &scope, &format!("adopt {version}")).await?;
    let (state, at) = fold::load::<EnvironmentState>(app.events.as_ref(), &environment_stream(&scope)).await?;
    let adopted = async {
        free(&scope, &state)?;
        let (workload, config) = described(app, &project, &scope, &version, &backend, args.path.as_deref()).await?;
        let op = format!("adopt/{scope}/{}", state.last_number + 1);
        let (path, pid) = (args.path.clone(), args.pid);
        let adoption = Adoption { op, epoch: lease.epoch(), workload: &workload, path, pid };
        let adopted = keeper.adopt(&adoption).await?;
        Ok((adopted, Wanted { direction: Direction::Deploy, workload, config }))
    };
    let (adopted, wanted) = match adopted.await {
        Ok(adopted) => adopted,
        Err(fault) => return Err(given_back(app, lease, fault).await),
    };
    say(app, &adopted);
    let prepared = match planned(app, Found { project, scope, backend, state, version: at }, wanted).await {
        Ok(prepared) => prepared,
        Err(fault) => return Err(given_back(app, lease, fault).await),
    };
    let reason = args.reason.or_else(|| Some("It ran there before vice was, and was taken over.".to_owned()));
    let mut outcome = conclude(app, begin(app, prepared, lease, reason).await?).await?;
    outcome.json["adopted"] = json!(adopted);
    Ok(outcome)
}

/// The path becomes an argument on the hosts.
fn check_path(path: Option<&str>) -> Result<()> {
    match path {
        Some(path) if !path.starts_with('/') => {
            Err(Fault::new(Code::Usage, format!("--path {path:?} is not absolute."))
                .hint("Name the folder as the hosts know it, such as /opt/shop."))
        }
        _ => Ok(()),
    }
}

async fn given_back(app: &App, lease: Lease, fault: Fault) -> Fault {
    match lease.release(app).await {
        Ok(()) => fault,
        Err(second) => fault.hint(format!("The lease could not be given back either: {second}")),
    }
}

/// Only where nothing was deployed yet is there something to adopt.
fn free(scope: &Scope, state: &EnvironmentState) -> Result<()> {
    if let Some(active) = &state.active {
        return Err(unfinished(active));
    }
    match &state.running {
        None => Ok(()),
        Some(running) => Err(Fault::new(Code::Conflict, format!("{scope} runs {} already.", running.release.version))
            .hint("Adopting is for what was never deployed by vice; deploy the version that you want.")),
    }
}

/// The release that runs, as `vice.toml` would run it: without an artifact, because its files are where they are.
async fn described(
    app: &App,
    project: &std::sync::Arc<vice_core::manifest::Project>,
    scope: &Scope,
    version: &str,
    backend: &Backend,
    path: Option<&str>,
) -> Result<(Workload, ResolvedConfig)> {
    let config = app.config.resolve(project, &scope.env).await?;
    let recipe = workload::recipe_as_written(project, scope, version, backend.target.as_ref()).await?;
    let release = ReleaseRef {
        version: version.to_owned(),
        artifact: None,
        source: path.map(|path| format!("adopted:{path}")).unwrap_or_else(|| "adopted".to_owned()),
        config: (!config.entries.is_empty()).then(|| config.digest.clone()),
        recipe: Some(recipe.digest()),
    };
    Ok((workload::assemble(release, recipe, None, &config), config))
}

fn say(app: &App, adopted: &[Adopted]) {
    for unit in adopted {
        let process = unit.pid.map_or_else(String::new, |pid| format!("process {pid} in "));
        let text = format!("unit {}: {process}{}", unit.unit, unit.path);
        app.ui.progress(Progress { key: format!("adopt/{}", unit.unit), text, state: ProgressState::Done, gist: None });
    }
}
