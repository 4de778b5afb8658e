//! How a fault looks on a terminal: the message, its causes, the place in the file, and what to do next.

use std::fmt;

use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode};
use vice_core::text::{Tone, paint, sanitize};
use vice_core::{Fault, Place};

/// The whole text, ended by a newline.
pub(crate) fn render(fault: &Fault, color: bool, width: usize) -> String {
    let chain = fault.chain();
    let mut out = format!("{} {}\n", paint(Tone::Bad, "error:"), sanitize(&chain[0]));
    for cause in &chain[1..] {
        // A label under the marked place already says this.
        if fault.place().is_some_and(|place| place.label == *cause) {
            continue;
        }
        let mut lines = cause.lines();
        out += &format!("  {} {}\n", paint(Tone::Faint, "because:"), sanitize(lines.next().unwrap_or("")));
        for line in lines.take(20) {
            out += &format!("           {}\n", sanitize(line));
        }
    }
    if let Some(place) = fault.place() {
        out += &snippet(place, color, width);
    }
    for hint in fault.hints() {
        out += &format!("  {} {}\n", paint(Tone::Code, "help:"), sanitize(hint));
    }
    out += &format!("  {}\n", paint(Tone::Faint, format!("[{}]", fault.code())));
    out
}

/// The marked lines of the file, drawn by miette.
fn snippet(place: &Place, color: bool, width: usize) -> String {
    let theme = if color { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    let handler = GraphicalReportHandler::new_themed(theme).with_width(width).with_context_lines(1);
    let end = place.text.len();
    let start = place.span.start.min(end);
    // Only the first line of a long span is marked: the rest says nothing more.
    let first_line = place.text.get(start..).and_then(|rest| rest.lines().next()).map_or(0, str::len);
    let length = place.span.end.saturating_sub(start).min(first_line);
    let pointed = Pointed {
        source: NamedSource::new(&place.file, place.text.to_string()),
        label: LabeledSpan::new((!place.label.is_empty()).then(|| place.label.clone()), start, length),
    };
    let mut out = String::new();
    if handler.render_report(&mut out, &pointed).is_err() {
        let (line, column) = place.line_column();
        return format!("  --> {}:{line}:{column}\n", place.file);
    }
    // miette starts with the message, which is printed already; the snippet begins at its frame.
    let from = out.find('╭').map_or(0, |at| out[..at].rfind('\n').map_or(0, |newline| newline + 1));
    out[from..].to_owned()
}

#[derive(Debug)]
struct Pointed {
    source: NamedSource<String>,
    label: LabeledSpan,
}

impl fmt::Display for Pointed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("")
    }
}

impl std::error::Error for Pointed {}

impl miette::Diagnostic for Pointed {
    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.source)
    }
    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        Some(Box::new(std::iter::once(self.label.clone())))
    }
}
