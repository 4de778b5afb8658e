//! The [`ConfigSource`] of vice: resolves from files, records secrets by reference, restores what was recorded.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;
use vice_core::app::ProcessEnv;
use vice_core::id::{EnvName, Scope};
use vice_core::manifest::Project;
use vice_core::payload::config::{ConfigRecorded, StoredEntry, StoredValue};
use vice_core::port::config::{ConfigEntry, ConfigSource, ConfigValue, ResolvedConfig};
use vice_core::secret::{Known, Masker};
use vice_core::{Clock, Code, Context, Fault, Result, Secret};

use crate::keyed::DigestKey;
use crate::locked::Lock;
use crate::stack::Stack;

/// Resolves configurations. Cheap to clone.
#[derive(Clone)]
pub struct Envy {
    pub(crate) state: PathBuf,
    pub(crate) process: Arc<ProcessEnv>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) known: Known,
}

impl Envy {
    /// A source whose digest key lies in the state folder, and which takes variables and the places of keys from the
    /// given environment.
    #[must_use]
    pub fn new(state: PathBuf, process: Arc<ProcessEnv>, clock: Arc<dyn Clock>) -> Self {
        Self { state, process, clock, known: Known::default() }
    }

    /// Tells this list of every secret that is opened, so that it is masked in whatever is printed.
    #[must_use]
    pub fn telling(mut self, known: Known) -> Self {
        self.known = known;
        self
    }

    /// Has a value masked in whatever is printed from now on.
    pub(crate) fn learn(&self, name: &str, secret: &Secret) {
        let mut masker = Masker::default();
        // One that is too short can't be told from innocent text.
        if masker.add(name, secret) {
            self.known.learn(&masker);
        }
    }

    /// Does file work where it does not block other tasks.
    pub(crate) async fn off_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let envy = self.clone();
        let ended = tokio::task::spawn_blocking(move || work(&envy)).await;
        ended.context(Code::Internal, || "Reading the configuration ended unexpectedly.".to_owned())?
    }

    /// Reads the layers of a project in an environment and works on them, where it does not block other tasks.
    pub(crate) async fn with_stack<T: Send + 'static>(
        &self,
        project: &Arc<Project>,
        env: &EnvName,
        work: impl FnOnce(&Stack, &Lock<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (project, env) = (Arc::clone(project), env.clone());
        self.off_thread(move |envy| {
            let lock = Lock::new(&envy.process);
            let stack = Stack::load(&project, &env, &envy.process, &lock)?;
            work(&stack, &lock)
        })
        .await
    }

    pub(crate) fn digested(&self, entries: BTreeMap<String, ConfigEntry>) -> Result<ResolvedConfig> {
        let key = DigestKey::of_state(&self.state)?;
        let (digest, digests) = (key.digest(&entries)?, key.each(&entries)?);
        let config = ResolvedConfig { entries, digest, digests };
        self.known.learn(&config.masker());
        Ok(config)
    }
}

#[async_trait]
impl ConfigSource for Envy {
    async fn resolve(&self, project: &Arc<Project>, env: &EnvName) -> Result<ResolvedConfig> {
        let entries = self.with_stack(project, env, Stack::entries).await?;
        self.off_thread(move |envy| envy.digested(entries)).await
    }

    fn record(&self, scope: &Scope, config: &ResolvedConfig) -> ConfigRecorded {
        let stored = |(key, entry): (&String, &ConfigEntry)| {
            let value = match &entry.value {
                ConfigValue::Plain(value) => StoredValue::Plain(value.clone()),
                ConfigValue::Secret(_) => StoredValue::Secret(key.clone()),
            };
            (key.clone(), StoredEntry { value, origin: entry.origin.clone() })
        };
        let entries = config.entries.iter().map(stored).collect();
        ConfigRecorded { scope: scope.clone(), digest: config.digest.clone(), entries, digests: config.digests.clone() }
    }

    async fn restore(&self, project: &Arc<Project>, recorded: &ConfigRecorded) -> Result<ResolvedConfig> {
        let names: Vec<String> = recorded.entries.values().filter_map(secret_name).map(str::to_owned).collect();
        // A configuration without secrets comes back whole even if the files can't be read any more.
        let secrets = if names.is_empty() {
            BTreeMap::new()
        } else {
            self.with_stack(project, &recorded.scope.env, move |stack, lock| current(stack, lock, names)).await?
        };
        let entries = recorded.entries.iter().map(|(key, entry)| Ok((key.clone(), restored(entry, &secrets)?)));
        let entries = entries.collect::<Result<_>>()?;
        self.off_thread(move |envy| envy.digested(entries)).await
    }
}

fn secret_name(entry: &StoredEntry) -> Option<&str> {
    match &entry.value {
        StoredValue::Secret(name) => Some(name),
        StoredValue::Plain(_) => None,
    }
}

/// The secrets of these names as the files have them now.
fn current(stack: &Stack, lock: &Lock<'_>, names: Vec<String>) -> Result<BTreeMap<String, Secret>> {
    let find = |name: String| {
        let Some(say) = stack.say(&name) else {
            return Err(Fault::new(
                Code::ConfigInvalid,
                format!("The secret {name} of the earlier configuration does not exist any more."),
            )
            .hint(format!("Set it again: vice envy set {name} --secret --from-file -"))
            .detail("key", name));
        };
        let secret = match stack.entry(&name, &say, lock)?.value {
            ConfigValue::Secret(secret) => secret,
            ConfigValue::Plain(Value::String(text)) => Secret::new(text),
            ConfigValue::Plain(other) => Secret::new(other.to_string()),
        };
        Ok((name, secret))
    };
    names.into_iter().map(find).collect()
}

fn restored(entry: &StoredEntry, secrets: &BTreeMap<String, Secret>) -> Result<ConfigEntry> {
    let value = match &entry.value {
        StoredValue::Plain(value) => ConfigValue::Plain(value.clone()),
        StoredValue::Secret(name) => {
            let secret =
                secrets.get(name).ok_or_else(|| Fault::internal(format!("The secret {name} was not looked up.")))?;
            ConfigValue::Secret(secret.clone())
        }
    };
    Ok(ConfigEntry { value, origin: entry.origin.clone() })
}
