//! The lines between vice and a plug-in, version 1.
//!
//! A request is `{"id": N, "call": NAME, …}`, an answer `{"id": N, "ok": VALUE}` or
//! `{"id": N, "error": {"code": …, "message": …, "hints": […]}}`. Answers may come in any order. Members that are not known
//! are ignored on both sides. `docs/plugins.md` is the page for whoever writes one.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use vice_core::secret::Masker;
use vice_core::text::sanitize;
use vice_core::{Code, Fault};

/// The longest line, in bytes: an inventory of 100,000 units.
pub(crate) const LINE_MAX: usize = 64 * 1024 * 1024;

/// The most characters of a text of a plug-in that are shown, and the most hints.
pub(crate) const TEXT_MAX: usize = 500;
const HINTS_MAX: usize = 5;

/// A request, before it has its number.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Request<'a> {
    pub(crate) id: u64,
    pub(crate) call: &'a str,
    #[serde(flatten)]
    pub(crate) body: &'a Value,
}

/// An answer.
#[derive(Debug, Deserialize)]
pub(crate) struct Response {
    pub(crate) id: u64,
    #[serde(default)]
    pub(crate) ok: Option<Value>,
    #[serde(default)]
    pub(crate) error: Option<Trouble>,
}

/// What went wrong in a plug-in.
#[derive(Debug, Deserialize)]
pub(crate) struct Trouble {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    hints: Vec<String>,
}

impl Trouble {
    /// As a fault. Texts of others are masked, cut and made harmless.
    pub(crate) fn fault(self, name: &str, masker: &Masker) -> Fault {
        let clean = |text: &str| shown(text, masker);
        let code = Code::ALL.iter().copied().find(|code| code.as_str() == self.code).unwrap_or(Code::Backend);
        let message = match self.message.trim() {
            "" => format!("The plug-in {name} gave no reason."),
            message => clean(message),
        };
        self.hints.iter().take(HINTS_MAX).fold(Fault::new(code, message), |fault, hint| fault.hint(clean(hint)))
    }
}

/// A text of a plug-in as it may be shown.
pub(crate) fn shown(text: &str, masker: &Masker) -> String {
    sanitize(&masker.mask(text)).chars().take(TEXT_MAX).collect()
}

/// What a plug-in says of itself.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Described {
    /// The version of the protocol that it speaks.
    pub protocol: u32,
    /// The port that it stands behind.
    #[serde(default)]
    pub port: String,
    /// What it can do; words that are not known mean nothing.
    #[serde(default)]
    pub capabilities: Vec<String>,
    /// Where what it changes is, for people.
    #[serde(default)]
    pub location: String,
    /// Whether other machines can reach what it changes. One that does not say is taken as one that can.
    #[serde(default = "yes")]
    pub shared: bool,
}

const fn yes() -> bool {
    true
}

impl Described {
    /// Whether it can do what the word says.
    #[must_use]
    pub fn has(&self, capability: &str) -> bool {
        self.capabilities.iter().any(|said| said == capability)
    }
}
