//! The shape of `vice.toml`. Unknown keys are errors; `vice schema` prints the JSON Schema made from these types.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::channel::ChannelSpec;
use super::config::{ConfigFile, ConfigRule, LayerRef, MergeRule, ReloadSpec};
use super::metric::MetricSpec;
use super::model::ModelSpec;
use super::rollout::RolloutSpec;
use super::rule::{RuleSpec, WebhookSpec};
use super::target::TargetsSpec;
use super::topology::TopologySpec;
use super::values::{Command, Health, OneOrMany, RollbackPolicy};
use crate::id::{EnvName, ProjectName};
use crate::time::Millis;

/// Header names and values of a request.
pub type HttpHeaderMap = IndexMap<String, String>;

/// A whole `vice.toml`: one project, a workspace of projects, or both.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The project's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<ProjectName>,
    /// The version that is deployed when none is named. Without it: `git describe`, or the newest artifact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Where the artifact is, such as `dist/shop-{{version}}.tar.gz`: a folder, a file, an archive, `https://…`, `git+…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact: Option<String>,
    /// What runs, as a list of arguments; `{{port}}` is the instance's port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Command>,
    /// How health is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// How long requests under way may take before an old instance is stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain_timeout: Option<Millis>,
    /// How long an instance may take to end after SIGTERM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_timeout: Option<Millis>,
    /// The environments.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<EnvName, EnvSpec>,
    /// The configuration.
    #[serde(default)]
    pub config: ConfigSpec,
    /// Tasks and hooks around a rollout, in order.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub task: IndexMap<String, TaskSpec>,
    /// Checks, in order.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub check: IndexMap<String, CheckSpec>,
    /// What rollouts are judged by, in order.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub metric: IndexMap<String, MetricSpec>,
    /// Channels for notifications.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub channel: BTreeMap<String, ChannelSpec>,
    /// Which events go to which channels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notify: Vec<NotifySpec>,
    /// What is done with events, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rule: Vec<RuleSpec>,
    /// Webhooks of other systems, which become events.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub webhook: BTreeMap<String, WebhookSpec>,
    /// Automation graphs: step names with their steps.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub graph: BTreeMap<String, IndexMap<String, StepSpec>>,
    /// Saved dashboards.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub dashboard: BTreeMap<String, DashboardSpec>,
    /// Where the history lives.
    #[serde(default)]
    pub history: HistorySpec,
    /// The projects of a workspace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<WorkspaceSpec>,
}

/// The projects of a workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkspaceSpec {
    /// Folders with a `vice.toml` each; a last part `*` means every folder there.
    pub projects: Vec<String>,
}

/// Where the history lives.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HistorySpec {
    /// Where the history is: a folder relative to this file (`.vice` when absent), `sqlite:FOLDER`, `jsonl:FOLDER`,
    /// `git:REMOTE`, `s3://BUCKET/PREFIX`, `postgres://USER@HOST/DATABASE`, `nats://HOST/STREAM`, the `https://` address
    /// of a `vice serve`, or `NAME:PLACE` for a program `vice-backend-NAME`. A password never stands here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<String>,
}

/// How much care an environment asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EnvClass {
    /// Nobody is hurt when it breaks.
    #[default]
    Dev,
    /// Others rely on it for their work.
    Int,
    /// Customers rely on it: it has to be named and confirmed.
    Prod,
}

/// An environment.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EnvSpec {
    /// How much care it asks for.
    #[serde(default)]
    pub class: EnvClass,
    /// Whether it is meant when none is named.
    #[serde(default)]
    pub default: bool,
    /// Where the service answers; for the local target it follows from `port`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The port of the local front end; a free one is chosen and kept when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Where the local front end shows its counters to a Prometheus, on 127.0.0.1: a port, or 0 for a free one. Nowhere
    /// when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics_port: Option<u16>,
    /// The request header that says which client asks, such as `X-User`; the address does when absent. Failures of one
    /// client in one window count once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_header: Option<String>,
    /// How many instances run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instances: Option<u32>,
    /// Where it runs; local when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<TargetsSpec>,
    /// Whether others change it from elsewhere, so that its history must be one that they share. When absent, the target
    /// says whether other machines can reach it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared: Option<bool>,
    /// Where its units stand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topology: Option<TopologySpec>,
    /// How a rollout goes.
    #[serde(default)]
    pub rollout: RolloutSpec,
    /// The world that the simulator puts around a rollout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelSpec>,
    /// Values that only this environment has, on top of all layers.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub config: IndexMap<String, Value>,
}

/// How health is asked.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HealthSpec {
    /// The path that must answer 2xx; without it the port must accept connections.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// How often a running instance is asked; 1 s when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Millis>,
    /// How long one answer may take; 2 s when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Millis>,
    /// How long a new instance may take to become healthy; 30 s when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_timeout: Option<Millis>,
    /// So many good answers in a row make it healthy; 1 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthy_after: Option<u32>,
    /// So many bad answers in a row make it unhealthy; 3 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unhealthy_after: Option<u32>,
}

/// The configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfigSpec {
    /// Layers from weak to strong, such as `config/{{env}}.toml`; a last `?` means that it may be absent. The word
    /// `env:PREFIX_` takes variables of the calling process that start so; `git:`, `s3:`, `consul:`, `k8s:` and `vault:`
    /// name other stores.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<LayerRef>,
    /// How lists meet those of weaker layers, by dotted key (a last `*` matches the rest); they are replaced when
    /// nothing is said. The same can stand in the schema as `x-vice-merge`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub merge: BTreeMap<String, MergeRule>,
    /// Whether `${other.key}` in a value stands for the value of that key; false when absent.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub interpolate: bool,
    /// How a running instance takes up another configuration; it is replaced by a new one when nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reload: Option<ReloadSpec>,
    /// Rules that `vice envy check` holds the configuration to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rule: Vec<ConfigRule>,
    /// The folder of the templates of `vice envy render`; `config/templates` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub templates: Option<String>,
    /// Files that `vice envy render` writes beside the templates.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub file: Vec<ConfigFile>,
    /// A JSON Schema for the effective configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// Keys that are secret wherever they come from; a last `*` matches the rest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<String>,
    /// The file with the public keys that secrets are encrypted for; `config/recipients.txt` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipients: Option<String>,
}

/// When a task runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TaskRun {
    /// Before the change.
    #[default]
    Before,
    /// After the change.
    After,
}

/// How often a task runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TaskPer {
    /// Once in a rollout.
    #[default]
    Rollout,
    /// For each unit.
    Unit,
}

/// A task or hook of a rollout. It is told `VICE_PROJECT`, `VICE_ENV`, `VICE_VERSION`, `VICE_PREVIOUS_VERSION`,
/// `VICE_DIRECTION` (deploy or rollback), `VICE_ROLLOUT` and, per unit, `VICE_UNIT`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskSpec {
    /// What runs, in the release's folder where there is one.
    pub command: Command,
    /// Before or after the change.
    #[serde(default)]
    pub run: TaskRun,
    /// Once, or for each unit.
    #[serde(default)]
    pub per: TaskPer,
    /// What a rollback means for it.
    #[serde(default)]
    pub rollback: RollbackPolicy,
    /// How long it may take; 5 min when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Millis>,
    /// Whether it also runs, as it is, when the direction is rollback; for announcements and cache warm-up.
    #[serde(default)]
    pub on_rollback: bool,
}

/// A check: exactly one of `http`, `tcp` and `command`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckSpec {
    /// A URL, such as `{{env.url}}/healthz`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<String>,
    /// An address, such as `127.0.0.1:5432`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp: Option<String>,
    /// A command that must exit with 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Command>,
    /// A file with a scenario that must pass, such as `wrath/checkout.toml`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scenario: Option<String>,

    /// http: the method; GET, or POST with a body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// http: headers.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub headers: HttpHeaderMap,
    /// http: the body as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// http: the body as JSON; sets the content type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_json: Option<Value>,

    /// http: the expected status; 200 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// http: expected headers; a value is a regular expression.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub expect_headers: HttpHeaderMap,
    /// http: JSON Pointers with the values that must stand there.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub json: IndexMap<String, Value>,
    /// http, command: regular expressions that must match the body or the output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matches: Option<OneOrMany>,
    /// http, tcp: the longest latency of the good answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_max: Option<Millis>,
    /// http with https: the certificate must be valid for at least so long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_expiry_min: Option<Millis>,
    /// http: what later checks can use as `{{name}}`: `json:/pointer`, `header:Name` or `regex:pattern` (first group).
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub capture: IndexMap<String, String>,

    /// How long one attempt may take; 10 s when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Millis>,
    /// Try again until it passes, for so long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_for: Option<Millis>,
    /// How long to wait between attempts; 500 ms when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_every: Option<Millis>,
    /// Checks that must have passed before; those whose captures are used are needed by themselves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<String>,
    /// Tags to choose by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Only in these environments; all when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub only: Vec<EnvName>,
}

impl CheckSpec {
    /// The kind of check.
    ///
    /// # Errors
    /// Text that continues "The check x …" when not exactly one of `http`, `tcp`, `command`, `scenario` is given.
    pub fn kind(&self) -> Result<&'static str, String> {
        match (&self.http, &self.tcp, &self.command, &self.scenario) {
            (Some(_), None, None, None) => Ok("http"),
            (None, Some(_), None, None) => Ok("tcp"),
            (None, None, Some(_), None) => Ok("command"),
            (None, None, None, Some(_)) => Ok("scenario"),
            (None, None, None, None) => {
                Err("says nothing to check: give it one of http, tcp, command or scenario".to_owned())
            }
            _ => Err("has more than one of http, tcp, command and scenario; give each a check of its own".to_owned()),
        }
    }
}

/// Which events go to which channels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NotifySpec {
    /// What happened: `deployed`, `rolled-back`, `failed`, `waiting`, `started`, `hold`, `verification-failed`, `message`,
    /// `*`, or an event type (a last `*` matches the rest).
    pub on: Vec<String>,
    /// The channel, or several.
    pub to: OneOrMany,
    /// Only in these environments; all when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<EnvName>,
    /// The title, as a handlebars template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The text, as a handlebars template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
}

/// A step of an automation graph: exactly one of `run` and `action`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StepSpec {
    /// A command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<Command>,
    /// An action of vice, such as `deploy`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// Inputs of the action, or variables of the command; `{{step.output}}` takes an output of a step.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub with: IndexMap<String, Value>,
    /// Outputs of a command: a file pattern, `stdout`, `stdout:json` or `stdout:json:/pointer`.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub out: IndexMap<String, String>,
    /// Steps that must have succeeded before; those whose outputs are used are needed by themselves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<String>,
    /// Run only if this comparison holds: `{{step.output}} == value` or `!=`, or `always` to run after failures too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// How often to try again after a failure.
    #[serde(default)]
    pub retry: u32,
    /// How long one attempt may take; 10 min when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Millis>,
}

/// A saved dashboard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DashboardSpec {
    /// The heading.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Which projects; all when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub projects: Vec<ProjectName>,
    /// What it shows, in order; everything when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub panels: Vec<Panel>,
}

/// A part of a dashboard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Panel {
    /// What runs where.
    Status,
    /// The latest rollouts.
    Rollouts,
    /// The latest verifications.
    Verifications,
    /// Holds.
    Holds,
    /// How often and how well deploys go.
    Frequency,
}
