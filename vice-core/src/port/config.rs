//! Configuration as the deploy needs it: resolved once, bound by a keyed digest, restorable.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;

use crate::fault::Result;
use crate::id::{EnvName, Scope};
use crate::manifest::Project;
use crate::payload::config::{ConfigRecorded, Origin};
use crate::port::command::EnvValue;
use crate::secret::{Masker, Secret};

/// One effective value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigValue {
    /// A value that anyone may read: string, number, boolean, list or table.
    Plain(Value),
    /// A secret, always text.
    Secret(Secret),
}

/// One effective entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigEntry {
    /// The value.
    pub value: ConfigValue,
    /// Where it came from.
    pub origin: Origin,
}

/// An effective configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ResolvedConfig {
    /// The entries by dotted key.
    pub entries: BTreeMap<String, ConfigEntry>,
    /// The keyed digest over names and values, such as `hmac-sha256:…`.
    pub digest: String,
    /// A keyed digest of each value with its key.
    pub digests: BTreeMap<String, String>,
    /// What parts of the units have beside it, where units differ: then each unit stands in one of them. What is in
    /// `entries` is what all have alike, and what is done once for all of them is told.
    pub variants: Vec<Variant>,
}

/// What one part of the units has beside what all have.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Variant {
    /// The layers that make it.
    pub name: String,
    /// The units by name.
    pub units: BTreeSet<String>,
    /// The entries by dotted key.
    pub entries: BTreeMap<String, ConfigEntry>,
    /// A keyed digest of each value with its key.
    pub digests: BTreeMap<String, String>,
}

/// What is known of a unit before anything runs there, for layers that apply only somewhere.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct UnitFacts {
    /// The target, where the environment has several.
    pub target: Option<String>,
    /// The machine, where it is known.
    pub host: Option<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its name.
    pub name: String,
}

impl ResolvedConfig {
    /// Whether it says nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.variants.is_empty()
    }

    /// The digest by which a release is bound to it; none when it says nothing.
    #[must_use]
    pub fn bound(&self) -> Option<String> {
        (!self.is_empty()).then(|| self.digest.clone())
    }

    /// The part that a unit stands in; none where all units are alike, or where it is not known.
    #[must_use]
    pub fn variant_of(&self, unit: &str) -> Option<&Variant> {
        self.variants.iter().find(|variant| variant.units.contains(unit))
    }

    /// The environment for a unit: what all have, and what it has beside.
    #[must_use]
    pub fn environment_of(&self, unit: &str) -> BTreeMap<String, EnvValue> {
        let own = self.variant_of(unit).into_iter().flat_map(|variant| &variant.entries);
        own.fold(self.environment(), |mut all, (key, entry)| {
            all.insert(variable_name(key), environment_value(&entry.value));
            all
        })
    }

    fn all_entries(&self) -> impl Iterator<Item = (&String, &ConfigEntry)> {
        self.entries.iter().chain(self.variants.iter().flat_map(|variant| &variant.entries))
    }

    /// The masker for every secret in it.
    #[must_use]
    pub fn masker(&self) -> Masker {
        let mut masker = Masker::default();
        for (key, entry) in self.all_entries() {
            if let ConfigValue::Secret(secret) = &entry.value {
                masker.add(key, secret);
            }
        }
        masker
    }

    /// The secrets that are too short to be masked in what programs print, with their length in bytes.
    pub fn unmaskable(&self) -> impl Iterator<Item = (&str, usize)> {
        self.all_entries().filter_map(|(key, entry)| match &entry.value {
            ConfigValue::Secret(secret) if !Masker::hides(secret) => Some((key.as_str(), secret.reveal().len())),
            _ => None,
        })
    }

    /// The environment for a process: `a.b-c` becomes `A_B_C`; tables are already flattened; lists are JSON.
    #[must_use]
    pub fn environment(&self) -> BTreeMap<String, EnvValue> {
        let entries = self.entries.iter();
        entries.map(|(key, entry)| (variable_name(key), environment_value(&entry.value))).collect()
    }
}

/// The name of the environment variable for a dotted key.
#[must_use]
pub fn variable_name(key: &str) -> String {
    key.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect()
}

fn environment_value(value: &ConfigValue) -> EnvValue {
    match value {
        ConfigValue::Plain(Value::String(text)) => EnvValue::Plain(text.clone()),
        ConfigValue::Plain(other) => EnvValue::Plain(other.to_string()),
        ConfigValue::Secret(secret) => EnvValue::Secret(secret.clone()),
    }
}

/// Resolves, records and restores configurations.
#[async_trait]
pub trait ConfigSource: Send + Sync + 'static {
    /// The effective configuration as the files say now.
    ///
    /// # Errors
    /// `ConfigInvalid` pointing at the file, `SecretLocked` when a secret can't be decrypted.
    async fn resolve(&self, project: &Arc<Project>, env: &EnvName) -> Result<ResolvedConfig>;

    /// The event that stores a configuration, secrets by reference.
    fn record(&self, scope: &Scope, config: &ResolvedConfig) -> ConfigRecorded;

    /// An earlier configuration; secrets resolve to their current values. Its digest is the recorded one when no
    /// secret has changed since, another one otherwise.
    ///
    /// # Errors
    /// As `resolve`; also when a secret that it names does not exist any more.
    async fn restore(&self, project: &Arc<Project>, recorded: &ConfigRecorded) -> Result<ResolvedConfig>;
}
