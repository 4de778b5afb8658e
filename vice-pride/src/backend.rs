//! Which target stands behind an environment. The kinds are known here; how each works is its own folder.

use std::sync::Arc;

use vice_core::Result;
use vice_core::app::{App, ProcessEnv, Workspace};
use vice_core::id::Scope;
use vice_core::manifest::{EnvSpec, LOCAL, Project, TargetsSpec};
use vice_core::port::target::{LogSource, Target, Traffic};
use vice_core::registry::Registry;
use vice_core::time::Clock;

use crate::driver::INTERVAL;
use crate::metric::FrontCounts;
use crate::plugin::{self, PluginTarget};
use crate::target::RoutedTarget;
use crate::target::local::front::ClientOptions;
use crate::target::local::{LocalOptions, LocalTarget};

/// Makes the backend of an environment; starts nothing.
type Maker = fn(&Site<'_>, &EnvSpec, &Scope, Option<&str>) -> Backend;

/// What a local backend needs of its surroundings.
#[derive(Clone, Copy)]
pub struct Site<'a> {
    /// Where the state lies.
    pub workspace: &'a Workspace,
    /// The environment of the process.
    pub env: &'a Arc<ProcessEnv>,
    /// The clock.
    pub clock: &'a Arc<dyn Clock>,
}

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
fn local_target(site: &Site<'_>, spec: &EnvSpec, scope: &Scope, part: Option<&str>) -> LocalTarget {
    // A name of an environment has no dot, so that no other one gets this folder.
    let folder = match part {
        None => scope.env.to_string(),
        Some(part) => format!("{}.{part}", scope.env),
    };
    LocalTarget::new(LocalOptions {
        dir: site.workspace.state.join("local").join(scope.project.as_str()).join(folder),
        scope: scope.clone(),
        exe: site.env.exe.clone(),
        // One port can't be that of several front ends; each has a free one then.
        port: spec.port.filter(|_| part.is_none()),
        metrics: spec.metrics_port.filter(|_| part.is_none()),
        clients: ClientOptions {
            window: spec.rollout.interval.unwrap_or(INTERVAL),
            header: spec.client_header.clone(),
        },
        clock: Arc::clone(site.clock),
        env: Arc::clone(site.env),
    })
}

/// Connects to the target of an environment. Starts nothing.
///
/// # Errors
/// `BackendMissing` for an unknown kind, pointing at `vice.toml`.
pub fn connect(app: &App, project: &Project, scope: &Scope) -> Result<Backend> {
    connect_at(&Site { workspace: &app.workspace, env: &app.env, clock: &app.clock }, project, scope)
}

/// As [`connect`], for whoever has no whole application.
///
/// # Errors
/// As [`connect`].
pub fn connect_at(site: &Site<'_>, project: &Project, scope: &Scope) -> Result<Backend> {
    let spec = project.env(&scope.env)?;
    let kinds = kinds()?;
    let make = |part: Option<&str>, kind: &str| {
        match kinds.get(kind) {
            Ok(maker) => Ok(maker(site, spec, scope, part)),
            // What is built in is never replaced by a program.
            Err(fault) => plugged_in(site, project, scope, part, kind).ok_or_else(|| {
                let keys = ["env", scope.env.as_str(), "target"].into_iter().chain(part).chain(["kind"]);
                fault
                    .at(project.place(&keys.collect::<Vec<_>>(), "not a kind that is built in"))
                    .hint(format!("A program vice-backend-{kind} on PATH would be one: docs/plugins.md."))
            }),
        }
    };
    match &spec.target {
        None => make(None, LOCAL),
        Some(TargetsSpec::One(target)) => make(None, &target.kind),
        Some(several) => {
            let members = several
                .kinds()
                .map(|(name, kind)| make(name, kind).map(|backend| (name.unwrap_or_default().to_owned(), backend)));
            Ok(routed(members.collect::<Result<_>>()?))
        }
    }
}

/// The plug-in of that name, where there is one.
fn plugged_in(site: &Site<'_>, project: &Project, scope: &Scope, part: Option<&str>, kind: &str) -> Option<Backend> {
    let program = plugin::find(site.env, kind)?;
    let folder = part.map_or_else(|| scope.env.to_string(), |part| format!("{}.{part}", scope.env));
    let state = site.workspace.state.join("plugin").join(scope.project.as_str()).join(folder);
    let target = PluginTarget::new(kind, program, Arc::clone(site.env), scope, project.root.clone(), &state);
    Some(Backend { target: Arc::new(target), traffic: None, logs: None, front: None })
}

/// Several targets as one.
fn routed(members: Vec<(String, Backend)>) -> Backend {
    let has_front = members.iter().any(|(_, backend)| backend.front.is_some());
    let routed = Arc::new(RoutedTarget::new(members));
    Backend {
        target: routed.clone(),
        traffic: Some(routed.clone()),
        logs: Some(routed.clone()),
        front: if has_front { Some(routed) } else { None },
    }
}

fn local(site: &Site<'_>, spec: &EnvSpec, scope: &Scope, part: Option<&str>) -> Backend {
    let local = Arc::new(local_target(site, spec, scope, part));
    Backend { target: local.clone(), traffic: Some(local.clone()), logs: Some(local.clone()), front: Some(local) }
}
