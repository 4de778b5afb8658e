//! `vice envy check`: everything that is wrong with a configuration, at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use jsonschema::Retrieve;
use serde_json::{Map, Value, json};
use vice_core::id::EnvName;
use vice_core::manifest::Project;
use vice_core::port::config::ConfigValue;
use vice_core::port::notifier::Severity;
use vice_core::secret::Masker;
use vice_core::text::sanitize;
use vice_core::ui::Outcome;
use vice_core::{Code, Fault, Result};

use super::Desk;
use crate::interpolate::Resolver;
use crate::layer::Tree;
use crate::render;
use crate::rules;
use crate::source::{Ask, Reading};
use crate::stack::Stack;
use crate::usage;

/// The most problems that are told.
const PROBLEMS_MAX: usize = 100;

#[derive(Default)]
struct Findings {
    problems: Vec<Problem>,
    warnings: Vec<String>,
    values: usize,
    schema: bool,
    /// Keys that nothing refers to.
    unused: Vec<String>,
}

struct Problem {
    key: Option<String>,
    place: Option<(String, Option<u32>)>,
    what: String,
}

impl Problem {
    fn of(fault: &Fault) -> Self {
        let key = fault.details().get("key").and_then(Value::as_str).map(str::to_owned);
        Self { key, place: None, what: fault.to_string() }
    }

    fn text(&self) -> String {
        let place = match &self.place {
            Some((layer, Some(line))) => format!("{layer}:{line}: "),
            Some((layer, None)) => format!("{layer}: "),
            None => String::new(),
        };
        sanitize(&format!("{place}{}", self.what))
    }

    fn json(&self) -> Value {
        let (layer, line) = self.place.as_ref().map_or((None, None), |(layer, line)| (Some(layer), *line));
        json!({ "key": self.key, "layer": layer, "line": line, "message": self.what })
    }
}

pub(super) async fn run(desk: &Desk, project: Arc<Project>, ask: Ask, extent: Extent) -> Result<Outcome> {
    desk.ui.format().among(&[])?;
    let shown = format!("The configuration of {} in {}", project.name(), ask.env);
    let env = ask.env.clone();
    let found = desk.envy.with_reading(&project, ask, move |reading| findings(reading, &env, &extent)).await?;
    for warning in &found.warnings {
        desk.ui.say(Severity::Warning, warning);
    }
    for problem in &found.problems {
        desk.ui.say(Severity::Error, &problem.text());
    }
    if !found.problems.is_empty() {
        let count = found.problems.len();
        let list: Vec<Value> = found.problems.iter().map(Problem::json).collect();
        let things = if count == 1 { "problem" } else { "problems" };
        return Err(Fault::new(Code::ConfigInvalid, format!("{shown} has {count} {things}.")).detail("problems", list));
    }
    let schema = if found.schema { "and fits its schema" } else { "and has no schema ([config] schema)" };
    let mut text = format!("{shown} is fine: {} values, {schema}.\n", found.values);
    if !found.unused.is_empty() {
        text.push_str(&format!("Nothing that was searched uses: {}.\n", found.unused.join(", ")));
    }
    Ok(Outcome::done(
        text,
        json!({
            "values": found.values, "schema": found.schema, "warnings": found.warnings, "unused": found.unused,
        }),
    ))
}

/// What a check looks at beside the layers.
pub(super) struct Extent {
    /// Whether keys that nothing refers to are told.
    pub(super) unused: bool,
    /// Files and folders that are searched for uses.
    pub(super) scan: Vec<String>,
}

fn findings(reading: Reading<'_>, env: &EnvName, extent: &Extent) -> Result<Findings> {
    let Reading { project, stack, lock, faults, tree } = reading;
    let mut found = Findings { problems: faults.iter().map(Problem::of).collect(), ..Findings::default() };
    found.problems.extend(stack.collisions().iter().map(Problem::of));
    let mut resolver = Resolver::new(stack, lock);
    let mut values = Vec::new();
    let mut entries = BTreeMap::new();
    for key in stack.keys() {
        let Some(say) = stack.say(key) else { continue };
        match resolver.entry(key) {
            Err(fault) => {
                let place = Some((say.layer.name.clone(), say.found.line));
                found.problems.push(Problem { key: Some(key.to_owned()), place, what: fault.to_string() });
            }
            Ok(entry) => {
                if let ConfigValue::Secret(secret) = &entry.value
                    && !Masker::hides(secret)
                {
                    found
                        .warnings
                        .push(format!("The secret {key} is too short to be masked in the output of programs."));
                }
                values.push((key.to_owned(), typed(&entry.value, &say.found.value)));
                entries.insert(key.to_owned(), entry.value);
            }
        }
    }
    found.values = values.len();
    for broken in rules::broken(project, env, &entries)? {
        let place = stack.say(&broken.key).map(|say| (say.layer.name.clone(), say.found.line));
        found.problems.push(Problem { key: Some(broken.key), place, what: broken.what });
    }
    found.usage(project, stack, extent)?;
    if let Some(path) = &project.manifest.config.schema {
        found.schema = true;
        let problems = against_schema(&schema(tree, path)?, path, stack, render::nested(&values))?;
        found.problems.extend(problems);
    }
    found.problems.truncate(PROBLEMS_MAX);
    Ok(found)
}

impl Findings {
    /// Names in templates that do not exist, and keys that nothing uses.
    fn usage(&mut self, project: &Project, stack: &Stack, extent: &Extent) -> Result<()> {
        let usage = usage::scan(project, stack, &extent.scan)?;
        for (place, name) in usage.undefined {
            let what = format!("{place}: the template uses {name}, which does not exist.");
            self.problems.push(Problem { key: Some(name), place: None, what });
        }
        if extent.unused {
            self.unused = usage.unused;
        }
        Ok(())
    }
}

/// What the schema sees: secrets that were written as numbers or flags keep their type, decrypted ones are text.
fn typed(value: &ConfigValue, written: &Value) -> Value {
    match value {
        ConfigValue::Plain(value) => value.clone(),
        ConfigValue::Secret(secret) if written.is_string() => Value::String(secret.reveal().to_owned()),
        ConfigValue::Secret(_) => written.clone(),
    }
}

fn schema(tree: &Tree<'_>, path: &str) -> Result<Value> {
    let text = tree.read_text(path)?.ok_or_else(|| {
        Fault::new(Code::ConfigInvalid, format!("The schema {path} does not exist."))
            .hint("Make the file, or take `schema` out of [config] in vice.toml.")
    })?;
    serde_json::from_str(&text).map_err(|error| {
        let message = format!("The schema {path} is not valid JSON at line {}.", error.line());
        Fault::new(Code::ConfigInvalid, message)
    })
}

/// Refuses every reference out of the schema's own text.
struct NoRetrieval;

impl Retrieve for NoRetrieval {
    fn retrieve(
        &self,
        uri: &jsonschema::Uri<String>,
    ) -> std::result::Result<Value, Box<dyn std::error::Error + Send + Sync>> {
        Err(format!("references to other documents are not followed ({uri})").into())
    }
}

fn against_schema(schema: &Value, path: &str, stack: &Stack, values: Map<String, Value>) -> Result<Vec<Problem>> {
    let validator = jsonschema::options().with_retriever(NoRetrieval).build(schema).map_err(|error| {
        Fault::new(Code::ConfigInvalid, format!("The schema {path} can't be used.")).because(error.to_string())
    })?;
    let instance = Value::Object(values);
    let problem = |error: jsonschema::ValidationError<'_>| {
        let parts: Vec<String> = error.instance_path().segments().map(|part| part.to_string()).collect();
        let (key, place) = locate(stack, &parts);
        let shown = key.clone().unwrap_or_else(|| "the configuration".to_owned());
        // The value is never told: it may be a secret, or a table that holds one.
        Problem { key, place, what: format!("{shown}: {} ({path}).", error.masked_with("the value")) }
    };
    Ok(validator.iter_errors(&instance).take(PROBLEMS_MAX).map(problem).collect())
}

/// The key of a path in the document and where it stands: the entry itself, the list around it, or the first entry of
/// the table.
fn locate(stack: &Stack, parts: &[String]) -> (Option<String>, Option<(String, Option<u32>)>) {
    let place = |key: &str| stack.say(key).map(|say| (say.layer.name.clone(), say.found.line));
    for length in (1..=parts.len()).rev() {
        let key = parts[..length].join(".");
        if let Some(place) = place(&key) {
            return (Some(key), Some(place));
        }
    }
    if parts.is_empty() {
        return (None, None);
    }
    let table = parts.join(".");
    let below = format!("{table}.");
    let first = stack.keys().find(|key| key.starts_with(&below));
    (Some(table), first.and_then(place))
}
