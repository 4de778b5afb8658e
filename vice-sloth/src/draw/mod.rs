//! Pictures of a graph: text, mermaid and SVG. Pure; every text that comes from a file is made inert for its medium.

mod mermaid;
mod svg;
mod text;

pub(crate) use mermaid::mermaid;
pub(crate) use svg::svg;
pub(crate) use text::text;

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::graph::{Graph, Step, When};

/// The longest summary of a step in a picture, in characters.
const SUMMARY_CHARS_MAX: usize = 60;

/// The graph as a value.
pub(crate) fn value(name: &str, project: &str, graph: &Graph) -> Value {
    let layers = graph.layers();
    let layer = |index: usize| layers.iter().position(|layer| layer.contains(&index));
    let steps = graph.steps.iter().enumerate().map(|(index, step)| {
        let needs = step.needs.iter();
        let needs = needs.map(|(need, outputs)| json!({ "step": graph.steps[*need].name, "outputs": outputs }));
        json!({
            "name": step.name,
            "kind": step.kind(),
            "what": step.summary(),
            "layer": layer(index),
            "needs": needs.collect::<Vec<_>>(),
            "when": when(step),
            "retry": step.retry,
            "timeout_ms": step.timeout,
        })
    });
    json!({ "graph": name, "project": project, "steps": steps.collect::<Vec<_>>() })
}

/// What a step does, short enough for a picture.
fn summary(step: &Step) -> String {
    shorten(&step.summary(), SUMMARY_CHARS_MAX)
}

fn shorten(text: &str, chars_max: usize) -> String {
    if text.chars().count() <= chars_max {
        return text.to_owned();
    }
    text.chars().take(chars_max - 1).chain(['…']).collect()
}

/// The condition as it would be written.
fn when(step: &Step) -> Option<String> {
    match &step.when {
        When::Needed => None,
        When::Always => Some("always".to_owned()),
        When::Compare { left, equal, right } => {
            let sign = if *equal { "==" } else { "!=" };
            Some(format!("{}.{} {sign} {right}", left.step, left.output))
        }
    }
}

/// What else is worth a word: condition and retries.
fn remarks(step: &Step) -> String {
    let mut text = String::new();
    if let Some(when) = when(step) {
        // Writing to a String can't fail.
        write!(text, "when {when}").ok();
    }
    if step.retry > 0 {
        let comma = if text.is_empty() { "" } else { ", " };
        write!(text, "{comma}retry {}", step.retry).ok();
    }
    text
}

#[cfg(test)]
mod tests;
