//! A configuration as it was bound to a rollout: plain values as they were, secrets by reference.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::event::Payload;
use crate::id::Scope;

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Origin {
    /// The layer, as written in `vice.toml`.
    pub layer: String,
    /// The line in that layer's file, from 1, where it has lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
}

/// One entry of a stored configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StoredValue {
    /// A value that anyone may read.
    Plain(Value),
    /// The name of a secret; its value is looked up when it is needed.
    Secret(String),
}

/// An entry with its origin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StoredEntry {
    /// The value or the reference.
    pub value: StoredValue,
    /// Where it came from.
    pub origin: Origin,
}

/// An effective configuration, recorded before a rollout uses it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigRecorded {
    /// Where it applies.
    pub scope: Scope,
    /// The keyed digest over names and values, secrets included; without the key it tells nothing about them.
    pub digest: String,
    /// The entries by dotted key.
    pub entries: BTreeMap<String, StoredEntry>,
    /// A keyed digest of each value with its key, so that it can be told which secrets changed and not to what.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub digests: BTreeMap<String, String>,
}

impl Payload for ConfigRecorded {
    const KIND: &'static str = "dev.cdeventsx.vice-configuration.recorded.0.1.0";
    fn subject(&self) -> String {
        format!("{}#{}", self.scope, self.digest)
    }
}
