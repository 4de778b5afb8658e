//! What graphs and rules can call: `config`, the effective configuration with secrets masked.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Map, Value, json};
use vice_core::app::{App, Workspace};
use vice_core::id::EnvName;
use vice_core::port::action::{Action, ActionInfo};
use vice_core::port::config::{ConfigSource, ConfigValue};
use vice_core::{Code, Fault, Result};

use crate::render;

/// The actions of envy.
#[must_use]
pub fn actions(app: &App) -> Vec<Arc<dyn Action>> {
    vec![Arc::new(ShowConfig::new(Arc::clone(&app.workspace), Arc::clone(&app.config)))]
}

/// The action `config`.
pub(crate) struct ShowConfig {
    workspace: Arc<Workspace>,
    config: Arc<dyn ConfigSource>,
}

impl ShowConfig {
    pub(crate) fn new(workspace: Arc<Workspace>, config: Arc<dyn ConfigSource>) -> Self {
        Self { workspace, config }
    }
}

#[async_trait]
impl Action for ShowConfig {
    fn describe(&self) -> ActionInfo {
        ActionInfo {
            name: "config",
            summary: "Resolve the configuration of a project; secrets are masked.",
            input: json!({
                "type": "object",
                "properties": { "project": { "type": "string" }, "env": { "type": "string" } },
                "additionalProperties": false,
            }),
            output: json!({
                "type": "object",
                "properties": { "digest": { "type": "string" }, "entries": { "type": "object" } },
                "required": ["digest", "entries"],
            }),
        }
    }

    async fn run(&self, input: Value) -> Result<Value> {
        let text = |name: &str| match input.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str())),
            Some(_) => Err(Fault::new(Code::Usage, format!("The input {name} of the action config has to be text."))),
        };
        let project = self.workspace.project_or_here(text("project")?)?;
        let env = project.choose_env(text("env")?.map(EnvName::new).transpose()?.as_ref())?;
        let config = self.config.resolve(&project, &env).await?;
        let entries: Map<String, Value> = config
            .entries
            .iter()
            .map(|(key, entry)| {
                let secret = matches!(entry.value, ConfigValue::Secret(_));
                let value = render::shown(key, &entry.value, false);
                (key.clone(), json!({ "value": value, "secret": secret, "origin": entry.origin }))
            })
            .collect();
        Ok(json!({ "digest": config.digest, "entries": entries }))
    }
}
