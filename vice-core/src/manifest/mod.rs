//! `vice.toml`: its types, its parsing with errors that point at the place, and the project around it.
//!
//! Parsing is pure: text in, values out. Finding and reading files is the business of the binary.

mod channel;
mod config;
mod metric;
mod model;
mod parse;
mod rollout;
mod rule;
mod selector;
mod target;
mod topology;
mod types;
mod values;

pub use channel::{BuiltInChannel, ChannelSpec, PluginChannel};
pub use config::{
    ConditionalLayer, ConfigFile, ConfigRule, LabelChoice, LayerCondition, LayerRef, MergeRule, ReloadKind,
    ReloadSignal, ReloadSpec, fits,
};
pub use metric::{METRIC_VARIABLES, MetricCounts, MetricKind, MetricOrigin, MetricSlip, MetricSpec, STRATA_MAX};
pub use model::{BugSpec, Chance, CostSpec, Hazard, ModelSpec, PlaceSpec, Rate, Spread};
pub use parse::{explain, parse, place_of};
pub use rollout::{
    AfterSpec, CanaryStep, FailureSpec, MaxDown, Order, RolloutSpec, Share, StepSize, Strategy, Supersede, VerifyWhen,
    Weekday, WindowSpec, Windows,
};
pub use rule::{
    EmitMode, EmitSpec, Measure, RuleNoticeSpec, RuleSpec, RunSpec, SpanSpec, StoreSpec, ThenSpec, TransformSpec,
    WebhookKind, WebhookSpec,
};
pub use selector::{Conjunction, Selector, Term};
pub use target::{ANSIBLE, HealthAt, KUBERNETES, LOCAL, RunBy, SSH, TRACKS, TargetSpec, TargetsSpec, TrafficSpec};
pub use topology::{Branch, DomainSpec, LabelValue, NodeSpec, TopologySpec};
pub use types::{
    CheckSpec, ConfigSpec, DashboardSpec, EnvClass, EnvSpec, HealthSpec, HistorySpec, HttpHeaderMap, Manifest,
    NotifySpec, Panel, StepSpec, TaskPer, TaskRun, TaskSpec, WorkspaceSpec,
};
pub use values::{Amount, Command, Health, OneOrMany, RollbackPolicy};

use std::path::PathBuf;
use std::sync::Arc;

use crate::fault::{Code, Fault, Place, Result};
use crate::id::{EnvName, ProjectName};
use crate::suggest::nearest;

/// How many instances an environment may have. They run on one machine; more is surely a slip.
pub const INSTANCES_MAX: u32 = 1000;

/// Words that are subcommands somewhere, so that no project can be named so.
pub const RESERVED_PROJECT_NAMES: &[&str] = &[
    "abort",
    "append",
    "backup",
    "channels",
    "check",
    "completions",
    "config",
    "dashboards",
    "dead",
    "deploy",
    "diff",
    "doctor",
    "edit",
    "envy",
    "exec",
    "explain",
    "fmt",
    "gluttony",
    "graph",
    "greed",
    "help",
    "history",
    "holds",
    "import",
    "ingest",
    "init",
    "judge",
    "keys",
    "lint",
    "list",
    "lock",
    "log",
    "logs",
    "lust",
    "man",
    "notify",
    "overview",
    "pause",
    "plan",
    "plugin",
    "pride",
    "probe",
    "project",
    "prune",
    "release",
    "render",
    "report",
    "restart",
    "restore",
    "resume",
    "resolve",
    "rollback",
    "rules",
    "run",
    "runs",
    "schema",
    "serve",
    "set",
    "settings",
    "show",
    "simulate",
    "sloth",
    "start",
    "status",
    "stop",
    "tail",
    "tick",
    "verify",
    "version",
    "watch",
    "why",
    "wrath",
];

/// A project: its manifest, where it lies, and its text for errors.
#[derive(Debug, Clone)]
pub struct Project {
    /// The parsed file.
    pub manifest: Manifest,
    /// The folder of the file; relative paths start here.
    pub root: PathBuf,
    /// The file as the user knows it.
    pub file: String,
    /// The whole text.
    pub text: Arc<str>,
}

impl Project {
    /// Parses a project file and checks what parsing alone can't.
    ///
    /// # Errors
    /// `ManifestInvalid` pointing at the place.
    pub fn parse(root: PathBuf, file: String, text: impl Into<Arc<str>>) -> Result<Self> {
        let text = text.into();
        let manifest = parse(&file, &text)?;
        let project = Self { manifest, root, file, text };
        project.check()?;
        Ok(project)
    }

    /// The project's name.
    ///
    /// # Panics
    /// Never: [`Project::parse`] refuses files without a name.
    #[must_use]
    pub fn name(&self) -> &ProjectName {
        match &self.manifest.name {
            Some(name) => name,
            None => unreachable!("Project::parse refuses files without a name"),
        }
    }

    /// Where a dotted path, such as `["check", "smoke", "http"]`, stands in the file.
    #[must_use]
    pub fn place(&self, path: &[&str], label: &str) -> Option<Place> {
        place_of(&self.file, &self.text, path, label)
    }

    /// A fault about this manifest at a path.
    #[must_use]
    pub fn invalid(&self, path: &[&str], message: impl Into<String>) -> Fault {
        Fault::new(Code::ManifestInvalid, message).at(self.place(path, ""))
    }

    /// The specification of an environment.
    ///
    /// # Errors
    /// `UnknownName` with the list.
    pub fn env(&self, name: &EnvName) -> Result<&EnvSpec> {
        self.manifest.env.get(name).ok_or_else(|| self.unknown_env(name.as_str()))
    }

    fn unknown_env(&self, name: &str) -> Fault {
        let known: Vec<&str> = self.manifest.env.keys().map(EnvName::as_str).collect();
        let fault = Fault::new(Code::UnknownName, format!("The project {} has no environment {name:?}.", self.name()));
        let fault = match nearest(name, known.iter().copied()) {
            Some(near) => fault.hint(format!("Did you mean {near}?")),
            None => fault,
        };
        fault.hint(format!("It has: {}.", known.join(", ")))
    }

    /// The environment that is meant: the named one; else the one marked default; else the only one that is not of
    /// production class.
    ///
    /// # Errors
    /// `UnknownName`, or `EnvironmentNeeded` with the list.
    pub fn choose_env(&self, named: Option<&EnvName>) -> Result<EnvName> {
        if let Some(name) = named {
            self.env(name)?;
            return Ok(name.clone());
        }
        let open: Vec<(&EnvName, &EnvSpec)> =
            self.manifest.env.iter().filter(|(_, spec)| spec.class != EnvClass::Prod).collect();
        let marked = open.iter().find(|(_, spec)| spec.default);
        match (marked, open.as_slice()) {
            (Some((name, _)), _) => Ok((*name).clone()),
            (None, [(name, _)]) if self.manifest.env.len() == 1 => Ok((*name).clone()),
            _ => {
                let known: Vec<&str> = self.manifest.env.keys().map(EnvName::as_str).collect();
                Err(Fault::new(Code::EnvironmentNeeded, format!("Which environment of {}?", self.name()))
                    .hint(format!("Add --env with one of: {}; or mark one with `default = true`.", known.join(", "))))
            }
        }
    }

    fn check(&self) -> Result<()> {
        let Some(name) = &self.manifest.name else {
            return Err(Fault::new(Code::ManifestInvalid, format!("{} has no `name`.", self.file))
                .at(place_of(&self.file, &self.text, &[], ""))
                .hint("Add a first line such as: name = \"shop\"."));
        };
        if RESERVED_PROJECT_NAMES.contains(&name.as_str()) {
            return Err(self
                .invalid(&["name"], format!("A project can't be named {name}, because that is a command."))
                .hint(format!("Choose another name, such as {name}-service.")));
        }
        if self.manifest.env.is_empty() {
            return Err(self
                .invalid(&[], format!("The project {name} has no environment."))
                .hint("Add a section such as [env.dev]; it may be empty."));
        }
        self.manifest.env.iter().try_for_each(|(env, spec)| self.check_env(env, spec))?;
        for (check, spec) in &self.manifest.check {
            spec.kind().map_err(|why| self.invalid(&["check", check], format!("The check {check} {why}.")))?;
        }
        for (metric, spec) in &self.manifest.metric {
            spec.check()
                .map_err(|(key, why)| self.invalid(&["metric", metric, key], format!("The metric {metric} {why}.")))?;
        }
        Ok(())
    }

    fn check_env(&self, env: &EnvName, spec: &EnvSpec) -> Result<()> {
        let invalid = |key: &str, message: String| self.invalid(&["env", env.as_str(), key], message);
        if spec.class == EnvClass::Prod && spec.default {
            return Err(invalid("default", format!("{env} is of production class and can't be the default."))
                .hint("Production has to be named each time: that is the point."));
        }
        if let Some(instances) = spec.instances.filter(|instances| *instances > INSTANCES_MAX) {
            let message = format!("{env} would have {instances} instances; {INSTANCES_MAX} is the limit.");
            return Err(invalid("instances", message).hint(format!("Write a number from 0 to {INSTANCES_MAX}.")));
        }
        spec.rollout.check().map_err(|(key, why)| {
            self.invalid(&["env", env.as_str(), "rollout", key], format!("`rollout.{key}` of {env} {why}."))
        })?;
        if spec.port == Some(0) {
            return Err(invalid("port", format!("{env} can't answer on port 0."))
                .hint("Leave `port` out to have a free one chosen and kept."));
        }
        let token = |name: &str| {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
            !name.is_empty() && name.len() <= 100 && name.bytes().all(allowed)
        };
        if let Some(name) = spec.client_header.as_deref().filter(|name| !token(name)) {
            return Err(invalid("client_header", format!("{name:?} can't be the name of a header."))
                .hint("Write the name alone, such as \"X-User\"."));
        }
        self.check_model(env, spec)
    }

    fn check_model(&self, env: &EnvName, spec: &EnvSpec) -> Result<()> {
        let Some(Err((path, why))) = spec.model.as_ref().map(ModelSpec::check) else { return Ok(()) };
        let path: Vec<&str> =
            ["env", env.as_str(), "model"].into_iter().chain(path.iter().map(String::as_str)).collect();
        Err(self.invalid(&path, why))
    }
}
