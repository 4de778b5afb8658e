//! A graph as an SVG picture: layers from top to bottom, boxes for steps, curves for edges. No scripts, no links, no
//! fonts from elsewhere; readable in light and dark.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{remarks, shorten, summary};
use crate::graph::Graph;

/// The measures of the picture, in pixels.
const BOX_WIDTH: usize = 220;
const BOX_HEIGHT: usize = 60;
const GAP_ACROSS: usize = 40;
const GAP_DOWN: usize = 64;
const MARGIN: usize = 24;
const HEADING: usize = 36;

/// How much text fits into a box, in characters.
const LINE_CHARS_MAX: usize = 32;

const STYLE: &str = "text{font:13px ui-monospace,monospace;fill:#1f2328}.name{font-weight:bold}.faint{font-size:11px;fill:#59636e}\
.box{fill:#f6f8fa;stroke:#59636e}.action{fill:#ddf4ff}.edge{fill:none;stroke:#59636e}.tip{fill:#59636e}\
@media(prefers-color-scheme:dark){svg{background:#0d1117}text{fill:#e6edf3}.faint{fill:#9198a1}.box{fill:#151b23;stroke:#9198a1}\
.action{fill:#0c2d4a}.edge{stroke:#9198a1}.tip{fill:#9198a1}}";

/// Where the left upper corner of each step's box is.
type Places = BTreeMap<usize, (usize, usize)>;

/// The graph as an SVG document.
pub(crate) fn svg(name: &str, project: &str, graph: &Graph) -> String {
    let layers = arrange(graph);
    let widest = layers.iter().map(Vec::len).max().unwrap_or(1);
    let row = |count: usize| count * (BOX_WIDTH + GAP_ACROSS) - GAP_ACROSS;
    let (width, mut places) = (row(widest) + 2 * MARGIN, Places::new());
    for (depth, layer) in layers.iter().enumerate() {
        let left = (width - row(layer.len())) / 2;
        for (across, index) in layer.iter().enumerate() {
            let y = MARGIN + HEADING + depth * (BOX_HEIGHT + GAP_DOWN);
            places.insert(*index, (left + across * (BOX_WIDTH + GAP_ACROSS), y));
        }
    }
    let height = 2 * MARGIN + HEADING + layers.len() * (BOX_HEIGHT + GAP_DOWN) - GAP_DOWN;
    let title = escape(&format!("{name} of {project}"));
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\">\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n\
         <defs><marker id=\"tip\" markerWidth=\"8\" markerHeight=\"8\" refX=\"7\" refY=\"4\" orient=\"auto\">\
         <path class=\"tip\" d=\"M0 0L8 4L0 8z\"/></marker></defs>\n\
         <text class=\"name\" x=\"{MARGIN}\" y=\"{}\">{title}</text>\n",
        MARGIN + 12,
    );
    edges(&mut out, graph, &places);
    boxes(&mut out, graph, &places);
    out.push_str("</svg>\n");
    out
}

/// The layers, each ordered by the middle of what its steps wait for, which keeps most edges from crossing.
fn arrange(graph: &Graph) -> Vec<Vec<usize>> {
    let mut layers = graph.layers();
    let mut across: BTreeMap<usize, usize> = BTreeMap::new();
    for layer in &mut layers {
        let middle = |index: &usize| {
            let needs = &graph.steps[*index].needs;
            let sum: usize = needs.keys().filter_map(|need| across.get(need)).sum();
            // In hundredths, so that halves count and no floating point decides an order.
            sum * 100 / needs.len().max(1)
        };
        layer.sort_by_key(|index| (middle(index), *index));
        across.extend(layer.iter().enumerate().map(|(at, index)| (*index, at)));
    }
    layers
}

fn edges(out: &mut String, graph: &Graph, places: &Places) {
    for (index, step) in graph.steps.iter().enumerate() {
        for (need, outputs) in &step.needs {
            let (Some((x1, y1)), Some((x2, y2))) = (places.get(need), places.get(&index)) else { continue };
            let (x1, y1, x2) = (x1 + BOX_WIDTH / 2, y1 + BOX_HEIGHT, x2 + BOX_WIDTH / 2);
            let (bend1, bend2) = (y1 + GAP_DOWN / 2, y2 - GAP_DOWN / 2);
            // Writing to a String can't fail.
            writeln!(
                out,
                "<path class=\"edge\" marker-end=\"url(#tip)\" d=\"M{x1} {y1}C{x1} {bend1} {x2} {bend2} {x2} {y2}\"/>"
            )
            .ok();
            if !outputs.is_empty() {
                let outputs: Vec<&str> = outputs.iter().map(String::as_str).collect();
                let (x, y) = (usize::midpoint(x1, x2) + 6, usize::midpoint(y1, *y2));
                let label = escape(&shorten(&outputs.join(", "), LINE_CHARS_MAX));
                writeln!(out, "<text class=\"faint\" x=\"{x}\" y=\"{y}\">{label}</text>").ok();
            }
        }
    }
}

fn boxes(out: &mut String, graph: &Graph, places: &Places) {
    for (index, step) in graph.steps.iter().enumerate() {
        let Some((x, y)) = places.get(&index) else { continue };
        let class = if step.kind() == "action" { "box action" } else { "box" };
        let whole = escape(&format!("{}: {}", step.name, summary(step)));
        let line = |text: &str| escape(&shorten(text, LINE_CHARS_MAX));
        let (name, what, remarks) = (line(&step.name), line(&summary(step)), line(&remarks(step)));
        let (left, y1, y2, y3) = (x + 10, y + 20, y + 37, y + 52);
        writeln!(
            out,
            "<g><title>{whole}</title><rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{BOX_WIDTH}\" height=\"{BOX_HEIGHT}\" rx=\"6\"/>\
             <text class=\"name\" x=\"{left}\" y=\"{y1}\">{name}</text><text class=\"faint\" x=\"{left}\" y=\"{y2}\">{what}</text>\
             <text class=\"faint\" x=\"{left}\" y=\"{y3}\">{remarks}</text></g>"
        )
        .ok();
    }
}

/// Text for XML. Characters that XML does not allow at all become visible replacements.
fn escape(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() || c == '\u{fffe}' || c == '\u{ffff}' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}
