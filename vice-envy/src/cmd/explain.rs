//! `vice envy explain`: where one value comes from, who changed it last, and what it refers to.

use std::sync::Arc;

use serde_json::{Value, json};
use vice_core::Result;
use vice_core::manifest::Project;
use vice_core::secret::masked;
use vice_core::text::{Table, Tone, paint, sanitize};
use vice_core::ui::Outcome;

use super::Desk;
use crate::blame::{self, Change};
use crate::interpolate::{Resolver, follows, references};
use crate::layer::Place;
use crate::locked::Lock;
use crate::render;
use crate::source::Ask;
use crate::stack::{Say, Stack, place};

/// What is told of one key.
struct Told {
    key: String,
    secret: bool,
    /// The effective value, where it is not what a layer says: references followed, or lists put together.
    made: Option<Value>,
    steps: Vec<Step>,
    refers: Vec<String>,
    silent: Vec<String>,
    skipped: Vec<(String, String)>,
    locked: Option<String>,
}

/// What one layer says.
struct Step {
    what: &'static str,
    value: Value,
    layer: String,
    line: Option<u32>,
    sealed: bool,
    /// The file to blame.
    file: Option<String>,
    change: Option<Change>,
}

pub(super) async fn run(desk: &Desk, project: &Arc<Project>, ask: Ask, key: String) -> Result<Outcome> {
    desk.ui.format().among(&[])?;
    let manifest = project.file.rsplit('/').next().unwrap_or(&project.file).to_owned();
    let mut told =
        desk.envy.with_stack_of(project, ask, move |stack, lock| explain(stack, lock, key, &manifest)).await?;
    if let Ok(repository) = desk.envy.repository(project) {
        for step in &mut told.steps {
            if let (Some(file), Some(line)) = (&step.file, step.line) {
                step.change = blame::last(&repository, file, line).await;
            }
        }
    }
    Ok(told.outcome())
}

fn explain(stack: &Stack, lock: &Lock<'_>, key: String, manifest: &str) -> Result<Told> {
    let Some(effective) = stack.say(&key) else {
        return Err(stack.unknown(&key));
    };
    // Where a value comes from can be told even to those who can't open it.
    let resolved = Resolver::new(stack, lock).entry(&key);
    let says = stack.says(&key);
    let tainted =
        resolved.as_ref().is_ok_and(|entry| matches!(entry.value, vice_core::port::config::ConfigValue::Secret(_)));
    // One layer that has it as a secret is enough to hide what the others have.
    let hidden = says.iter().any(|say| stack.is_secret(&key, say));
    let secret = tainted || hidden;
    let refers: Vec<String> = if follows(stack, &effective) {
        references(&effective.found.value).into_iter().map(str::to_owned).collect()
    } else {
        Vec::new()
    };
    let parts = stack.parts(&key);
    let made = (parts > 1 || !refers.is_empty())
        .then(|| resolved.as_ref().ok().map(|entry| render::shown(&key, &entry.value, false)))
        .flatten();
    let steps =
        says.iter().enumerate().map(|(index, say)| Step::of(&key, (index, parts), hidden, say, manifest)).collect();
    let others = stack.layers().iter().filter(|layer| layer.sheet.get(&key).is_none());
    Ok(Told {
        secret,
        made,
        steps,
        refers,
        silent: others.map(|layer| layer.name.clone()).collect(),
        skipped: stack.skipped().iter().map(|skipped| (skipped.layer.clone(), skipped.why.clone())).collect(),
        locked: resolved.err().map(|fault| fault.to_string()),
        key,
    })
}

impl Step {
    fn of(key: &str, at: (usize, usize), hidden: bool, say: &Say<'_>, manifest: &str) -> Self {
        let what = match at {
            (0, _) => "effective",
            (index, parts) if index < parts => "and before",
            _ => "overrides",
        };
        // What is secret only by what it refers to is shown as it is written.
        let value = if hidden { Value::String(masked(key)) } else { say.found.value.clone() };
        let file = match &say.layer.place {
            Some(Place::File { path, .. }) => Some(path.clone()),
            Some(Place::Inline) => Some(manifest.to_owned()),
            Some(Place::Environ { .. } | Place::Credential(_) | Place::Remote { .. }) | None => None,
        };
        let (layer, line) = (say.layer.name.clone(), say.found.line);
        Self { what, value, layer, line, sealed: say.layer.sealed, file, change: None }
    }

    fn json(&self) -> Value {
        let mut told = json!({
            "value": self.value, "layer": self.layer, "line": self.line, "encrypted_layer": self.sealed,
        });
        if let Some(change) = &self.change {
            told["changed"] = json!(change);
        }
        told
    }
}

impl Told {
    fn outcome(&self) -> Outcome {
        let changes = self.steps.iter().any(|step| step.change.is_some());
        let heading: &[&str] = &["", "value", "origin", "last change"];
        let mut table = Table::with_heading(if changes { heading } else { &heading[..3] });
        if let Some(made) = &self.made {
            table.row(row(changes, Tone::Strong, "together", made, String::new(), ""));
        }
        for step in &self.steps {
            let tone = if step.what == "overrides" { Tone::Faint } else { Tone::Strong };
            let origin = place(&vice_core::payload::config::Origin { layer: step.layer.clone(), line: step.line });
            let change = step.change.as_ref().map_or_else(String::new, Change::text);
            table.row(row(changes, tone, step.what, &step.value, origin, &change));
        }
        let mut text = format!("{}\n{}", sanitize(&self.key), table.render());
        if !self.refers.is_empty() {
            text.push_str(&format!("\nIt refers to {}.\n", sanitize(&self.refers.join(", "))));
        }
        if !self.silent.is_empty() {
            text.push_str(&format!("\nNot in {}.\n", sanitize(&self.silent.join(", "))));
        }
        for (layer, why) in &self.skipped {
            text.push_str(&format!("{} does not apply: {}.\n", sanitize(layer), sanitize(why)));
        }
        if let Some(why) = &self.locked {
            text.push_str(&format!("\n{}\n", paint(Tone::Bad, sanitize(why))));
        }
        Outcome::done(text, self.json())
    }

    fn json(&self) -> Value {
        let mut steps = self.steps.iter().map(|step| (step.what, step.json()));
        let effective = steps.next().map(|(_, step)| step);
        let (parts, overrides): (Vec<_>, Vec<_>) = steps.partition(|(what, _)| *what != "overrides");
        let only = |steps: Vec<(&str, Value)>| steps.into_iter().map(|(_, step)| step).collect::<Vec<_>>();
        let skipped: Vec<Value> =
            self.skipped.iter().map(|(layer, why)| json!({ "layer": layer, "why": why })).collect();
        json!({
            "key": self.key,
            "secret": self.secret,
            "value": self.made,
            "effective": effective,
            "parts": only(parts),
            "overrides": only(overrides),
            "refers_to": self.refers,
            "absent_in": self.silent,
            "not_applied": skipped,
            "locked": self.locked,
        })
    }
}

fn row(changes: bool, tone: Tone, what: &str, value: &Value, origin: String, change: &str) -> Vec<(Tone, String)> {
    let mut cells = vec![(tone, what.to_owned()), (tone, render::as_text(value)), (Tone::Faint, origin)];
    if changes {
        cells.push((Tone::Faint, sanitize(change)));
    }
    cells
}
