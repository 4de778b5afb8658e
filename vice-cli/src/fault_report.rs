//! How a fault looks on a terminal: the message, its causes, the place in the file, and what to do next.

use std::fmt;

use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode};
use vice_core::text::{Tone, paint, sanitize};
use vice_core::{Fault, Place};

/// The whole text, ended by a newline.
pub(crate) fn render(fault: &Fault, color: bool, width: usize) -> String {
    let chain = fault.chain();
    let mut out = lines(&paint(Tone::Bad, "error:"), 7, &chain[0]);
    let drawn = fault.place().map(|place| snippet(place, color, width));
    for cause in &chain[1..] {
        // A label under the marked place already says this, where it could be drawn.
        let labelled = fault.place().is_some_and(|place| place.label == *cause);
        if labelled && drawn.as_ref().is_some_and(|drawn| drawn.contains(cause)) {
            continue;
        }
        out += &lines(&format!("  {}", paint(Tone::Faint, "because:")), 11, cause);
    }
    if let Some(drawn) = drawn {
        out += &drawn;
    }
    for hint in fault.hints() {
        out += &lines(&format!("  {}", paint(Tone::Code, "help:")), 8, hint);
    }
    out += &format!("  {}\n", paint(Tone::Faint, format!("[{}]", fault.code())));
    out
}

/// So many lines of one text are shown.
const TEXT_LINES_MAX: usize = 21;

/// A text behind what it is, its further lines below its first; nothing in it can move the cursor elsewhere.
fn lines(what: &str, indent: usize, text: &str) -> String {
    let mut lines = text.trim_end().lines().map(sanitize);
    let mut out = format!("{what} {}\n", lines.next().unwrap_or_default());
    for line in lines.take(TEXT_LINES_MAX - 1) {
        out += format!("{:indent$}{line}", "").trim_end();
        out.push('\n');
    }
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
    use vice_core::Code;
    use vice_core::manifest::parse;

    use super::*;

    fn shown(text: &str) -> String {
        render(&parse("vice.toml", text).unwrap_err(), false, 100)
    }

    #[test]
    fn lines_are_lines_and_stay_in_their_place() {
        let fault = Fault::new(Code::Usage, "p.toml does not parse:\n1 | x\u{1b}[2J\n  | ^\n")
            .because("it ends\r\nhere\n\nand here")
            .hint("Define it, for example:\n[metric.errors]\nfront = true");
        let shown = anstream::adapter::strip_str(&render(&fault, false, 100)).to_string();
        let expected = "error: p.toml does not parse:\n       1 | x\\u{1b}[2J\n         | ^\n  because: it ends\n           here\n\n           and here\n  help: Define it, for example:\n        [metric.errors]\n        front = true\n  [usage]\n";
        assert_eq!(shown, expected);
        let long = render(&Fault::new(Code::Usage, "x\n".repeat(1000)), false, 100);
        assert!(long.lines().count() < 30, "{long}");
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
