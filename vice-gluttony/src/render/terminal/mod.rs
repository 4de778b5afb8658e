//! For the terminal: at most [`WIDTH_MAX`] columns, readable without colour.

mod dashboard;
mod gantt;
mod rollout;
mod simulation;
mod spread;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};
use vice_core::text::{Tone, paint, sanitize};

pub use dashboard::dashboard;
pub use rollout::rollout;
pub use simulation::simulation;

use crate::view::Mood;

/// Lines are never longer, however wide the terminal is: long lines are hard to read.
pub const WIDTH_MAX: usize = 100;

/// Below this a chart can't be drawn; a narrower terminal wraps by itself.
const WIDTH_MIN: usize = 60;

fn width(asked: usize) -> usize {
    asked.clamp(WIDTH_MIN, WIDTH_MAX)
}

const fn tone(mood: Mood) -> Tone {
    match mood {
        Mood::Plain => Tone::Plain,
        Mood::Good => Tone::Good,
        Mood::Warn => Tone::Warn,
        Mood::Bad => Tone::Bad,
    }
}

/// The text cut to a display width, with an ellipsis where something is missing.
fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut used = 1;
    for c in text.chars() {
        used += c.width().unwrap_or(0);
        if used > width {
            break;
        }
        out.push(c);
    }
    out.push('…');
    out
}

/// The text padded to a display width.
fn pad(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(text.width())))
}

/// Lines of at most `width` columns, broken at spaces, and inside a word only when it is longer than a line.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in sanitize(text).split(' ') {
        let mut word = word.to_owned();
        loop {
            let line = lines.last_mut().map_or(0, |line| line.width());
            let gap = usize::from(line > 0);
            if line + gap + word.width() <= width {
                append(&mut lines, gap, &word);
                break;
            }
            if line > 0 {
                lines.push(String::new());
                continue;
            }
            let (head, tail) = split(&word, width);
            append(&mut lines, 0, &head);
            if tail.is_empty() {
                break;
            }
            lines.push(String::new());
            word = tail;
        }
    }
    lines
}

fn append(lines: &mut [String], gap: usize, word: &str) {
    if let Some(line) = lines.last_mut() {
        line.push_str(&" ".repeat(gap));
        line.push_str(word);
    }
}

fn split(word: &str, width: usize) -> (String, String) {
    let mut used = 0;
    let at = word.char_indices().find(|(_, c)| {
        used += c.width().unwrap_or(0);
        used > width
    });
    // At least one character goes onto each line, or there would be no end.
    let first = word.chars().next().map_or(0, char::len_utf8);
    let at = at.map_or(word.len(), |(index, _)| index).max(first);
    (word[..at].to_owned(), word[at..].to_owned())
}

/// A labelled value with a hanging indent.
fn fact(out: &mut String, label: &str, tone: Tone, value: &str, width: usize) {
    const INDENT: usize = 13;
    for (index, line) in wrap(value, width - INDENT).iter().enumerate() {
        let label = if index == 0 { label } else { "" };
        let label = pad(label, INDENT - 2);
        out.push_str(&format!("  {}{}\n", paint(Tone::Faint, label), paint(tone, line)));
    }
}

/// A sentence with a hanging indent after a lead of fixed width.
fn item(out: &mut String, lead: &str, tone: Tone, text: &str, width: usize) {
    let indent = lead.width() + 1;
    for (index, line) in wrap(text, width - indent).iter().enumerate() {
        let lead = if index == 0 { paint(Tone::Faint, lead) } else { " ".repeat(indent - 1) };
        out.push_str(&format!("{lead} {}\n", paint(tone, line)));
    }
}

fn heading(out: &mut String, text: &str) {
    out.push_str(&format!("\n{}\n", paint(Tone::Strong, text)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrapping_breaks_at_spaces_and_inside_long_words() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("abcdefghij k", 4), ["abcd", "efgh", "ij k"]);
        assert_eq!(wrap("日本語", 1), ["日", "本", "語"]);
        assert_eq!(wrap("", 5), [""]);
    }

    #[test]
    fn cutting_says_that_something_is_missing() {
        assert_eq!(cut("instance-1", 6), "insta…");
        assert_eq!(cut("short", 5), "short");
    }
}
