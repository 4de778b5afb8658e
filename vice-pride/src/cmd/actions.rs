//! What graphs, rules and chat can ask of pride by name.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Value, json};
use vice_core::app::App;
use vice_core::id::EnvName;
use vice_core::payload::environment::Direction;
use vice_core::port::action::{Action, ActionInfo};
use vice_core::ui::Outcome;
use vice_core::{Class, Code, Fault, Result};

use super::deploy::{Consent, roll_out};
use crate::driver::Want;

/// The actions of this crate.
#[must_use]
pub fn actions(app: &App) -> Vec<Arc<dyn Action>> {
    vec![
        Arc::new(RollOut { app: app.clone(), direction: Direction::Deploy }),
        Arc::new(RollOut { app: app.clone(), direction: Direction::Rollback }),
    ]
}

struct RollOut {
    app: App,
    direction: Direction,
}

#[async_trait]
impl Action for RollOut {
    fn describe(&self) -> ActionInfo {
        let text = || json!({ "type": "string" });
        let mut properties =
            json!({ "project": text(), "env": text(), "version": text(), "reason": text(), "confirm": text() });
        let deploy = self.direction == Direction::Deploy;
        if deploy {
            properties["artifact"] = text();
        }
        ActionInfo {
            name: self.direction.word(),
            summary: if deploy { "Deploys a project" } else { "Goes back to the last version that was proven" },
            input: json!({ "type": "object", "properties": properties, "additionalProperties": false }),
            output: json!({
                "type": "object",
                "properties": {
                    "rollout": text(),
                    "version": text(),
                    "outcome": text(),
                    "url": text(),
                    "changed": { "type": "boolean" },
                },
                "required": ["outcome", "changed"],
            }),
        }
    }

    async fn run(&self, input: Value) -> Result<Value> {
        let text = |key: &str| input.get(key).and_then(Value::as_str).map(str::to_owned);
        let env = |key: &str| text(key).map(EnvName::new).transpose();
        let want = Want {
            project: text("project"),
            env: env("env")?,
            version: text("version"),
            direction: self.direction,
            artifact: text("artifact"),
            config: None,
        };
        let consent = Consent { confirm: env("confirm")?, reason: text("reason"), ..Consent::default() };
        output(roll_out(&self.app, &want, &consent).await?)
    }
}

/// A rollout that did not succeed is a fault for whoever called the action.
fn output(outcome: Outcome) -> Result<Value> {
    let code = match outcome.class {
        Class::Done => return Ok(outcome.json),
        Class::RolledBack => Code::RolledBack,
        Class::Waiting => Code::Waiting,
        Class::NotRestored => Code::NotRestored,
        Class::Interrupted => Code::Interrupted,
        Class::Terminated => Code::Terminated,
        _ => Code::GraphFailed,
    };
    let said = outcome.json.get("reason").and_then(Value::as_str).unwrap_or("The rollout did not succeed.");
    let rollout = outcome.json.get("rollout").cloned().unwrap_or_default();
    Err(Fault::new(code, said.to_owned()).detail("rollout", rollout))
}
