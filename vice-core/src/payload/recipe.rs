//! How a release is run. It belongs to the release as its files and its configuration do: an old artifact with today's
//! command would be something that never ran before.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::event::Payload;
use crate::id::Scope;
use crate::port::target::{HealthProbe, Reload, Workload};
use crate::time::Millis;

/// Command, health and patience of a release. Its digest is part of [`super::ReleaseRef`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Recipe {
    /// The command; `{{port}}` and `{{unit}}` are filled in by the target.
    pub command: Vec<String>,
    /// What the target makes of the release by itself, by digest, such as rendered manifests.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<String>")]
    pub objects: Vec<Digest>,
    /// The digest of each image that these objects name by a tag.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub images: BTreeMap<String, String>,
    /// How to tell that an instance is healthy.
    #[schemars(with = "serde_json::Value")]
    pub health: Option<HealthProbe>,
    /// How long a new instance may take to become healthy.
    pub ready_timeout: Millis,
    /// How long requests under way may take before an old instance is stopped.
    pub drain_timeout: Millis,
    /// How long an instance may take to end after SIGTERM.
    pub stop_timeout: Millis,
    /// How a running instance takes up another configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reload: Option<Reload>,
}

impl Recipe {
    /// The recipe of a workload.
    #[must_use]
    pub fn of(workload: &Workload) -> Self {
        Self {
            command: workload.command.clone(),
            objects: workload.objects.clone(),
            images: workload.images.clone(),
            health: workload.health.clone(),
            ready_timeout: workload.ready_timeout,
            drain_timeout: workload.drain_timeout,
            stop_timeout: workload.stop_timeout,
            reload: workload.reload.clone(),
        }
    }

    /// The digest of its JSON, whose fields always stand in the same order.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(serde_json::to_string(self).unwrap_or_default().as_bytes())
    }
}

/// A recipe, recorded before a rollout uses it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecipeRecorded {
    /// Where it applies.
    pub scope: Scope,
    /// Its digest.
    pub digest: Digest,
    /// What it says.
    pub recipe: Recipe,
}

impl Payload for RecipeRecorded {
    const KIND: &'static str = "dev.cdeventsx.vice-recipe.recorded.0.1.0";
    fn subject(&self) -> String {
        format!("{}#{}", self.scope, self.digest.short())
    }
}
