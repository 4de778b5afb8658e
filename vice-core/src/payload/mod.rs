//! The contents of the events that more than one crate reads. What only one crate reads stays in that crate.
//!
//! A field is only ever added, with a default; a change of meaning is a new event version.

pub mod cdevents;
pub mod config;
pub mod environment;
pub mod judged;
pub mod lease;
pub mod propagation;
pub mod recipe;
pub mod rollout;
pub mod simulation;
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
    /// The digest of how it is run: command, health, patience.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipe: Option<Digest>,
}

impl ReleaseRef {
    /// Whether two releases run alike. Where the artifact came from makes no difference to what runs.
    #[must_use]
    pub fn runs_like(&self, other: &Self) -> bool {
        self.version == other.version
            && self.artifact == other.artifact
            && self.config == other.config
            && self.recipe == other.recipe
    }

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

/// The stream of the incidents of an environment.
#[must_use]
pub fn incident_stream(scope: &crate::id::Scope) -> String {
    format!("incident/{}/{}", scope.project, scope.env)
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

/// The stream of an environment's recipes.
#[must_use]
pub fn recipe_stream(scope: &crate::id::Scope) -> String {
    format!("recipe/{}/{}", scope.project, scope.env)
}

/// The stream of an environment's verifications.
#[must_use]
pub fn verification_stream(scope: &crate::id::Scope) -> String {
    format!("verification/{}/{}", scope.project, scope.env)
}
