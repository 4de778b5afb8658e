//! What a rule asks for outside of the log, in the form in which it waits.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Position;
use vice_core::Digest;
use vice_core::Millis;
use vice_core::event::{Event, Recorded};
use vice_core::id::EnvName;
use vice_core::manifest::EmitMode;
use vice_core::port::notifier::Severity;

use super::ruleset::RULE_SOURCE;

/// An event may come through so many rules, one after the other; more is surely a circle.
pub(crate) const HOPS_MAX: u32 = 8;

/// Something to be done outside of the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Effect {
    /// Tell somebody.
    Notify { title: String, body: String, to: Vec<String>, severity: Severity },
    /// Run an action of vice.
    Action { name: String, input: Value, timeout: Millis },
    /// Run a command.
    Command { argv: Vec<String>, timeout: Millis },
    /// Send the event on.
    Emit { url: String, mode: EmitMode, token: Option<String>, env: Option<EnvName> },
}

impl Effect {
    /// What it is, in a few words.
    pub(crate) fn show(&self) -> String {
        match self {
            Self::Notify { title, .. } => format!("notify: {title}"),
            Self::Action { name, .. } => format!("action {name}"),
            Self::Command { argv, .. } => format!("command {}", argv.join(" ")),
            Self::Emit { url, .. } => format!("emit to {}", shown_url(url)),
        }
    }

    /// How long it may take.
    pub(crate) const fn timeout(&self) -> Millis {
        match self {
            Self::Action { timeout, .. } | Self::Command { timeout, .. } => *timeout,
            Self::Notify { .. } | Self::Emit { .. } => Millis::from_secs(60),
        }
    }
}

/// A URL without what may be a secret in it.
pub(crate) fn shown_url(url: &str) -> String {
    match url::Url::parse(url) {
        Ok(url) => format!("{}://{}", url.scheme(), &url[Position::BeforeHost..Position::AfterPath]),
        Err(_) => "(no URL)".to_owned(),
    }
}

/// Which event caused something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cause {
    /// Its place in the log.
    pub(crate) seq: u64,
    /// Its id.
    pub(crate) id: String,
    /// Its type.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// Its subject.
    pub(crate) subject: String,
}

impl Cause {
    pub(crate) fn of(recorded: &Recorded) -> Self {
        let event = &recorded.event;
        Self { seq: recorded.seq, id: event.id.clone(), kind: event.kind.clone(), subject: event.subject.clone() }
    }
}

/// Through how many rules an event has come.
pub(crate) fn hops(event: &Event) -> u32 {
    if !event.source.starts_with(RULE_SOURCE) {
        return 0;
    }
    let number = event.id.strip_prefix('r').and_then(|rest| rest.split_once('-')).and_then(|(n, _)| n.parse().ok());
    number.unwrap_or(HOPS_MAX)
}

/// The key of what a rule makes of something: the same whoever computes it, and however often.
pub(crate) fn key(project: &str, rule: &str, of: &[&str]) -> String {
    let mut bytes = Vec::new();
    for text in [project, rule].iter().chain(of) {
        bytes.extend_from_slice(&(text.len() as u64).to_be_bytes());
        bytes.extend_from_slice(text.as_bytes());
    }
    Digest::of(&bytes).to_string().chars().take(32).collect()
}
