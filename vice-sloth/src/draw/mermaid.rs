//! A graph as a mermaid flowchart.

use std::fmt::Write as _;

use super::{remarks, summary};
use crate::graph::Graph;

/// The graph as a mermaid document.
pub(crate) fn mermaid(graph: &Graph) -> String {
    let mut out = "flowchart TD\n".to_owned();
    let mut line = |text: String| {
        // Writing to a String can't fail.
        writeln!(out, "    {text}").ok();
    };
    for (index, step) in graph.steps.iter().enumerate() {
        let remarks = remarks(step);
        let lines = [step.name.as_str(), &summary(step), &remarks];
        let label: Vec<String> = lines.iter().filter(|line| !line.is_empty()).map(|line| escape(line)).collect();
        line(format!("s{index}[\"{}\"]", label.join("<br/>")));
    }
    for (index, step) in graph.steps.iter().enumerate() {
        for (need, outputs) in &step.needs {
            let outputs: Vec<String> = outputs.iter().map(|output| escape(output)).collect();
            let label = if outputs.is_empty() { String::new() } else { format!("|\"{}\"|", outputs.join(", ")) };
            line(format!("s{need} -->{label} s{index}"));
        }
    }
    out
}

/// Mermaid reads labels as Markdown and HTML; character references are the one thing that it never reads as either.
fn escape(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            c if c.is_alphanumeric() || " .,/-_=".contains(c) => out.push(c),
            c if c.is_control() => out.push('\u{fffd}'),
            c => {
                write!(out, "#{};", u32::from(c)).ok();
            }
        }
    }
    out
}
