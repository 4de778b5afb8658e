//! The contents of the events that more than one crate reads. What only one crate reads stays in that crate.
//!
//! A field is only ever added, with a default; a change of meaning is a new event version.

pub mod cdevents;
pub mod config;
pub mod environment;
pub mod lease;
pub mod rollout;
pub mod verification;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// What was, is or will be running: a version with its artifact and configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReleaseRef {
    /// The version as people say it.
    pub version: String,
    /// The content of the artifact, where the target has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact: Option<Digest>,
    /// Where the artifact came from.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub source: String,
    /// The keyed digest of the configuration, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<String>,
}

impl ReleaseRef {
    /// A short text that tells releases apart: version, and the first digits of artifact and configuration.
    #[must_use]
    pub fn label(&self) -> String {
        match &self.artifact {
            Some(digest) => format!("{} ({})", self.version, &digest.short()[..7]),
            None => self.version.clone(),
        }
    }
}

/// The stream of an environment.
#[must_use]
pub fn environment_stream(scope: &crate::id::Scope) -> String {
    format!("environment/{}/{}", scope.project, scope.env)
}

/// The stream of a rollout.
#[must_use]
pub fn rollout_stream(id: &crate::id::RolloutId) -> String {
    format!("rollout/{}/{}/{}", id.scope.project, id.scope.env, id.number)
}

/// The stream of a lease.
#[must_use]
pub fn lease_stream(scope: &crate::id::Scope) -> String {
    format!("lease/{}/{}", scope.project, scope.env)
}

/// The stream of an environment's configurations.
#[must_use]
pub fn config_stream(scope: &crate::id::Scope) -> String {
    format!("config/{}/{}", scope.project, scope.env)
}

/// The stream of an environment's verifications.
#[must_use]
pub fn verification_stream(scope: &crate::id::Scope) -> String {
    format!("verification/{}/{}", scope.project, scope.env)
}
