//! `vice envy schema`: a JSON Schema for editors of layers. A layer has only a part of the configuration, so that what
//! the project's schema requires is left out; keys that it does not describe are described by the values they have.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use vice_core::manifest::Project;
use vice_core::ui::Outcome;
use vice_core::{Code, Fault, Result};

use super::Desk;
use crate::source::{Ask, Reading};
use crate::stack::Stack;

/// How deep a schema is looked at.
const DEPTH_MAX: usize = 64;
/// The demands that hold for a whole configuration and for no part of it.
const WHOLE: [&str; 7] = ["required", "minProperties", "dependentRequired", "dependencies", "if", "then", "else"];

pub(super) async fn run(desk: &Desk, project: &Arc<Project>, ask: Ask) -> Result<Outcome> {
    desk.ui.format().among(&[])?;
    let schema = desk.envy.with_reading(project, ask, |reading| layer_schema(&reading)).await?;
    let text = serde_json::to_string_pretty(&schema).map_err(|_| Fault::internal("The schema can't be written."))?;
    Ok(Outcome::done(format!("{text}\n"), schema))
}

fn layer_schema(reading: &Reading<'_>) -> Result<Value> {
    let mut schema = match &reading.project.manifest.config.schema {
        None => json!({}),
        Some(path) => {
            let text = reading
                .tree
                .read_text(path)?
                .ok_or_else(|| Fault::new(Code::ConfigInvalid, format!("The schema {path} does not exist.")))?;
            serde_json::from_str(&text).map_err(|error| {
                Fault::new(
                    Code::ConfigInvalid,
                    format!("The schema {path} is not valid JSON at line {}.", error.line()),
                )
            })?
        }
    };
    loosen(&mut schema, 0);
    let Value::Object(root) = &mut schema else {
        return Err(Fault::new(Code::ConfigInvalid, "The schema is not a JSON object."));
    };
    root.entry("$schema").or_insert_with(|| "https://json-schema.org/draft/2020-12/schema".into());
    root.insert("title".into(), format!("A layer of the configuration of {}", reading.project.name()).into());
    for key in reading.stack.keys() {
        describe(root, key, reading.stack);
    }
    Ok(schema)
}

/// Takes out what a part of a configuration can't keep.
fn loosen(node: &mut Value, depth: usize) {
    if depth > DEPTH_MAX {
        return;
    }
    match node {
        Value::Object(fields) => {
            for (name, field) in fields.iter_mut() {
                // Under these, names are keys of the configuration and not words of the schema.
                let named = matches!(name.as_str(), "properties" | "patternProperties" | "$defs" | "definitions");
                match field {
                    Value::Object(inner) if named => inner.values_mut().for_each(|inner| loosen(inner, depth + 1)),
                    other if !matches!(name.as_str(), "const" | "enum" | "default" | "examples") => {
                        loosen(other, depth + 1);
                    }
                    _ => {}
                }
            }
            for word in WHOLE {
                fields.shift_remove(word);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| loosen(item, depth + 1)),
        _ => {}
    }
}

/// Adds a key where the schema has none, and lets a secret be encrypted.
fn describe(root: &mut Map<String, Value>, key: &str, stack: &Stack) {
    let Some(say) = stack.say(key) else { return };
    let parts: Vec<&str> = key.split('.').collect();
    let mut here = root;
    for (index, part) in parts.iter().enumerate() {
        let properties = here.entry("properties").or_insert_with(|| json!({}));
        let Value::Object(properties) = properties else { return };
        let known = properties.contains_key(*part);
        let slot = properties.entry(*part).or_insert_with(|| json!({}));
        if index + 1 == parts.len() {
            if !known {
                *slot = json!({ "description": format!("Set in {}.", say.place()) });
                if let (Some(kind), Value::Object(slot)) = (kind(&say.found.value), &mut *slot) {
                    slot.insert("type".into(), kind.into());
                }
            }
            if stack.is_secret(key, &say) {
                let encrypted = json!({ "type": "string", "pattern": "^age:v[0-9]+:" });
                *slot = json!({ "anyOf": [encrypted, slot.take()] });
            }
            return;
        }
        let Value::Object(next) = slot else { return };
        // What a reference describes is not repeated beside it.
        if next.contains_key("$ref") {
            return;
        }
        here = next;
    }
}

/// The type of a value; none for a text with references, which can stand for anything.
fn kind(value: &Value) -> Option<&'static str> {
    Some(match value {
        Value::String(text) if text.contains("${") => return None,
        Value::String(_) => "string",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::Array(_) => "array",
        Value::Null | Value::Object(_) => return None,
    })
}
