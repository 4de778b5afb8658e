//! A configuration as it was bound to a rollout: plain values as they were, secrets by reference.

use std::collections::{BTreeMap, BTreeSet};

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
    /// What parts of the units have beside it, where units differ: then each unit stands in one of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub variants: Vec<RecordedVariant>,
}

/// What one part of the units has beside what all have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedVariant {
    /// The layers that make it.
    pub name: String,
    /// The units by name.
    pub units: BTreeSet<String>,
    /// The entries by dotted key.
    pub entries: BTreeMap<String, StoredEntry>,
    /// A keyed digest of each value with its key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub digests: BTreeMap<String, String>,
}

impl ConfigRecorded {
    /// Every key with its entry and its digest, by what it is called: `db.host`, or `db.host (config/eu.toml)` where a part
    /// of the units has it so.
    #[must_use]
    pub fn named_entries(&self) -> BTreeMap<String, (&StoredEntry, Option<&String>)> {
        let common = self.entries.iter().map(|(key, entry)| (key.clone(), (entry, self.digests.get(key))));
        let own = self.variants.iter().flat_map(|variant| {
            let named = |key: &String| format!("{key} ({})", variant.name);
            variant.entries.iter().map(move |(key, entry)| (named(key), (entry, variant.digests.get(key))))
        });
        common.chain(own).collect()
    }

    /// Whether it says nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.variants.is_empty()
    }
}

impl Payload for ConfigRecorded {
    const KIND: &'static str = "dev.cdeventsx.vice-configuration.recorded.0.1.0";
    fn subject(&self) -> String {
        format!("{}#{}", self.scope, self.digest)
    }
}
