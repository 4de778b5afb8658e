//! The one script of ours: a constant. The policy of a page allows exactly it, by its digest, and nothing else; what it
//! works on are numbers in data attributes.

use serde::Serialize;
use vice_core::Digest;

/// The script that moves the moment of a spread.
pub(super) const SPREAD: &str = include_str!("spread.js");

/// What the head of a page needs to allow a script.
#[derive(Debug, Serialize)]
pub(super) struct Script {
    /// A source of the policy: `'sha256-…'`.
    source: String,
}

impl Script {
    pub(super) fn spread() -> Self {
        Self { source: format!("'sha256-{}'", base64(&Digest::of(SPREAD.as_bytes()).0)) }
    }
}

/// With padding, as policies want it.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let byte = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * place) & 63) as usize];
            out.push(if place <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_standard() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }

    #[test]
    fn the_script_makes_no_markup_and_asks_nobody() {
        for bad in
            ["innerHTML", "outerHTML", "document.write", "eval(", "Function(", "fetch(", "XMLHttp", "{{", "</", "http"]
        {
            assert!(!SPREAD.contains(bad), "{bad}");
        }
    }
}
