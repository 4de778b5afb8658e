//! Text for people: a few styles and aligned columns. Commands build text with styles in it; the terminal layer
//! strips them where colour is not wanted. Every text must read well without them.

use anstyle::{AnsiColor, Style};
use unicode_width::UnicodeWidthStr;

/// What a piece of text means; the colour follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// As it is.
    Plain,
    /// A heading or a name.
    Strong,
    /// Less important.
    Faint,
    /// Went well.
    Good,
    /// Deserves a look.
    Warn,
    /// Went wrong.
    Bad,
    /// Something that one can type.
    Code,
}

impl Tone {
    const fn style(self) -> Style {
        let style = Style::new();
        match self {
            Self::Plain => style,
            Self::Strong => style.bold(),
            Self::Faint => style.dimmed(),
            Self::Good => style.fg_color(Some(anstyle::Color::Ansi(AnsiColor::Green))),
            Self::Warn => style.fg_color(Some(anstyle::Color::Ansi(AnsiColor::Yellow))),
            Self::Bad => style.fg_color(Some(anstyle::Color::Ansi(AnsiColor::Red))).bold(),
            Self::Code => style.fg_color(Some(anstyle::Color::Ansi(AnsiColor::Cyan))),
        }
    }
}

/// The text in a tone.
#[must_use]
pub fn paint(tone: Tone, text: impl AsRef<str>) -> String {
    let text = text.as_ref();
    if tone == Tone::Plain || text.is_empty() {
        return text.to_owned();
    }
    let style = tone.style();
    format!("{style}{text}{style:#}")
}

/// Text from outside, made safe for a terminal: control characters (escape sequences among them) become visible.
#[must_use]
pub fn sanitize(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\t' => out.push(' '),
            c if c.is_control() => out.extend(c.escape_default()),
            // Bidirectional overrides can make a line read differently from what it says.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out
}

/// A number with its noun: "1 file", "2 files".
#[must_use]
pub fn count<N: Copy + std::fmt::Display + PartialEq + From<u8>>(number: N, one: &str, many: &str) -> String {
    let noun = if number == N::from(1) { one } else { many };
    format!("{number} {noun}")
}

/// Rows in aligned columns, separated by two spaces. Cells keep their tone.
#[derive(Debug, Clone, Default)]
pub struct Table {
    rows: Vec<Vec<(Tone, String)>>,
}

impl Table {
    /// A table with a faint heading row.
    #[must_use]
    pub fn with_heading(titles: &[&str]) -> Self {
        let heading = titles.iter().map(|title| (Tone::Faint, title.to_uppercase())).collect();
        Self { rows: vec![heading] }
    }

    /// Adds a row; the cells are sanitised.
    pub fn row(&mut self, cells: impl IntoIterator<Item = (Tone, String)>) {
        self.rows.push(cells.into_iter().map(|(tone, text)| (tone, sanitize(&text))).collect());
    }

    /// The lines, each ended by a newline, no spaces at their ends.
    #[must_use]
    pub fn render(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let mut widths = vec![0; columns];
        for row in &self.rows {
            for (width, (_, text)) in widths.iter_mut().zip(row) {
                *width = (*width).max(text.width());
            }
        }
        let mut out = String::new();
        for row in &self.rows {
            let last = row.iter().rposition(|(_, text)| !text.is_empty()).unwrap_or(0);
            for (index, (tone, text)) in row.iter().enumerate().take(last + 1) {
                out.push_str(&paint(*tone, text));
                if index < last {
                    out.push_str(&" ".repeat(widths[index] - text.width() + 2));
                }
            }
            out.push('\n');
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_not_many() {
        assert_eq!(count(1_u64, "file", "files"), "1 file");
        assert_eq!(count(0_usize, "file", "files"), "0 files");
        assert_eq!(count(2_usize, "wave", "waves"), "2 waves");
    }

    #[test]
    fn columns_align_by_display_width() {
        let mut table = Table::default();
        table.row([(Tone::Plain, "a".into()), (Tone::Plain, "x".into())]);
        table.row([(Tone::Plain, "日本".into()), (Tone::Plain, "y".into())]);
        table.row([(Tone::Plain, "b".into()), (Tone::Plain, String::new())]);
        assert_eq!(table.render(), "a     x\n日本  y\nb\n");
    }

    #[test]
    fn control_characters_become_visible() {
        assert_eq!(sanitize("a\u{1b}[31mb\r\n"), "a\\u{1b}[31mb\\r\\n");
        assert_eq!(sanitize("ab\u{202e}c"), "ab\\u{202e}c");
    }
}
