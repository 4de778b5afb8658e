//! The action `backup`.

use async_trait::async_trait;
use serde_json::{Value, json};
use vice_core::app::App;
use vice_core::port::action::{Action, ActionInfo};
use vice_core::{Code, Fault, Result};

/// Backs the history up.
pub(super) struct BackupAction {
    app: App,
}

impl BackupAction {
    pub(super) const fn new(app: App) -> Self {
        Self { app }
    }
}

#[async_trait]
impl Action for BackupAction {
    fn describe(&self) -> ActionInfo {
        ActionInfo {
            name: "backup",
            summary: "Back the history up and verify the copy by bringing it back.",
            input: json!({
                "type": "object",
                "properties": { "url": { "type": "string", "description": "file:///folder or s3://bucket/prefix" } },
                "required": ["url"],
                "additionalProperties": false,
            }),
            output: json!({
                "type": "object",
                "properties": {
                    "folder": { "type": "string" },
                    "seq": { "type": "integer" },
                    "events": { "type": "integer" },
                    "verified": { "type": "boolean" },
                },
                "required": ["folder", "seq", "events", "verified"],
            }),
        }
    }

    async fn run(&self, input: Value) -> Result<Value> {
        let url = input.get("url").and_then(Value::as_str).ok_or_else(|| {
            Fault::new(Code::Usage, "The action backup needs a url.")
                .hint("Write file:///folder or s3://bucket/prefix.")
        })?;
        Ok(super::backup::backup(&self.app, url).await?.json)
    }
}
