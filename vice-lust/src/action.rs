//! What automation graphs and chat commands can call: `notify`.

use std::sync::Arc;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};
use vice_core::id::EnvName;
use vice_core::port::action::{Action, ActionInfo};
use vice_core::port::notifier::Severity;
use vice_core::{App, Code, Context as _, Fault, Result};

use crate::cmd::post::{Post, failures, post};

/// The actions of this crate.
#[must_use]
pub fn actions(app: &App) -> Vec<Arc<dyn Action>> {
    vec![Arc::new(Notify { app: app.clone() })]
}

struct Notify {
    app: App,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    project: Option<String>,
    env: Option<EnvName>,
    message: String,
    title: Option<String>,
    severity: Option<Severity>,
    #[serde(default)]
    channels: Vec<String>,
}

#[async_trait]
impl Action for Notify {
    fn describe(&self) -> ActionInfo {
        ActionInfo {
            name: "notify",
            summary: "Sends a message about a project to its channels.",
            input: json!({
                "type": "object",
                "required": ["message"],
                "additionalProperties": false,
                "properties": {
                    "project": { "type": "string" },
                    "env": { "type": "string" },
                    "message": { "type": "string" },
                    "title": { "type": "string" },
                    "severity": { "enum": ["info", "success", "warning", "error"] },
                    "channels": { "type": "array", "items": { "type": "string" } },
                },
            }),
            output: json!({
                "type": "object",
                "required": ["deliveries"],
                "properties": { "deliveries": { "type": "array", "items": { "type": "object" } } },
            }),
        }
    }

    async fn run(&self, input: Value) -> Result<Value> {
        let input: Input = serde_json::from_value(input)
            .context(Code::Usage, || "The input of the action notify does not fit.".to_owned())?;
        let request = Post {
            project: input.project,
            env: input.env,
            title: input.title,
            message: input.message,
            severity: input.severity.unwrap_or(Severity::Info),
            channels: input.channels,
        };
        let posted = post(&self.app, request).await?;
        let failed = failures(&posted.deliveries);
        if failed.is_empty() {
            return Ok(json!({ "deliveries": posted.deliveries }));
        }
        Err(Fault::new(Code::DeliveryFailed, format!("The message did not reach {}.", failed.join("; ")))
            .detail("deliveries", json!(posted.deliveries)))
    }
}
