//! Actions and projects for tests.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Map, Value, json};
use vice_core::manifest::Project;
use vice_core::port::action::{Action, ActionInfo};
use vice_core::{Code, Fault, Result};

use super::{Actions, Graph, Source, build};

/// An action that only has a shape.
struct Shape(ActionInfo);

#[async_trait]
impl Action for Shape {
    fn describe(&self) -> ActionInfo {
        self.0.clone()
    }
    async fn run(&self, _: Value) -> Result<Value> {
        Err(Fault::new(Code::Internal, "This action has only a shape."))
    }
}

fn strict(properties: &Value, required: &[&str]) -> Value {
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

fn shape(name: &'static str, input: Value, output: Value) -> (&'static str, Arc<dyn Action>) {
    (name, Arc::new(Shape(ActionInfo { name, summary: "For tests.", input, output })))
}

/// The schemas that the other crates' actions have, as far as graphs of tests use them.
pub(crate) fn actions() -> Actions {
    let text = json!({ "type": "string" });
    let (project, env) = (text.clone(), text.clone());
    Actions::from([
        shape(
            "deploy",
            strict(&json!({ "project": project, "env": env, "version": text, "artifact": text }), &["project"]),
            strict(
                &json!({ "rollout": text, "version": text, "outcome": text, "changed": { "type": "boolean" } }),
                &["rollout"],
            ),
        ),
        shape(
            "verify",
            strict(
                &json!({ "project": project, "env": env, "only": { "type": "array", "items": text } }),
                &["project"],
            ),
            strict(&json!({ "passed": { "type": "integer" }, "failed": { "type": "integer" } }), &[]),
        ),
        shape(
            "report",
            strict(&json!({ "project": project, "format": { "enum": ["html", "json"] }, "file": text }), &[]),
            strict(&json!({ "path": text }), &[]),
        ),
        shape(
            "backup",
            strict(&json!({ "url": text, "keep": { "type": "integer" } }), &["url"]),
            strict(&json!({}), &[]),
        ),
    ])
}

/// A project with the lines of a `[graph.g]` section.
pub(crate) fn project(graph: &str) -> Project {
    let text = format!("name = \"shop\"\n[env.dev]\n[graph.g]\n{graph}\n");
    Project::parse("/p".into(), "vice.toml".into(), text).unwrap()
}

/// The checked graph of those lines.
pub(crate) fn graph(lines: &str) -> Result<Graph> {
    let project = project(lines);
    let defaults = Map::from_iter([("project".to_owned(), json!("shop"))]);
    let source = Source { graph: "g", project: Some(&project), defaults };
    build(&source, &project.manifest.graph["g"], &actions())
}
