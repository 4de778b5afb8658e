//! `[[rule]]` and `[webhook.NAME]`: what is done with events, and where they come from. It owns the words; what a condition
//! means, and whether it makes sense, is the business of whoever evaluates it.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::values::{Command, OneOrMany};
use crate::id::EnvName;
use crate::port::notifier::Severity;
use crate::time::Millis;

/// A rule over events: which ones, and what is done with each.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleSpec {
    /// The rule's name: a-z, 0-9, - and _.
    pub name: String,
    /// The types of events that it is about; `*` at the end stands for anything. When absent, they are taken from `when`
    /// where it begins with a comparison of `type`; else every event is looked at.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub on: OneOrMany,
    /// A condition in CEL over `type`, `source`, `subject`, `data`, `time` and `labels`; always when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// Counts fitting events over time instead of acting on each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<SpanSpec>,
    /// What is done.
    pub then: ThenSpec,
}

fn is_empty(list: &OneOrMany) -> bool {
    list.0.is_empty()
}

/// What a window computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// How many events.
    #[default]
    Count,
    /// How many events a second.
    Rate,
    /// A quantile of the numbers that `of` gives.
    Quantile,
    /// How many different values `of` has.
    Distinct,
}

/// A window over the time of events.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SpanSpec {
    /// How long a window is.
    pub size: Millis,
    /// How often a new one begins; as long as `size` when absent, so that windows do not overlap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<Millis>,
    /// What tells windows of the same time apart, in CEL, such as `data.host`; one window for all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What is computed.
    #[serde(default)]
    pub measure: Measure,
    /// The value that `quantile` and `distinct` look at, in CEL, such as `data.latency`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
    /// Which quantile: 0.95 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub q: Option<f64>,
    /// How late an event may come and still count; 10 s when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub late: Option<Millis>,
    /// Whether events that come even later are kept in the stream `late/PROJECT/RULE`; they are counted in any case.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keep_late: bool,
    /// Which results are acted on, in CEL over `value`, `count`, `key` and `late`, such as `value > 100`; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub having: Option<String>,
}

/// What is done with an event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ThenSpec {
    /// No later rule sees it.
    Drop,
    /// A copy is kept in a stream.
    Store(StoreSpec),
    /// Another event is made of it.
    Transform(TransformSpec),
    /// Somebody is told.
    Notify(RuleNoticeSpec),
    /// An action or a command runs.
    Run(RunSpec),
    /// It is sent on by HTTP.
    Emit(EmitSpec),
}

/// Where a copy is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StoreSpec {
    /// The last part of the stream's name: `kept/PROJECT/NAME`.
    pub stream: String,
}

/// The event that is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TransformSpec {
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its subject, in which `{{…}}` stands for a CEL expression; that of the first event when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Its data: keys with CEL expressions; the data of the first event when empty.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub data: IndexMap<String, String>,
}

/// What is told to whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleNoticeSpec {
    /// One line, in which `{{…}}` stands for a CEL expression.
    pub title: String,
    /// More, in the same way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// The channels; those of the project's rules for messages when absent.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub to: OneOrMany,
    /// How urgent; `warning` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<Severity>,
}

/// What runs: exactly one of `action` and `command`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunSpec {
    /// An action of vice, such as `notify` or `deploy`; `vice sloth actions` lists them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// Inputs of the action; in texts `{{…}}` stands for a CEL expression.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub with: IndexMap<String, Value>,
    /// A command, which gets the event as a CloudEvent on standard input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Command>,
    /// How long it may take; 1 min when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Millis>,
}

/// How a CloudEvent is written on HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EmitMode {
    /// One JSON document with everything.
    #[default]
    Structured,
    /// The attributes as headers, the data as the body.
    Binary,
    /// A list with one document.
    Batch,
    /// One log record for OpenTelemetry (OTLP in JSON).
    Otlp,
}

/// Where an event is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EmitSpec {
    /// The URL.
    pub url: String,
    /// How it is written.
    #[serde(default)]
    pub mode: EmitMode,
    /// The configuration key or `env:NAME` of a token, sent as `Authorization: Bearer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// The environment whose configuration holds the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<EnvName>,
}

/// Whose webhooks they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WebhookKind {
    /// GitHub: `X-Hub-Signature-256`.
    Github,
    /// GitLab: `X-Gitlab-Token`.
    Gitlab,
    /// Argo CD notifications: `Authorization: Bearer`.
    Argocd,
    /// Alertmanager: `Authorization: Bearer`.
    Alertmanager,
    /// Anything that signs as vice does: `X-Vice-Signature`.
    Generic,
}

/// A webhook that `vice greed ingest` answers under `/webhooks/PROJECT/NAME`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookSpec {
    /// Who calls.
    pub kind: WebhookKind,
    /// The configuration key or `env:NAME` of the secret that the caller shares.
    pub secret: String,
    /// The environment that its events belong to, and whose configuration holds the secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<EnvName>,
}
