//! What every command is given: the clock, the history, the ports and the workspace. Built in one place (the
//! composition root of the binary), so that a command can be run against memory backends in a test.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::event::{Actor, Event, Head, Payload};
use crate::fault::{Code, Fault, Result};
use crate::id::{EnvName, Ids, ProjectName, Scope};
use crate::manifest::{DashboardSpec, Project};
use crate::port::action::Action;
use crate::port::command::CommandRunner;
use crate::port::config::ConfigSource;
use crate::port::locator::Locator;
use crate::port::metric::Prober;
use crate::port::notifier::Notifier;
use crate::port::painter::Painter;
use crate::port::verifier::Verifier;
use crate::series::SeriesStore;
use crate::store::EventStore;
use crate::suggest::nearest;
use crate::time::Clock;
use crate::ui::Ui;

/// The environment of the process, read once at the start: what a program is given is an argument too.
#[derive(Debug, Clone, Default)]
pub struct ProcessEnv {
    /// The variables.
    pub vars: BTreeMap<String, String>,
    /// The working folder.
    pub dir: PathBuf,
    /// The running binary, for starting it again as an agent.
    pub exe: PathBuf,
    /// The machine's name.
    pub host: String,
    /// The user's name.
    pub user: String,
}

impl ProcessEnv {
    /// A variable that is set and not empty.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.vars.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }
}

/// How S3 and what speaks its protocol is reached, from the usual variables.
#[derive(Clone, Copy)]
pub struct S3Access<'e> {
    /// The access key's id.
    pub id: &'e str,
    /// The access key's secret.
    pub secret: &'e str,
    /// Of a temporary access.
    pub token: Option<&'e str>,
    /// The address of the service; Amazon's own when absent.
    pub endpoint: Option<&'e str>,
    /// The region.
    pub region: &'e str,
}

impl<'e> S3Access<'e> {
    /// Reads the variables. `who` begins the sentence that says what needs them.
    ///
    /// # Errors
    /// `Usage` when the access key is not set.
    pub fn of(env: &'e ProcessEnv, who: &str) -> Result<Self> {
        let needed = |name: &str| {
            env.get(name).ok_or_else(|| {
                Fault::new(Code::Usage, format!("{who} needs credentials, and {name} is not set."))
                    .hint("Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN where there is one).")
            })
        };
        Ok(Self {
            id: needed("AWS_ACCESS_KEY_ID")?,
            secret: needed("AWS_SECRET_ACCESS_KEY")?,
            token: env.get("AWS_SESSION_TOKEN"),
            endpoint: env.get("AWS_ENDPOINT_URL_S3").or_else(|| env.get("AWS_ENDPOINT_URL")),
            region: env.get("AWS_REGION").or_else(|| env.get("AWS_DEFAULT_REGION")).unwrap_or("us-east-1"),
        })
    }

    /// Whether the service is asked without TLS, because its address says so.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.endpoint.is_some_and(|endpoint| endpoint.starts_with("http://"))
    }
}

/// The projects that this command can see, and where their common state lies.
#[derive(Debug, Clone, Default)]
pub struct Workspace {
    /// The folder of the outermost `vice.toml`.
    pub root: PathBuf,
    /// The state folder: artifacts, local targets, and the history unless it is elsewhere.
    pub state: PathBuf,
    /// Where the history lives, as `[history] store` writes it; the state folder when absent.
    pub history: Option<String>,
    /// The projects by name.
    pub projects: BTreeMap<ProjectName, Arc<Project>>,
    /// Dashboards of the workspace and of its projects.
    pub dashboards: BTreeMap<String, DashboardSpec>,
    /// The project of the working folder, if it lies in one.
    pub here: Option<ProjectName>,
}

impl Workspace {
    /// A project by name.
    ///
    /// # Errors
    /// `UnknownName` with the nearest and the list; `ManifestMissing` when there is no project at all.
    pub fn project(&self, name: &str) -> Result<Arc<Project>> {
        if let Some(project) = self.projects.get(name) {
            return Ok(Arc::clone(project));
        }
        if self.projects.is_empty() {
            return Err(self.no_manifest());
        }
        let known: Vec<&str> = self.projects.keys().map(ProjectName::as_str).collect();
        let shown: String = name.chars().take(80).collect();
        let fault = Fault::new(Code::UnknownName, format!("There is no project {shown:?} here."));
        let fault = match nearest(name, known.iter().copied()) {
            Some(near) => fault.hint(format!("Did you mean {near}?")),
            None => fault,
        };
        Err(fault.hint(format!("Known projects: {}.", known.join(", "))))
    }

    fn no_manifest(&self) -> Fault {
        Fault::new(Code::ManifestMissing, format!("There is no vice.toml in {} or above it.", self.root.display()))
            .hint("`vice init` writes one; or go into the project's folder, or name it with -C.")
    }

    /// The named project, or the one of the working folder, or the only one.
    ///
    /// # Errors
    /// `UnknownName`, or `Usage` when it is not clear which is meant.
    pub fn project_or_here(&self, name: Option<&str>) -> Result<Arc<Project>> {
        if let Some(name) = name {
            return self.project(name);
        }
        let only = || self.projects.keys().next().filter(|_| self.projects.len() == 1);
        match self.here.as_ref().or_else(only) {
            Some(name) => self.project(name.as_str()),
            None if self.projects.is_empty() => Err(self.no_manifest()),
            None => Err(Fault::new(Code::Usage, "Which project?").hint("Name it, or go into its folder.")),
        }
    }
}

/// Whether this process was asked to end. Long work looks at it between steps, parks safely and returns
/// [`Code::Interrupted`] or [`Code::Terminated`].
#[derive(Debug, Default)]
pub struct StopSignal(AtomicU8);

impl StopSignal {
    /// Says that SIGINT (true) or SIGTERM (false) came.
    pub fn raise(&self, interrupt: bool) {
        self.0.store(if interrupt { 2 } else { 15 }, Ordering::SeqCst);
    }

    /// The reason to end, once there is one.
    #[must_use]
    pub fn raised(&self) -> Option<Code> {
        match self.0.load(Ordering::SeqCst) {
            0 => None,
            2 => Some(Code::Interrupted),
            _ => Some(Code::Terminated),
        }
    }
}

/// What every command is given.
#[derive(Clone)]
pub struct App {
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The source of ids.
    pub ids: Arc<Ids>,
    /// The terminal.
    pub ui: Arc<dyn Ui>,
    /// The environment of the process.
    pub env: Arc<ProcessEnv>,
    /// Who asks.
    pub actor: Actor,
    /// The projects.
    pub workspace: Arc<Workspace>,
    /// The history.
    pub events: Arc<dyn EventStore>,
    /// The observations.
    pub series: Arc<dyn SeriesStore>,
    /// Runs commands.
    pub runner: Arc<dyn CommandRunner>,
    /// Configuration (envy).
    pub config: Arc<dyn ConfigSource>,
    /// Verification (wrath).
    pub verifier: Arc<dyn Verifier>,
    /// Requests of our own, where too few come by themselves (wrath).
    pub prober: Arc<dyn Prober>,
    /// Where deployed services answer (pride).
    pub locator: Arc<dyn Locator>,
    /// Notification (lust).
    pub notifier: Arc<dyn Notifier>,
    /// Pictures (gluttony).
    pub painter: Arc<dyn Painter>,
    /// Actions by name, from all crates.
    pub actions: Arc<BTreeMap<&'static str, Arc<dyn Action>>>,
    /// Whether the user or the system has asked this process to end.
    pub stop: Arc<StopSignal>,
    /// What makes the HTTP client, when one is needed: loading the machine's certificates costs more than most
    /// commands. Opaque here because the core has no HTTP; see the binary's `wire` module.
    pub http: Arc<dyn std::any::Any + Send + Sync>,
}

impl App {
    /// Wraps a payload as an event of this actor, now.
    ///
    /// # Errors
    /// `Internal` when it does not serialise.
    pub fn event<P: Payload>(&self, stream: impl Into<String>, scope: Option<&Scope>, payload: &P) -> Result<Event> {
        let now = self.clock.now();
        let head = Head {
            id: self.ids.next(now),
            time: now,
            stream: stream.into(),
            scope: scope.cloned(),
            actor: self.actor.clone(),
            chain_id: None,
        };
        Event::new(head, payload)
    }

    /// The project and environment that a command means, from what the user typed.
    ///
    /// # Errors
    /// As [`Workspace::project_or_here`] and [`Project::choose_env`].
    pub fn scope(&self, project: Option<&str>, env: Option<&EnvName>) -> Result<(Arc<Project>, Scope)> {
        let project = self.workspace.project_or_here(project)?;
        let env = project.choose_env(env)?;
        let scope = Scope::new(project.name().clone(), env);
        Ok((project, scope))
    }
}
