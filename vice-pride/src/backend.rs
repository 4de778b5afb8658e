//! Which target stands behind an environment. The kinds are known here; how each works is its own folder.

use std::sync::Arc;

use vice_core::Result;
use vice_core::app::{App, ProcessEnv, Workspace};
use vice_core::id::Scope;
#[cfg(feature = "ssh")]
use vice_core::manifest::RunBy;
use vice_core::manifest::{ANSIBLE, EnvSpec, KUBERNETES, LOCAL, Project, SSH, TargetSpec, TargetsSpec};
use vice_core::port::command::CommandRunner;
use vice_core::port::target::{LogSource, Target, Traffic};
use vice_core::registry::Registry;
use vice_core::time::Clock;
use vice_core::ui::Ui;

use crate::driver::INTERVAL;
use crate::metric::FrontCounts;
use crate::plugin::PluginTarget;
#[cfg(feature = "kubernetes")]
use crate::target::kubernetes::Registries;
use crate::target::local::front::ClientOptions;
use crate::target::local::{LocalOptions, LocalTarget};
use crate::target::{Keeper, RoutedTarget};

/// What a backend is made from.
#[cfg_attr(not(feature = "ssh"), expect(dead_code, reason = "only a target with hosts needs all of it"))]
struct Making<'a> {
    site: &'a Site<'a>,
    project: &'a Project,
    spec: &'a EnvSpec,
    scope: &'a Scope,
    /// The name of the target, where there are several.
    part: Option<&'a str>,
    /// What `vice.toml` says of the target; nothing for the one that need not be said.
    target: Option<&'a TargetSpec>,
    /// What registries of images have said, which all targets of the environment share.
    #[cfg(feature = "kubernetes")]
    registries: Option<&'a Arc<Registries>>,
}

/// Makes the backend of an environment; starts nothing.
type Maker = fn(&Making<'_>) -> Result<Backend>;

/// What a local backend needs of its surroundings.
#[derive(Clone, Copy)]
pub struct Site<'a> {
    /// Where the state lies.
    pub workspace: &'a Workspace,
    /// The environment of the process.
    pub env: &'a Arc<ProcessEnv>,
    /// The clock.
    pub clock: &'a Arc<dyn Clock>,
    /// Runs what a target needs to have run, such as `helm template`; none for whoever only looks.
    pub runner: Option<&'a Arc<dyn CommandRunner>>,
    /// Makes the HTTP client that registries of images are asked with; none for whoever only looks.
    pub http: Option<fn() -> Result<reqwest::Client>>,
    /// Who is told what went otherwise than it was meant; nobody for whoever only looks.
    pub ui: Option<&'a Arc<dyn Ui>>,
}

/// The kinds of target that can be named in `vice.toml`.
fn kinds() -> Result<Registry<Maker>> {
    let mut kinds: Registry<Maker> = Registry::new("kinds of target");
    kinds.add(LOCAL, local)?;
    kinds.add(ANSIBLE, ansible)?;
    #[cfg(feature = "ssh")]
    kinds.add(SSH, ssh)?;
    #[cfg(not(feature = "ssh"))]
    kinds.add_absent(SSH, "Build with --features ssh.");
    #[cfg(feature = "kubernetes")]
    kinds.add(KUBERNETES, kubernetes)?;
    #[cfg(not(feature = "kubernetes"))]
    kinds.add_absent(KUBERNETES, "Build with --features kubernetes.");
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
    /// Keeps more than what runs, where it does.
    pub keepers: Vec<Arc<dyn Keeper>>,
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
    let site = Site {
        workspace: &app.workspace,
        env: &app.env,
        clock: &app.clock,
        runner: Some(&app.runner),
        http: app.http.downcast_ref::<fn() -> Result<reqwest::Client>>().copied(),
        ui: Some(&app.ui),
    };
    connect_at(&site, project, scope)
}

/// As [`connect`], for whoever has no whole application.
///
/// # Errors
/// As [`connect`].
pub fn connect_at(site: &Site<'_>, project: &Project, scope: &Scope) -> Result<Backend> {
    let spec = project.env(&scope.env)?;
    let kinds = kinds()?;
    #[cfg(feature = "kubernetes")]
    let registries = site.http.map(|http| Arc::new(Registries::new(http, Arc::clone(site.env), site.runner.cloned())));
    let make = |part: Option<&str>, target: Option<&TargetSpec>| {
        let kind = target.map_or(LOCAL, |target| target.kind.as_str());
        match kinds.get(kind) {
            Ok(maker) => maker(&Making {
                site,
                project,
                spec,
                scope,
                part,
                target,
                #[cfg(feature = "kubernetes")]
                registries: registries.as_ref(),
            }),
            // What is built in is never replaced by a program.
            Err(fault) => plugged_in(site, project, scope, part, kind)?.ok_or_else(|| {
                let keys = ["env", scope.env.as_str(), "target"].into_iter().chain(part).chain(["kind"]);
                fault
                    .at(project.place(&keys.collect::<Vec<_>>(), "not a kind that is built in"))
                    .hint(format!("A program vice-backend-{kind} on PATH would be one: docs/plugins.md."))
            }),
        }
    };
    match &spec.target {
        None => make(None, None),
        Some(TargetsSpec::One(target)) => make(None, Some(target.as_ref())),
        Some(several) => {
            let members = several.each().map(|(name, target)| {
                make(name, Some(target)).map(|backend| (name.unwrap_or_default().to_owned(), backend))
            });
            Ok(routed(members.collect::<Result<_>>()?))
        }
    }
}

/// The plug-in of that name, where there is one.
fn plugged_in(
    site: &Site<'_>,
    project: &Project,
    scope: &Scope,
    part: Option<&str>,
    kind: &str,
) -> Result<Option<Backend>> {
    let Some(program) = vice_plugin::find(site.env, kind)? else { return Ok(None) };
    let folder = part.map_or_else(|| scope.env.to_string(), |part| format!("{}.{part}", scope.env));
    let state = site.workspace.state.join("plugin").join(scope.project.as_str()).join(folder);
    let target = PluginTarget::new(kind, program, Arc::clone(site.env), scope, project.root.clone(), &state);
    let backend = Backend { target: Arc::new(target), traffic: None, logs: None, front: None, keepers: Vec::new() };
    Ok(Some(backend))
}

/// Several targets as one.
fn routed(members: Vec<(String, Backend)>) -> Backend {
    let has_traffic = members.iter().all(|(_, backend)| backend.traffic.is_some());
    let has_front = members.iter().any(|(_, backend)| backend.front.is_some());
    let keepers = members.iter().flat_map(|(_, backend)| backend.keepers.iter().cloned()).collect();
    let routed = Arc::new(RoutedTarget::new(members));
    Backend {
        target: routed.clone(),
        traffic: if has_traffic { Some(routed.clone()) } else { None },
        logs: Some(routed.clone()),
        front: if has_front { Some(routed) } else { None },
        keepers,
    }
}

fn local(making: &Making<'_>) -> Result<Backend> {
    let local = Arc::new(local_target(making.site, making.spec, making.scope, making.part));
    Ok(Backend {
        target: local.clone(),
        traffic: Some(local.clone()),
        logs: Some(local.clone()),
        front: Some(local),
        keepers: Vec::new(),
    })
}

/// Where hosts have vice's folder when `vice.toml` does not say.
const HOST_ROOT: &str = "/srv/vice";

/// How many hosts are asked at the same time when `vice.toml` does not say.
#[cfg(feature = "ssh")]
const CONCURRENCY: u32 = 32;

/// How long connecting to a host may take when `vice.toml` does not say.
#[cfg(feature = "ssh")]
const CONNECT_TIMEOUT: vice_core::Millis = vice_core::Millis::from_secs(10);

#[cfg(feature = "ssh")]
fn ssh(making: &Making<'_>) -> Result<Backend> {
    use crate::target::ssh::{Sharing, SshOptions, SshTarget};
    let Making { site, project, spec, scope, part, target, .. } = *making;
    let said = target.cloned().unwrap_or_default();
    let hosts = crate::target::hosts::of(project, &scope.env, part, &said)?;
    let run = said.run.unwrap_or_default();
    let services = if run == RunBy::Runit { "/etc/service" } else { "/run/service" };
    let folder = part.map_or_else(|| scope.env.to_string(), |part| format!("{}.{part}", scope.env));
    let near = |word: &String| crate::target::hosts::domains(project, &scope.env, part, word, &hosts);
    let domains = said.share_within.as_ref().map(near).transpose()?;
    let peer_ssh = said.peer_ssh.map_or_else(|| vec!["ssh".to_owned()], |command| command.0);
    let ssh = Arc::new(SshTarget::new(SshOptions {
        scope: scope.clone(),
        hosts,
        instances: said.instances.or(spec.instances).unwrap_or(1),
        root: said.path.unwrap_or_else(|| format!("{HOST_ROOT}/{}/{folder}", scope.project)),
        config: said.config.map(|config| project.root.join(config)),
        run,
        services: said.services.unwrap_or_else(|| services.to_owned()),
        health_at: said.health_at.unwrap_or_default(),
        port: spec.port,
        concurrency: said.concurrency.unwrap_or(CONCURRENCY) as usize,
        connect_timeout: said.connect_timeout.unwrap_or(CONNECT_TIMEOUT),
        work: site.workspace.state.join("ssh"),
        env: Arc::clone(site.env),
        sharing: domains.map(|domains| Sharing { domains, ssh: peer_ssh }),
        ui: site.ui.cloned(),
    }));
    Ok(Backend { target: ssh.clone(), traffic: None, logs: Some(ssh.clone()), front: None, keepers: vec![ssh] })
}

fn ansible(making: &Making<'_>) -> Result<Backend> {
    use crate::target::ansible::{AnsibleOptions, AnsibleTarget, TIMEOUT};
    let Making { site, project, spec, scope, part, target, .. } = *making;
    let said = target.cloned().unwrap_or_default();
    let hosts = crate::target::hosts::of(project, &scope.env, part, &said)?;
    let folder = part.map_or_else(|| scope.env.to_string(), |part| format!("{}.{part}", scope.env));
    let at = |path: String| project.root.join(path);
    let ansible = Arc::new(AnsibleTarget::new(AnsibleOptions {
        scope: scope.clone(),
        root: project.root.clone(),
        hosts,
        inventory: at(said.inventory.unwrap_or_default()),
        playbook: at(said.playbook.unwrap_or_default()),
        rollback: said.rollback.map(at),
        remove: said.remove.map(at),
        config: said.config.map(at),
        become_root: said.become_root.unwrap_or_default(),
        vault: said.vault,
        again: said.again.unwrap_or_default(),
        forks: said.concurrency,
        timeout: said.timeout.unwrap_or(TIMEOUT),
        path: said.path.unwrap_or_else(|| format!("{HOST_ROOT}/{}/{folder}", scope.project)),
        port: spec.port,
        logs: said.logs.map(|logs| logs.0).unwrap_or_default(),
        work: site.workspace.state.join("ansible"),
        env: Arc::clone(site.env),
    }));
    Ok(Backend { target: ansible.clone(), traffic: None, logs: Some(ansible), front: None, keepers: Vec::new() })
}

#[cfg(feature = "kubernetes")]
fn kubernetes(making: &Making<'_>) -> Result<Backend> {
    use crate::target::kubernetes::{KubernetesOptions, KubernetesTarget};
    let Making { site, project, spec, scope, part, target, registries } = *making;
    if spec.instances.is_some() && part.is_none() {
        let message = format!("`instances` of {} says nothing to a Kubernetes target.", scope.env);
        return Err(project
            .invalid(&["env", scope.env.as_str(), "instances"], message)
            .hint("Write `replicas` in the manifests instead."));
    }
    let kubernetes = Arc::new(KubernetesTarget::new(KubernetesOptions {
        scope: scope.clone(),
        part: part.map(str::to_owned),
        spec: target.cloned().unwrap_or_default(),
        root: project.root.clone(),
        url: spec.url.clone(),
        clock: Arc::clone(site.clock),
        env: Arc::clone(site.env),
        runner: site.runner.cloned(),
        registries: registries.cloned(),
    }));
    let splits = target.is_some_and(|target| target.traffic.is_some());
    Ok(Backend {
        target: kubernetes.clone(),
        traffic: if splits { Some(kubernetes.clone()) } else { None },
        logs: Some(kubernetes.clone()),
        front: None,
        keepers: vec![kubernetes],
    })
}
