//! Which target stands behind an environment. The kinds are known here; how each works is its own folder.

use std::sync::Arc;

use vice_core::Result;
use vice_core::app::{App, ProcessEnv, Workspace};
use vice_core::id::Scope;
use vice_core::manifest::{EnvSpec, Project};
use vice_core::port::target::{LogSource, Target, Traffic};
use vice_core::registry::Registry;
use vice_core::time::Clock;

use crate::metric::FrontCounts;
use crate::target::local::{LocalOptions, LocalTarget};

/// Makes the backend of an environment; starts nothing.
type Maker = fn(&App, &EnvSpec, &Scope) -> Backend;

/// The kinds of target that can be named in `vice.toml`.
fn kinds() -> Result<Registry<Maker>> {
    let mut kinds: Registry<Maker> = Registry::new("kinds of target");
    kinds.add("local", local)?;
    Ok(kinds)
}

/// What stands behind an environment; one object may serve several ports.
#[derive(Clone)]
pub struct Backend {
    /// Changes units.
    pub target: Arc<dyn Target>,
    /// Splits traffic, where it can.
    pub traffic: Option<Arc<dyn Traffic>>,
    /// Shows output, where it can.
    pub logs: Option<Arc<dyn LogSource>>,
    /// Counts what goes through its front end, where it has one.
    pub front: Option<Arc<dyn FrontCounts>>,
}

/// The local target of an environment.
pub(crate) fn local_target(
    workspace: &Workspace,
    spec: &EnvSpec,
    scope: &Scope,
    env: &Arc<ProcessEnv>,
    clock: &Arc<dyn Clock>,
) -> LocalTarget {
    LocalTarget::new(LocalOptions {
        dir: workspace.state.join("local").join(scope.project.as_str()).join(scope.env.as_str()),
        scope: scope.clone(),
        exe: env.exe.clone(),
        port: spec.port,
        metrics: spec.metrics_port,
        clock: Arc::clone(clock),
        env: Arc::clone(env),
    })
}

/// Connects to the target of an environment. Starts nothing.
///
/// # Errors
/// `BackendMissing` for an unknown kind, pointing at `vice.toml`.
pub fn connect(app: &App, project: &Project, scope: &Scope) -> Result<Backend> {
    let spec = project.env(&scope.env)?;
    let kind = spec.target.as_ref().map_or("local", |target| target.kind.as_str());
    let kinds = kinds()?;
    let make = kinds.get(kind).map_err(|fault| {
        fault.at(project.place(&["env", scope.env.as_str(), "target", "kind"], "not a kind that is built in"))
    })?;
    Ok(make(app, spec, scope))
}

fn local(app: &App, spec: &EnvSpec, scope: &Scope) -> Backend {
    let local = Arc::new(local_target(&app.workspace, spec, scope, &app.env, &app.clock));
    Backend { target: local.clone(), traffic: Some(local.clone()), logs: Some(local.clone()), front: Some(local) }
}
