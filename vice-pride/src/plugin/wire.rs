//! The lines between vice and a plug-in, version 1.
//!
//! A request is `{"id": N, "call": NAME, …}`, an answer `{"id": N, "ok": VALUE}` or
//! `{"id": N, "error": {"code": …, "message": …, "hints": […]}}`. Answers may come in any order. Members that are not known
//! are ignored on both sides. `docs/plugins.md` is the page for whoever writes one.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use vice_core::capability::{Capabilities, Capability};
use vice_core::port::target::{Op, Workload};
use vice_core::text::sanitize;
use vice_core::{Code, Fault};

/// The longest line, in bytes: an inventory of 100,000 units.
pub(super) const LINE_MAX: usize = 64 * 1024 * 1024;

/// The most characters of a text of a plug-in that are shown, and the most hints.
const TEXT_MAX: usize = 500;
const HINTS_MAX: usize = 5;

/// A request, before it has its number.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Request<'a> {
    pub(super) id: u64,
    pub(super) call: &'a str,
    #[serde(flatten)]
    pub(super) body: &'a Value,
}

/// An answer.
#[derive(Debug, Deserialize)]
pub(super) struct Response {
    pub(super) id: u64,
    #[serde(default)]
    pub(super) ok: Option<Value>,
    #[serde(default)]
    pub(super) error: Option<Trouble>,
}

/// What went wrong in a plug-in.
#[derive(Debug, Deserialize)]
pub(super) struct Trouble {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    hints: Vec<String>,
}

impl Trouble {
    /// As a fault. Texts of others are cut and made harmless.
    pub(super) fn fault(self, name: &str) -> Fault {
        let clean = |text: &str| sanitize(text).chars().take(TEXT_MAX).collect::<String>();
        let code = Code::ALL.iter().copied().find(|code| code.as_str() == self.code).unwrap_or(Code::Backend);
        let message = match self.message.trim() {
            "" => format!("The plug-in {name} gave no reason."),
            message => clean(message),
        };
        self.hints.iter().take(HINTS_MAX).fold(Fault::new(code, message), |fault, hint| fault.hint(clean(hint)))
    }
}

/// What a plug-in says of itself.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Described {
    pub(super) protocol: u32,
    #[serde(default)]
    pub(super) port: String,
    #[serde(default)]
    capabilities: Vec<String>,
    #[serde(default)]
    pub(super) location: String,
    /// Whether other machines can reach what it changes. One that does not say is taken as one that can.
    #[serde(default = "yes")]
    pub(super) shared: bool,
}

const fn yes() -> bool {
    true
}

impl Described {
    /// What it can do, of what is known here.
    pub(super) fn capabilities(&self) -> Capabilities {
        let known = [
            ("fence", Capability::Fence),
            ("observe", Capability::Observe),
            ("start-stop", Capability::StartStop),
            ("drain", Capability::Drain),
        ];
        let has = |name: &str| self.capabilities.iter().any(|said| said == name);
        Capabilities::of(known.into_iter().filter(|(name, _)| has(name)).map(|(_, capability)| capability))
    }
}

/// The body of a request about an operation.
pub(super) fn operation(op: &Op, workload: Option<&Workload>) -> Value {
    json!({ "op": op, "workload": workload.map(self::workload) })
}

/// Everything that a target needs to run a release. It holds secrets, so that it goes over the pipe and nowhere else.
fn workload(workload: &Workload) -> Value {
    let environment: serde_json::Map<String, Value> =
        workload.environment.iter().map(|(name, value)| (name.clone(), json!(value.reveal()))).collect();
    json!({
        "release": workload.release,
        "files": workload.files,
        "command": workload.command,
        "environment": environment,
        "health": workload.health,
        "ready_timeout_ms": workload.ready_timeout.0,
        "drain_timeout_ms": workload.drain_timeout.0,
        "stop_timeout_ms": workload.stop_timeout.0,
    })
}
