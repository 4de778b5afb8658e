//! Texts with `{{expression}}` in them.

use super::cel::{Cel, Roots, Slip};
use vice_core::text::sanitize;

/// The longest text that comes out, in bytes.
const TEXT_BYTES_MAX: usize = 16 * 1024;

#[derive(Debug, Clone)]
enum Piece {
    Plain(String),
    Value(Cel),
}

/// A text with places for values.
#[derive(Debug, Clone)]
pub(crate) struct Template(Vec<Piece>);

impl Template {
    /// Reads a text.
    pub(crate) fn read(text: &str, names: &[&str]) -> Result<Self, Slip> {
        let mut pieces = Vec::new();
        let mut at = 0;
        while let Some(start) = text[at..].find("{{").map(|found| at + found) {
            let Some(end) = text[start..].find("}}").map(|found| start + found) else {
                return Err(Slip::new(start, "The {{ here is not closed."));
            };
            pieces.push(Piece::Plain(text[at..start].to_owned()));
            let cel = Cel::read(&text[start + 2..end], names);
            pieces.push(Piece::Value(cel.map_err(|slip| Slip::new(start + 2 + slip.at, slip.why))?));
            at = end + 2;
        }
        pieces.push(Piece::Plain(text[at..].to_owned()));
        Ok(Self(pieces))
    }

    /// The text for these values. What has no value says so in its place: a message with a gap is better than none.
    pub(crate) fn fill(&self, roots: &dyn Roots) -> String {
        let mut out = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Plain(text) => out.push_str(text),
                Piece::Value(cel) => match cel.value(roots) {
                    Ok(value) => out.push_str(&value.show()),
                    Err(stop) => out.push_str(&format!("({stop})")),
                },
            }
        }
        let end = (0..=TEXT_BYTES_MAX.min(out.len())).rev().find(|end| out.is_char_boundary(*end)).unwrap_or(0);
        out.truncate(end);
        out
    }

    /// The same as one line that can't steer a terminal.
    pub(crate) fn line(&self, roots: &dyn Roots) -> String {
        sanitize(&self.fill(roots)).replace('\n', " ")
    }
}
