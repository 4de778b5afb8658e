//! The contents of the events that more than one crate reads. What only one crate reads stays in that crate.
//!
//! A field is only ever added, with a default; a change of meaning is a new event version.

pub mod cdevents;
pub mod config;
pub mod environment;
pub mod history;
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

/// What stands between the version and the digits in a release's full name.
const NAME_MARK: char = '~';
/// So many digits of a digest tell releases of one version apart.
const NAME_DIGITS: usize = 8;

/// The version in a release's name, full or not.
#[must_use]
pub fn version_in(name: &str) -> &str {
    name.split_once(NAME_MARK).map_or(name, |(version, _)| version)
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

    /// A name that tells it from every other release, also from one of the same version: `1.4.2~3fa9c17e`. No version
    /// has a `~`.
    #[must_use]
    pub fn full_name(&self) -> String {
        let parts = serde_json::json!([self.artifact, self.config, self.recipe]).to_string();
        let mark: String = Digest::of(parts.as_bytes()).to_string().chars().take(NAME_DIGITS).collect();
        format!("{}{NAME_MARK}{mark}", self.version)
    }

    /// What it is called beside another release: its version, or its full name where that one has the same version.
    #[must_use]
    pub fn name_beside(&self, other: &Self) -> String {
        if self.version == other.version && !self.runs_like(other) { self.full_name() } else { self.version.clone() }
    }

    /// Whether a name is its own: the version or the full name.
    #[must_use]
    pub fn is_called(&self, name: &str) -> bool {
        if name.contains(NAME_MARK) { self.full_name() == name } else { self.version == name }
    }

    /// Whether it differs from another release in its configuration and in nothing else.
    #[must_use]
    pub fn only_reconfigures(&self, other: &Self) -> bool {
        self.config != other.config && self.runs_like(&Self { config: self.config.clone(), ..other.clone() })
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
