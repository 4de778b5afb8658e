//! A message on its way to one channel: everything that a receiver is told, frozen when it is queued, so that every
//! attempt sends the same.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use vice_core::event::Actor;
use vice_core::id::{EnvName, ProjectName, Scope};
use vice_core::port::notifier::Severity;

/// The longest title, in characters. One line of a phone's lock screen has about fifty; mail subjects are cut at
/// about two hundred.
pub const TITLE_CHARS_MAX: usize = 200;

/// The longest text, in characters; Slack cuts at forty thousand bytes.
pub const BODY_CHARS_MAX: usize = 8_000;

/// One message for one channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// The idempotency key: the same for every attempt and for every repeat.
    pub key: String,
    /// The project whose channel it is.
    pub project: ProjectName,
    /// The environment, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<EnvName>,
    /// The channel's name in that project.
    pub channel: String,
    /// How much attention it asks for.
    pub severity: Severity,
    /// One line, without control characters.
    pub title: String,
    /// More, as plain text; may be empty.
    #[serde(default)]
    pub body: String,
    /// When it was caused.
    pub time: Timestamp,
    /// Who caused it.
    pub actor: Actor,
    /// What caused it.
    pub cause: Cause,
}

/// The event that a message tells about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// Its id.
    pub id: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it is about.
    pub subject: String,
}

impl Message {
    /// The project and environment, where there is one.
    #[must_use]
    pub fn scope(&self) -> Option<Scope> {
        self.env.as_ref().map(|env| Scope::new(self.project.clone(), env.clone()))
    }

    /// Title and body below each other.
    #[must_use]
    pub fn text(&self) -> String {
        if self.body.is_empty() { self.title.clone() } else { format!("{}\n{}", self.title, self.body) }
    }
}

/// The idempotency key of the message about an event on a channel. The parts are separated by a byte that none of
/// them has, so that different parts never give the same key.
#[must_use]
pub fn key(cause: &str, project: &ProjectName, channel: &str) -> String {
    let mut hash = Sha256::new();
    for part in [cause, project.as_str(), channel] {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// A title: one line, bounded, every control character a space. Line ends in a title are what header injection is
/// made of, so they end here, before any channel sees them.
#[must_use]
pub fn clean_title(text: &str) -> String {
    let spaced: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let line = spaced.split_whitespace().collect::<Vec<_>>().join(" ");
    shorten(&line, TITLE_CHARS_MAX)
}

/// A text: bounded, line ends as `\n`, other control characters removed.
#[must_use]
pub fn clean_body(text: &str) -> String {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let kept: String = text.chars().filter(|c| matches!(c, '\n' | '\t') || !c.is_control()).collect();
    shorten(kept.trim_end(), BODY_CHARS_MAX)
}

/// At most `limit` characters, with an ellipsis where something was left out.
#[must_use]
pub(crate) fn shorten(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    text.chars().take(limit.saturating_sub(1)).chain(['…']).collect()
}

/// The severity as one word.
#[must_use]
pub(crate) const fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "info",
        Severity::Success => "success",
        Severity::Warning => "warning",
        Severity::Error => "error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_depend_on_every_part_and_on_nothing_else() {
        let shop = ProjectName::new("shop").unwrap();
        let other = ProjectName::new("sho").unwrap();
        assert_eq!(key("e1", &shop, "ops"), key("e1", &shop, "ops"));
        assert_ne!(key("e1", &shop, "ops"), key("e2", &shop, "ops"));
        assert_ne!(key("e1", &shop, "ops"), key("e1", &other, "pops"));
        assert_eq!(key("e1", &shop, "ops").len(), 32);
    }

    #[test]
    fn titles_are_one_line() {
        assert_eq!(clean_title("a\r\nBcc: x@y\u{1b}[31m\u{0}b "), "a Bcc: x@y [31m b");
        assert_eq!(clean_title(&"x".repeat(500)).chars().count(), TITLE_CHARS_MAX);
    }

    #[test]
    fn bodies_keep_lines_and_lose_controls() {
        assert_eq!(clean_body("a\r\nb\u{1b}[0m\tc\n\n"), "a\nb[0m\tc");
    }
}
