//! Telling people and other systems.

use async_trait::async_trait;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::fault::Result;
use crate::id::Scope;
use crate::manifest::Project;

use std::sync::Arc;

/// How much attention a message asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// For the record.
    Info,
    /// Something ended well.
    Success,
    /// Somebody may want to look.
    Warning,
    /// Somebody must look.
    Error,
}

/// A message to somebody.
#[derive(Debug, Clone)]
pub struct Notice {
    /// The same for every repeat of the same message: receivers drop repeats by it.
    pub key: String,
    /// The project and environment it is about.
    pub project: Arc<Project>,
    /// The environment, where it is about one.
    pub scope: Option<Scope>,
    /// How urgent.
    pub severity: Severity,
    /// One line.
    pub title: String,
    /// More, as plain text; may be empty.
    pub body: String,
    /// When it was caused.
    pub time: Timestamp,
    /// Only these channels; empty means the project's rules or default decide.
    pub channels: Vec<String>,
}

/// What became of a message on one channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Delivery {
    /// The channel.
    pub channel: String,
    /// Whether the receiver took it.
    pub delivered: bool,
    /// What the receiver said, or why it failed; masked and bounded.
    pub detail: String,
}

/// Delivers messages.
#[async_trait]
pub trait Notifier: Send + Sync + 'static {
    /// Queues the message durably and tries to deliver it at once; what fails is tried again later.
    ///
    /// # Errors
    /// `UnknownName` for a channel that does not exist; what the store says.
    async fn notify(&self, notice: Notice) -> Result<Vec<Delivery>>;

    /// Delivers what events and earlier attempts left, for a bounded time. Gives how many messages went out.
    ///
    /// # Errors
    /// What the store says.
    async fn pump(&self) -> Result<usize>;
}
