//! How a fault looks on a terminal: the message, its causes, the place in the file, and what to do next.

use std::fmt;

use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode};
use vice_core::text::{Tone, paint, sanitize};
use vice_core::{Fault, Place};

/// The whole text, ended by a newline.
pub(crate) fn render(fault: &Fault, color: bool, width: usize) -> String {
    let chain = fault.chain();
    let mut out = format!("{} {}\n", paint(Tone::Bad, "error:"), sanitize(&chain[0]));
    let drawn = fault.place().map(|place| snippet(place, color, width));
    for cause in &chain[1..] {
        // A label under the marked place already says this, where it could be drawn.
        let labelled = fault.place().is_some_and(|place| place.label == *cause);
        if labelled && drawn.as_ref().is_some_and(|drawn| drawn.contains(cause)) {
            continue;
        }
        let mut lines = cause.lines();
        out += &format!("  {} {}\n", paint(Tone::Faint, "because:"), sanitize(lines.next().unwrap_or("")));
        for line in lines.take(20) {
            out += &format!("           {}\n", sanitize(line));
        }
    }
    if let Some(drawn) = drawn {
        out += &drawn;
    }
    for hint in fault.hints() {
        out += &format!("  {} {}\n", paint(Tone::Code, "help:"), sanitize(hint));
    }
    out += &format!("  {}\n", paint(Tone::Faint, format!("[{}]", fault.code())));
    out
}

/// Lines that are longer are not shown: the mark would be far from what can be seen.
const LINE_BYTES_MAX: usize = 200;

/// The text with control characters replaced byte for byte, so that offsets stay true.
fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => out.push(c),
            '\r' => out.push(' '),
            c if c.is_control() => out.extend(std::iter::repeat_n('?', c.len_utf8())),
            c => out.push(c),
        }
    }
    out
}

/// The marked lines of the file, drawn by miette.
fn snippet(place: &Place, color: bool, width: usize) -> String {
    let (line, column) = place.line_column();
    let position = || format!("  --> {}:{line}:{column}\n", sanitize(&place.file));
    let nearby = place.text.lines().skip(line.saturating_sub(2)).take(3);
    if nearby.into_iter().any(|line| line.len() > LINE_BYTES_MAX) {
        return position();
    }
    let theme = if color { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    let handler = GraphicalReportHandler::new_themed(theme).with_width(width).with_context_lines(1);
    let end = place.text.len();
    let start = place.span.start.min(end);
    // Only the first line of a long span is marked: the rest says nothing more.
    let first_line = place.text.get(start..).and_then(|rest| rest.lines().next()).map_or(0, str::len);
    let length = place.span.end.saturating_sub(start).min(first_line);
    let pointed = Pointed {
        source: NamedSource::new(&place.file, printable(&place.text)),
        label: LabeledSpan::new((!place.label.is_empty()).then(|| sanitize(&place.label)), start, length),
    };
    let mut out = String::new();
    if handler.render_report(&mut out, &pointed).is_err() {
        return position();
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

#[cfg(test)]
mod tests {
    use vice_core::manifest::parse;

    use super::*;

    fn shown(text: &str) -> String {
        render(&parse("vice.toml", text).unwrap_err(), false, 100)
    }

    #[test]
    fn the_reason_is_said_where_no_label_fits() {
        for (text, reason) in
            [("name = \"x\n", "string"), ("[env", "unclosed"), ("name = \"x\"\nname = \"y\"\n", "duplicate")]
        {
            let report = shown(text);
            assert!(report.contains(reason) && report.contains("help:"), "{report}");
        }
        let once = shown("name = \"x\"\nname = \"y\"\n");
        assert_eq!(once.matches("duplicate key").count(), 1, "{once}");
    }

    #[test]
    fn long_lines_and_control_characters_are_not_shown() {
        let long = shown(&format!("name = \"x\"\nartifact = \"{}\n", "a".repeat(3000)));
        assert!(long.len() < 500 && long.contains("vice.toml:2:"), "{long}");
        let hostile = shown("name = \"a\u{1b}[2J\u{9b}b\"\n");
        assert!(!hostile.contains("\u{1b}[2J") && !hostile.contains('\u{9b}'), "{hostile:?}");
    }
}
