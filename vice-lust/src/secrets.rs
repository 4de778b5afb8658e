//! Where channels get their secrets: a configuration key of the project, or `env:NAME`. A manifest never holds one.

use std::sync::Arc;

use vice_core::app::ProcessEnv;
use vice_core::id::EnvName;
use vice_core::manifest::Project;
use vice_core::port::config::{ConfigSource, ConfigValue};
use vice_core::secret::Masker;
use vice_core::suggest::nearest;
use vice_core::{Code, Fault, Result, Secret};

/// Resolves the secrets of one channel for one message, and remembers them for masking.
pub(crate) struct Secrets<'a> {
    pub(crate) project: &'a Arc<Project>,
    pub(crate) env: Option<&'a EnvName>,
    pub(crate) config: &'a dyn ConfigSource,
    pub(crate) process: &'a ProcessEnv,
    pub(crate) masker: Masker,
}

impl Secrets<'_> {
    /// The value behind a reference.
    ///
    /// # Errors
    /// `ConfigInvalid` when it does not exist, and what the configuration says. Never with a value in it.
    pub(crate) async fn get(&mut self, reference: &str) -> Result<Secret> {
        let secret = match reference.strip_prefix("env:") {
            Some(name) => self.variable(name)?,
            None => self.key(reference).await?,
        };
        self.masker.add(reference, &secret);
        Ok(secret)
    }

    fn variable(&self, name: &str) -> Result<Secret> {
        self.process.get(name).map(Secret::new).ok_or_else(|| {
            Fault::new(Code::ConfigInvalid, format!("The variable {name} is not set, and a channel needs it."))
                .hint(format!("Set {name} where vice runs, or name a configuration key instead."))
        })
    }

    async fn key(&self, key: &str) -> Result<Secret> {
        // A reference that is itself a URL is a secret in the wrong place; it must not be repeated.
        if key.contains("://") {
            return Err(Fault::new(Code::ConfigInvalid, "A channel has a URL where it needs the name of a secret.")
                .hint("Put the URL into the configuration as a secret and name its key, or write env:NAME."));
        }
        let env = self.project.choose_env(self.env)?;
        let config = self.config.resolve(self.project, &env).await?;
        let absent = |what: &str| {
            let fault = Fault::new(
                Code::ConfigInvalid,
                format!(
                    "The configuration of {} for {env} {what} {key:?}, and a channel needs it.",
                    self.project.name()
                ),
            );
            match nearest(key, config.entries.keys().map(String::as_str)) {
                Some(near) if near != key => fault.hint(format!("Did you mean {near}?")),
                _ => fault.hint(format!(
                    "Add it to a layer of the configuration, or write env:NAME; see `vice envy explain {key}`."
                )),
            }
        };
        match config.entries.get(key).map(|entry| &entry.value) {
            Some(ConfigValue::Secret(secret)) => Ok(secret.clone()),
            Some(ConfigValue::Plain(serde_json::Value::String(text))) => Ok(Secret::new(text.as_str())),
            Some(ConfigValue::Plain(_)) => Err(absent("has no text under")),
            None => Err(absent("has no key")),
        }
    }
}
