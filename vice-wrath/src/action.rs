//! What graphs and chat commands can call: `verify`.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Value, json};
use vice_core::app::App;
use vice_core::id::EnvName;
use vice_core::port::action::{Action, ActionInfo};
use vice_core::{Class, Code, Fault, Result};

use crate::cmd::{self, Asked, report, verify};

/// The actions of wrath.
#[must_use]
pub fn actions(app: &App) -> Vec<Arc<dyn Action>> {
    vec![Arc::new(Verify { app: app.clone() })]
}

struct Verify {
    app: App,
}

#[async_trait]
impl Action for Verify {
    fn describe(&self) -> ActionInfo {
        ActionInfo {
            name: "verify",
            summary: "Runs the checks of a project against what is deployed.",
            input: json!({
                "type": "object",
                "properties": {
                    "project": { "type": "string" },
                    "env": { "type": "string" },
                    "only": { "type": "array", "items": { "type": "string" } },
                },
                "required": ["project"],
                "additionalProperties": false,
            }),
            output: json!({
                "type": "object",
                "properties": {
                    "ok": { "type": "boolean" },
                    "passed": { "type": "integer" },
                    "failed": { "type": "integer" },
                    "errored": { "type": "integer" },
                    "skipped": { "type": "integer" },
                    "version": { "type": ["string", "null"] },
                    "checks": { "type": "array" },
                },
                "required": ["ok", "passed", "failed", "errored", "skipped"],
            }),
        }
    }

    async fn run(&self, input: Value) -> Result<Value> {
        let project = text(&input, "project")?.ok_or_else(|| wrong("project", "is missing"))?;
        let env = text(&input, "env")?.map(EnvName::new).transpose()?;
        let (project, scope) = self.app.scope(Some(project), env.as_ref())?;
        let asked = Asked { only: only(&input)?, ..Asked::default() };
        let verified = verify(&self.app, &project, &scope, asked).await?;
        let output = report::json(&scope, verified.version.as_deref(), &verified.suite);
        let (code, what) = match cmd::class(&verified.suite) {
            Class::Done => return Ok(output),
            Class::Verification => (Code::VerificationFailed, "do not hold"),
            _ => (Code::Unreachable, "could not be run"),
        };
        Err(Fault::new(code, format!("Checks of {} in {} {what}.", scope.project, scope.env))
            .hint(format!("See `vice wrath {} --env {}`.", scope.project, scope.env))
            .detail("verification", output))
    }
}

fn text<'a>(input: &'a Value, field: &str) -> Result<Option<&'a str>> {
    match &input[field] {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text)),
        _ => Err(wrong(field, "must be a text")),
    }
}

fn only(input: &Value) -> Result<Vec<String>> {
    let wrong = || wrong("only", "must be a list of names of checks");
    match &input["only"] {
        Value::Null => Ok(Vec::new()),
        Value::Array(names) => names.iter().map(|name| name.as_str().map(str::to_owned).ok_or_else(wrong)).collect(),
        _ => Err(wrong()),
    }
}

fn wrong(field: &str, why: &str) -> Fault {
    Fault::new(Code::Usage, format!("The input `{field}` of the action verify {why}."))
}
