//! Messages about what came from outside: masked first, then made harmless for terminals, then cut. In that order,
//! because a cut secret is not found any more.

use vice_core::secret::Masker;
use vice_core::text::sanitize;

/// The longest message, in characters.
pub(crate) const MESSAGE_CHARS_MAX: usize = 200;

/// The longest excerpt of a foreign value inside a message, in characters.
const EXCERPT_CHARS_MAX: usize = 80;

/// How much of a foreign text is looked at for an excerpt, in bytes: many times what is shown, so that a secret that
/// begins inside the excerpt is seen whole and masked.
const EXCERPT_WINDOW_BYTES: usize = 64 * 1024;

/// The first characters, with a sign that something follows.
pub(crate) fn bounded(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        None => text.to_owned(),
        Some(_) => {
            let kept: String = text.chars().take(chars_max.saturating_sub(1)).collect();
            format!("{kept}…")
        }
    }
}

/// A message as it may be shown and stored.
pub(crate) fn message(masker: &Masker, text: &str) -> String {
    bounded(&sanitize(&masker.mask(text)), MESSAGE_CHARS_MAX)
}

/// The beginning of a foreign text for a message.
pub(crate) fn excerpt(masker: &Masker, text: &str) -> String {
    let mut end = text.len().min(EXCERPT_WINDOW_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let window = &text[..end];
    let masked = if end < text.len() { masker.mask_cut(window) } else { masker.mask(window) };
    bounded(&sanitize(&masked), EXCERPT_CHARS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use vice_core::Secret;

    #[test]
    fn a_secret_at_the_cut_is_masked_whole() {
        let mut masker = Masker::default();
        masker.add("token", &Secret::new("canary-canary-canary"));
        for lead in 60..=85 {
            let text = format!("{}canary-canary-canary and more", "x".repeat(lead));
            let shown = excerpt(&masker, &text);
            assert!(!shown.contains("cana"), "{shown}");
            assert!(shown.chars().count() <= EXCERPT_CHARS_MAX);
        }
    }

    #[test]
    fn control_characters_do_not_reach_a_terminal() {
        assert_eq!(message(&Masker::default(), "a\u{1b}[2Jb\nc"), "a\\u{1b}[2Jb\\nc");
    }
}
