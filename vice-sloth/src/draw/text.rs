//! A graph as lines: one block for each layer, arrows between them, and what each step waits for.

use vice_core::text::{Table, Tone, sanitize};

use super::{remarks, summary};
use crate::graph::Graph;

/// The graph as text with styles.
pub(crate) fn text(name: &str, project: &str, graph: &Graph) -> String {
    let layers = graph.layers();
    let mut table = Table::default();
    for (depth, layer) in layers.iter().enumerate() {
        if depth > 0 {
            table.row([(Tone::Faint, "  ↓".to_owned())]);
        }
        for index in layer {
            let step = &graph.steps[*index];
            let needs = step.needs.iter().map(|(need, outputs)| {
                let name = &graph.steps[*need].name;
                if outputs.is_empty() {
                    return name.clone();
                }
                let outputs: Vec<&str> = outputs.iter().map(String::as_str).collect();
                format!("{name} ({})", outputs.join(", "))
            });
            let needs: Vec<String> = needs.collect();
            let arrow = if needs.is_empty() { String::new() } else { format!("← {}", needs.join(", ")) };
            table.row([
                (Tone::Strong, step.name.clone()),
                (Tone::Faint, step.kind().to_owned()),
                (Tone::Plain, summary(step)),
                (Tone::Plain, arrow),
                (Tone::Faint, remarks(step)),
            ]);
        }
    }
    let (steps, depth) = (graph.steps.len(), layers.len());
    let counted = |count: usize, word: &str| if count == 1 { format!("1 {word}") } else { format!("{count} {word}s") };
    let (steps, depth) = (counted(steps, "step"), counted(depth, "layer"));
    format!("{} of {}: {steps} in {depth}\n\n{}", sanitize(name), sanitize(project), table.render())
}
